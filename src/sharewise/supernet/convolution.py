"""Convolutions of layers, with gradients of our own where these are faster than torch's.

Depthwise ones on a CPU have them (`sharewise.supernet.depthwise_convolution`), and those of few channels where compiled
kernels are on (`sharewise.supernet.native`), which rectify what they read as well. Both are differentiable to any
order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet import depthwise_convolution, native
from sharewise.supernet.again import computed_again
from sharewise.supernet.calls import must_be_called
from sharewise.supernet.trilinear import Trilinear, convolution_gradients
from sharewise.supernet.twice import expects_second

__all__ = [
    "convolve",
    "convolve_layer",
    "convolve_rectified",
    "convolved",
    "is_between_zeros",
    "is_compiled",
    "rectifies",
]


def convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution computes, by `convolve` where nobody has to be told that it was called.

    Args:
        layer: of torch's own class; others are called as they are.
        x: shape `(n, channels, height, width)`.
    """
    if not _is_plain(layer):
        y: Tensor = layer(x)
        return y
    return convolve_layer(layer, x)


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution between zeros of torch's own class, and nobody has to be told that it was called."""
    return type(layer) is nn.Conv2d and not must_be_called(layer) and is_between_zeros(layer)


def is_between_zeros(layer: nn.Conv2d) -> bool:
    """Whether a convolution reads zeros, in numbers that it says, around its images.

    Args:
        layer: of any settings.
    """
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def rectifies(layer: nn.Module, x: Tensor) -> bool:
    """Whether a layer is a convolution that rectifies what it reads on the way, by compiled kernels.

    Where gradients will be differentiated it does not: every convolution would rectify the images of its node again.

    Args:
        layer: any.
        x: its images before they are rectified, shape `(n, channels, height, width)`.
    """
    if not native.enabled() or expects_second() or not _is_plain(layer) or layer.bias is not None:
        return False
    assert not isinstance(layer.padding, str)
    return is_compiled(x, layer.weight, layer.stride, layer.padding, layer.dilation, layer.groups)


def convolve_rectified(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """max(x, 0) ⋆ w, where `rectifies` holds.

    Args:
        layer: the convolution, with weight w.
        x: shape `(n, channels, height, width)`.
    """
    return _again(_rectified(x, layer.weight), _rectified, x, layer.weight)


def convolve_layer(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution between zeros computes, by `convolve`, whoever wants to be told of its calls.

    Args:
        layer: of torch's own class.
        x: shape `(n, channels, height, width)`.
    """
    assert not isinstance(layer.padding, str)
    return convolve(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


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

    The forward pass is torch's own, and equal to it in every bit, but where compiled kernels are on (`native_kernels`).

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
            return _again(_COMPILED(x, weight), _COMPILED, x, weight)
        same = _centred(weight, stride, padding, dilation) and x.shape[-1] > padding[-1]
        if same and depthwise_convolution.pays(x, weight, dilation[0], groups):
            return depthwise_convolution.depthwise(x, weight, dilation[0], stride[0])
    y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return _again(y, F.conv2d, x, weight, bias, stride, padding, dilation, groups)


def _again(y: Tensor, function: Callable[..., Tensor], x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
    """What a function made, computed again where that is a product of a pixel with a matrix, of what is kept anyway.

    Not where gradients will be differentiated, since it would be computed four times, and not once; nor without
    gradients, since a norm may write over it.
    """
    if weight.shape[-2:] == (1, 1) and torch.is_grad_enabled() and not expects_second():
        computed_again(y, function, x, weight, *settings)
    return y


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
    """Whether compiled kernels compute a convolution that is not depthwise.

    Args:
        x: shape `(n, channels, height, width)`.
        weight: shape `(outputs, channels / groups, k, k)`.
        stride: in both directions.
        padding: in both directions.
        dilation: in both directions.
        groups: 1 for all that they serve.
    """
    if not native.enabled() or groups != 1 or torch.is_autocast_enabled("cpu"):
        return False
    centred = stride == dilation == (1, 1) and _centred(weight, stride, padding, dilation)
    return centred and native.serves_convolution(x, weight) and x.is_contiguous(memory_format=torch.channels_last)


@final
class _Compiled(Trilinear):
    """A convolution with kernels that are centred on each pixel, as `is_compiled` tells them."""

    def value(self, x: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            return F.conv2d(x, kernel, None, 1, _margin(kernel))
        return native.convolution_by_kernel(x, kernel)

    def image_gradient(self, dy: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            return F.conv_transpose2d(dy, kernel, None, 1, _margin(kernel))
        return native.transposed_by_kernel(dy, kernel)

    def kernel_gradient(self, x: Tensor, dy: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            settings = ([1, 1], [_margin(kernel)] * 2, [1, 1], 1)
            return convolution_gradients(dy, x, kernel, settings, [False, True, False])[1]
        return native.convolution_gradient(x, dy, kernel)

    def rectified_value(self, x: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            return super().rectified_value(x, kernel)
        return native.convolution_by_kernel(x, kernel, rectified=True)

    def masked_image_gradient(self, dy: Tensor, kernel: Tensor, x: Tensor) -> Tensor:
        if native.is_watched():
            return super().masked_image_gradient(dy, kernel, x)
        return native.transposed_by_kernel(dy, kernel, where=x)

    def rectified_kernel_gradient(self, x: Tensor, dy: Tensor, kernel: Tensor) -> Tensor:
        if native.is_watched():
            return super().rectified_kernel_gradient(x, dy, kernel)
        return native.convolution_gradient(x, dy, kernel, rectified=True)


def _margin(kernel: Tensor) -> int:
    """Of zeros about an image, for kernels in the middle of each pixel."""
    return kernel.shape[-1] // 2


_COMPILED = _Compiled()

_rectified = partial(_COMPILED, rectified=True)
