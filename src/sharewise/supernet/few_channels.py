"""Batch norm of images with few channels, in training on a CPU.

Torch's kernel for images with channels last works along the channels of one pixel, so that four of them leave most of
a processor's registers empty: it takes twice as long as that of sixteen channels and four times as many numbers. Here
pixels are seen as rows of many pixels each, whose columns are summed and then folded by channel:

    μ = mean x,   v = mean (x − μ)²,   r = 1 / √(v + ε),   y = w r (x − μ) + shift,
    q = Σ h r (x − μ),   c = Σ h,   dx = w r (h − c / n − r (x − μ) q / n),   dw = q,   d(shift) = c,

with h = dy and n pixels.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from sharewise.supernet.layout import image_of, rows_of

__all__ = ["batch_norm_of_few_channels", "has_few_channels"]

_CHANNELS = 8
"""From which on torch's kernel is as fast."""

_PIXELS = 2**14
"""Of a batch, below which calls cost more than is gained."""


def has_few_channels(x: Tensor) -> bool:
    """Whether `batch_norm_of_few_channels` is faster than torch here.

    Args:
        x: shape `(n, channels, height, width)`.
    """
    return (
        x.device.type == "cpu"
        and x.dim() == 4
        and x.shape[1] < _CHANNELS
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() >= _PIXELS * x.shape[1]
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def batch_norm_of_few_channels(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training.

    Args:
        x: shape `(n, channels, height, width)`, of which `has_few_channels` holds.
        mean: running mean, which is changed, or `None`.
        variance: running variance, which is changed, or `None`.
        weight: w, shape `(channels,)`, or `None` for ones.
        bias: the shift, shape `(channels,)`, or `None` for zeros.
        momentum: of the running statistics.
        eps: ε.

    Example:
        >>> x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> x = x.contiguous(memory_format=torch.channels_last)
        >>> y = batch_norm_of_few_channels(x, None, None, None, None, 0.1, 1e-5)
        >>> torch.allclose(y, torch.nn.functional.batch_norm(x, None, None, training=True), atol=1e-5)
        True
    """
    y, mu, v = _Norm.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
    count = x.numel() // x.shape[1]
    with torch.no_grad():
        if mean is not None:
            mean.lerp_(mu.to(mean.dtype), momentum)
        if variance is not None:
            variance.lerp_((v * (count / (count - 1))).to(variance.dtype), momentum)
    return y  # type: ignore[no-any-return]


def _folded(rows: Tensor, channels: int) -> Tensor:
    """Sums over all pixels."""
    return rows.sum(0).view(-1, channels).sum(0)


@final
class _Norm(torch.autograd.Function):
    """y, μ and v."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        count, rows = x.numel() // channels, rows_of(x)
        times = rows.shape[1] // channels
        mu = _folded(rows, channels) / count
        y = rows - mu.repeat(times)
        v = _folded(y * y, channels) / count
        r = torch.rsqrt(v + eps)
        y = y.mul_((r if weight is None else r * weight).repeat(times))
        if bias is not None:
            y = y.add_(bias.repeat(times))
        ctx.save_for_backward(x, weight, mu, r)
        ctx.eps = eps
        ctx.mark_non_differentiable(mu, v)
        return image_of(y, x), mu, v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mu, r = ctx.saved_tensors
        h = gradients[0].contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled():  # torch's own, which knows its derivative
            found = torch.ops.aten.native_batch_norm_backward(
                h, x, weight, None, None, mu, r, True, ctx.eps, [True, True, True]
            )
        else:
            found = _pulled(h, x, weight, mu, r)
        wanted = ctx.needs_input_grad
        return (*(value if wanted[place] else None for place, value in enumerate(found)), None)


def _pulled(h: Tensor, x: Tensor, weight: Tensor | None, mu: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    channels = x.shape[1]
    count, rows, upper = x.numel() // channels, rows_of(x), rows_of(h)
    times = rows.shape[1] // channels
    c = _folded(upper, channels)
    centred = rows - mu.repeat(times)
    q = _folded(upper * centred, channels) * r
    scale = r if weight is None else r * weight
    slope, shift = scale * r * q / -count, scale * c / -count
    dx = torch.addcmul(shift.repeat(times), centred, slope.repeat(times)).addcmul_(upper, scale.repeat(times))
    return image_of(dx, x), q, c
