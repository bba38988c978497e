"""Errors that a user is meant to read: each names the value, what was expected, and what to do.

Every exception that sharewise raises on purpose derives from `SharewiseError`; the command line prints its message
without a traceback and exits with a code that is not zero.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigurationError",
    "DataError",
    "DataWarning",
    "NonFiniteError",
    "SharewiseError",
    "unknown_name",
]


class SharewiseError(Exception):
    """The common ancestor of all errors raised on purpose, so that one `except` clause finds them."""


class ConfigurationError(SharewiseError, ValueError):
    """A setting is unknown, out of range, or clashes with another one."""


class DataError(SharewiseError, ValueError):
    """A data file is missing, damaged, or of another kind than asked for."""


class DataWarning(UserWarning):
    """Data were read, but not all of what lies there, or not as it lies there."""


class CheckpointError(SharewiseError, RuntimeError):
    """A run folder or checkpoint is missing, damaged, or belongs to another version, space or configuration."""


class NonFiniteError(SharewiseError, ArithmeticError):
    """A loss or an architecture parameter became infinite or not a number."""


def unknown_name(kind: str, name: object, legal: Iterable[object]) -> ConfigurationError:
    """Build the error for a name that is not in a registry, with the nearest legal name first.

    Args:
        kind: what the name stands for, in the singular (`"method"`).
        name: the name as given.
        legal: every legal name.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> print(unknown_name("method", "dart", ["gdas", "darts"]))
        unknown method 'dart'; did you mean 'darts'? Legal: darts, gdas
    """
    names = sorted(str(option) for option in legal)
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    return ConfigurationError(f"unknown {kind} {str(name)!r}{hint} Legal: {', '.join(names) or '(none)'}")
