"""Activation checkpointing: a cell is computed a second time in the backward pass instead of being remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sharewise.errors import ConfigurationError
from sharewise.supernet.calibrate import norms
from sharewise.supernet.gate import Gates
from sharewise.supernet.twice import expects_second

__all__ = ["again", "kept", "once", "recomputed", "surrounded"]

Surroundings = Callable[[], Callable[[], AbstractContextManager[object]]]
"""Asked at a moment of the first computation, gives the context of a second one from that moment on."""

_KEPT: ContextVar[bool] = ContextVar("kept", default=False)
_ONCE: ContextVar[str | None] = ContextVar("once", default=None)
_AROUND: ContextVar[Surroundings] = ContextVar("around", default=lambda: nullcontext)


@contextmanager
def kept() -> Iterator[None]:
    """A block in which nothing is computed a second time."""
    token = _KEPT.set(True)
    try:
        yield
    finally:
        _KEPT.reset(token)


@contextmanager
def once(why: str) -> Iterator[None]:
    """A block in which nothing may be computed a second time.

    Args:
        why: what ends whatever would be, in a line.

    Raises:
        ConfigurationError: by what would be.
    """
    token = _ONCE.set(why)
    try:
        yield
    finally:
        _ONCE.reset(token)


@contextmanager
def surrounded(surroundings: Surroundings) -> Iterator[None]:
    """A block in which operations depend on what surrounds them, and would not be the same in a backward pass.

    Args:
        surroundings: of the block.
    """
    token = _AROUND.set(surroundings)
    try:
        yield
    finally:
        _AROUND.reset(token)


def recomputed(cell: nn.Module, *inputs: Tensor, gates: Gates) -> Tensor:
    """What a cell computes; of what its backward pass needs, its inputs alone are kept until then.

    The second computation is that of the first time: with the same random numbers, the same statistics of norms, and
    without moving running statistics again. Gradients are equal in every bit. Where a gradient is differentiated again,
    or cells run at other weights, everything is kept after all. Where several processes share a batch, the second
    computation is one on the same rows, with the messages of the first.

    Args:
        cell: called as `cell(*inputs, gates)`.
        inputs: of the cell.
        gates: of the cell.

    Returns:
        Its output.

    References:
        T. Chen et al., *Training Deep Nets with Sublinear Memory Cost*, 2016 (arXiv 1604.06174).
    """
    y: Tensor = again(cell, cell, *inputs, gates)
    return y


def again(
    module: nn.Module,
    run: Callable[..., Any],
    /,
    *args: Any,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
    **kwargs: Any,
) -> Any:
    """What a module computes by a function of its own, as `recomputed`.

    Args:
        module: whose norms the function moves.
        run: the function.
        args: of the function.
        around: a context for the second computation alone, in which everything is as it is now.
        kwargs: of the function.
    """
    if not torch.is_grad_enabled() or expects_second() or _KEPT.get():
        return run(*args, **kwargs)
    if (why := _ONCE.get()) is not None:
        raise ConfigurationError(why)
    tracking, surrounding = [layer.track_running_stats for layer in norms(module)], _AROUND.get()()

    @contextmanager
    def second() -> Iterator[None]:
        with ExitStack() as entered:
            entered.enter_context(surrounding())
            entered.enter_context(around())
            entered.enter_context(_as_before(module, tracking))
            yield

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return nullcontext(), second()

    def computed(named: Mapping[str, Any], *placed: Any) -> Any:  # torch looks for devices among what is placed alone
        return run(*placed, **named)

    return checkpoint(computed, kwargs, *args, use_reentrant=False, preserve_rng_state=True, context_fn=contexts)


@contextmanager
def _as_before(cell: nn.Module, tracking: list[bool]) -> Iterator[None]:
    """Norms track what they tracked then, but their statistics stay where they are: with a momentum of zero."""
    layers = norms(cell)
    present = [(layer.track_running_stats, layer.momentum) for layer in layers]
    counts = [None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone() for layer in layers]
    for layer, tracked in zip(layers, tracking, strict=True):
        layer.track_running_stats, layer.momentum = tracked, 0.0
    try:
        yield
    finally:
        for layer, (tracked, momentum), count in zip(layers, present, counts, strict=True):
            layer.track_running_stats, layer.momentum = tracked, momentum
            if count is not None and layer.num_batches_tracked is not None:
                layer.num_batches_tracked.copy_(count)
