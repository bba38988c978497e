"""Depthwise convolutions and the gradients of their kernels, by compiled kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from sharewise.supernet.layout import innermost
from sharewise.supernet.native.images import LANES, are_whole, call, takes_images
from sharewise.supernet.native.library import library

__all__ = ["depthwise_by_kernel", "depthwise_gradient", "knows_depthwise", "serves_depthwise"]

_SIZES = (3, 5, 7)


def knows_depthwise(weight: Tensor) -> bool:
    """Whether the kernels know a depthwise weight of such a shape, for images of some widths at least.

    Args:
        weight: shape `(channels, 1, k, k)`.
    """
    channels, one, height, width = weight.shape
    return one == 1 < channels and height == width and width in _SIZES and are_whole(channels, LANES)


def serves_depthwise(x: Tensor, size: int) -> bool:
    """Whether the kernels are on and know such images and depthwise kernels.

    Args:
        x: shape `(n, channels, height, width)`.
        size: of the convolution's kernel, in both directions.
    """
    return size in _SIZES and takes_images(x) and are_whole(x.shape[1], x.shape[1] * x.shape[3])


def depthwise_gradient(x: Tensor, dy: Tensor, size: int, dilation: int) -> Tensor:
    """K(x, dy): the gradient of a depthwise kernel of stride 1 that is centred on each pixel.

    Args:
        x: shape `(n, channels, height, width)`, of which `serves_depthwise` holds.
        dy: of its shape.
        size: of the kernel.
        dilation: in both directions.

    Returns:
        Shape `(channels, 1, size, size)`.
    """
    dw = x.new_empty((x.shape[1], 1, size, size))
    call(library(x.dtype).depthwise_gradient, _shape(x, size, dilation), innermost(x), innermost(dy), dw)
    return dw


def depthwise_by_kernel(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """x ⋆ w of stride 1, with every pixel in the middle of its kernel.

    Args:
        x: shape `(n, channels, height, width)`, of which `serves_depthwise` holds.
        kernel: w, shape `(channels, 1, k, k)`.
        dilation: in both directions.
    """
    x = innermost(x)
    y = torch.empty_like(x)
    call(library(x.dtype).depthwise, _shape(x, kernel.shape[-1], dilation), x, kernel.contiguous(), y)
    return y


def _shape(x: Tensor, size: int, dilation: int) -> list[int]:
    n, channels, height, width = x.shape
    return [n, height, width, channels, size, dilation]
