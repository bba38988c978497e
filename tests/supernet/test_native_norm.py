"""Batch norms and averages by compiled kernels are torch's own, and more accurate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from sharewise.engine.ranks import Ranks
from sharewise.engine.rows import AsOne
from sharewise.run import build_supernet
from sharewise.run.threads import on_threads
from sharewise.space import sample
from sharewise.spaces import load
from sharewise.supernet import discrete, native, recalibrate
from sharewise.supernet.cell import Wiring
from sharewise.supernet.compiled_norm import compiled_batch_norm
from sharewise.supernet.execution import execute
from sharewise.supernet.own_forms import by_kernels
from sharewise.supernet.pooling import averaged
from sharewise.supernet.slices import scaled_batch_norm
from sharewise.supernet.twice import differentiated_twice

pytestmark = pytest.mark.usefixtures("compiler", "kernel_cache")

SHAPES = [(2, 16, 5, 7), (3, 32, 9, 3), (2, 4, 6, 4), (1, 1, 16, 16), (70, 16, 1, 1), (2, 2, 65, 8), (1, 128, 2, 3)]
WEIGHTS = ["none", "one for all", "one a channel"]
ORDERS = ["first", "second", "second, by kernels"]


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, mean: float = 0.0) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + mean
    return x.contiguous(memory_format=torch.channels_last)


def numbers(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def derivatives(make: Callable[[], Tensor], leaves: list[Tensor], order: str) -> list[Tensor]:
    """The value, its gradients, and those of a function of these."""
    y = make()
    first = torch.autograd.grad(y.sin().sum(), leaves, create_graph=order != "first")
    found = [y.detach(), *(g.detach() for g in first)]
    if order != "first":
        found += torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), leaves)
    return found


@pytest.mark.parametrize(("shape", "weights", "shifts", "order"), list(product(SHAPES, WEIGHTS, [False, True], ORDERS)))
def test_norms_and_their_derivatives(shape: tuple[int, ...], weights: str, shifts: bool, order: str) -> None:
    x, below = images(*shape, mean=3).requires_grad_(), images(*shape, seed=2).requires_grad_()
    channels = shape[1]
    weight = None if weights == "none" else numbers(*(() if weights == "one for all" else (channels,)))
    shift = numbers(channels, seed=3) if shifts else None
    leaves = [leaf.requires_grad_() for leaf in (x, below, weight, shift) if leaf is not None]
    running = [[torch.full((channels,), value, dtype=torch.float64) for value in (1.0, 2.0)] for _ in range(2)]

    def plain() -> Tensor:
        full = (1 if weight is None else weight) * torch.ones(channels, dtype=torch.float64)
        return below + F.batch_norm(x, *running[0], full, shift, True, 0.2, 1e-3)

    expected = derivatives(plain, leaves, order)
    with native.native_kernels(), differentiated_twice() if order == ORDERS[2] else nullcontext():
        assert native.serves_norm(x, weight, shift)
        found = derivatives(lambda: compiled_batch_norm(x, *running[1], weight, shift, 0.2, 1e-3, below), leaves, order)
    for mine, theirs in zip([*found, *running[1]], [*expected, *running[0]], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10 * float(theirs.abs().max() + 1))


@pytest.mark.parametrize("shape", [(3, 16, 5, 8), (4, 4, 4, 4)])
def test_gradients_of_what_norms_hand_on(shape: tuple[int, ...]) -> None:
    """Of dw and d(shift) alone, which no loss of images shows."""
    x, weight, shift = images(*shape).requires_grad_(), numbers(shape[1]).requires_grad_(), numbers(shape[1], seed=3)
    found = []
    for on in (True, False):
        with native.native_kernels(on), differentiated_twice():
            norm = compiled_batch_norm if on else lambda x, m, v, w, b, *rest: F.batch_norm(x, m, v, w, b, True)
            y = norm(x, None, None, weight, shift.requires_grad_(), 0.1, 1e-5)
            made = torch.autograd.grad(y.sin().sum(), [weight, shift], create_graph=True)
            found.append(torch.autograd.grad((made[0].square() + made[1].exp()).sum(), [x, weight, shift]))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10 * float(theirs.abs().max()))


@pytest.mark.parametrize(("channels", "mean"), list(product((4, 16, 64), (0.0, 10.0, 1000.0))))
def test_norms_in_float32_are_as_accurate_as_torch(channels: int, mean: float) -> None:
    x = images(8, channels, 16, 16, dtype=torch.float32, mean=mean)
    dy = images(8, channels, 16, 16, seed=1, dtype=torch.float32)

    def computed(norm: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        leaf = x.to(dtype).requires_grad_()
        y = norm(leaf, None, None, None, None, True)
        return [y.detach(), *torch.autograd.grad(y, leaf, dy.to(dtype))]

    exact, theirs = (computed(F.batch_norm, dtype) for dtype in (torch.float64, torch.float32))
    with native.native_kernels():
        mine = computed(lambda *given: compiled_batch_norm(*given[:5], 0.1, 1e-5), torch.float32)
    for own, other, right in zip(mine, theirs, exact, strict=True):
        assert (own - right).norm() <= 1.5 * (other - right).norm()


def test_one_that_is_far_from_the_others_spoils_no_variance() -> None:
    x = images(4, 16, 16, 16, dtype=torch.float32, mean=100)
    x[0, :, 0, 0] = 1e6
    with native.native_kernels():
        _, [mu, r] = native.norm_by_kernel(x, None, None, None, None, None, 0.1, 1e-5)
    exact = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mu.double(), exact.mean(1), rtol=1e-5, atol=0)
    torch.testing.assert_close(r.double(), exact.var(1, correction=0).rsqrt(), rtol=1e-5, atol=0)


def test_what_they_serve_of_norms() -> None:
    def serves(*shape: int, dtype: torch.dtype = torch.float32, **others: Tensor) -> bool:
        return native.serves_norm(images(*shape, dtype=dtype), *others.values())

    assert not serves(2, 16, 4, 4), "they are off"
    with native.native_kernels():
        assert serves(2, 16, 4, 4)
        assert serves(2, 48, 3, 3)
        assert serves(2, 4, 4, 2)
        assert not serves(2, 4, 3, 3), "72 numbers are no whole vectors"
        assert not serves(2, 12, 4, 4)
        assert not serves(1, 16, 1, 1), "one value has no variance, as torch says"
        assert not serves(2, 16, 4, 4, dtype=torch.bfloat16)
        assert not serves(2, 16, 4, 4, weight=torch.ones(16, dtype=torch.float64))
        assert not serves(2, 16, 4, 4, weight=torch.ones(32)[::2])
        assert not native.serves_norm(torch.zeros(2, 16, 4, 4))
        assert not native.serves_norm(torch.zeros(2, 16))
        with on_threads(2):
            assert not serves(2, 16, 4, 4)


def test_norms_that_are_evaluated_or_watched_are_torch_s(kernel_calls: list[str]) -> None:
    layer, x = nn.BatchNorm2d(16), images(2, 16, 4, 4, dtype=torch.float32).requires_grad_()
    with by_kernels(layer):
        y = layer(x)
        assert kernel_calls == ["norm_by_kernel"]
        with FlopCounterMode(display=False):
            layer(x)
            y.sum().backward()
        layer.eval()
        layer(x)
        assert kernel_calls == ["norm_by_kernel"]
        with pytest.raises(ValueError, match="expected 4D input"):
            layer(torch.zeros(2, 16))
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            layer.train()(images(1, 16, 1, 1, dtype=torch.float32))
    assert layer.num_batches_tracked == 3


def test_layers_keep_their_statistics(kernel_calls: list[str]) -> None:
    batches = [images(4, 16, 4, 4, seed=seed, mean=seed) for seed in range(3)]
    found = []
    for on in (True, False):
        layer = nn.BatchNorm2d(16, momentum=0.3).double()
        with by_kernels(layer) if on else nullcontext():
            for batch in batches:
                layer(batch)
            moved = [value.clone() for value in layer.buffers()]
            recalibrate(layer, layer, batches)
        found.append([*moved, *layer.buffers()])
    assert kernel_calls == ["norm_by_kernel"] * 6
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_what_torch_refuses_of_norms_is_refused() -> None:
    running, x = torch.zeros(32, dtype=torch.float64), images(2, 32, 4, 4)
    narrow, wide = (nn.BatchNorm2d(channels).double() for channels in (16, 64))
    narrow.running_mean = running[:16]
    with by_kernels(nn.ModuleList([narrow, wide])):
        for layer in (narrow, wide):
            with pytest.raises(RuntimeError, match="should contain 32 elements"):
                layer(x)
            with pytest.raises(RuntimeError, match="should contain 32 elements"):
                scaled_batch_norm(layer, x, torch.tensor(0.5, dtype=torch.float64), 32 if layer is narrow else 64)
    assert not running.any()


def test_what_replaces_functions_is_asked() -> None:
    seen = []

    class Replacing(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
            seen.append(function)
            return function(*arguments, **(named or {}))

    layers = [nn.BatchNorm2d(channels) for channels in (16, 4)]
    with by_kernels(nn.ModuleList(layers)):
        for layer in layers:
            x = images(16, layer.num_features, 32, 32, dtype=torch.float32)
            with Replacing():
                layer(x)
                scaled_batch_norm(layer, x, torch.tensor(2.0))
            assert seen.count(F.batch_norm) == 2
            seen.clear()
            with torch.device("cpu"):
                assert native.serves_norm(x)


def test_several_processes_are_one_batch(kernel_calls: list[str]) -> None:
    layer, x = nn.BatchNorm2d(16).double(), images(4, 16, 4, 4)
    with by_kernels(layer), AsOne(Ranks(0, 2), 2, 4, ()) as _, pytest.MonkeyPatch.context() as patch:
        asked: list[object] = []
        patch.setattr(Ranks, "added_up", lambda self, values: asked.append(values) or [2 * v for v in values])
        layer(x)
    assert asked
    assert not kernel_calls


def test_images_that_come_back_otherwise(kernel_calls: list[str]) -> None:
    """As where hooks put what a graph keeps somewhere else."""
    x, w = images(3, 16, 4, 4).requires_grad_(), numbers(16).requires_grad_()
    found = []
    for on in (True, False):
        with native.native_kernels(on), torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), torch.clone):
            norm = compiled_batch_norm if on else lambda x, m, v, w, b, *rest: F.batch_norm(x, m, v, w, b, True)
            with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous(), lambda t: t.contiguous()):
                y = norm(x, None, None, w, None, 0.1, 1e-5)
            found.append(torch.autograd.grad(y.sin().sum(), [x, w]))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
    assert "norm_gradient" in kernel_calls


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*trace.*:DeprecationWarning")
def test_a_trace_sees_torch() -> None:
    layer, x = nn.BatchNorm2d(16), images(3, 16, 4, 4, dtype=torch.float32)
    with by_kernels(layer):
        traced = torch.jit.trace(layer, x, check_trace=False)
    torch.testing.assert_close(traced(x), F.batch_norm(x, None, None, layer.weight, layer.bias, True))


class Wrapped(Tensor):
    """A tensor without memory of its own."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapped:
        made: Wrapped = Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride(), dtype=inner.dtype)
        return made

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return function(*(a.inner if isinstance(a, Wrapped) else a for a in arguments), **(named or {}))


