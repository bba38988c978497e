"""Batch norm of few channels is torch's own, with its derivatives and statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.supernet.few_channels import batch_norm_of_few_channels, has_few_channels

SHAPES = [(2, 4, 4, 4), (3, 3, 5, 7), (1, 1, 2, 3), (2, 7, 3, 3), (4, 2, 16, 16)]


def leaves(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 3 + torch.randn(*shape, generator=generator, dtype=dtype).contiguous(memory_format=torch.channels_last)
    others = [torch.randn(shape[1], generator=generator, dtype=dtype) for _ in range(2)]
    return [value.detach().requires_grad_() for value in (x, *others)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", [2, 1, 0])
def test_values_gradients_and_their_derivatives(shape: tuple[int, ...], affine: int) -> None:
    x, *parameters = leaves(shape)
    weight, bias = (*parameters[:affine], None, None)[:2]
    wanted = [x, *parameters[:affine]]
    found = []
    for own in (True, False):
        mean, variance = torch.zeros(shape[1], dtype=x.dtype), torch.ones(shape[1], dtype=x.dtype)

        def norm(own: bool = own, mean: Tensor = mean, variance: Tensor = variance) -> Tensor:
            if own:
                return batch_norm_of_few_channels(x, mean, variance, weight, bias, 0.1, 1e-5)
            return F.batch_norm(x, mean, variance, weight, bias, True, 0.1, 1e-5)

        y = norm()
        once = torch.autograd.grad(y.sin().sum(), wanted)
        first = torch.autograd.grad(norm().sin().sum(), wanted, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.cos().sum() for g in first]).sum(), wanted)
        found.append([y.detach(), *once, *(g.detach() for g in first), *second, mean, variance])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_float32_is_as_accurate_as_torch() -> None:
    x, weight, bias = leaves((32, 4, 32, 32), torch.float32)
    h = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=torch.channels_last)
    found = []
    for own, dtype in ((True, torch.float32), (False, torch.float32), (False, torch.float64)):
        given = [value.detach().to(dtype).requires_grad_() for value in (x, weight, bias)]
        norm = batch_norm_of_few_channels if own else lambda x, m, v, w, b, *rest: F.batch_norm(x, m, v, w, b, True)
        y = norm(given[0], None, None, *given[1:], 0.1, 1e-5)
        found.append([y.detach().double(), *(g.double() for g in torch.autograd.grad(y, given, h.to(dtype)))])
    for mine, theirs, exact in zip(*found, strict=True):
        assert (mine - exact).abs().max() <= 1.5 * (theirs - exact).abs().max()


def test_where_it_is_taken() -> None:
    def image(channels: int, side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(32, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)

    assert has_few_channels(image(4))
    assert not has_few_channels(image(8))
    assert not has_few_channels(image(4, side=8)), "calls would cost more than is gained"
    assert not has_few_channels(image(4).contiguous())
    assert not has_few_channels(image(4, dtype=torch.bfloat16))
    assert not has_few_channels(image(4)[0])
