"""Whether a run takes the compiled kernels: where a measurement at its start says that they are faster.

They compute convolutions, norms and averages (`sharewise.supernet.native`), in training and in evaluation. Like the
number of threads, the choice is made once and kept with the run: sums depend on it in the last bits.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple, TypeGuard, final

import torch
from torch import Tensor, nn

from sharewise.engine import SearchState
from sharewise.errors import ConfigurationError
from sharewise.run.folder import RunFolder
from sharewise.run.place import Keep
from sharewise.run.precision import WORTH
from sharewise.run.threads import Threads, on_threads, step_size
from sharewise.space import Decision
from sharewise.supernet import Gate, SlicedBatchNorm2d, SlicedConv2d, SlicedLayerNorm, SlicedRMSNorm
from sharewise.supernet.convolution import is_between_zeros
from sharewise.supernet.elastic.model import ElasticModel
from sharewise.supernet.elastic.named import ElasticSupernet
from sharewise.supernet.native import (
    knows_convolution,
    knows_depthwise,
    knows_layer_norm,
    knows_norm,
    native_kernels,
    require_library,
)
from sharewise.supernet.own_forms import computed
from sharewise.supernet.pooling import is_centred_average
from sharewise.supernet.trilinear import in_both_directions

__all__ = ["KINDS", "Kind", "Native", "Seconds", "measured", "native_of"]

_ROUNDS = 7
_IMAGES, _CHANNELS, _SIDE, _LEAST_SIDE = 16, 16, 32, 4
"""What is measured, if nothing else is said; with more channels images are smaller, down to the last of these."""
_FEATURES, _TOKENS = 192, 256
"""Of tokens that are measured, and how many."""
_LESS = 0.9
"""Of the time of torch for all kinds together, below which kernels are taken."""


@final
class Seconds(NamedTuple):
    """What both passes of a layer take, by compiled kernels and by torch."""

    compiled: float
    torch: float

    @property
    def ratio(self) -> float:
        """The time by kernels over that by torch."""
        return self.compiled / self.torch


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
        asked: by the user, which wins; `None` to choose by measurement, for runs that train layers which the kernels
            know in float32 on one thread of a CPU, in steps of at least `WORTH` multiply-accumulates.
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
    modules = list(state.supernet.modules())
    layers = {kind: own for kind in KINDS if (own := [*filter(kind.has, modules)])}
    obstacle = _obstacle(state, threads, list(layers))
    if obstacle is not None:
        return Native(False, obstacle)
    try:
        found = {kind: measured(kind, _channels(own)) for kind, own in layers.items()}
    except ConfigurationError as error:
        return Native(False, str(error))
    took = [
        f"training {kind.words} takes {seconds.ratio:.2f} times as long as by torch here"
        for kind, seconds in found.items()
    ]
    compiled, by_torch = (sum(column) for column in zip(*found.values(), strict=True))
    together = compiled / by_torch
    if len(found) > 1:
        took.append(f"one of each {together:.2f} times")
    return Native(together < _LESS, "; ".join(took))


def _channels(layers: Sequence[nn.Module]) -> int:
    """Of a layer in the middle, where they have channels."""
    weights = [getattr(layer, "num_features", getattr(layer, "weight", None)) for layer in layers]
    numbers = [len(weight) if isinstance(weight, Tensor) else weight for weight in weights if weight is not None]
    return statistics.median_low(numbers) if numbers else _CHANNELS


def _recorded(folder: RunFolder) -> bool | None:
    """Whether the run in a folder takes them; older ones do not say it, and do not."""
    return bool(folder.read_stored_config().get("native"))


def _obstacle(state: SearchState, threads: Threads, kinds: Sequence[Kind]) -> str | None:
    """Why nothing is to be gained by kernels for layers of these kinds, if so."""
    place = state.numerics
    if not place.ranks.alone:
        return "several processes share the run"
    if place.device.type != "cpu" or place.precision != "float32" or threads.count != 1:
        return "they compute in float32 on one thread of a CPU"
    if not kinds:
        return "there is no layer that the kernels know"
    if step_size(state) < WORTH:
        return f"steps have less than {WORTH / 1e9:g} · 10⁹ multiply-accumulates"
    return None


def _is_depthwise(module: nn.Module) -> bool:
    """Whether it is a depthwise convolution that the kernels know, of fixed or of searched channels."""
    if not _is_plain(module) or not knows_depthwise(module.weight) or module.stride not in (1, (1, 1)):
        return False
    return module.groups == len(module.weight) if isinstance(module, nn.Conv2d) else module.group_size == 1


def _is_small(size: int, module: nn.Module) -> bool:
    """Whether it is a convolution of such kernels that the compiled ones know, of fixed or of searched channels."""
    if not _is_plain(module) or not knows_convolution(module.weight) or module.weight.shape[-1] != size:
        return False
    moves = in_both_directions(module.stride, module.padding, module.dilation)
    alone = module.groups == 1 if isinstance(module, nn.Conv2d) else module.groups.sizes == (1,)
    return alone and moves == [(1, 1), (size // 2,) * 2, (1, 1)]


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d | SlicedConv2d]:
    """Whether it is a convolution between zeros, without a shift."""
    if isinstance(module, nn.Conv2d):
        return module.bias is None and is_between_zeros(module)
    return isinstance(module, SlicedConv2d) and module.bias is None


def _is_norm(module: nn.Module) -> bool:
    """Whether it is a batch norm of images that the kernels know, of fixed or of searched channels."""
    return isinstance(module, nn.BatchNorm2d | SlicedBatchNorm2d) and knows_norm(module.num_features)


def _mixes_layer_norms(module: nn.Module) -> bool:
    """Whether layer norms of searched widths that the kernels know are in it: a layer, or a model of a user's own."""
    if isinstance(module, SlicedLayerNorm | SlicedRMSNorm):
        return bool(module.features.decisions) and not module.published and knows_layer_norm(module.features.largest)
    if not isinstance(module, ElasticModel | ElasticSupernet):
        return False
    model, execution = module.executed()
    if execution.published:
        return False
    norms = map(model.get_submodule, execution.analysis.norms)
    return any(
        knows_layer_norm(norm.normalized_shape[-1]) for norm in norms if isinstance(norm, nn.LayerNorm | nn.RMSNorm)
    )