def test_tensors_of_other_classes_are_torch_s(kernel_calls: list[str]) -> None:
    layer, x = nn.BatchNorm2d(16), images(3, 16, 4, 4, dtype=torch.float32)
    with by_kernels(layer), torch.no_grad():
        found = layer(Wrapped(x))
        assert not kernel_calls
        torch.testing.assert_close(found, layer(x))


def test_leading_channels_and_a_scale() -> None:
    norm, x = nn.BatchNorm2d(32).double(), images(3, 16, 4, 4)
    with torch.no_grad():
        norm.weight.copy_(numbers(32))
        norm.bias.copy_(numbers(32, seed=4))
    scale, found = torch.tensor(0.3, dtype=torch.float64, requires_grad=True), []
    for on in (True, False):
        norm.reset_running_stats()
        with native.native_kernels(on):
            y = scaled_batch_norm(norm, x, scale, 16, onto=x)
        found.append([y, *torch.autograd.grad(y.sin().sum(), [scale, *norm.parameters()]), norm.running_var.clone()])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


AVERAGE = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
POOLED = [(2, 16, 5, 7), (1, 3, 1, 1), (2, 5, 1, 4), (1, 7, 6, 1), (2, 4, 2, 2), (1, 16, 3, 3)]


@pytest.mark.parametrize("shape", POOLED)
def test_averages_and_their_derivatives(shape: tuple[int, ...], kernel_calls: list[str]) -> None:
    x, found = images(*shape).requires_grad_(), []
    for on in (True, False):
        with native.native_kernels(on):
            y = averaged(AVERAGE, x)
            [first] = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
            found.append([y, first, *torch.autograd.grad(first.cos().sum(), x)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    assert kernel_calls == ["average_by_kernel"] * 4


def test_averages_in_float32_are_as_accurate_as_torch() -> None:
    x = images(4, 16, 16, 16, dtype=torch.float32)
    with native.native_kernels():
        mine = averaged(AVERAGE, x)
    exact = AVERAGE(x.double())
    assert (mine - exact).norm() <= 1.5 * (AVERAGE(x) - exact).norm()


def test_averages_that_are_something_else_or_watched_are_torch_s(kernel_calls: list[str]) -> None:
    x = images(1, 4, 6, 6, dtype=torch.float32).requires_grad_()
    others = [nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(2)]
    heard = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    heard.register_forward_hook(lambda *call: None)
    own = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    own.forward = lambda x: F.avg_pool2d(x, 3, 1, 1, False, False)  # type: ignore[method-assign]
    with by_kernels(nn.ModuleList(others)):
        for layer in (*others, heard, own):
            assert torch.equal(averaged(layer, x), F.avg_pool2d(x, *_settings(layer)))
        averaged(AVERAGE, x.contiguous(memory_format=torch.contiguous_format))
        assert not kernel_calls
        y = averaged(AVERAGE, x)
        assert kernel_calls == ["average_by_kernel"]
        with FlopCounterMode(display=False):
            y.sin().sum().backward()
            averaged(AVERAGE, x)
        assert kernel_calls == ["average_by_kernel"]
    [expected] = torch.autograd.grad(AVERAGE(x).sin().sum(), x)
    torch.testing.assert_close(x.grad, expected)


def _settings(layer: nn.AvgPool2d) -> tuple[object, ...]:
    return layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad


def test_a_node_adds_norms_onto_each_other_unless_somebody_listens(kernel_calls: list[str]) -> None:
    wiring = Wiring(1, {"a": (0, 1), "b": (0, 1), "c": (0, 1)}, outputs=(1,))
    norms = [nn.BatchNorm2d(16).double() for _ in range(3)]
    edges = nn.ModuleDict(dict(zip("abc", (nn.Sequential(norm) for norm in norms), strict=True)))
    x, heard = images(2, 16, 4, 4).requires_grad_(), []
    expected = sum(norm(x) for norm in norms)
    with by_kernels(edges):
        y = execute(wiring, edges, [x], {})
        assert type(y.grad_fn).__name__ == "_NormBackward", "no sum of its own"
        norms[1].register_forward_hook(lambda module, inputs, output: heard.append(output))
        again = execute(wiring, edges, [x], {})
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(again, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(heard[0], norms[1](x), rtol=1e-10, atol=1e-10)
    assert kernel_calls == ["norm_by_kernel"] * 6


@pytest.mark.parametrize("listens", ["forward", "backward", "its own"])
def test_a_node_calls_norms_that_have_to_be_called(listens: str) -> None:
    wiring = Wiring(1, {"a": (0, 1), "b": (0, 1)}, outputs=(1,))
    edges = nn.ModuleDict({name: nn.Sequential(nn.BatchNorm2d(16)) for name in "ab"})
    norm, told = edges["b"][0], []  # type: ignore[index]
    if listens == "forward":
        norm.register_forward_pre_hook(lambda *call: told.append(1))
    elif listens == "backward":
        norm.register_full_backward_pre_hook(lambda *call: told.append(1))
    else:
        norm.forward = lambda x: told.append(1) or x
    with by_kernels(edges):
        execute(wiring, edges, [images(2, 16, 4, 4, dtype=torch.float32).requires_grad_()], {}).sum().backward()
    assert told == [1]


@pytest.mark.parametrize("sharing", ["disjoint", "entangled"])
def test_a_supernet_computes_what_it_did(sharing: str, kernel_calls: list[str]) -> None:
    space, rng = load("nasbench201"), np.random.default_rng(0)
    supernet = build_supernet(space, (3, 16, 16), 10, network={"channels": 16, "cells": 1, "sharing": sharing}).double()
    x = images(4, 3, 16, 16)
    for _ in range(3):
        gates, found = discrete(supernet.relaxation.encode(sample(space, rng)), dtype=torch.float64), []
        for on in (True, False):
            supernet.zero_grad()
            with by_kernels(supernet) if on else nullcontext():
                y = supernet(x, gates)
                y.sin().sum().backward()
            found.append([y, *(p.grad for p in supernet.parameters() if p.grad is not None)])
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    assert {"norm_by_kernel", "norm_gradient"} <= set(kernel_calls)
