"""Images with channels last: as rows of many pixels each, and with gradients in the same order.

Torch hands a gradient on as it comes: that of a concatenation is a view into a wider image, that of a mean over pixels
is one number seen many times. Kernels of norms and rectifications take such a gradient beside an image with channels
last through their slowest form, 3 to 5 times as long, and every term of a node pays that again. Here it is copied once.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "AS_STORED",
    "AS_WRITTEN",
    "IMAGE",
    "aligned",
    "image_of",
    "innermost",
    "is_channels_last",
    "rows_of",
    "stored",
]

AS_STORED, AS_WRITTEN = (0, 2, 3, 1), (0, 3, 1, 2)
"""Dimensions of images with channels last, outermost first, and back."""

IMAGE = 4
"""Dimensions of a batch of images."""

_ROW = 256
"""Numbers in a row, about: enough for loops over a row to be all vectors."""


def aligned(x: Tensor) -> Tensor:
    """The same tensor, whose gradient will be stored as it is, where it is a batch of images with channels last.

    Args:
        x: any tensor; others than such images are left alone.

    Example:
        >>> x = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
        >>> y, gradients = aligned(x * 1), []
        >>> _ = y.register_hook(lambda gradient: gradients.append(gradient.stride()))
        >>> y.mean().backward()
        >>> gradients == [x.stride()]
        True
    """
    if x.requires_grad and is_channels_last(x):
        x.register_hook(innermost)  # type: ignore[no-untyped-call]
    return x


def stored(part: Tensor, like: Tensor) -> Tensor:
    """A part of some images in memory of its own, where they have channels last; otherwise as it is.

    Args:
        part: a view of `like`.
        like: the images.
    """
    return innermost(part) if is_channels_last(like) else part


def innermost(x: Tensor) -> Tensor:
    """Images with channels last.

    Args:
        x: shape `(n, channels, height, width)`.
    """
    return x.contiguous(memory_format=torch.channels_last)


def rows_of(x: Tensor) -> Tensor:
    """The numbers of images in rows of whole pixels, so that column j belongs to channel j modulo the channels.

    Args:
        x: shape `(n, channels, height, width)`, channels last.

    Example:
        >>> x = torch.arange(12.0).view(1, 2, 2, 3).contiguous(memory_format=torch.channels_last)
        >>> rows_of(x)
        tensor([[ 0.,  6.,  1.,  7.,  2.,  8.,  3.,  9.,  4., 10.,  5., 11.]])
    """
    channels, numbers = x.shape[1], x.permute(AS_STORED).reshape(-1)
    pixels = min(max(_ROW // channels, 1), numbers.numel() // channels)
    while numbers.numel() % (pixels * channels):
        pixels -= 1
    return numbers.view(-1, pixels * channels)


def image_of(rows: Tensor, like: Tensor) -> Tensor:
    """The images of a shape whose rows these are."""
    n, channels, height, width = like.shape
    return rows.view(n, height, width, channels).permute(AS_WRITTEN)


def is_channels_last(x: Tensor) -> bool:
    """Whether it is a batch of images with channels last."""
    return x.dim() == IMAGE and x.is_contiguous(memory_format=torch.channels_last)
