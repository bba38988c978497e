"""Seeds in a word: how many, or which."""

from __future__ import annotations

from sharewise.errors import ConfigurationError

__all__ = ["seeds_of"]


def seeds_of(text: str) -> tuple[int, ...]:
    """The seeds that a word names: a number n for 0 to n - 1, or a list with commas for those.

    Args:
        text: such as `"5"` or `"3,7,9"`; `"7,"` is the seed 7 alone.

    Raises:
        ConfigurationError: when it is neither, or names one twice.

    Example:
        >>> seeds_of("3"), seeds_of("3,7,9"), seeds_of("7,")
        ((0, 1, 2), (3, 7, 9), (7,))
    """
    parts = [part.strip() for part in text.split(",")]
    listed = parts[:-1] if len(parts) > 1 and not parts[-1] else parts
    if not all(part.isdecimal() and int(part) < 2**63 for part in listed):
        raise ConfigurationError(f"seeds are a number (5: those from 0 to 4) or a list (3,7,9), got {text!r}")
    numbers = tuple(int(part) for part in listed)
    if len(parts) == 1:
        if not 1 <= numbers[0] <= _MOST:
            raise ConfigurationError(
                f"give 1 to {_MOST} seeds, got {numbers[0]}; for the seed {numbers[0]} alone write --seed {numbers[0]}"
            )
        return tuple(range(numbers[0]))
    if len(set(numbers)) < len(numbers):
        raise ConfigurationError(f"seeds must differ, got {text!r}")
    return numbers


_MOST = 1000
"""Nobody means more searches than that by a number."""
