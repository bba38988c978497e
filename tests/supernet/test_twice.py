"""The analytic second derivatives of batch norms and convolutions are torch's own, whoever calls them."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet import twice
from sharewise.supernet.twice import differentiated_twice


def found(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, analytic: bool) -> list[Tensor]:
    """Output, gradients, gradients of a function of these, and running statistics."""
    leaves = [None if value is None else value.clone().requires_grad_() for value in (x, weight, bias)]
    mean, variance = torch.zeros(3).to(x.dtype), torch.ones(3).to(x.dtype)
    with differentiated_twice() if analytic else nullcontext():
        y = F.batch_norm(leaves[0], mean, variance, leaves[1], leaves[2], True, 0.1, 1e-5)  # type: ignore[arg-type]
    assert (type(y.grad_fn).__name__ == "_NormBackward") == analytic
    wanted = [value for value in leaves if value is not None]
    first = torch.autograd.grad(y.sin().sum(), wanted, create_graph=True)
    second = torch.autograd.grad(torch.stack([g.cos().sum() for g in first]).sum(), wanted)
    return [y.detach(), *(g.detach() for g in first), *second, mean, variance]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("parts", [0, 1, 2])
def test_second_derivatives(parts: int, layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 5, 4, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    some = [torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(parts)]
    weight, bias = (*some, None, None)[:2]
    pairs = [found(x, weight, bias, analytic=analytic) for analytic in (True, False)]
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_second_derivatives_in_float32_are_as_accurate(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(16, 3, 12, 12, generator=generator), torch.randn(3, generator=generator)
    x = x.contiguous(memory_format=layout)
    true = found(x.double(), weight.double(), None, analytic=False)
    mine, plain = (found(x, weight, None, analytic=analytic) for analytic in (True, False))
    for exact, a, b in zip(true, mine, plain, strict=True):
        assert (a.double() - exact).norm() <= 1.5 * (b.double() - exact).norm() + 1e-7 * exact.norm()


def test_it_is_used_nowhere_else() -> None:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert type(F.batch_norm(x, None, None, None, None, True, 0.1, 1e-5).grad_fn).__name__ != "_NormBackward"
    with differentiated_twice():
        evaluated = F.batch_norm(x, torch.zeros(3), torch.ones(3), None, None, False, 0.1, 1e-5)
    assert type(evaluated.grad_fn).__name__ != "_NormBackward"
    assert type(F.conv2d(x, torch.ones(1, 3, 2, 2)).grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize(
    ("stride", "padding", "groups", "biased"),
    [(1, 1, 1, True), (2, 1, 1, False), (2, 0, 3, True), ((1, 2), (1, 0), 1, False)],
)
def test_any_network_has_the_analytic_forms(
    stride: int | tuple[int, int], padding: int | tuple[int, int], groups: int, biased: bool
) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(3, 6, 3, stride, padding, groups=groups, bias=biased)
    network = nn.Sequential(first, nn.BatchNorm2d(6), nn.Tanh(), nn.Conv2d(6, 2, 2, padding="valid")).double()
    x = torch.randn(4, 3, 9, 8, dtype=torch.float64)
    found = []
    for analytic in (True, False):
        with differentiated_twice() if analytic else nullcontext():
            y = network(x)
        names = _names(y.grad_fn)
        assert ("_ConvolutionBackward" in names) == ("_NormBackward" in names) == analytic
        first_order = torch.autograd.grad(y.sin().sum(), list(network.parameters()), create_graph=True)
        loss = torch.stack([g.cos().sum() for g in first_order]).sum()
        found.append([y, *first_order, *torch.autograd.grad(loss, list(network.parameters()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_derivatives_by_weights_are_left_out_where_nobody_asks() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 2, 2)).double()
    x, gate = torch.randn(3, 2, 6, 6, dtype=torch.float64), torch.ones((), dtype=torch.float64, requires_grad=True)
    found = []
    for by_weights in (True, False):
        with differentiated_twice(by_weights=by_weights):
            y = network(x * gate).sin().sum()
        first = torch.autograd.grad(y, list(network.parameters()), create_graph=True)
        loss = torch.stack([g.cos().sum() for g in first]).sum()
        found.append(torch.autograd.grad(loss, gate))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_derivatives_by_weights_cost_nothing_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[bool]] = []
    plain = twice.convolution_gradients
    monkeypatch.setattr(twice, "convolution_gradients", lambda *given: calls.append(given[-1]) or plain(*given))
    for by_weights in (True, False):
        layer, x = nn.Conv2d(2, 2, 3, bias=False), torch.randn(1, 2, 4, 4, requires_grad=True)
        with differentiated_twice(by_weights=by_weights):
            y = layer(x).sin().sum()
        [first] = torch.autograd.grad(y, [x], create_graph=True)
        calls.clear()
        torch.autograd.grad(first.cos().sum(), x)
        assert ([False, True, False] in calls) == by_weights


def test_a_weight_that_is_made_of_a_gate_has_its_derivative() -> None:
    x = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = nn.Conv2d(2, 3, 3, bias=False).double()
    gate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    found = []
    for block in (differentiated_twice(by_weights=False), nullcontext()):
        with block:
            y = F.conv2d(x, layer.weight * gate).sin().sum()
        [first] = torch.autograd.grad(y, [layer.weight], create_graph=True)
        found.append(torch.autograd.grad(first.cos().sum(), gate)[0])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_one_value_a_channel_is_refused_as_torch_refuses_it() -> None:
    norm = nn.BatchNorm2d(2)
    x = torch.zeros(1, 2, 1, 1, requires_grad=True)
    with differentiated_twice(), pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(x)
    assert norm.running_var is not None
    assert norm.running_var.isfinite().all()


def _names(node: torch.autograd.graph.Node | None) -> set[str]:
    return set() if node is None else {type(node).__name__}.union(*(_names(inner) for inner, _ in node.next_functions))
