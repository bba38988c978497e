"""Batch norm that is differentiated twice, with an analytic second derivative.

Torch differentiates the backward pass of batch norm in many passes over the images. Here it takes five, by torch's own
fused kernels: with x̂ = r (x − μ), h = dy, means over all but channels, and cotangents G of dx, g of dw, b of the shift,

    dx = w r P h,   P h = h − c − q x̂,
    a = mean G,   c = mean h,   p = mean G x̂,   q = mean h x̂,   t = mean G h − a c − p q,
    dh = w r P G + g x̂ + b,   dw = n r t,
    d²x = α h + β G + γ x̂ + δ,   α = g r − w r² p,  β = −w r² q,  γ = w r² (2 p q − t) − g r q,
                                 δ = w r² (q a + p c) − g r c,

of which every line is checked against torch's derivatives in tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sharewise.supernet.few_channels import batch_norm_of_few_channels, has_few_channels

__all__ = ["batch_norm", "differentiated_twice", "expects_second"]

_EPS = 2.0**-20
"""No norm of torch does without one."""

_TWICE: ContextVar[bool] = ContextVar("differentiated twice", default=False)


@contextmanager
def differentiated_twice() -> Iterator[None]:
    """Within the block, batch norms expect that their gradient will be differentiated, and no more than that.

    Example:
        >>> with differentiated_twice():
        ...     y = batch_norm(torch.ones(2, 1, 2, 2), None, None, None, None, True, 0.1, 1e-5)
        >>> y.abs().sum()
        tensor(0.)
    """
    token = _TWICE.set(True)
    try:
        yield
    finally:
        _TWICE.reset(token)


def expects_second() -> bool:
    """Whether this runs within `differentiated_twice`."""
    return _TWICE.get()


def batch_norm(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """`torch.nn.functional.batch_norm`, analytic within `differentiated_twice`.

    Args:
        x: shape `(n, channels, …)`.
        mean: running mean, or `None`.
        variance: running variance, or `None`.
        weight: w, or `None` for ones.
        bias: the shift, or `None` for zeros.
        training: whether to normalise by the batch.
        momentum: of the running statistics.
        eps: ε.
    """
    if training and not _TWICE.get() and has_few_channels(x):
        return batch_norm_of_few_channels(x, mean, variance, weight, bias, momentum, eps)
    if not (_TWICE.get() and training and x.requires_grad and x.device.type == "cpu"):
        return F.batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
    y: Tensor = _Norm.apply(x, weight, bias, mean, variance, momentum, eps)  # type: ignore[no-untyped-call]
    return y


@final
class _Norm(torch.autograd.Function):
    """y = w x̂ + shift."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        variance: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        y, mu, r = torch.native_batch_norm(x, weight, bias, mean, variance, True, momentum, eps)
        ctx.save_for_backward(x, weight, mu, r)
        ctx.eps, ctx.shifted = eps, bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mu, r = ctx.saved_tensors
        found = _Gradient.apply(gradients[0], x, weight, mu, r, ctx.eps)  # type: ignore[no-untyped-call]
        dx, dw, db = found
        wanted = ctx.needs_input_grad
        return dx, dw if wanted[1] else None, db if wanted[2] else None, None, None, None, None


@final
class _Gradient(torch.autograd.Function):
    """dx, dw and the gradient of the shift."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, x: Tensor, weight: Tensor | None, mu: Tensor, r: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(h, x, weight, mu, r)
        ctx.eps = eps
        return _pulled(h, x, torch.ones_like(mu) if weight is None else weight, mu, r, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        upper, g, b = cotangents
        h, x, weight, mu, r = ctx.saved_tensors
        count, ones = x.numel() // x.shape[1], torch.ones_like(mu)
        w = ones if weight is None else weight
        dh, p, a = _pulled(upper, x, w, mu, r, ctx.eps)
        q, c = _reduced(h, x, mu, r, ctx.eps)
        s, _ = _reduced(upper, h, torch.zeros_like(mu), ones, ctx.eps)
        p, a, q, c, s = (value / count for value in (p, a, q, c, s))
        t = s - a * c - p * q
        square, own = w * r * r, g * r
        gamma = square * (2 * p * q - t) - own * q
        delta = square * (q * a + p * c) - own * c
        none = torch.zeros_like(mu)
        ddx = _scaled(h, own - square * p, delta - gamma * r * mu)
        ddx.add_(_scaled(upper, -square * q, none)).add_(_scaled(x, gamma * r, none))
        dh = dh.add_(_scaled(x, own, b - own * mu))
        return dh, ddx, count * r * t if ctx.needs_input_grad[2] else None, None, None, None


def _pulled(h: Tensor, x: Tensor, w: Tensor, mu: Tensor, r: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """w r P h, Σ h x̂ and Σ h."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        h, x, w, None, None, mu, r, True, eps, [True, True, True]
    )
    return found


def _reduced(h: Tensor, x: Tensor, mu: Tensor, r: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Σ h x̂ and Σ h."""
    _, first, second = torch.ops.aten.native_batch_norm_backward(
        h, x, torch.ones_like(mu), None, None, mu, r, True, eps, [False, True, True]
    )
    return first, second


def _scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale · x + shift by channel: the norm of given statistics, which torch computes in one pass."""
    ones = torch.full_like(scale, 1 - _EPS)  # which is exact, as is the sum of both
    return F.batch_norm(x, torch.zeros_like(scale), ones, scale, shift, False, 0.0, _EPS)
