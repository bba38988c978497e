"""Norms of slices and of mixtures of slices, as functions.

Batch norm treats channels one by one, so a slice needs no other statistics than its own, and what is scaled is its
output. Norms over features mix them: under a mixture their statistics are weighted by survival.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.supernet import native
from sharewise.supernet.compiled_norm import compiled_batch_norm
from sharewise.supernet.few_channels import batch_norm_of_few_channels, has_few_channels
from sharewise.supernet.layout import is_channels_last
from sharewise.supernet.slices.nesting import full_precision, leading
from sharewise.supernet.twice import expects_second

__all__ = ["scaled_batch_norm", "weighted_layer_norm", "weighted_rms_norm"]


def scaled_batch_norm(
    norm: _BatchNorm,
    x: Tensor,
    scale: Tensor | None,
    channels: int | None = None,
    onto: Tensor | None = None,
    *,
    overwrite: bool = False,
) -> Tensor:
    """s · BN(x), added onto other images, in one pass, with s folded into the norm's own scale and shift.

    A scale before a norm is erased by it, BN(s·x) ≈ BN(x); this is the scale that follows it.

    Args:
        norm: a batch norm, whose mode, momentum and running statistics are respected.
        x: shape `(n, channels, …)`.
        scale: s, shape `()` or `(channels,)`; `None` for one.
        channels: use the leading channels of the norm only.
        onto: shape of x, or `None` for zeros.
        overwrite: whether the result may take the place of x, as that of a compiled kernel does where no gradients are
            recorded.

    Returns:
        The shape of `x`.

    Example:
        >>> norm, x = torch.nn.BatchNorm2d(4), torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> scaled_batch_norm(norm, x, None).shape, (norm.running_mean != 0).tolist()
        (torch.Size([2, 3, 5, 5]), [True, True, True, False])
    """
    channels = x.shape[1] if channels is None else channels
    momentum = _momentum(norm)
    weight, bias = leading(norm.weight, channels), leading(norm.bias, channels)
    keep = not norm.training or norm.track_running_stats
    mean = leading(norm.running_mean, channels) if keep else None
    variance = leading(norm.running_var, channels) if keep else None
    training = norm.training or mean is None
    if scale is not None:
        like = next((t for t in (weight, norm.running_mean) if t is not None), x)
        scale = scale if scale.dtype == like.dtype else scale.to(like.dtype)
        weight = scale if weight is None else scale * weight
        bias = None if bias is None else bias * scale
    below = None
    if training and native.serves_norm(x, weight, bias, mean, variance):
        below = onto if onto is not None and _lie_alike(onto, x) else None
        y = compiled_batch_norm(x, mean, variance, weight, bias, momentum, norm.eps, below, overwrite=overwrite)
    else:
        if weight is not None and weight.dim() == 0:
            # A product, since torch's channels-last kernel reads an expanded scale beyond its end.
            weight = weight * _ones(channels, weight.dtype, weight.device)
        if training and has_few_channels(x) and not expects_second() and not native.is_watched():
            y = batch_norm_of_few_channels(x, mean, variance, weight, bias, momentum, norm.eps)
        else:
            y = F.batch_norm(x, mean, variance, weight, bias, training, momentum, norm.eps)
    return y if onto is None or below is not None else onto + y


def _lie_alike(one: Tensor, other: Tensor) -> bool:
    """Whether images with channels last can be added to others number by number."""
    return one.shape == other.shape and one.dtype == other.dtype and is_channels_last(one)


@cache
def _ones(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(channels, dtype=dtype, device=device)


def _momentum(norm: _BatchNorm) -> float:
    """The weight of this batch in the running statistics; where they are kept, one more batch is counted."""
    counted = norm.num_batches_tracked if norm.training and norm.track_running_stats else None
    if counted is not None:
        counted.add_(1)
        if norm.momentum is None:  # a cumulative average
            return 1.0 / float(counted)
    return 0.0 if norm.momentum is None else norm.momentum


def weighted_layer_norm(x: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Layer norm of a mixture of slices: statistics are weighted by survival.

        μ = Σ_j s_j x_j / Σ_j s_j,   v = Σ_j s_j (x_j − μ)² / Σ_j s_j,   y_j = γ_j (x_j − μ) / √(v + ε) + β_j,

    which is the layer norm of a slice where s is one up to a position and zero beyond. Of the images only x is kept for
    the backward pass, which a network mostly keeps anyway.

    Args:
        x: shape `(…, features)`.
        s: the survival vector, shape `(features,)`; a common factor has no effect.
        weight: γ, shape `(features,)`, or `None` for ones.
        bias: β, shape `(features,)`, or `None` for zeros.
        eps: ε.

    Returns:
        The shape of x, in the precision of s; twice differentiable.

    Example:
        >>> x = torch.tensor([1.0, 3.0, 50.0, 70.0])
        >>> y = weighted_layer_norm(x, torch.tensor([1.0, 1.0, 0.0, 0.0]), None, None, 1e-5)
        >>> torch.allclose(y[:2], torch.nn.functional.layer_norm(x[:2], (2,)))
        True
    """
    y: Tensor = _WeightedNorm.apply(x, s, weight, bias, eps, True)  # type: ignore[no-untyped-call]
    return y


