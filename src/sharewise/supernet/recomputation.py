"""Activation checkpointing: a cell is computed a second time in the backward pass instead of being remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sharewise.supernet.calibrate import norms
from sharewise.supernet.gate import Gates
from sharewise.supernet.twice import expects_second

__all__ = ["recomputed"]


_KEPT: ContextVar[bool] = ContextVar("kept", default=False)


@contextmanager
def kept() -> Iterator[None]:
    """A block in which nothing is computed a second time."""
    token = _KEPT.set(True)
    try:
        yield
    finally:
        _KEPT.reset(token)


def recomputed(cell: nn.Module, *inputs: Tensor, gates: Gates) -> Tensor:
    """What a cell computes; of what its backward pass needs, its inputs alone are kept until then.

    The second computation is that of the first time: with the same random numbers, the same statistics of norms, and
    without moving running statistics again. Gradients are equal in every bit. Where a gradient is differentiated again,
    or cells run at other weights or on some rows of a batch, everything is kept after all.

    Args:
        cell: called as `cell(*inputs, gates)`.
        inputs: of the cell.
        gates: of the cell.

    Returns:
        Its output.

    References:
        T. Chen et al., *Training Deep Nets with Sublinear Memory Cost*, 2016 (arXiv 1604.06174).
    """
    if not torch.is_grad_enabled() or expects_second() or _KEPT.get():
        value: Tensor = cell(*inputs, gates)
        return value
    tracking = [layer.track_running_stats for layer in norms(cell)]

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return nullcontext(), _as_before(cell, tracking)

    y: Tensor = checkpoint(cell, *inputs, gates, use_reentrant=False, preserve_rng_state=True, context_fn=contexts)
    return y


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