Layer = Callable[[Tensor], Tensor]
"""What is measured."""


def _of_images(make: Callable[[int], nn.Module], channels: int) -> tuple[Layer, Tensor]:
    more = max(channels / _CHANNELS, 1)  # and as many times fewer columns, as networks have them
    side = max(int(_SIDE / more), _LEAST_SIDE)
    x = torch.randn(_IMAGES, channels, side, side).contiguous(memory_format=torch.channels_last)
    return partial(computed, make(channels)), x


def _of_tokens(channels: int) -> tuple[Layer, Tensor]:
    width = Decision("width", (_FEATURES // 2, _FEATURES))
    norm, gates = SlicedLayerNorm(width), {width.name: Gate(torch.tensor([0.5, 0.5]), (0, 1))}
    return lambda x: norm(x, gates), torch.randn(_TOKENS, _FEATURES)


@final
@dataclass(frozen=True)
class Kind:
    """A kind of layers that the kernels know.

    Args:
        words: one of them, for a sentence.
        has: whether a module is one, or executes one that is none of its own modules.
        example: makes one of some channels that stands for all, and what it reads.
    """

    words: str
    has: Callable[[nn.Module], bool]
    example: Callable[[int], tuple[Layer, Tensor]]


KINDS = (
    Kind(
        "a depthwise convolution",
        _is_depthwise,
        partial(_of_images, lambda n: nn.Conv2d(n, n, 5, padding=2, groups=n, bias=False)),
    ),
    Kind(
        "a convolution of 1×1",
        partial(_is_small, 1),
        partial(_of_images, lambda n: nn.Conv2d(n, n, 1, bias=False)),
    ),
    Kind(
        "a convolution of 3×3",
        partial(_is_small, 3),
        partial(_of_images, lambda n: nn.Conv2d(n, n, 3, padding=1, bias=False)),
    ),
    Kind("a batch norm", _is_norm, partial(_of_images, nn.BatchNorm2d)),
    Kind(
        "an average of 3×3",
        is_centred_average,
        partial(_of_images, lambda n: nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    ),
    Kind("a layer norm of mixed widths", _mixes_layer_norms, _of_tokens),
)
"""All kinds."""


def measured(kind: Kind, channels: int = _CHANNELS) -> Seconds:
    """The time of both passes of a layer by compiled kernels and by torch, each the least of a few.

    Args:
        kind: of the layer.
        channels: of its images, if it reads such.

    Raises:
        ConfigurationError: when they cannot be compiled here.
    """
    require_library()
    with on_threads(1), torch.random.fork_rng(devices=[]), torch.enable_grad():
        (layer, x), found = kind.example(channels), {True: math.inf, False: math.inf}
        for _, on in product(range(_ROUNDS), found):
            with native_kernels(on):
                found[on] = min(found[on], _seconds(layer, x.requires_grad_()))
    return Seconds(found[True], found[False])


def _seconds(layer: Layer, x: Tensor) -> float:
    began = time.perf_counter()
    y = layer(x)
    torch.autograd.backward(y, y)
    return time.perf_counter() - began
