"""The one way in which a contract suite complains."""

from __future__ import annotations

__all__ = ["expect"]


def expect(condition: bool, message: str) -> None:
    """Raise an `AssertionError` that says what is broken, also under `python -O`, where `assert` would be silent.

    Args:
        condition: what must hold.
        message: what is wrong when it does not, naming the values.

    Raises:
        AssertionError: when the condition does not hold.

    Example:
        >>> expect(1 + 1 == 2, "arithmetic is broken")
    """
    if not condition:
        raise AssertionError(message)
