"""Batch norms and convolutions that are differentiated twice, with analytic second derivatives.

Torch differentiates the backward pass of a convolution by convolutions whose kernels are whole images; here those of
the same size do (`_Convolution`). That of batch norm it differentiates in many passes over the images; here it takes
five, by torch's own fused kernels: with x̂ = r (x − μ), h = dy, means over all but channels, and cotangents G of dx,
g of dw, b of the shift,

    dx = w r P h,   P h = h − c − q x̂,
    a = mean G,   c = mean h,   p = mean G x̂,   q = mean h x̂,   t = mean G h − a c − p q,
    dh = w r P G + g x̂ + b,   dw = n r t,
    d²x = α h + β G + γ x̂ + δ,   α = g r − w r² p,  β = −w r² q,  γ = w r² (2 p q − t) − g r q,
                                 δ = w r² (q a + p c) − g r c,

of which every line is checked against torch's derivatives in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sharewise.supernet.layout import image_of, is_channels_last, rows_of
from sharewise.supernet.trilinear import convolution_gradients, in_both_directions

__all__ = ["differentiated_twice", "expects_second"]

_EPS = 2.0**-20
"""No norm of torch does without one."""

_TWICE: ContextVar[bool] = ContextVar("differentiated twice", default=False)


@contextmanager
def differentiated_twice(*, by_weights: bool = True) -> Iterator[None]:
    """Within the block, gradients of batch norms and convolutions will be differentiated, and no more than that.

    Every call of `torch.nn.functional.batch_norm` and `conv2d` in training on a CPU takes its analytic form then,
    whoever makes it: a cell, the layers around it, or a model of one's own.

    Args:
        by_weights: whether the last derivative is one with respect to parameters of convolutions as well. If not, it is
            left out, as where only gates are asked for: a node of torch cannot know. Weights that are made of
            something else, as of gates, hand their gradient on.

    Example:
        >>> with differentiated_twice():
        ...     y = F.batch_norm(torch.ones(2, 1, 2, 2, requires_grad=True), None, None, training=True)
        >>> type(y.grad_fn).__name__
        '_NormBackward'
    """
    token = _TWICE.set(True)
    try:
        with _Forms(by_weights):
            yield
    finally:
        _TWICE.reset(token)


def expects_second() -> bool:
    """Whether this runs within `differentiated_twice`."""
    return _TWICE.get()


@final
class _Forms(TorchFunctionMode):
    """Calls the analytic forms in place of torch's functions, where gradients are recorded on a CPU."""

    sees_calls = False  # compiled kernels have such forms by themselves

    def __init__(self, by_weights: bool) -> None:
        super().__init__()
        self.forms: Mapping[Any, Callable[..., Tensor]] = {
            F.batch_norm: _batch_norm,
            F.conv2d: partial(_conv2d, by_weights),
        }

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        form = self.forms.get(function)
        if form is not None and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"):
            return form(*arguments, **(named or {}))
        return function(*arguments, **(named or {}))


def _batch_norm(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm`."""
    several = x.numel() > x.shape[1]  # of one value a channel torch says that it has no variance
    if not (training and several and x.requires_grad and x.device.type == "cpu"):
        return F.batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
    y: Tensor = _Norm.apply(x, weight, bias, mean, variance, momentum, eps)  # type: ignore[no-untyped-call]
    return y


def _conv2d(
    by_weights: bool,
    input: Tensor,  # noqa: A002 - as torch calls it
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d`."""
    images = input.dim() == 4 and input.device.type == "cpu" and not isinstance(padding, str)
    if not images or not (input.requires_grad or weight.requires_grad):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    settings = in_both_directions(stride, padding, dilation)
    by_weights = by_weights or not weight.is_leaf  # a superposed weight is made of gates
    y: Tensor = _Convolution.apply(input, weight, by_weights, *settings, groups)  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias[:, None, None]


@final
class _Convolution(torch.autograd.Function):
    """y = x ⋆ w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, by_weights: bool, *settings: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.by_weights, ctx.settings = by_weights, settings
        stride, padding, dilation, groups = settings
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if not torch.is_grad_enabled():  # the last derivative
            wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1] and ctx.by_weights
            dx, dw, _ = convolution_gradients(gradients[0], x, weight, ctx.settings, [*wanted, False])
            return dx if wanted[0] else None, dw if wanted[1] else None, *[None] * 5
        dx, dw = _ConvolutionGradients.apply(  # type: ignore[no-untyped-call]
            gradients[0], x, weight, ctx.by_weights, ctx.settings
        )
        return dx, dw, *[None] * 5


@final
class _ConvolutionGradients(torch.autograd.Function):
    """dx and dw of a convolution; with cotangents G and h, d(dy) = G ⋆ w + x ⋆ h."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, by_weights: bool, settings: Any
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(dy, x, weight)
        ctx.by_weights, ctx.settings = by_weights, settings
        ctx.set_materialize_grads(False)
        wanted = ctx.needs_input_grad[1:3]  # images of the data set have no gradient, nor has the weight of a pooling
        dx, dw, _ = convolution_gradients(dy, x, weight, settings, [*wanted, False])
        return dx if wanted[0] else None, dw if wanted[1] else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        upper, h = cotangents
        dy, x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        wanted = ctx.needs_input_grad
        ddy = dx = dw = None
        if upper is not None:
            ddy = F.conv2d(upper, weight, None, stride, padding, dilation, groups)
            if wanted[2] and ctx.by_weights:
                dw = convolution_gradients(dy, upper, weight, ctx.settings, [False, True, False])[1]
        if h is not None:
            other = F.conv2d(x, h, None, stride, padding, dilation, groups)
            ddy = other if ddy is None else ddy.add_(other)
            dx = convolution_gradients(dy, x, h, ctx.settings, [True, False, False])[0] if wanted[1] else None
        return ddy, dx, dw, None, None


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
        ctx.eps = eps
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
        ctx.set_materialize_grads(False)  # zeros would be in torch's own layout
        return _pulled(h, x, torch.ones_like(mu) if weight is None else weight, mu, r, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        h, x, weight, mu, r = ctx.saved_tensors
        upper, g, b = (
            torch.zeros_like(like) if value is None else value
            for value, like in zip(cotangents, (x, mu, mu), strict=True)
        )
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
        terms = ((h, own - square * p), (upper, -square * q), (x, gamma * r))
        ddx = _combined(terms, delta - gamma * r * mu)
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


def _combined(terms: Sequence[tuple[Tensor, Tensor]], shift: Tensor) -> Tensor:
    """Σ_i scale_i · x_i + shift by channel."""
    (first, scale), *others = terms
    if not all(is_channels_last(x) for x, _ in terms):
        total = _scaled(first, scale, shift)
        for x, scale in others:
            total.add_(_scaled(x, scale, torch.zeros_like(scale)))
        return total
    rows = rows_of(first)
    times = rows.shape[1] // len(shift)
    total = torch.addcmul(shift.repeat(times), rows, scale.repeat(times))
    for x, scale in others:
        total.addcmul_(rows_of(x), scale.repeat(times))
    return image_of(total, first)


def _scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale · x + shift by channel: the norm of given statistics, which torch computes in one pass."""
    ones = torch.full_like(scale, 1 - _EPS)  # which is exact, as is the sum of both
    return F.batch_norm(x, torch.zeros_like(scale), ones, scale, shift, False, 0.0, _EPS)
