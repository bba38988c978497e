"""Layers that compute their superposed weight again are the plain formulas, and keep no second weight."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from sharewise.space import Decision
from sharewise.supernet import Gate, SlicedConv2d, SlicedLayerNorm, SlicedLinear
from sharewise.supernet.slices import superposed
from sharewise.supernet.slices.norms import weighted_layer_norm
from sharewise.supernet.slices.superposed import Window, superposed_convolution, superposed_linear

WINDOW = Window(2, 1, 1, 1)


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def convolved(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
    return superposed_convolution(x, weight, mask, bias, WINDOW)


def plainly(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
    if x.dim() == 3:
        return F.linear(x, weight * mask, bias)
    return F.conv2d(x, weight * mask, bias, *WINDOW)


@pytest.mark.parametrize(
    ("shapes", "function"),
    [
        (((2, 3, 4), (5, 4), (1, 4), (5,)), superposed_linear),
        (((2, 3, 4), (5, 4), (5, 4), (5,)), superposed_linear),
        (((2, 4, 6, 5), (5, 4, 3, 3), (1, 4, 1, 1), (5,)), convolved),
        (((2, 4, 6, 5), (5, 4, 3, 3), (3, 3), (5,)), convolved),
        (((2, 4, 6, 5), (5, 4, 3, 3), (5, 4, 3, 3), (5,)), convolved),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_values_and_derivatives(shapes: tuple[tuple[int, ...], ...], function: object, last: bool) -> None:
    given = drawn(*shapes)
    if last:
        given = [
            value.detach().contiguous(memory_format=torch.channels_last).requires_grad_() if value.dim() == 4 else value
            for value in given
        ]
    found = []
    for make in (function, plainly):
        y = make(*given)  # type: ignore[operator]
        once = torch.autograd.grad(y.sin().sum(), given)
        first = torch.autograd.grad(make(*given).sin().sum(), given, create_graph=True)  # type: ignore[operator]
        second = torch.autograd.grad(torch.stack([g.cos().sum() for g in first]).sum(), given)
        found.append([y, *once, *first, *second])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("missing", [(0,), (1,), (2,), (3,), (0, 1), (1, 2), (1, 2, 3)])
def test_only_what_is_asked_for_has_a_gradient(missing: tuple[int, ...]) -> None:
    for shapes in (((2, 3, 4), (5, 4), (1, 4), (5,)), ((2, 4, 6, 5), (5, 4, 3, 3), (1, 4, 1, 1), (5,))):
        given = [value.detach() if place in missing else value for place, value in enumerate(drawn(*shapes))]
        wanted = [value for place, value in enumerate(given) if place not in missing]
        mine = superposed_linear(*given) if len(shapes[0]) == 3 else convolved(*given)
        for a, b in zip(
            torch.autograd.grad(mine.sin().sum(), wanted),
            torch.autograd.grad(plainly(*given).sin().sum(), wanted),
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("published", [False, True])
def test_no_layer_keeps_a_second_weight(published: bool) -> None:
    width, kernel = Decision("width", (4, 8)), Decision("kernel", (1, 3))
    gates = {name: Gate(torch.tensor([0.25, 0.75], requires_grad=True), (0, 1)) for name in ("width", "kernel")}
    for layer, x in (
        (SlicedLinear(width, 24, published=published), torch.randn(2, 8)),
        (SlicedConv2d(width, 24, kernel, published=published), torch.randn(2, 8, 5, 5)),
    ):
        kept: list[Tensor] = []

        def keep(value: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(value)
            return value

        with saved_tensors_hooks(keep, lambda value: value):
            layer(x, gates)
        large = {value.data_ptr() for value in kept if value.numel() >= layer.weight.numel() and value.dim() > 1}
        assert large - {x.data_ptr()} <= {layer.weight.data_ptr()}


def test_a_weighted_norm_may_have_a_shift_alone() -> None:
    [x, s, bias] = drawn((2, 4), (4,), (4,))
    s = s.detach().fill_(1.0)
    for weight in (None, torch.full((4,), 2.0, dtype=torch.float64)):
        mine, plain = weighted_layer_norm(x, s, weight, bias, 1e-5), F.layer_norm(x, (4,), weight, bias)
        torch.testing.assert_close(mine, plain)
        for a, b in zip(*(torch.autograd.grad(y.sin().sum(), [x, bias]) for y in (mine, plain)), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("asked", [("x", "gate", "weight", "bias"), ("x",), ("gate",), ("weight", "bias")])
def test_a_weighted_norm_has_one_gradient_in_two_forms(affine: bool, asked: tuple[str, ...]) -> None:
    norm = SlicedLayerNorm(Decision("width", (3, 5, 8))).double()
    [x, g] = drawn((4, 6, 8), (3,))
    leaves = {"x": x, "gate": g}
    if affine:
        leaves |= {"weight": norm.weight, "bias": norm.bias}
        torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    else:
        norm.weight.requires_grad_(False)
        norm.bias.requires_grad_(False)
    wanted = [leaves[name] for name in asked if name in leaves]
    if not wanted:
        return
    y = norm(5 + x, {"width": Gate(g.softmax(0), (0, 1, 2))}).sin().sum()
    quick = torch.autograd.grad(y, wanted, retain_graph=True)
    slow = torch.autograd.grad(y, wanted, create_graph=True)  # of functions that torch differentiates
    for a, b in zip(quick, slow, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_an_architecture_step_computes_no_gradient_of_weights(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    asked: list[str] = []
    for layer in (superposed._Matrix, superposed._Kernels):
        plain = layer.parameter_gradients

        def told(*given: Any, plain: Any = plain) -> Any:
            asked.extend([kind] * given[-1][0])
            return plain(*given)

        monkeypatch.setattr(layer, "parameter_gradients", told)
    width, gate = Decision("width", (4, 8)), torch.tensor([0.25, 0.75], requires_grad=True)
    layer = SlicedLinear(width, 6) if kind == "linear" else SlicedConv2d(width, 6, 3, stride=2)
    x = torch.randn(2, 8, *[5, 5] * (kind == "convolution"))
    y = layer(x, {"width": Gate(gate, (0, 1))}).sin().sum()
    torch.autograd.grad(y, gate, retain_graph=True)
    assert not asked
    y.backward()
    assert asked == [kind]
    assert layer.weight.grad is not None
    assert layer.bias is not None
    assert layer.bias.grad is not None


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8), (0, 8)])
@pytest.mark.parametrize("learns", [False, True])
def test_linear_layers_read_any_dimensions_and_what_they_write_can_be_changed(
    shape: tuple[int, ...], learns: bool
) -> None:
    [x, weight, mask, bias] = drawn(shape, (5, 8), (1, 8), (5,))
    leaves = [x, weight, bias, *[mask.requires_grad_(learns)] * learns]
    y = superposed_linear(*[value if value.requires_grad else value.detach() for value in (x, weight, mask, bias)])
    found = torch.autograd.grad(y.tanh_().sum(), leaves, retain_graph=True)
    expected = torch.autograd.grad(F.linear(x, weight * mask, bias).tanh().sum(), leaves)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("whole", ["batch", "gradients at once", "one image"])
def test_convolutions_and_gradients_in_batches(whole: str, last: bool) -> None:
    [x, weight, mask] = drawn((2, 4, 6, 5), (5, 4, 3, 3), (1, 4, 1, 1))
    if last:
        x, weight = (value.detach().to(memory_format=torch.channels_last).requires_grad_() for value in (x, weight))
    given = x[0] if whole == "one image" else x
    found = []
    for form in (
        lambda *given: superposed_convolution(*given, None, WINDOW),
        lambda x, w, m: F.conv2d(x, w * m, None, *WINDOW),
    ):
        y = form(given, weight, mask)
        at_once = whole == "gradients at once"
        back = torch.ones(3, *y.shape, dtype=y.dtype) if at_once else torch.ones_like(y)
        found.append([*torch.autograd.grad(y, [x, weight, mask], back, is_grads_batched=at_once, retain_graph=True)])
        found[-1] += torch.autograd.grad(y, [mask], back, is_grads_batched=at_once)
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_an_architecture_step_lets_images_go() -> None:
    [x, weight, mask, bias] = drawn((3, 8), (5, 8), (1, 8), (5,))
    read = x.sin()
    alive = weakref.ref(read)
    loss = superposed_linear(read, weight, mask, bias).sum()
    del read
    torch.autograd.grad(loss, mask)
    assert alive() is None


def test_a_bias_alone_asks_for_no_gradient_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    plain = superposed._Matrix.parameter_gradients
    monkeypatch.setattr(
        superposed._Matrix, "parameter_gradients", lambda *given: asked.append(given[-1][0]) or plain(*given)
    )
    [x, weight, mask, bias] = drawn((3, 8), (5, 8), (1, 8), (5,))
    superposed_linear(x, weight.detach(), mask, bias).sum().backward()
    assert bias.grad is not None
    assert asked == [False]
