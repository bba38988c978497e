"""Depthwise convolutions with a faster backward pass are torch's own, with all their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet.convolution import convolve, convolved
from sharewise.supernet.depthwise_convolution import depthwise
from sharewise.supernet.pooling import averaged
from sharewise.supernet.twice import differentiated_twice

CASES = [
    (kernel, dilation, stride, size)
    for (kernel, dilation, stride) in ((5, 1, 1), (7, 1, 1), (3, 2, 1), (5, 2, 1), (3, 2, 2), (5, 2, 2), (3, 3, 3))
    for size in ((8, 8), (7, 9), (3, 5))
    if size[1] > dilation * (kernel // 2)
]


def settings(kernel: int, dilation: int, stride: int) -> tuple[tuple[int, int], ...]:
    return (stride, stride), (dilation * (kernel // 2),) * 2, (dilation, dilation)


def leaves(kernel: int, size: tuple[int, int], dtype: torch.dtype, n: int = 2, channels: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, channels, *size, generator=generator, dtype=dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(channels, 1, kernel, kernel, generator=generator, dtype=dtype)
    return [x.requires_grad_(), w.requires_grad_()]


def derivatives(make: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor) -> list[Tensor]:
    """The value, and three derivatives of functions of it."""
    found = [make(x, w)]
    for order in range(3):
        last = found if order == 0 else found[-2:]
        loss = torch.stack([(value.sin() if order % 2 else value.cos()).sum() for value in last]).sum()
        found += torch.autograd.grad(loss, [x, w], create_graph=order < 2)
    return [value.detach() for value in found]


@pytest.mark.parametrize(("kernel", "dilation", "stride", "size"), CASES)
def test_derivatives_of_all_orders(kernel: int, dilation: int, stride: int, size: tuple[int, int]) -> None:
    steps, padding, spaces = settings(kernel, dilation, stride)
    x, w = leaves(kernel, size, torch.float64)
    mine = derivatives(lambda x, w: depthwise(x, w, dilation, stride), x, w)
    plain = derivatives(lambda x, w: F.conv2d(x, w, None, steps, padding, spaces, 3), x, w)
    assert torch.equal(mine[0], plain[0])
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "dilation", "stride"), [(5, 1, 1), (3, 2, 1), (5, 2, 1), (5, 2, 2)])
def test_gradients_in_float32_are_as_accurate(kernel: int, dilation: int, stride: int) -> None:
    steps, padding, spaces = settings(kernel, dilation, stride)
    x, w = leaves(kernel, (16, 16), torch.float32, n=16, channels=16)

    def gradients(make: Callable[..., Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
        inputs = [value.detach().to(dtype).requires_grad_() for value in (x, w)]
        y = make(*inputs, None, steps, padding, spaces, 16)
        generator = torch.Generator().manual_seed(1)
        return torch.autograd.grad(y, inputs, torch.randn(y.shape, generator=generator).to(dtype))

    true = gradients(F.conv2d, torch.float64)
    errors = [
        [float((a.double() - b).norm()) for a, b in zip(gradients(make, torch.float32), true, strict=True)]
        for make in (convolve, F.conv2d)
    ]
    for mine, plain in zip(*errors, strict=True):
        assert mine <= 1.5 * plain


def nodes(y: Tensor) -> set[str]:
    """Names of all nodes of a graph."""
    found, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            found.add(type(node).__name__)
            todo += [following for following, _ in node.next_functions]
    return found


def test_it_is_used_where_it_pays_alone() -> None:
    def used(kernel: int, dilation: int = 1, stride: int = 1, **settings: object) -> bool:
        layer = nn.Conv2d(4, 4, kernel, stride, dilation * (kernel // 2), dilation, 4, bias=False)
        x = torch.ones(2, 4, 9, 9)
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        y = convolved(layer, x if settings else x.contiguous(memory_format=torch.channels_last))
        return "_ImageBackward" in nodes(y)

    assert used(5)
    assert used(3, dilation=2)
    assert used(3, dilation=2, stride=2)
    assert not used(3), "torch's own gradient is fast"
    assert not used(5, stride=2)
    assert not used(5, contiguous=True), "channels are not innermost"


def test_a_layer_that_somebody_listens_to_is_called() -> None:
    layer = nn.Conv2d(2, 2, 5, padding=2, groups=2, bias=False)
    calls: list[int] = []
    x = torch.ones(1, 2, 5, 5).contiguous(memory_format=torch.channels_last)
    layer.register_forward_hook(lambda *_: calls.append(1))
    convolved(layer, x)
    assert calls == [1]


def test_gradients_of_kernels_are_left_out_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    from sharewise.supernet import depthwise_convolution as ours

    calls: list[int] = []
    plain = ours._by_columns

    def counted(x: Tensor, dy: Tensor, size: int) -> Tensor:
        calls.append(size)
        return plain(x, dy, size)

    monkeypatch.setattr(ours, "_by_columns", counted)
    for wanted in product((False, True), repeat=2):
        x, w = leaves(5, (6, 6), torch.float32)
        chosen = [leaf for leaf, take in zip((x, w), wanted, strict=True) if take]
        if chosen:
            torch.autograd.grad(convolve(x, w, None, (1, 1), (2, 2), (1, 1), 3).sum(), chosen)
    assert len(calls) == 2, "twice the kernel is among what is wanted"


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 4), (3, 2, 2)])
def test_second_derivatives_of_any_convolution(kernel: int, stride: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 7, 8, generator=generator, dtype=torch.float64).requires_grad_()
    w = torch.randn(6 if groups == 1 else 4, 4 // groups, kernel, kernel, generator=generator, dtype=torch.float64)
    pairs = []
    for analytic in (True, False):
        inputs = [x, w.requires_grad_()]
        with differentiated_twice() if analytic else nullcontext():
            y = convolve(x, w, None, (stride, stride), (kernel // 2,) * 2, (1, 1), groups)
        assert (type(y.grad_fn).__name__ == "_ConvolutionBackward") == analytic
        first = torch.autograd.grad(y.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([g.cos().sum() for g in first]).sum(), inputs)
        pairs.append([y.detach(), *(g.detach() for g in first), *second])
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_average_pooling_in_training() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    x = torch.randn(4, 8, 16, 17, generator=generator).contiguous(memory_format=torch.channels_last)
    dy = torch.randn(4, 8, 16, 17, generator=generator)

    def both(pool: Callable[[Tensor], Tensor], dtype: torch.dtype) -> list[Tensor]:
        leaf = x.to(dtype).requires_grad_()
        y = pool(leaf)
        return [y.detach(), torch.autograd.grad(y, leaf, dy.to(dtype))[0]]

    true, plain = both(layer, torch.float64), both(layer, torch.float32)
    mine = both(lambda x: averaged(layer, x), torch.float32)
    for exact, a, b in zip(true, mine, plain, strict=True):
        assert (a.double() - exact).norm() <= 1.5 * (b.double() - exact).norm()
    assert type(averaged(layer, x.requires_grad_()).grad_fn).__name__ == "DivBackward0"
    assert torch.equal(averaged(layer.eval(), x), layer(x))
    other = nn.AvgPool2d(3, stride=1, padding=1)
    assert torch.equal(averaged(other, x), other(x))
