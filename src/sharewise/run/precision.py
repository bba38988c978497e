"""Whether bfloat16 pays on this processor: measured and said, never chosen.

Processors with AVX512-BF16 or AMX multiply bfloat16 faster than float32, others convert every number and take several
times as long. What half precision does to a result is for its user to judge, so a run only tells what it has measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import nn

from sharewise.engine import SearchState, numerics
from sharewise.run.threads import on_threads, step_size

__all__ = ["WORTH", "measured", "offered", "words"]

WORTH = 1_000_000_000
"""Multiply-accumulates of a step, from which on a run measures: the measurement takes as long as one such step."""

_ROUNDS = 3
_LESS, _MORE = 0.8, 1.1
"""Of the time of float32, below which bfloat16 is offered, and above which it is advised against."""


def measured() -> Mapping[str, float]:
    """Milliseconds, forward and backward on one thread, of a small block under each precision; the least of a few.

    Example:
        >>> sorted(measured())
        ['bfloat16', 'float32']
    """
    with on_threads(1), torch.random.fork_rng(devices=[]):
        block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        x = torch.ones(32, 16, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
        return {precision: _milliseconds(block, x, precision) for precision in ("float32", "bfloat16")}


def _milliseconds(block: nn.Module, x: torch.Tensor, precision: str) -> float:
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        with numerics("cpu", precision).autocast():
            total = block(x).sum()
        torch.autograd.backward(total)
        taken.append(1000 * (time.perf_counter() - began))
    return min(taken)


def offered(state: SearchState) -> dict[str, str]:
    """What a run says of bfloat16 among the facts of its environment; nothing where it does not matter.

    Args:
        state: at step 0; only runs on a CPU in float32 or bfloat16 whose steps are `WORTH` it are measured.
    """
    place = state.numerics
    if place.device.type != "cpu" or place.precision == "float64" or step_size(state) < WORTH:
        return {}
    found = measured()
    return {"bfloat16": words(found["bfloat16"] / found["float32"], place.precision)}


def words(ratio: float, precision: str) -> str:
    """What a ratio of times, bfloat16 over float32, means for a run.

    Args:
        ratio: that was measured.
        precision: of the run.

    Example:
        >>> words(0.7, "float32")  # doctest: +ELLIPSIS
        'training a convolution takes 0.70 times as long as in float32 here: --precision bfloat16 may pay, ...'
    """
    said = f"training a convolution takes {ratio:.2f} times as long as in float32 here"
    if precision == "float32" and ratio < _LESS:
        return f"{said}: --precision bfloat16 may pay, for less accurate sums"
    if precision == "bfloat16" and ratio > _MORE:
        return f"{said}: --precision float32 is faster and more accurate"
    return said
