"""The analytic second derivative of batch norm is torch's own."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from sharewise.supernet.twice import batch_norm, differentiated_twice


def found(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, analytic: bool) -> list[Tensor]:
    """Output, gradients, gradients of a function of these, and running statistics."""
    leaves = [None if value is None else value.clone().requires_grad_() for value in (x, weight, bias)]
    mean, variance = torch.zeros(3).to(x.dtype), torch.ones(3).to(x.dtype)
    with differentiated_twice() if analytic else nullcontext():
        y = batch_norm(leaves[0], mean, variance, leaves[1], leaves[2], True, 0.1, 1e-5)  # type: ignore[arg-type]
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
    assert type(batch_norm(x, None, None, None, None, True, 0.1, 1e-5).grad_fn).__name__ != "_NormBackward"
    with differentiated_twice():
        evaluated = batch_norm(x, torch.zeros(3), torch.ones(3), None, None, False, 0.1, 1e-5)
    assert type(evaluated.grad_fn).__name__ != "_NormBackward"
