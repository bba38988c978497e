"""Spaces of files of the user's own on the command line, where alone they are named."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharewise.errors import UnnamedFileError, printable
from sharewise.own_file import OwnFile, is_reference, own_file

if TYPE_CHECKING:  # a verb that names no space starts without them
    from sharewise.space import Space

__all__ = ["add_own", "asking_for_it", "named", "space_named"]

_MEANING = (
    "the file and the function that made the space of the run, where a model of your own was searched; it must be as "
    "it was, and is executed: a run folder alone executes nothing"
)


def add_own(parser: argparse.ArgumentParser) -> None:
    """Add the option by which a verb that opens a run is told the file of its space."""
    parser.add_argument("--space", metavar="FILE.py:FACTORY", help=_MEANING)


def named(text: str | None) -> OwnFile | None:
    """The file that a word names; `None` where it is no file or nothing.

    Raises:
        ConfigurationError: when there is no such file.
    """
    return own_file(text) if text is not None and is_reference(text) else None


def space_named(name: str, own: OwnFile | None) -> Space:
    """A space by its name, or of the file that the user named.

    Args:
        name: of the space, wherever it was read.
        own: the file.

    Raises:
        ConfigurationError: when there is no such space.
        UnnamedFileError: when the name is that of a file which the user did not name.
    """
    if own is not None:
        from sharewise.run.own_space import space_made_by

        return space_made_by(own)
    if is_reference(name):
        raise UnnamedFileError(name)
    from sharewise.spaces import load

    return load(name)


def asking_for_it(words: Sequence[str], error: UnnamedFileError) -> str:
    """The command that names the file, as a user may give it after a look at that file.

    Args:
        words: that were given, the verb first.
        error: what was missing.
    """
    return printable(f"sharewise {shlex.join([*words, '--space', error.reference])}")
