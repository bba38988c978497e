"""Going on: a verb that was interrupted is continued by its own words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sharewise.interruption import Interrupted

__all__ = ["repeatable"]


@contextmanager
def repeatable(verb: str, words: Sequence[str]) -> Iterator[None]:
    """Let an interruption name the command itself, for a verb that goes on where it stopped when it is given again.

    Args:
        verb: of the command line.
        words: after it, as they were given.
    """
    try:
        yield
    except Interrupted as error:
        raise Interrupted(error.kept, f"sharewise {verb} {shlex.join(words)}", error.number) from None
