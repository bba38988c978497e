"""Limits of options of networks: what is refused, and in which words, is the same for every space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from sharewise.errors import ConfigurationError

__all__ = ["AT_LEAST_ONE", "DIVISOR", "FRACTION", "MULTIPLIER", "PROBABILITY", "Limit", "keep_limits"]


@final
@dataclass(frozen=True)
class Limit:
    """Which values an option may have.

    Args:
        words: what the value must do.
        kept: whether it does.
    """

    words: str
    kept: Callable[[float], bool]


AT_LEAST_ONE = Limit("be at least 1", lambda value: value >= 1)
DIVISOR = Limit("be 1, 2, 4 or 8", lambda value: value in (1, 2, 4, 8))
FRACTION = Limit("lie in (0, 1]", lambda value: 0 < value <= 1)
MULTIPLIER = Limit("lie in (0, 8]", lambda value: 0 < value <= 8)
PROBABILITY = Limit("lie in [0, 1)", lambda value: 0 <= value < 1)


def keep_limits(options: Any, **limits: Limit) -> None:
    """Refuse options of a network that no network can have; the first that breaks its limit is named.

    Args:
        options: with an attribute for every name.
        limits: by name of the option.

    Raises:
        ConfigurationError: naming the option, what it must do and its value.

    Example:
        >>> from types import SimpleNamespace
        >>> keep_limits(SimpleNamespace(channels=4, dropout=1.0), channels=AT_LEAST_ONE, dropout=PROBABILITY)
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: network option dropout must lie in [0, 1), got 1.0
    """
    for name, limit in limits.items():
        value = getattr(options, name)
        if not limit.kept(value):
            raise ConfigurationError(f"network option {name} must {limit.words}, got {value}")
