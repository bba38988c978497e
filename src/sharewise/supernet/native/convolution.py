"""Convolutions by kernels of 1×1 and 3×3 and their gradients, by compiled kernels, of images that are rectified or not.

Those of 3×3 are the minimal filtering F(2×2, 3×3): a tile of 2×2 pixels takes 16 products for every pair of channels in
place of 36, and errors of float32 are no larger than those of the sum itself. `winograd.c` and `pointwise.c` have the
equations. With few channels the time of both is that of images on their way from and to memory; what rectifies them
before, and keeps a gradient where they were positive, adds little to it.

References:
    Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sharewise.supernet.layout import innermost
from sharewise.supernet.native.images import LANES, as_stored, call, is_plain, takes_images
from sharewise.supernet.native.library import library

__all__ = [
    "convolution_by_kernel",
    "convolution_gradient",
    "knows_convolution",
    "serves_convolution",
    "transposed_by_kernel",
]

_MOST = 128
"""Channels, of which the transforms of some tiles stay in the second cache."""

_PIXELS = 256
"""Of all images together, below which it costs what is saved to bring the weight into another order."""

_SIZES = (1, 3)
"""Of kernels."""


def knows_convolution(weight: Tensor) -> bool:
    """Whether the kernels know a weight of such a shape.

    Args:
        weight: shape `(outputs, inputs / groups, k, k)`.
    """
    *channels, height, width = weight.shape
    return height == width and width in _SIZES and all(n % LANES == 0 and n <= _MOST for n in channels)


def serves_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels are on, know such images and kernels, and gain something.

    Args:
        x: shape `(n, inputs, height, width)`.
        weight: shape `(outputs, inputs, k, k)`.
    """
    return (
        takes_images(x)
        and knows_convolution(weight)
        and x.shape[1] == weight.shape[1]
        and x.dtype == weight.dtype
        and is_plain(weight)
        and x.numel() >= _PIXELS * x.shape[1]
    )


def convolution_by_kernel(x: Tensor, weight: Tensor, *, rectified: bool = False) -> Tensor:
    """x ⋆ w of stride 1, with every pixel in the middle of its kernel.

    Args:
        x: shape `(n, inputs, height, width)`.
        weight: w, shape `(outputs, inputs, k, k)`, of which `serves_convolution` holds.
        rectified: whether max(x, 0) takes the place of x.
    """
    weight = as_stored(weight)
    return _convolved(x, weight, weight.data_ptr(), [len(weight), *weight.stride(), rectified], None)


def transposed_by_kernel(dy: Tensor, weight: Tensor, *, where: Tensor | None = None) -> Tensor:
    """The gradient of x, from that of x ⋆ w: a convolution that reads w backwards, outputs for inputs.

    Args:
        dy: shape `(n, outputs, height, width)`.
        weight: w, shape `(outputs, inputs, k, k)`, of which `serves_convolution` holds.
        where: shape of x; the gradient is zero where it is not positive. `None` to leave nothing out.
    """
    weight = as_stored(weight)
    outputs, inputs, row, column = weight.stride()
    last = weight.data_ptr() + (weight.shape[-1] - 1) * (row + column) * weight.element_size()
    return _convolved(dy, weight, last, [weight.shape[1], inputs, outputs, -row, -column, False], where)


def _convolved(x: Tensor, weight: Tensor, first: int, numbers: Sequence[int], where: Tensor | None) -> Tensor:
    """Of a weight whose first number lies at an address; numbers are channels, strides, and whether x is rectified."""
    n, read, height, width = x.shape
    y = torch.empty((n, numbers[0], height, width), dtype=x.dtype, memory_format=torch.channels_last)
    kernels = library(x.dtype)
    function = kernels.pointwise if weight.shape[-1] == 1 else kernels.winograd
    mask = None if where is None else innermost(where)
    call(function, [n, height, width, read, *numbers], innermost(x), first, mask, y)
    return y


def convolution_gradient(x: Tensor, dy: Tensor, weight: Tensor, *, rectified: bool = False) -> Tensor:
    """The gradient of w, from that of x ⋆ w.

    Args:
        x: shape `(n, inputs, height, width)`.
        dy: shape `(n, outputs, height, width)`.
        weight: w, shape `(outputs, inputs, k, k)`, of which `serves_convolution` holds; its values do not count.
        rectified: whether max(x, 0) takes the place of x.
    """
    n, inputs, height, width = x.shape
    dw = torch.empty_like(weight)
    kernels = library(x.dtype)
    function = kernels.pointwise_gradient if weight.shape[-1] == 1 else kernels.winograd_gradient
    call(function, [n, height, width, inputs, dy.shape[1], *dw.stride(), rectified], innermost(x), innermost(dy), dw)
    return dw
