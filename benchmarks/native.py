"""What compiled kernels and rows gain: convolutions and their gradients, norms, averages, and whole weight steps.

Single calls are process CPU milliseconds on one thread in float32, medians over rounds; a buffer of 16 MiB is written
before every call, so that images come from far, as in a step. Torch's own gradient of a depthwise kernel stands beside
the one that convolutions compute (`sharewise/supernet/depthwise_convolution.py`) and the compiled one; torch's
convolutions of 1×1 and 3×3 and their gradients beside the compiled ones, also of images that are rectified first;
torch's batch norm beside that of `sharewise/supernet/few_channels.py` and the compiled one; torch's average of 3×3
pixels beside a convolution and the compiled one; layer norms of mixtures of widths by operations of torch beside the
compiled one, and torch's own norm of one width; what a node hands on to three others by skip and pooling, both passes,
term by term and at once. Errors are the largest difference from float64. Weight steps at the sizes of the table of
speed come in turn, without and with compiled kernels: of DARTS on its own cells and on NAS-Bench-201, of PC-DARTS, and
of a plain network of NAS-Bench-201 with nothing but convolutions of 3×3.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.kernels import as_in_a_run
from benchmarks.search_step import images, plain_state
from benchmarks.table import cells, steps
from benchmarks.table.row import FULL, QUICK, Size, Step, alternating, spread_of
from sharewise.engine import weight_step
from sharewise.errors import ConfigurationError
from sharewise.spaces import load
from sharewise.supernet import combining, depthwise_convolution, native
from sharewise.supernet.compiled_norm import compiled_batch_norm
from sharewise.supernet.few_channels import batch_norm_of_few_channels
from sharewise.supernet.native import native_kernels, require_library
from sharewise.supernet.pooling import averaged
from sharewise.supernet.slices import weighted_layer_norm
from sharewise.supernet.trilinear import convolution_gradients

__all__ = ["main"]

KERNELS = (
    ((16, 16, 32), 5, 1),
    ((16, 16, 32), 3, 2),
    ((16, 32, 16), 5, 1),
    ((16, 64, 8), 5, 1),
    ((32, 4, 32), 5, 1),
)
"""Images, channels and side; kernel; dilation."""

DENSE = ((32, 16, 32), (32, 32, 16), (32, 64, 8), (8, 128, 16))
"""Images, channels and side of convolutions of 1×1 and 3×3."""

NORMS = ((32, 4, 32), (32, 8, 32), (32, 16, 32), (32, 32, 16), (32, 64, 8))
AVERAGES = ((32, 16, 32), (32, 32, 16), (32, 64, 8))
LAYER_NORMS = ((256, 64), (1024, 192), (1024, 768))
"""Tokens and features."""
_FAR = 2**22

Form = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of images, what comes back, and a weight."""
Norm = Callable[[Tensor], Tensor]


def _images(images: int, channels: int, side: int) -> Tensor:
    return torch.randn(images, channels, side, side).contiguous(memory_format=torch.channels_last)


