"""Convolutions by kernels of 3×3 and their gradients, by compiled kernels: the minimal filtering F(2×2, 3×3).

A tile of 2×2 pixels takes 16 products for every pair of channels in place of 36, and errors of float32 are no larger
than those of the sum itself. `winograd.c` has the equations.

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
"""Of all images together, below which the transform of the weight costs what is saved."""


def knows_convolution(weight: Tensor) -> bool:
    """Whether the kernels know a weight of such a shape.

    Args:
        weight: shape `(outputs, inputs / groups, k, k)`.
    """
    *channels, height, width = weight.shape
    return height == width == 3 and all(n % LANES == 0 and n <= _MOST for n in channels)


def serves_convolution(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels are on, know such images and kernels of 3×3, and gain something.

    Args:
        x: shape `(n, inputs, height, width)`.
        weight: shape `(outputs, inputs, 3, 3)`.
    """
    return (
        takes_images(x)
        and knows_convolution(weight)
        and x.shape[1] == weight.shape[1]
        and x.dtype == weight.dtype
        and is_plain(weight)
        and x.numel() >= _PIXELS * x.shape[1]
    )


def convolution_by_kernel(x: Tensor, weight: Tensor) -> Tensor:
    """x ⋆ w of stride 1, with every pixel in the middle of its kernel.

    Args:
        x: shape `(n, inputs, height, width)`.
        weight: w, shape `(outputs, inputs, 3, 3)`, of which `serves_convolution` holds.
    """
    weight = as_stored(weight)
    return _convolved(x, weight, len(weight), weight.data_ptr(), weight.stride())


def transposed_by_kernel(dy: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x, from that of x ⋆ w: a convolution that reads w backwards, outputs for inputs.

    Args:
        dy: shape `(n, outputs, height, width)`.
        weight: w, shape `(outputs, inputs, 3, 3)`, of which `serves_convolution` holds.
    """
    weight = as_stored(weight)
    outputs, inputs, row, column = weight.stride()
    last = weight.data_ptr() + 2 * (row + column) * weight.element_size()
    return _convolved(dy, weight, weight.shape[1], last, (inputs, outputs, -row, -column))


def _convolved(x: Tensor, weight: Tensor, channels: int, first: int, strides: Sequence[int]) -> Tensor:
    n, read, height, width = x.shape
    y = torch.empty((n, channels, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    call(library(x.dtype).winograd, [n, height, width, read, channels, *strides], innermost(x), first, y)
    return y


def convolution_gradient(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    """The gradient of w, from that of x ⋆ w.

    Args:
        x: shape `(n, inputs, height, width)`.
        dy: shape `(n, outputs, height, width)`.
        weight: w, shape `(outputs, inputs, 3, 3)`, of which `serves_convolution` holds; its values do not count.
    """
    n, inputs, height, width = x.shape
    dw = torch.empty_like(weight)
    shape = [n, height, width, inputs, dy.shape[1], *dw.stride()]
    call(library(x.dtype).winograd_gradient, shape, innermost(x), innermost(dy), dw)
    return dw
