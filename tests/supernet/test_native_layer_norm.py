"""Layer norms of mixtures by compiled kernels are those of the plain formulas, and as accurate."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from sharewise.run.threads import on_threads
from sharewise.space import Decision
from sharewise.supernet import Gate, SlicedLayerNorm, native
from sharewise.supernet.slices import weighted_layer_norm, weighted_rms_norm

pytestmark = pytest.mark.usefixtures("compiler", "kernel_cache")

SHAPES = [(16,), (1, 48), (70, 16), (3, 5, 192), (2, 3, 4, 32)]
EPS = 1e-3


def numbers(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plainly(x: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, centred: bool) -> Tensor:
    p = s / s.sum()
    mean = (p * x).sum(-1, keepdim=True) if centred else 0.0
    y = (x - mean) / ((p * (x - mean).square()).sum(-1, keepdim=True) + EPS).sqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def ours(x: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, centred: bool) -> Tensor:
    return weighted_layer_norm(x, s, weight, bias, EPS) if centred else weighted_rms_norm(x, s, weight, EPS)


def drawn(shape: tuple[int, ...], affine: str, dtype: torch.dtype = torch.float64) -> list[Tensor | None]:
    features = shape[-1]
    made: list[Tensor | None] = [numbers(*shape, seed=0) + 2, torch.linspace(1, 0, features + 1)[:-1].double()]
    made += [
        numbers(features, seed=number) if name in affine else None for number, name in enumerate(("scale", "shift"))
    ]
    return [value if value is None else value.to(dtype).requires_grad_() for value in made]


@pytest.mark.parametrize(
    ("shape", "affine", "centred", "order"),
    [
        *product(SHAPES, ["", "scale", "shift", "scale and shift"], [True], ["first", "second"]),
        *product(SHAPES, ["", "scale"], [False], ["first", "second"]),
    ],
)
def test_values_and_derivatives(
    kernel_calls: list[str], shape: tuple[int, ...], affine: str, centred: bool, order: str
) -> None:
    given = drawn(shape, affine)
    leaves = [value for value in given if value is not None]
    found = []
    for form in (ours, plainly):
        with native.native_kernels(form is ours):
            y = form(*given, centred)
            made = torch.autograd.grad(y.sin().sum(), leaves, create_graph=order == "second")
            if order == "second":
                made += torch.autograd.grad(torch.stack([g.cos().sum() for g in made]).sum(), leaves)
            found.append([y.detach(), *made])
    assert kernel_calls == ["layer_norm_by_kernel", "layer_norm_gradient"]
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9 * float(theirs.detach().abs().max() + 1))


@pytest.mark.parametrize(("features", "mean"), list(product((16, 192, 1024), (0.0, 100.0))))
def test_float32_is_as_accurate_as_torch(features: int, mean: float) -> None:
    x, dy = numbers(64, features, seed=0) + mean, numbers(64, features, seed=1)
    s = torch.linspace(1, 0.1, features, dtype=torch.float64)

    def computed(dtype: torch.dtype, kernels: bool) -> list[Tensor]:
        leaves = [value.float().to(dtype).requires_grad_() for value in (x, s)]
        with native.native_kernels(kernels):
            y = weighted_layer_norm(leaves[0], leaves[1], None, None, 1e-5)
            return [y.detach(), *torch.autograd.grad(y, leaves, dy.float().to(dtype))]

    exact, theirs, mine = computed(torch.float64, False), computed(torch.float32, False), computed(torch.float32, True)
    for own, other, right in zip(mine, theirs, exact, strict=True):
        assert (own - right).norm() <= 1.5 * (other - right).norm()


@pytest.mark.parametrize("missing", [(0,), (1,), (2,), (3,), (0, 1), (2, 3), (1, 2, 3)])
def test_only_what_is_asked_for_has_a_gradient(missing: tuple[int, ...]) -> None:
    given = [value.detach() if place in missing else value for place, value in enumerate(drawn((4, 32), "scale shift"))]  # type: ignore[union-attr]
    wanted = [value for place, value in enumerate(given) if place not in missing]
    with native.native_kernels():
        mine = torch.autograd.grad(ours(*given, True).sin().sum(), wanted)
    for a, b in zip(mine, torch.autograd.grad(plainly(*given, True).sin().sum(), wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_gradients_that_lie_otherwise_are_read_as_they_are() -> None:
    given = drawn((6, 5, 32), "scale and shift")
    given[0] = given[0].detach().float().requires_grad_()  # type: ignore[union-attr]
    leaves = [value for value in given if value is not None]

    def gradients(form: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        y = form(*given, True) if form is ours else form(given[0].double(), *given[1:], True)  # type: ignore[union-attr]
        turned = numbers(5, 6, 32, seed=9).transpose(0, 1)
        return torch.autograd.grad(y, leaves, turned)

    with native.native_kernels():
        mine = gradients(ours)
    for a, b in zip(mine, gradients(plainly), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b)


def test_what_they_serve() -> None:
    def serves(*shape: int, dtype: torch.dtype = torch.float32, **others: Tensor) -> bool:
        return native.serves_layer_norm(torch.zeros(*shape, dtype=dtype), *others.values())

    assert not serves(2, 16), "they are off"
    with native.native_kernels():
        assert serves(2, 16)
        assert serves(2, 3, 48, p=torch.ones(48))
        assert not serves(2, 24)
        assert not serves(2, 0)
        assert not serves(2, 16, dtype=torch.bfloat16)
        assert not serves(2, 16, p=torch.ones(16, dtype=torch.float64))
        assert not serves(2, 16, p=torch.ones(32)[::2])
        assert not native.serves_layer_norm(torch.zeros(16, 2).T)
        assert not native.serves_layer_norm(torch.zeros(()))
        with on_threads(2):
            assert not serves(2, 16)


def test_a_slice_is_torch_s_own_norm(kernel_calls: list[str]) -> None:
    width = Decision("width", (16, 32))
    norm, x = SlicedLayerNorm(width), numbers(3, 32, seed=0, dtype=torch.float32)
    with native.native_kernels():
        norm(x, {"width": Gate(torch.tensor([0.0, 1.0]), (1,), unit=True)})
        assert not kernel_calls
        norm(x, {"width": Gate(torch.tensor([0.5, 0.5]), (0, 1))})
    assert kernel_calls == ["layer_norm_by_kernel"]
