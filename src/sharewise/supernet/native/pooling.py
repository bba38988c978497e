"""The average of 3×3 pixels, by compiled kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from sharewise.supernet.layout import is_channels_last
from sharewise.supernet.native.images import call, takes_images
from sharewise.supernet.native.library import library

__all__ = ["average_by_kernel", "serves_average"]


def serves_average(x: Tensor) -> bool:
    """Whether the kernels are on and know such images.

    Args:
        x: shape `(n, channels, height, width)`.
    """
    return takes_images(x) and is_channels_last(x)


def average_by_kernel(x: Tensor, *, transposed: bool = False) -> Tensor:
    """The average of the 3×3 pixels about each, of those that exist.

    Args:
        x: shape `(n, channels, height, width)`, channels innermost.
        transposed: the gradient of x instead, from that of the average in its place.
    """
    y = torch.empty_like(x)
    n, channels, height, width = x.shape
    call(library(x.dtype).average, [n, height, width, channels, int(transposed)], x, y)
    return y
