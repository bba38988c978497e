"""How many threads a run computes with: one, unless its steps are large enough for more.

Threads share every operation of a step and wait for each other after it. Where operations are small, nothing is gained;
where other work holds a core, the others stand still until it has run. So the size of a step decides, once, and the run
keeps the number: sums depend on it in the last bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch

from sharewise.engine import SearchState
from sharewise.ledger import TRAINING
from sharewise.run.folder import RunFolder
from sharewise.run.place import Keep

__all__ = ["LARGE", "Threads", "on_threads", "recorded", "step_size", "threads_of"]

LARGE = 6_000_000_000
"""Multiply-accumulates of a step, from which on all threads of torch take part; see `python -m benchmarks threads`."""


@final
@dataclass(frozen=True)
class Threads:
    """A number of threads, and why it is this one.

    Args:
        count: of the CPU, at least 1.
        why: in words, for the environment of the run.
    """

    count: int
    why: str


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Compute with so many threads within the block.

    Example:
        >>> with on_threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def step_size(state: SearchState) -> int:
    """Multiply-accumulates of a weight step, forward and backward; of sampled paths, the most of a few draws.

    Args:
        state: at step 0; nothing of it is changed, and no number of its streams is drawn.
    """
    generator = state.fresh_generator("threads")
    draws = [gates for _ in range(4) for gates in state.distribution.draw(generator, state.phase("weights"))]
    return TRAINING * state.recipe.batch_size * max(state.costs.of(gates) for gates in draws)


def threads_of(state: SearchState, keep: Keep, asked: int | None) -> Threads:
    """With how many threads a run computes.

    Args:
        state: at step 0.
        keep: where the run is kept; one that goes on keeps the number with which it began.
        asked: by the user, which wins; `None` to choose by the size of a step. Never more are chosen than torch would
            take by itself (`torch.get_num_threads()`).
    """
    if asked is not None:
        return Threads(asked, "asked for")
    begun = recorded(RunFolder(keep.folder)) if keep.resume and keep.folder is not None else None
    if begun is not None:
        return Threads(begun, "as the run began")
    most = torch.get_num_threads()
    if state.numerics.device.type != "cpu":
        return Threads(most, f"as torch has it, since steps are computed on {state.numerics.device}")
    if most == 1:
        return Threads(1, "as torch has it")
    size = step_size(state)
    words = f"a step has {size / 1e9:.3g} · 10⁹ multiply-accumulates, and several threads pay from {LARGE / 1e9:g} on"
    return Threads(most if size >= LARGE else 1, words)


def recorded(folder: RunFolder) -> int | None:
    """With how many threads the run in a folder computes; older ones may not say it."""
    threads = folder.read_stored_config().get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None
