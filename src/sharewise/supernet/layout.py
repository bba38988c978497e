"""Gradients in the layout of what they are gradients of.

Torch hands a gradient on as it comes: that of a concatenation is a view into a wider image, that of a mean over pixels
is one number seen many times. Kernels of norms and rectifications take such a gradient beside an image with channels
last through their slowest form, 3 to 5 times as long, and every term of a node pays that again. Here it is copied once.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["aligned", "stored"]

_IMAGE = 4
"""Dimensions of a batch of images."""


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
    if x.requires_grad and _is_channels_last(x):
        x.register_hook(_in_order)  # type: ignore[no-untyped-call]
    return x


def stored(part: Tensor, like: Tensor) -> Tensor:
    """A part of some images in memory of its own, where they have channels last; otherwise as it is.

    Args:
        part: a view of `like`.
        like: the images.
    """
    return _in_order(part) if _is_channels_last(like) else part


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == _IMAGE and x.is_contiguous(memory_format=torch.channels_last)


def _in_order(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