def _milliseconds(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Of every call, in turn within each round, after one that is not counted."""
    far, taken = torch.empty(_FAR), {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            far.add_(1)
            start = time.process_time()
            call()
            if number:
                taken[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in taken.items()}


def _kernel(shape: tuple[int, int, int], size: int, dilation: int, rounds: int) -> dict[str, float]:
    x, dy, channels = _images(*shape), _images(*shape), shape[1]
    kernel = torch.randn(channels, 1, size, size)
    reach = [dilation * (size // 2)] * 2
    torch_s = partial(
        torch.ops.aten.convolution_backward,
        *(dy, x, kernel, [0], [1, 1], reach, [dilation] * 2, False, [0, 0], channels, [False, True, False]),
    )

    def ours(on: bool) -> Tensor:
        with native_kernels(on):
            found: Tensor = depthwise_convolution.kernel_gradient(x, dy, size, dilation)
            return found

    exact = torch.nn.grad.conv2d_weight(x.double(), kernel.shape, dy.double(), 1, reach, dilation, channels)
    sides = {"torch": lambda: torch_s()[1], "as convolutions": partial(ours, False), "compiled": partial(ours, True)}
    errors = {f"{name}, error": float((call() - exact).abs().max()) for name, call in sides.items()}
    return {**_milliseconds(sides, rounds), **errors}


def _dense(shape: tuple[int, int, int], size: int, rounds: int) -> dict[str, float]:
    channels, margin = shape[1], size // 2
    weight = torch.randn(channels, channels, size, size).contiguous(memory_format=torch.channels_last)
    given = (_images(*shape), _images(*shape), weight)
    settings = ([1, 1], [margin, margin], [1, 1], 1)

    def by_images(x: Tensor, dy: Tensor, w: Tensor) -> Tensor:
        return convolution_gradients(dy, x, w, settings, [True, False, False])[0]

    parts: dict[str, tuple[Form, Form]] = {
        "forward": (
            lambda x, dy, w: F.conv2d(x, w, None, 1, margin),
            lambda x, dy, w: native.convolution_by_kernel(x, w),
        ),
        "of rectified images": (
            lambda x, dy, w: F.conv2d(x.relu(), w, None, 1, margin),
            lambda x, dy, w: native.convolution_by_kernel(x, w, rectified=True),
        ),
        "by images": (by_images, lambda x, dy, w: native.transposed_by_kernel(dy, w)),
        "by images before they are rectified": (
            lambda x, dy, w: torch.ops.aten.threshold_backward(by_images(x, dy, w), x, 0),
            lambda x, dy, w: native.transposed_by_kernel(dy, w, where=x),
        ),
        "by kernel": (
            lambda x, dy, w: convolution_gradients(dy, x, w, settings, [False, True, False])[1],
            native.convolution_gradient,
        ),
    }
    sides: dict[str, Callable[[], Tensor]] = {}
    errors = {}
    for name, forms in parts.items():
        exact = forms[0](*(tensor.double() for tensor in given))
        for side, form in zip((name, f"{name}, compiled"), forms, strict=True):
            sides[side] = partial(form, *given)
            errors[f"{side}, error"] = float((sides[side]() - exact).abs().max())
    return {**_milliseconds(sides, rounds), **errors}


def _norm(shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    weight = torch.rand(shape[1])
    forms: dict[str, Norm] = {
        "torch": lambda x: F.batch_norm(x, None, None, weight.to(x.dtype), None, True),
        "as rows": lambda x: batch_norm_of_few_channels(x, None, None, weight, None, 0.1, 1e-5),
        "compiled": lambda x: compiled_batch_norm(x, None, None, weight, None, 0.1, 1e-5),
    }
    return _both_passes(forms, _images(*shape), _images(*shape), rounds)


def _average(shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    layer = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def ours(on: bool, x: Tensor) -> Tensor:
        with native_kernels(on):
            return averaged(layer, x)

    forms = {"torch": layer, "as a convolution": partial(ours, False), "compiled": partial(ours, True)}
    return _both_passes(forms, _images(*shape), _images(*shape), rounds)


def _handed_on(shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    """Two images on to three nodes, with gradients of their scales."""
    given = [_images(*shape).requires_grad_() for _ in range(2)]
    scales = torch.rand(3, 2).requires_grad_()
    leaves, back = [scales, *given], [_images(*shape) for _ in scales]

    def by_torch() -> list[Tensor]:
        return [torch.addcmul(row[0] * given[0], given[1], row[1]) for row in scales]

    def both_passes(form: Callable[[], Sequence[Tensor]]) -> object:
        with native_kernels():
            return torch.autograd.grad(form(), leaves, back)

    sides = {"by torch": by_torch, "compiled": partial(combining.combined, scales, given)}
    return _milliseconds({name: partial(both_passes, form) for name, form in sides.items()}, rounds)


def _layer_norm(shape: tuple[int, int], rounds: int) -> dict[str, float]:
    """Of a mixture, beside torch's own norm, which is another function."""
    features = shape[1]
    s, weight, bias = torch.linspace(1, 0.1, features), torch.rand(features), torch.rand(features)

    def ours(on: bool, x: Tensor) -> Tensor:
        with native_kernels(on):
            return weighted_layer_norm(x, *(given.to(x.dtype) for given in (s, weight, bias)), 1e-5)

    forms = {"by torch": partial(ours, False), "compiled": partial(ours, True)}
    found = _both_passes(forms, torch.randn(shape), torch.randn(shape), rounds)
    whole = _both_passes(
        {"of ones, by torch": lambda x: F.layer_norm(x, (features,), weight.to(x.dtype), bias.to(x.dtype))},
        *(torch.randn(shape), torch.randn(shape), rounds),
    )
    return {**found, **whole}


def _both_passes(forms: Mapping[str, Norm], x: Tensor, dy: Tensor, rounds: int) -> dict[str, float]:
    """Milliseconds of both, and the largest difference of the first from float64."""
    exact = next(iter(forms.values()))(x.double())
    x.requires_grad_()
    values = {name: form(x) for name, form in forms.items()}
    errors = {f"{name}, error": float((y.detach() - exact).abs().max()) for name, y in values.items()}
    forward = {name: partial(form, x) for name, form in forms.items()}

    def back(name: str) -> object:
        with native_kernels(name == "compiled"):
            return torch.autograd.grad(values[name], x, dy, retain_graph=True)

    backward = {f"{name}, backward": partial(back, name) for name in values}
    return {**_milliseconds({**forward, **backward}, rounds), **errors}


def main(arguments: list[str]) -> int:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks native", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="of single calls; steps take a quarter, at least 2")
    parser.add_argument("--quick", action="store_true", help="steps at reduced sizes")
    options = parser.parse_args(arguments)
    try:
        require_library()
    except ConfigurationError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    for shape, size, dilation in KERNELS:
        name = f"{shape[0]} images of {shape[2]}×{shape[2]}, {shape[1]} channels, {size}×{size}, dilation {dilation}"
        found[name] = _kernel(shape, size, dilation, options.rounds)
    for size, shape in product((1, 3), DENSE):
        name = f"{shape[0]} images of {shape[2]}×{shape[2]}, {shape[1]} channels, {size}×{size}"
        with native_kernels():
            found[name] = _dense(shape, size, options.rounds)
    for tokens, features in LAYER_NORMS:
        found[f"layer norm of {tokens} tokens, {features} features"] = _layer_norm((tokens, features), options.rounds)
    words = {"norm": (NORMS, _norm), "average of 3×3": (AVERAGES, _average), "skip and pooling": (AVERAGES, _handed_on)}
    for word, (shapes, measure) in words.items():
        for shape in shapes:
            name = f"{word} of {shape[0]} images of {shape[2]}×{shape[2]}, {shape[1]} channels"
            found[name] = measure(shape, options.rounds)
    for name, values in found.items():
        print(f"{name}: " + ", ".join(f"{side} {value:.3g}" for side, value in values.items()), flush=True)
    size = QUICK if options.quick else FULL
    trainings: dict[str, Callable[[Size, bool], Step]] = {
        "darts on its own cells": partial(cells.trained, "darts"),
        "pc-darts": partial(cells.trained, "pc-darts"),
        "darts on nasbench201": steps.trained,
        "a plain network of nasbench201": _plain,
    }
    for name, training in trainings.items():
        sides = {word: partial(training, size, on) for word, on in (("torch", False), ("compiled", True))}
        in_turn = alternating(lambda _, sides=sides: {word: side() for word, side in sides.items()})
        seconds = in_turn(size, max(options.rounds // 4, 2))
        found[f"weight step of {name}"] = {word: list(values) for word, values in seconds.items()}
        for word, values in seconds.items():
            spread = spread_of([1e3 * value for value in values], 0)
            print(f"weight step of {name}, {word}: {spread} CPU ms", flush=True)
    print(json.dumps(found))
    return 0


def _plain(size: Size, native: bool) -> Step:
    architecture = load("nasbench201").parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    state = plain_state(architecture, size.channels, size.cells, images(4 * size.batch, size.side))
    return as_in_a_run(state, lambda: weight_step(state), native)
