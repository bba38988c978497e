"""Depthwise convolutions whose backward pass costs what their forward pass does.

On a CPU torch runs some gradients of a depthwise convolution in code that is 5 to 12 times slower than its forward
pass: that of inputs under dilation, and that of kernels under dilation or wider than three columns. All of them are
depthwise convolutions themselves, or sums of such that are fast. With ⋆ for the convolution of stride 1 that keeps the
resolution, K for the gradient of its kernel and w' for a kernel turned by 180 degrees,

    y = x ⋆ w,   dx = dy ⋆ w',   dw = K(x, dy).

Where the stride is the dilation, the pixels that are read are an image that is convolved without either. K is taken
three columns of the kernel at a time, without dilation, image by image: pixels are sorted by their place modulo the
dilation, and images stand side by side as channels, whose gradients are then added. One long sum over a batch would
lose more digits than torch does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.supernet import native
from sharewise.supernet.layout import innermost
from sharewise.supernet.trilinear import Trilinear, convolution_gradients

__all__ = ["depthwise", "kernel_gradient", "pays"]

_COLUMNS = 3
"""Of a kernel, as wide as torch's fast gradient goes."""


def pays(x: Tensor, weight: Tensor, dilation: int, groups: int) -> bool:
    """Whether it is depthwise in float32, on a CPU with channels innermost, and torch's own gradient is slow.

    Args:
        x: shape `(n, channels, height, width)`.
        weight: shape `(outputs, channels / groups, k, k)`, centred on each pixel.
        dilation: in both directions.
        groups: of the convolution.
    """
    kernel = weight.shape[-1]
    depthwise = x.dim() == 4 and weight.shape[:2] == (groups, 1) and x.shape[1] == groups > 1
    slow = dilation > 1 or kernel > _COLUMNS or native.serves_depthwise(x, kernel)
    if not depthwise or kernel == 1 or not slow:
        return False
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    single = x.dtype == weight.dtype == torch.float32
    return single and x.is_contiguous(memory_format=torch.channels_last)


def depthwise(x: Tensor, kernel: Tensor, dilation: int, stride: int = 1) -> Tensor:
    """x ⋆ w in any precision, as `convolve` uses it; of its gradients those are computed that are asked for.

    Args:
        x: shape `(n, channels, height, width)`, more than `dilation · (k // 2)` wide, channels innermost.
        kernel: shape `(channels, 1, k, k)`, k odd; padding keeps it centred.
        dilation: in both directions.
        stride: 1, or the dilation.
    """
    return _Depthwise(dilation, stride, x.shape)(x, kernel)


@final
@dataclass(frozen=True)
class _Depthwise(Trilinear):
    """A depthwise convolution of images of a shape."""

    dilation: int
    stride: int
    shape: torch.Size

    def value(self, x: Tensor, kernel: Tensor) -> Tensor:
        if self.stride == 1:
            return _convolved(x, kernel, self.dilation)
        reach = self.dilation * (kernel.shape[-1] // 2)
        return F.conv2d(x, kernel, None, self.stride, reach, self.dilation, len(kernel))

    def image_gradient(self, dy: Tensor, kernel: Tensor) -> Tensor:
        turned = kernel.flip(2, 3)
        if self.stride == 1:
            return _convolved(dy, turned, self.dilation)
        return _spread(_convolved(dy, turned, 1), self.shape, self.stride)

    def kernel_gradient(self, x: Tensor, dy: Tensor, kernel: Tensor) -> Tensor:
        if self.stride == 1:
            return kernel_gradient(x, dy, kernel.shape[-1], self.dilation)
        return kernel_gradient(_read(x, self.stride), dy, kernel.shape[-1], 1)


def _convolved(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """Of stride 1."""
    size = kernel.shape[-1]
    if native.serves_depthwise(x, size):
        return native.depthwise_by_kernel(x, kernel, dilation)
    return F.conv2d(x, kernel, None, 1, dilation * (size // 2), dilation, len(kernel))


def _read(x: Tensor, step: int) -> Tensor:
    """The pixels that a stride reads."""
    return innermost(x[:, :, ::step, ::step])


def _spread(x: Tensor, shape: torch.Size, step: int) -> Tensor:
    """An image of zeros with x where a stride reads it."""
    whole = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last).zero_()
    whole[:, :, ::step, ::step] = x
    return whole


def kernel_gradient(x: Tensor, dy: Tensor, size: int, dilation: int) -> Tensor:
    """K(x, dy) of stride 1, for a kernel that is centred on every pixel.

    Args:
        x: shape `(n, channels, height, width)`, channels innermost.
        dy: of its shape.
        size: of the kernel, in both directions.
        dilation: in both directions.

    Returns:
        Shape `(channels, 1, size, size)`.
    """
    if native.serves_depthwise(x, size):
        return native.depthwise_gradient(x, dy, size, dilation)
    found = _by_columns(_sorted(x, dilation), _sorted(dy, dilation), size)
    return found.view(-1, x.shape[1], 1, size, size).sum(0)


def _sorted(x: Tensor, dilation: int) -> Tensor:
    """All images as channels of one, and in each the pixels at the same place modulo the dilation, in its order.

    Where the dilation does not divide a side, zeros complete it.
    """
    n, channels, height, width = x.shape
    margins = (-width % dilation, -height % dilation)
    if any(margins):
        x = F.pad(x, (0, margins[0], 0, margins[1]))
    rows, columns = x.shape[2] // dilation, x.shape[3] // dilation
    places = x.view(n, channels, rows, dilation, columns, dilation).permute(2, 4, 3, 5, 0, 1)
    return places.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)


def _by_columns(x: Tensor, dy: Tensor, size: int) -> Tensor:
    """The gradient of a kernel without dilation, a few of its columns at a time."""
    reach, channels = size // 2, x.shape[1]
    parts = []
    for start in range(0, size, _COLUMNS):
        columns = min(_COLUMNS, size - start)
        left = reach - start  # column j of the kernel reads the image j − reach pixels to the right
        moved = F.pad(x, (left, columns - 1 - left, reach, reach))
        like = x.new_empty((channels, 1, size, columns))
        settings = ([1, 1], [0, 0], [1, 1], channels)
        parts.append(convolution_gradients(dy, moved, like, settings, [False, True, False])[1])
    return torch.cat(parts, dim=-1)
