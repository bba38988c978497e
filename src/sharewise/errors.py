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
    "InheritanceError",
    "NonFiniteError",
    "SharewiseError",
    "SharewiseWarning",
    "UnnamedFileError",
    "printable",
    "shown",
    "unknown_name",
]

_LONGEST = 4000
"""Characters of a message; what a file or a name holds beyond is of no use to a reader."""


def printable(text: object) -> str:
    r"""A text as a terminal may show it: control characters are written out, line ends stay.

    Example:
        >>> print(printable("RUN\x1b[31m"))
        RUN\x1b[31m
    """
    return "".join(
        character if character.isprintable() or character in "\n\t" else repr(character)[1:-1]
        for character in str(text)
    )


def shown(value: object, most: int = 80) -> str:
    """A value as a message shows it: by its literal, shortened where it is long.

    Args:
        value: any plain value.
        most: characters.

    Example:
        >>> shown("a" * 1000, most=12)
        "'aaaaaaaaaa…"
    """
    text = repr(value[: 2 * most] if isinstance(value, str | bytes | list | tuple) else value)
    return text if len(text) <= most else text[: most - 1] + "…"


class SharewiseError(Exception):
    """The common ancestor of all errors raised on purpose, so that one `except` clause finds them.

    Messages quote names, paths and values of strangers, so control characters are written out and long ones cut.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > _LONGEST:
            text = (
                f"{text[: _LONGEST // 2]} … ({len(text) - _LONGEST:,} characters left out) … {text[-_LONGEST // 2 :]}"
            )
        return printable(text)


class SharewiseWarning(UserWarning):
    """Something that is worth a line but no reason to stop."""


class ConfigurationError(SharewiseError, ValueError):
    """A setting is unknown, out of range, or clashes with another one."""


class UnnamedFileError(ConfigurationError):
    """A run's space comes from a file that the user has not named; a run folder alone executes no code.

    Args:
        reference: the file and its function, as the folder has them.
    """

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"the space was made by {shown(reference, 1000)}, and a run folder alone executes no code: name the file "
            "yourself"
        )
        self.reference = reference

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.reference,)


class InheritanceError(ConfigurationError):
    """No plain network can inherit the shared weights, which were trained for another width."""


class DataError(SharewiseError, ValueError):
    """A data file is missing, damaged, or of another kind than asked for."""


class DataWarning(SharewiseWarning):
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
