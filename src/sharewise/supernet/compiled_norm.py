"""Batch norm in training by compiled kernels, with its first two derivatives."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sharewise.supernet import native
from sharewise.supernet.again import computed_again
from sharewise.supernet.layout import innermost
from sharewise.supernet.twice import expects_second

__all__ = ["compiled_batch_norm"]


def compiled_batch_norm(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
    onto: Tensor | None = None,
    *,
    overwrite: bool = False,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training, where `native.serves_norm` holds, added onto other images.

    Derivatives of higher order are torch's own; within `differentiated_twice` the second comes from compiled kernels,
    and there is no third.

    Args:
        x: shape `(n, channels, height, width)`.
        mean: running mean, which is changed, or `None`.
        variance: running variance, which is changed, or `None`.
        weight: w, shape `(channels,)` or `()`, or `None` for ones.
        bias: the shift, shape `(channels,)`, or `None` for zeros.
        momentum: of the running statistics.
        eps: ε.
        onto: shape of x, channels innermost, or `None` for zeros.
        overwrite: whether y may take the place of x, which it does where no gradients are recorded.
    """
    if not torch.is_grad_enabled():
        return native.norm_by_kernel(x, weight, bias, onto, mean, variance, momentum, eps, overwrite=overwrite)[0]
    y: Tensor = _Norm.apply(x, weight, bias, onto, (mean, variance), momentum, eps)  # type: ignore[no-untyped-call]
    return y


@final
class _Norm(torch.autograd.Function):
    """y; running statistics come as a pair, as no input of the node."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        onto: Tensor | None,
        running: tuple[Tensor | None, Tensor | None],
        momentum: float,
        eps: float,
    ) -> Tensor:
        y, found = native.norm_by_kernel(x, weight, bias, onto, *running, momentum, eps)
        ctx.save_for_backward(x, weight, found)
        ctx.eps, ctx.twice = eps, expects_second()
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, found = ctx.saved_tensors
        x, h, wanted = innermost(x), innermost(gradients[0]), ctx.needs_input_grad[:3]
        made: tuple[Tensor | None, ...]
        if native.is_watched() or (torch.is_grad_enabled() and not ctx.twice):
            made = _by_torch(h, x, weight, found, ctx.eps)
        elif torch.is_grad_enabled():
            made = _Gradient.apply(h, x, weight, found)  # type: ignore[no-untyped-call]
        else:
            made = native.norm_gradient(h, x, weight, found, wanted)
        asked = (value if wish else None for value, wish in zip(made, wanted, strict=True))
        return *asked, h if ctx.needs_input_grad[3] else None, None, None, None


def _by_torch(h: Tensor, x: Tensor, weight: Tensor | None, found: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by torch's own function, which knows its derivative."""
    mu, r = found
    full = torch.ones_like(mu) if weight is None else weight * torch.ones_like(mu)
    made = torch.ops.aten.native_batch_norm_backward(h, x, full, None, None, mu, r, True, eps, [True, True, True])
    dx, dw, shift = made
    return dx, dw.sum() if weight is not None and weight.dim() == 0 else dw, shift


def _image_gradient(h: Tensor, x: Tensor, weight: Tensor | None, found: Tensor) -> Tensor:
    dx, _, _ = native.norm_gradient(h, x, weight, found, (True, False, False))
    assert dx is not None
    return dx


@final
class _Gradient(torch.autograd.Function):
    """dx, dw and the gradient of the shift, which can be differentiated once."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, x: Tensor, weight: Tensor | None, found: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        ctx.save_for_backward(h, x, weight, found)
        ctx.set_materialize_grads(False)
        made = native.norm_gradient(h, x, weight, found, (True, True, True))
        assert made[0] is not None
        computed_again(made[0], _image_gradient, h, x, weight, found)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        upper, of_weight, of_shift = cotangents
        h, x, weight, found = ctx.saved_tensors
        h, x = innermost(h), innermost(x)
        upper = torch.zeros_like(x) if upper is None else innermost(upper)
        of_weight = None if of_weight is None else of_weight.contiguous()
        of_shift = None if of_shift is None else of_shift.contiguous()
        return *native.norm_second_gradient(upper, of_weight, of_shift, h, x, weight, found), None
