"""Whether a run takes the compiled kernels: where a measurement at its start says that they are faster.

They compute depthwise convolutions in training (`sharewise.supernet.native`). Like the number of threads, the
choice is made once and kept with the run: sums depend on it in the last bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sharewise.engine import SearchState
from sharewise.errors import ConfigurationError
from sharewise.run.folder import RunFolder
from sharewise.run.place import Keep
from sharewise.run.precision import WORTH
from sharewise.run.threads import Threads, on_threads, step_size
from sharewise.supernet import SlicedConv2d, convolution
from sharewise.supernet.native import native_kernels, require_library

__all__ = ["Native", "measured", "native_of"]

_ROUNDS = 5
_LESS = 0.9
"""Of the time of torch, below which kernels are taken."""


@final
@dataclass(frozen=True)
class Native:
    """Whether compiled kernels are taken, and why.

    Args:
        on: whether they are.
        why: in words, for the environment of the run.
    """

    on: bool
    why: str


def native_of(state: SearchState, keep: Keep, asked: bool | None, threads: Threads) -> Native:
    """Whether a run takes the compiled kernels.

    Args:
        state: at step 0.
        keep: where the run is kept; one that goes on keeps what it began with.
        asked: by the user, which wins; `None` to choose by measurement, for runs that train depthwise convolutions in
            float32 on one thread of a CPU, in steps of at least `WORTH` multiply-accumulates.
        threads: with which the run computes.

    Raises:
        ConfigurationError: when they are asked for, or were begun with, and cannot be compiled here; when they are
            asked for beside `compile`.
    """
    if state.numerics.compile:
        if asked:
            raise ConfigurationError("compiled programs have kernels of their own; leave --compile or --native out")
        return Native(False, "compiled programs have kernels of their own")
    begun = _recorded(RunFolder(keep.folder)) if keep.resume and keep.folder is not None else None
    wanted, why = (begun, "as the run began") if asked is None else (asked, "asked for")
    if wanted is not None:
        if wanted:
            require_library()
        return Native(wanted, why)
    obstacle = _obstacle(state, threads)
    if obstacle is not None:
        return Native(False, obstacle)
    try:
        ratio = measured()
    except ConfigurationError as error:
        return Native(False, str(error))
    return Native(
        ratio < _LESS, f"the backward pass of a depthwise convolution takes {ratio:.2f} times as long as by torch here"
    )


def _recorded(folder: RunFolder) -> bool | None:
    """Whether the run in a folder takes them; older ones do not say it, and do not."""
    return bool(folder.read_stored_config().get("native"))


def _obstacle(state: SearchState, threads: Threads) -> str | None:
    """Why nothing is to be gained, if so."""
    place = state.numerics
    if not place.ranks.alone:
        return "several processes share the run"
    if place.device.type != "cpu" or place.precision != "float32" or threads.count != 1:
        return "they compute in float32 on one thread of a CPU"
    if not any(map(_is_depthwise, state.supernet.modules())):
        return "there is no depthwise convolution"
    if step_size(state) < WORTH:
        return f"steps have less than {WORTH / 1e9:g} · 10⁹ multiply-accumulates"
    return None


def _is_depthwise(module: nn.Module) -> bool:
    """Whether it is a depthwise convolution, of fixed or of searched channels."""
    if isinstance(module, nn.Conv2d):
        return module.groups == module.in_channels > 1
    return isinstance(module, SlicedConv2d) and module.group_size == 1


def measured() -> float:
    """The time of a depthwise convolution's backward pass by compiled kernels, over that by torch; the least of a few.

    Raises:
        ConfigurationError: when they cannot be compiled here.
    """
    require_library()
    with on_threads(1), torch.random.fork_rng(devices=[]), torch.enable_grad():
        x = torch.randn(16, 16, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
        kernel = torch.randn(16, 1, 5, 5).requires_grad_()
        found = {}
        for on in (True, False):
            with native_kernels(on):
                found[on] = min(_seconds(lambda: convolution.depthwise(x, kernel, 1).sum()) for _ in range(_ROUNDS))
    return found[True] / found[False]


def _seconds(forward: Callable[[], Tensor]) -> float:
    total = forward()
    began = time.perf_counter()
    torch.autograd.backward(total)
    return time.perf_counter() - began
