"""Steps with the compiled kernels that a run would take by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sharewise.engine import SearchState
from sharewise.errors import ConfigurationError
from sharewise.run.native import native_of
from sharewise.run.place import NOWHERE
from sharewise.run.threads import Threads
from sharewise.supernet.native import require_library

__all__ = ["as_in_a_run", "possible"]

T = TypeVar("T")


def as_in_a_run(state: SearchState, step: Callable[..., T], asked: bool | None = None) -> Callable[..., T]:
    """The step, with compiled kernels where a run of the state on one thread takes them.

    Args:
        state: at step 0.
        step: anything that trains it.
        asked: `True` for kernels, `False` for none; `None` as a run chooses.
    """
    chosen = native_of(state, NOWHERE, asked, Threads(1, "as everything here"))

    def with_kernels(*arguments: object) -> T:
        with chosen.taken(state.supernet):
            return step(*arguments)

    return with_kernels


def possible() -> bool:
    """Whether they can be compiled here."""
    try:
        require_library()
    except ConfigurationError:
        return False
    return True
