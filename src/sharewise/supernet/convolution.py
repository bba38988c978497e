"""Convolutions of layers, with gradients of our own where these are faster than torch's.

Depthwise ones on a CPU have them (`sharewise.supernet.depthwise_convolution`), and those of few channels where compiled
kernels train (`sharewise.supernet.native`). Both are differentiable to any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet import depthwise_convolution, native
from sharewise.supernet.trilinear import Trilinear, convolution_gradients

__all__ = ["averaged", "convolve", "convolved", "convolving", "is_compiled"]

_PIXELS = 256
"""Of an image, below which torch's average pooling is as fast."""


def convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution computes, by `convolve` where nobody has to be told that it was called.

    Args:
        layer: of torch's own class; others are called as they are.
        x: shape `(n, channels, height, width)`.
    """
    if type(layer) is not nn.Conv2d or layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        y: Tensor = layer(x)
        return y
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return layer(x)  # type: ignore[no-any-return]
    return _convolve(layer, x)


def averaged(layer: nn.AvgPool2d, x: Tensor) -> Tensor:
    """What an average pooling computes: in training a convolution with ones, where that is faster, over their number.

    Torch takes 1.5 to 2.8 times as long for float32 images on a CPU. In evaluation mode the layer is called as it is,
    since the last bits could differ.

    Args:
        layer: the pooling.
        x: shape `(n, channels, height, width)`.
    """
    if not (layer.training and _is_centred_average(layer)) or layer._forward_hooks or layer._forward_pre_hooks:
        y: Tensor = layer(x)
        return y
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    channels, height, width = x.shape[-3:]
    if not plain or channels == 1 or height * width < _PIXELS or not x.is_contiguous(memory_format=torch.channels_last):
        return layer(x)  # type: ignore[no-any-return]
    return convolve(x, _ones(channels), None, (1, 1), (1, 1), (1, 1), channels) / _inside(height, width)


def _is_centred_average(layer: nn.AvgPool2d) -> bool:
    """Whether it averages 3×3 pixels about each, of those that exist."""
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


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """`torch.nn.functional.conv2d`, with gradients of our own where these are faster.

    The forward pass is torch's own, and equal to it in every bit, but where compiled kernels train (`native_kernels`).

    Args:
        x: shape `(n, channels, height, width)`.
        weight: shape `(outputs, channels / groups, k, k)`.
        bias: shape `(outputs,)`, or `None`.
        stride: in both directions.
        padding: in both directions.
        dilation: in both directions.
        groups: as many as channels for a depthwise convolution.

    Example:
        >>> x, w = torch.ones(1, 2, 5, 5), torch.ones(2, 1, 3, 3)
        >>> convolve(x, w, None, (1, 1), (2, 2), (2, 2), 2)[0, 0, 2]
        tensor([6., 6., 9., 6., 6.])
    """
    if bias is None:
        if is_compiled(x, weight, stride, padding, dilation, groups):
            return _COMPILED(x, weight)
        same = _centred(weight, stride, padding, dilation) and x.shape[-1] > padding[-1]
        if same and depthwise_convolution.pays(x, weight, dilation[0], groups):
            return depthwise_convolution.depthwise(x, weight, dilation[0], stride[0])
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _centred(weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether the kernel is odd and square, padded so that it is centred, and the stride 1 or the dilation."""
    kernel, step = weight.shape[-1], dilation[0]
    even = tuple(weight.shape[-2:]) == (kernel, kernel) and kernel % 2 == 1
    both = dilation == (step, step) and padding == (step * (kernel // 2),) * 2
    return even and both and stride in ((1, 1), (step, step))


def is_compiled(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> bool:
    """Whether compiled kernels train a convolution that is not depthwise. What is evaluated is torch's own.

    Args:
        x: shape `(n, channels, height, width)`.
        weight: shape `(outputs, channels / groups, k, k)`.
        stride: in both directions.
        padding: in both directions.
        dilation: in both directions.
        groups: 1 for all that they serve.
    """
    if not native.enabled() or groups != 1 or not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    centred = stride == padding == dilation == (1, 1)
    return centred and native.serves_convolution(x, weight) and x.is_contiguous(memory_format=torch.channels_last)


@final
class _Compiled(Trilinear):
    """A convolution with kernels that are centred on each pixel, as `is_compiled` tells them."""

    def value(self, x: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            return F.conv2d(x, kernel, None, 1, 1)
        return native.convolution_by_kernel(x, kernel)

    def image_gradient(self, dy: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            return F.conv_transpose2d(dy, kernel, None, 1, 1)
        return native.transposed_by_kernel(dy, kernel)

    def kernel_gradient(self, x: Tensor, dy: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            settings = ([1, 1], [1, 1], [1, 1], 1)
            return convolution_gradients(dy, x, kernel, settings, [False, True, False])[1]
        return native.convolution_gradient(x, dy, kernel)


_COMPILED = _Compiled()


@contextmanager
def convolving(layers: Iterable[nn.Conv2d]) -> Iterator[None]:
    """Within the block layers compute by `convolve` whoever calls them, as plain networks do.

    Args:
        layers: of torch's own class, with zeros around images.

    Example:
        >>> layer = nn.Conv2d(2, 2, 5, padding=2, groups=2, bias=False).to(memory_format=torch.channels_last)
        >>> with convolving([layer]):
        ...     y = layer(torch.ones(1, 2, 6, 6).contiguous(memory_format=torch.channels_last))
        >>> type(y.grad_fn).__name__
        '_ImageBackward'
    """
    changed = list(layers)
    for layer in changed:
        layer.forward = partial(_convolve, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in changed:
            vars(layer).pop("forward", None)


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    assert not isinstance(layer.padding, str)
    return convolve(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
