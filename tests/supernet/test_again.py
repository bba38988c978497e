"""Graphs that keep how a tensor is computed in its place: the same derivatives, with fewer images."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet import native
from sharewise.supernet.again import computed_again, forgetting
from sharewise.supernet.compiled_norm import compiled_batch_norm
from sharewise.supernet.convolution import convolve
from sharewise.supernet.pooling import averaged
from sharewise.supernet.twice import differentiated_twice

SETTINGS = (None, (1, 1), (0, 0), (1, 1), 1)
"""Of a convolution of 1×1: bias, stride, padding, dilation and groups."""


def leaf(*shape: int) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)
    return (x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x).requires_grad_()


def kept(run: Callable[[], object]) -> Counter[tuple[int, ...]]:
    """Shapes of the tensors that a graph keeps as they are."""
    found: Counter[tuple[int, ...]] = Counter()

    class Listening(torch.autograd.graph.saved_tensors_hooks):
        def __init__(self, pack: Callable[[Tensor], object], unpack: Callable[[object], Tensor]) -> None:
            def told(tensor: Tensor) -> object:
                packed = pack(tensor)
                found[tuple(tensor.shape)] += isinstance(packed, tuple)
                return packed

            super().__init__(told, unpack)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd.graph, "saved_tensors_hooks", Listening)
        run()
    return found


def test_a_convolution_of_one_pixel_is_computed_again_for_the_norm_behind_it() -> None:
    x, w = leaf(3, 4, 5, 5), leaf(6, 4, 1, 1)

    def loss() -> Tensor:
        return F.batch_norm(convolve(x, w, *SETTINGS), None, None, training=True).sin().sum()

    expected = torch.autograd.grad(loss(), [x, w])
    made: list[Tensor] = []

    def forgetful() -> None:
        with forgetting():
            made.append(loss())

    shapes = kept(forgetful)
    assert shapes[3, 4, 5, 5] == 1, "what the convolution reads"
    assert shapes[3, 6, 5, 5] == 1, "what the sine reads, and not what the norm does"
    assert all(map(torch.equal, torch.autograd.grad(made[0], [x, w]), expected))


def test_without_the_block_nothing_is_forgotten() -> None:
    x, called = leaf(2, 3), []

    def times(x: Tensor, factor: float) -> Tensor:
        called.append(factor)
        return x * factor

    for forget in (False, True):
        called.clear()
        if forget:
            with forgetting():
                y = times(x, 3.0)
                computed_again(y, times, x, 3.0)
                z = y.square().sum()
        else:
            y = times(x, 3.0)
            computed_again(y, times, x, 3.0)
            z = y.square().sum()
        assert torch.equal(torch.autograd.grad(z, x)[0], 18 * x)
        assert len(called) == (2 if forget else 1)


def test_another_view_of_the_same_memory_is_kept_as_it_is() -> None:
    x = leaf(2, 3)
    with forgetting():
        y = x * 3
        computed_again(y, torch.mul, x, 3)
        z = y.T.square().sum()
    assert torch.equal(torch.autograd.grad(z, x)[0], 18 * x)


def test_what_was_changed_in_place_is_kept() -> None:
    x = leaf(2, 3)
    with forgetting():
        y = x * 3
        computed_again(y, torch.mul, x, 3)
        z = y.sigmoid_().sum()
    expected = torch.autograd.grad((x * 3).sigmoid().sum(), x)
    assert torch.equal(torch.autograd.grad(z, x)[0], expected[0])


def test_what_may_not_be_changed_is_missed() -> None:
    x, w = leaf(2, 3), leaf(3)
    with forgetting():
        y = x.exp()
        y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    scaled = w.detach() * 1
    with forgetting():
        y = x * 3
        computed_again(y, torch.mul, x, 3)
        z = (y * scaled).square().sum()
    scaled.fill_(100)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_tensors_without_an_address_are_kept() -> None:
    x = leaf(3, 2)
    matrix = torch.eye(3, dtype=torch.float64).to_sparse()
    with forgetting():
        y = torch.sparse.mm(matrix, x).square().sum()
    assert torch.equal(torch.autograd.grad(y, x)[0], 2 * x)


@pytest.mark.usefixtures("compiler", "kernel_cache")
def test_gradients_of_norms_are_computed_again_and_nothing_stays_behind(kernel_calls: list[str]) -> None:
    x, w, s = leaf(4, 16, 4, 4), leaf(16, 16, 1, 1), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    found, gone = [], []
    for forget in (True, False):
        kernel_calls.clear()
        with native.native_kernels():
            with differentiated_twice():
                y = compiled_batch_norm(convolve(x, w, *SETTINGS), None, None, s, None, 0.1, 1e-5)
            if forget:
                with forgetting():
                    [g] = torch.autograd.grad(y.sin().sum(), w, create_graph=True)
            else:
                [g] = torch.autograd.grad(y.sin().sum(), w, create_graph=True)
            found.append([g.detach(), *torch.autograd.grad(g.cos().sum(), [w, s])])
            gone.append(weakref.ref(y))
        assert kernel_calls.count("norm_gradient") == (3 if forget else 2)
        del y, g
    assert all(map(torch.equal, *found))
    gc.collect()
    assert [value() for value in gone] == [None, None]


@pytest.mark.parametrize("changes_the_first", [True, False])
def test_memory_that_was_changed_through_another_tensor_is_kept(changes_the_first: bool) -> None:
    """Every tensor counts its own versions: `data` is another one in the same memory."""
    x, s = leaf(3), torch.ones(3, dtype=torch.float64, requires_grad=True)
    with forgetting():
        y = x * 3
        computed_again(y, torch.mul, x, 3)
        other = y.data
        with torch.no_grad():
            (y if changes_the_first else other).mul_(2)
        if not changes_the_first:
            del y
            other = other.data
        loss = (other * s).sum()
    assert torch.equal(torch.autograd.grad(loss, s)[0], 6 * x)


@pytest.mark.usefixtures("compiler", "kernel_cache")
def test_without_gradients_a_norm_writes_over_what_no_graph_needs_computed_again() -> None:
    x, w, s = leaf(3, 16, 5, 5), leaf(16, 16, 1, 1), torch.ones((), dtype=torch.float64, requires_grad=True)
    with native.native_kernels(), forgetting():
        with torch.no_grad():
            y = convolve(x, w, *SETTINGS)
            z = compiled_batch_norm(y, None, None, None, None, 0.1, 1e-5, overwrite=True)
        loss = (s * z).square().sum()
    assert z.data_ptr() == y.data_ptr()
    torch.testing.assert_close(torch.autograd.grad(loss, s)[0], 2 * z.square().sum())


@pytest.mark.usefixtures("compiler", "kernel_cache")
def test_averages_are_kept_neither_by_a_graph_nor_by_that_of_its_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, x = nn.AvgPool2d(3, 1, 1, count_include_pad=False), leaf(2, 16, 6, 6)
    s = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    average, made = native.average_by_kernel, []

    def told(images: Tensor, *, transposed: bool) -> Tensor:
        y = average(images, transposed=transposed)
        made.append(weakref.ref(y.untyped_storage()))
        return y

    monkeypatch.setattr(native, "average_by_kernel", told)
    found, alive = [], []
    for forget in (True, False):
        made.clear()
        with native.native_kernels(), forgetting() if forget else nullcontext():
            [slope] = torch.autograd.grad((s * averaged(layer, x.sin())).cos().sum(), s, create_graph=True)
            alive.append([value() is not None for value in made])
            found.append(torch.autograd.grad(slope, [x, s]))
    assert alive == [[False, False], [True]]
    assert all(map(torch.equal, *found))
