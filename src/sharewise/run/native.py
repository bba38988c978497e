"""Whether a run takes the compiled kernels: where a measurement at its start says that they are faster.

They compute convolutions in training (`sharewise.supernet.native`). Like the number of threads, the choice is made
once and kept with the run: sums depend on it in the last bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard, final

import torch
from torch import Tensor, nn

from sharewise.engine import SearchState
from sharewise.errors import ConfigurationError
from sharewise.run.folder import RunFolder
from sharewise.run.place import Keep
from sharewise.run.precision import WORTH
from sharewise.run.threads import Threads, on_threads, step_size
from sharewise.supernet import SlicedConv2d
from sharewise.supernet.convolution import convolve, convolving
from sharewise.supernet.native import knows_convolution, knows_depthwise, native_kernels, require_library
from sharewise.supernet.trilinear import in_both_directions

__all__ = ["KINDS", "Kind", "Native", "measured", "native_of"]

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

    @contextmanager
    def taken(self, network: nn.Module) -> Iterator[None]:
        """A block in which a network is trained with them, if they are taken."""
        with native_kernels(self.on), convolving(_layers(network) if self.on else ()):
            yield


def native_of(state: SearchState, keep: Keep, asked: bool | None, threads: Threads) -> Native:
    """Whether a run takes the compiled kernels.

    Args:
        state: at step 0.
        keep: where the run is kept; one that goes on keeps what it began with.
        asked: by the user, which wins; `None` to choose by measurement, for runs that train convolutions which the
            kernels know in float32 on one thread of a CPU, in steps of at least `WORTH` multiply-accumulates.
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
    kinds = [kind for kind in KINDS if any(map(kind.has, state.supernet.modules()))]
    obstacle = _obstacle(state, threads, kinds)
    if obstacle is not None:
        return Native(False, obstacle)
    try:
        ratios = {kind: measured(kind) for kind in kinds}
    except ConfigurationError as error:
        return Native(False, str(error))
    took = [f"training {kind.words} takes {ratio:.2f} times as long as by torch here" for kind, ratio in ratios.items()]
    return Native(max(ratios.values()) < _LESS, "; ".join(took))


def _recorded(folder: RunFolder) -> bool | None:
    """Whether the run in a folder takes them; older ones do not say it, and do not."""
    return bool(folder.read_stored_config().get("native"))


def _obstacle(state: SearchState, threads: Threads, kinds: Sequence[Kind]) -> str | None:
    """Why nothing is to be gained by kernels for convolutions of these kinds, if so."""
    place = state.numerics
    if not place.ranks.alone:
        return "several processes share the run"
    if place.device.type != "cpu" or place.precision != "float32" or threads.count != 1:
        return "they compute in float32 on one thread of a CPU"
    if not kinds:
        return "there is no convolution that the kernels know"
    if step_size(state) < WORTH:
        return f"steps have less than {WORTH / 1e9:g} · 10⁹ multiply-accumulates"
    return None


def _layers(network: nn.Module) -> list[nn.Conv2d]:
    """Layers of torch's own class and form that the kernels know; others are called by what computes with them."""
    layers = [layer for layer in network.modules() if type(layer) is nn.Conv2d and "forward" not in vars(layer)]
    return [layer for layer in layers if any(kind.has(layer) for kind in KINDS)]


def _is_depthwise(module: nn.Module) -> bool:
    """Whether it is a depthwise convolution that the kernels know, of fixed or of searched channels."""
    if not _is_plain(module) or not knows_depthwise(module.weight) or module.stride not in (1, (1, 1)):
        return False
    return module.groups == len(module.weight) if isinstance(module, nn.Conv2d) else module.group_size == 1


def _is_small(module: nn.Module) -> bool:
    """Whether it is a convolution of 3×3 that the kernels know, of fixed or of searched channels."""
    if not _is_plain(module) or not knows_convolution(module.weight):
        return False
    moves = in_both_directions(module.stride, module.padding, module.dilation)
    alone = module.groups == 1 if isinstance(module, nn.Conv2d) else module.groups.sizes == (1,)
    return alone and moves == [(1, 1)] * 3


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d | SlicedConv2d]:
    """Whether it is a convolution between zeros, without a shift."""
    if isinstance(module, nn.Conv2d):
        return module.bias is None and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return isinstance(module, SlicedConv2d) and module.bias is None


@final
@dataclass(frozen=True)
class Kind:
    """A kind of convolutions that the kernels know.

    Args:
        words: one of them, for a sentence.
        has: whether a layer is one.
        weight: of one that stands for all.
        groups: of it.
    """

    words: str
    has: Callable[[nn.Module], bool]
    weight: tuple[int, int, int, int]
    groups: int


KINDS = (
    Kind("a depthwise convolution", _is_depthwise, (16, 1, 5, 5), 16),
    Kind("a convolution of 3×3", _is_small, (16, 16, 3, 3), 1),
)
"""All kinds."""


def measured(kind: Kind) -> float:
    """The time of both passes of a convolution by compiled kernels, over that by torch; the least of a few.

    Args:
        kind: of the convolution.

    Raises:
        ConfigurationError: when they cannot be compiled here.
    """
    require_library()
    with on_threads(1), torch.random.fork_rng(devices=[]), torch.enable_grad():
        x = torch.randn(16, 16, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
        kernel = torch.randn(kind.weight).requires_grad_()
        padding = (kernel.shape[-1] // 2,) * 2
        found = {}
        for on in (True, False):
            with native_kernels(on):
                found[on] = min(
                    _seconds(lambda: convolve(x, kernel, None, (1, 1), padding, (1, 1), kind.groups))
                    for _ in range(_ROUNDS)
                )
    return found[True] / found[False]


def _seconds(forward: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    y = forward()
    torch.autograd.backward(y, y)
    return time.perf_counter() - began
