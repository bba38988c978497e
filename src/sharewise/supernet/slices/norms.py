"""Norms of slices and of mixtures of slices, as functions.

Batch norm treats channels one by one, so a slice needs no other statistics than its own, and what is scaled is its
output. Norms over features mix them: under a mixture their statistics are weighted by survival.
"""

from __future__ import annotations

from functools import cache
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sharewise.supernet.slices.nesting import full_precision
from sharewise.supernet.twice import batch_norm

__all__ = ["scaled_batch_norm", "weighted_layer_norm", "weighted_rms_norm"]


def scaled_batch_norm(norm: _BatchNorm, x: Tensor, scale: Tensor | None, channels: int | None = None) -> Tensor:
    """s · BN(x) in one pass, with s folded into the norm's own scale and shift.

    A scale before a norm is erased by it, BN(s·x) ≈ BN(x); this is the scale that follows it.

    Args:
        norm: a batch norm, whose mode, momentum and running statistics are respected.
        x: shape `(n, channels, …)`.
        scale: s, shape `()` or `(channels,)`; `None` for one.
        channels: use the leading channels of the norm only.

    Returns:
        The shape of `x`.

    Example:
        >>> norm, x = torch.nn.BatchNorm2d(4), torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> scaled_batch_norm(norm, x, None).shape, (norm.running_mean != 0).tolist()
        (torch.Size([2, 3, 5, 5]), [True, True, True, False])
    """
    channels = x.shape[1] if channels is None else channels
    momentum = _momentum(norm)
    weight, bias = _leading(norm.weight, channels), _leading(norm.bias, channels)
    if scale is not None:
        like = next((t for t in (weight, norm.running_mean) if t is not None), x)
        scale = scale if scale.dtype == like.dtype else scale.to(like.dtype)
        # A product, since torch's channels-last kernel reads an expanded scale beyond its end.
        weight = scale * (_ones(channels, scale.dtype, scale.device) if weight is None else weight)
        bias = None if bias is None else bias * scale
    keep = not norm.training or norm.track_running_stats
    mean = _leading(norm.running_mean, channels) if keep else None
    variance = _leading(norm.running_var, channels) if keep else None
    return batch_norm(x, mean, variance, weight, bias, norm.training or mean is None, momentum, norm.eps)


@cache
def _ones(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(channels, dtype=dtype, device=device)


def _leading(tensor: Tensor | None, channels: int) -> Tensor | None:
    return tensor if tensor is None or tensor.shape[0] == channels else tensor[:channels]


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

    which is the layer norm of a slice where s is one up to a position and zero beyond. Only x is kept for the backward
    pass, which a network mostly keeps anyway.

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
    input, which the network keeps anyway. With u = γ dy, and sums over features,

        dx_j = r (u_j − p_j (Σ u + x̂_j Σ u x̂)),   dp_j = −x̂_j Σ u − ½ x̂_j² Σ u x̂   (up to what Σ_j p_j = 1 removes),

    the terms in Σ u only if centred. The backward pass consists of differentiable functions of the inputs, so that
    second derivatives exist.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, centred: bool
    ) -> Tensor:
        ctx.save_for_backward(x, s, weight)
        ctx.eps, ctx.centred = eps, centred
        y = _standardised(x.to(s.dtype), s / s.sum(), eps, centred)[0]
        y = y if weight is None else y * weight
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, s, weight = ctx.saved_tensors
        total = s.sum()
        p = s / total
        normal, r = _standardised(x.to(s.dtype), p, ctx.eps, ctx.centred)
        positions = tuple(range(x.dim() - 1))
        u = dy if weight is None else dy * weight
        sum_u, sum_un = u.sum(-1, keepdim=True), (u * normal).sum(-1, keepdim=True)
        pull = normal * sum_un + sum_u if ctx.centred else normal * sum_un
        dx = ((u - p * pull) * r).to(x.dtype) if ctx.needs_input_grad[0] else None
        ds = None
        if ctx.needs_input_grad[1]:
            half = normal.square() * (0.5 * sum_un)
            dp = -(half + normal * sum_u if ctx.centred else half).sum(positions)
            ds = (dp - (dp * p).sum()) / total
        dweight = (dy * normal).sum(positions) if ctx.needs_input_grad[2] else None
        dbias = dy.sum(positions) if ctx.needs_input_grad[3] else None
        return dx, ds, dweight, dbias, None, None


def _standardised(x: Tensor, p: Tensor, eps: float, centred: bool) -> tuple[Tensor, Tensor]:
    """x̂ and r."""
    with full_precision(x.device):
        if centred:
            x = x - (x @ p)[..., None]
        r = torch.rsqrt((x.square() @ p)[..., None] + eps)
    return x * r, r
