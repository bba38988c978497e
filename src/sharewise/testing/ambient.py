"""Ambient randomness: the global generators that no piece may draw from, since no checkpoint of ours restores them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sharewise.testing.expect import expect

__all__ = ["without_ambient_randomness"]

_GENERATORS: dict[str, Callable[[], Any]] = {
    "the module random": random.getstate,
    "numpy's global generator": lambda: [part.tolist() if isinstance(part, np.ndarray) else part for part in _numpy()],
    "torch's global generator": lambda: torch.get_rng_state().tolist(),
}


def _numpy() -> tuple[Any, ...]:
    return tuple(np.random.get_state(legacy=True))  # noqa: NPY002 - whether others use the global one is the question


@contextmanager
def without_ambient_randomness(what: str) -> Iterator[None]:
    """Check that a block of code leaves the global generators where they are.

    A piece that draws from them is a function of whatever ran before it in the process; a resume cannot repeat it.

    Args:
        what: the piece and what it does, for the message.

    Raises:
        AssertionError: naming the generator that moved.

    Example:
        >>> with without_ambient_randomness("a sum"):
        ...     _ = 1 + 1
    """
    before = {name: state() for name, state in _GENERATORS.items()}
    yield
    moved = [name for name, state in _GENERATORS.items() if state() != before[name]]
    expect(not moved, f"{what} draws from {' and '.join(moved)} instead of the generator that it is given")