def weighted_rms_norm(x: Tensor, s: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Root-mean-square norm of a mixture of slices: y_j = γ_j x_j / √(Σ_i s_i x_i² / Σ_i s_i + ε).

    Args:
        x: shape `(…, features)`.
        s: the survival vector, shape `(features,)`; a common factor has no effect.
        weight: γ, shape `(features,)`, or `None` for ones.
        eps: ε.

    Returns:
        The shape of x, in the precision of s; twice differentiable.

    Example:
        >>> weighted_rms_norm(torch.tensor([3.0, 4.0, 9.0]), torch.tensor([1.0, 1.0, 0.0]), None, 0.0)[:2]
        tensor([0.8485, 1.1314])
    """
    y: Tensor = _WeightedNorm.apply(x, s, weight, None, eps, False)  # type: ignore[no-untyped-call]
    return y


@final
class _WeightedNorm(torch.autograd.Function):
    """y = γ x̂ + β with x̂ = r (x − μ), r = 1 / √(v + ε), and μ and v weighted by p = s / Σ_j s_j; μ = 0 if not centred.

    Written out, since the graph of its parts would keep five activations for the backward pass where this keeps the
    input, which the network keeps anyway, and two numbers a position. With u = γ dy, and sums over features,

        dx_j = r (u_j − p_j (A + x̂_j B)),   dp_j = −x̂_j A − ½ x̂_j² B   (up to what Σ_j p_j = 1 removes),

    with A = Σ u, only if centred, and B = Σ u x̂. A compiled kernel gives all of them. Torch's own for a layer norm of F
    features gives the gradients of γ and β, and dx with 1/F in place of p_j; the rest is added. Where the gradient will
    be differentiated itself it consists of differentiable functions of the inputs instead.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, centred: bool
    ) -> Tensor:
        own, p = x.to(s.dtype), s / s.sum()
        ctx.eps, ctx.centred = eps, centred
        if native.serves_layer_norm(own, p, weight, bias):
            y, mu, r = native.layer_norm_by_kernel(own, p, weight, bias, eps, centred)
            ctx.save_for_backward(x, s, weight, mu, r)
            return y
        y, mu, r = _standardised(own, p, eps, centred)
        ctx.save_for_backward(x, s, weight, mu, r)
        if weight is not None and bias is not None:
            return torch.addcmul(bias, y, weight)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, s, weight, mu, r = ctx.saved_tensors
        total = s.sum()
        own, p, wanted = x.to(s.dtype), s / total, ctx.needs_input_grad
        once = not torch.is_grad_enabled()
        made: _Pulled
        if once and native.serves_layer_norm(own, p, weight):
            made = native.layer_norm_gradient(dy.contiguous(), own, p, weight, mu, r, wanted)
        elif once and ctx.centred:
            made = _pulled(dy, own, p, weight, mu, r, wanted)
        else:
            made = _pulled_twice(dy, own, p, weight, ctx.eps, ctx.centred, wanted)
        dx, dp, dweight, dbias = made
        ds = None if dp is None else (dp - (dp * p).sum()) / total
        return None if dx is None else dx.to(x.dtype), ds, dweight, dbias, None, None


_Pulled = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""Gradients of x, p, γ and β."""


def _pulled(
    dy: Tensor, x: Tensor, p: Tensor, weight: Tensor | None, mu: Tensor, r: Tensor, wanted: Sequence[bool]
) -> _Pulled:
    """By the kernel for layer norms."""
    features = len(p)
    mask = [wanted[0], wanted[2], wanted[3] and weight is not None]
    dx, dweight, dbias = torch.ops.aten.native_layer_norm_backward(dy, x, [features], mu, r, weight, weight, mask)
    if wanted[3] and weight is None:
        dbias = _over_positions(dy)
    with full_precision(x.device):
        a, scaled = (dy.sum(-1), (dy * x).sum(-1)) if weight is None else (dy @ weight, (dy * x) @ weight)
    a = a[..., None]
    b = r * (scaled[..., None] - mu * a)
    dp = None
    if wanted[0]:
        slope = r * r * b
        dx = dx.addcmul_(torch.addcmul(r * a - mu * slope, x, slope), 1 / features - p)
    if wanted[1]:
        centred = (x - mu).reshape(-1, features)
        linear, square = (r * a).reshape(-1), (r * r * b).reshape(-1)
        with full_precision(x.device):
            dp = -(linear @ centred + 0.5 * (square @ centred.square()))
    return dx if wanted[0] else None, dp, dweight if wanted[2] else None, dbias if wanted[3] else None


def _pulled_twice(
    dy: Tensor, x: Tensor, p: Tensor, weight: Tensor | None, eps: float, centred: bool, wanted: Sequence[bool]
) -> _Pulled:
    """By functions of the inputs that torch differentiates."""
    normal, _, r = _standardised(x, p, eps, centred)
    u = dy if weight is None else dy * weight
    sum_u, sum_un = u.sum(-1, keepdim=True), (u * normal).sum(-1, keepdim=True)
    pull = normal * sum_un + sum_u if centred else normal * sum_un
    dx = (u - p * pull) * r if wanted[0] else None
    dp = None
    if wanted[1]:
        half = normal.square() * (0.5 * sum_un)
        dp = -_over_positions(half + normal * sum_u if centred else half)
    dweight = _over_positions(dy * normal) if wanted[2] else None
    return dx, dp, dweight, _over_positions(dy) if wanted[3] else None


def _over_positions(x: Tensor) -> Tensor:
    """The sum over all dimensions but the last."""
    return x.reshape(-1, x.shape[-1]).sum(0)


def _standardised(x: Tensor, p: Tensor, eps: float, centred: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """x̂, μ (`None` for zero) and r."""
    with full_precision(x.device):
        mu = (x @ p)[..., None] if centred else None
        x = x if mu is None else x - mu
        r = torch.rsqrt((x.square() @ p)[..., None] + eps)
    return x * r, mu, r
