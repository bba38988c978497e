"""Steps with the compiled kernels that a run would take by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from sharewise.engine import Numerics, SearchState
from sharewise.run.native import native_of
from sharewise.run.place import NOWHERE
from sharewise.run.threads import Threads

__all__ = ["as_in_a_run", "where_possible"]

T = TypeVar("T")


def as_in_a_run(state: SearchState, step: Callable[..., T], asked: bool | None = None) -> Callable[..., T]:
    """The step, with compiled kernels where a run of the state on one thread takes them.

    Args:
        state: at step 0.
        step: anything that trains it.
        asked: `True` for kernels, `False` for none; `None` as a run chooses.
    """
    chosen = native_of(state, NOWHERE, asked, Threads(1, "as everything here"))

    state.numerics = replace(state.numerics, native=chosen.on)

    def with_kernels(*arguments: object) -> T:
        with state.numerics.kernels(state.supernet):
            return step(*arguments)

    return with_kernels


def where_possible(network: nn.Module) -> AbstractContextManager[None]:
    """A block in which compiled kernels compute what they know of a network, if they can be compiled here."""
    return Numerics(torch.device("cpu"), native=True).kernels(network)
