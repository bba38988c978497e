"""Average pooling of 3×3 pixels about each, by forms of our own where these are faster than torch's."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet import native
from sharewise.supernet.again import computed_again
from sharewise.supernet.calls import must_be_called
from sharewise.supernet.convolution import convolve
from sharewise.supernet.layout import innermost, is_channels_last

__all__ = ["average", "averaged", "is_centred_average"]

_PIXELS = 256
"""Of an image, below which torch's average pooling is as fast as a convolution."""


def averaged(layer: nn.AvgPool2d, x: Tensor) -> Tensor:
    """What an average pooling computes, by the fastest form that knows it.

    By compiled kernels where these are on; else in training a convolution with ones over their number. Torch takes 1.5
    to 2.8 times as long for float32 images on a CPU. In evaluation mode it is torch's without kernels, since the last
    bits could differ.

    Args:
        layer: the pooling.
        x: shape `(n, channels, height, width)`.
    """
    if must_be_called(layer) or not is_centred_average(layer):
        y: Tensor = layer(x)
        return y
    return average(layer, x)


def average(layer: nn.AvgPool2d, x: Tensor) -> Tensor:
    """The same for a layer of which `is_centred_average` holds, whoever wants to be told of its calls.

    Args:
        layer: the pooling.
        x: shape `(n, channels, height, width)`.
    """
    if not torch.is_autocast_enabled("cpu"):
        if native.serves_average(x):
            return _by_kernel(x, transposed=False)
        if layer.training and _pays(x):
            channels, height, width = x.shape[-3:]
            return convolve(x, _ones(channels), None, (1, 1), (1, 1), (1, 1), channels) / _inside(height, width)
    return nn.AvgPool2d.forward(layer, x)


def _pays(x: Tensor) -> bool:
    """Whether a convolution of the images is faster."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and is_channels_last(x) and x.shape[1] > 1 and x.shape[2] * x.shape[3] >= _PIXELS


def is_centred_average(layer: nn.Module) -> bool:
    """Whether a layer of torch's own class averages 3×3 pixels about each, of those that exist."""
    if type(layer) is not nn.AvgPool2d:
        return False
    settings = [layer.kernel_size, layer.stride, layer.padding]
    kernel, stride, padding = (value if isinstance(value, int) else set(value) for value in settings)
    shape = kernel in (3, {3}) and stride in (1, {1}) and padding in (1, {1})
    return shape and not (layer.ceil_mode or layer.count_include_pad or layer.divisor_override)


@cache
def _ones(channels: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(channels, 1, 3, 3)


@cache
def _inside(height: int, width: int) -> Tensor:
    """How many of the nine pixels about each exist."""
    with torch.inference_mode(False):
        return F.conv2d(torch.ones(1, 1, height, width), torch.ones(1, 1, 3, 3), None, 1, 1)


def _by_kernel(x: Tensor, *, transposed: bool) -> Tensor:
    """The average, or the gradient of x from that of the average in its place."""
    if native.is_watched():
        return _transposed_by_torch(x) if transposed else F.avg_pool2d(x, 3, 1, 1, False, False)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return native.average_by_kernel(x, transposed=transposed)
    y: Tensor = _Average.apply(x, transposed)  # type: ignore[no-untyped-call]
    computed_again(y, partial(native.average_by_kernel, transposed=transposed), x)
    return y


def _transposed_by_torch(dy: Tensor) -> Tensor:
    found: Tensor = torch.ops.aten.avg_pool2d_backward(dy, dy, [3, 3], [1, 1], [1, 1], False, False, None)
    return found


@final
class _Average(torch.autograd.Function):
    """The average, or the transposed map: each is linear, and the other's derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, transposed: bool) -> Tensor:
        ctx.transposed = transposed
        return native.average_by_kernel(x, transposed=transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _by_kernel(innermost(gradients[0]), transposed=not ctx.transposed), None
