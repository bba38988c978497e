"""Batch norm in training and its first two derivatives, by compiled kernels. `norm.c` has the equations."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from sharewise.supernet.layout import is_channels_last
from sharewise.supernet.native.images import LANES, are_whole, call, is_plain, takes_images
from sharewise.supernet.native.library import library

__all__ = ["knows_norm", "norm_by_kernel", "norm_gradient", "norm_second_gradient", "serves_norm"]


def knows_norm(channels: int) -> bool:
    """Whether the kernels know so many channels, for some images at least.

    Args:
        channels: of an image.
    """
    return are_whole(channels, LANES)


def serves_norm(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the kernels are on and know such images.

    Args:
        x: shape `(n, channels, height, width)`.
        others: a weight, a shift and running statistics, or `None`.
    """
    if not takes_images(x) or not is_channels_last(x) or x.numel() == x.shape[1]:  # of one value torch says so
        return False
    channels = x.shape[1]
    for other in others:
        if other is not None and not (_fits(other, channels) and other.dtype == x.dtype and is_plain(other)):
            return False
    return are_whole(channels, x.numel())


def _fits(other: Tensor, channels: int) -> bool:
    """Whether it is one number, or one for every channel, that lie one behind the other."""
    return (other.dim() == 0 or tuple(other.shape) == (channels,)) and other.is_contiguous() and not other.is_neg()


def norm_by_kernel(
    x: Tensor,
    weight: Tensor | None,
    shift: Tensor | None,
    onto: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    momentum: float,
    eps: float,
    *,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor]:
    """Images that are normalised by their own moments, and added onto others.

    Args:
        x: shape `(n, channels, height, width)`, of which `serves_norm` holds.
        weight: shape `(channels,)` or `()`, or `None` for one.
        shift: shape `(channels,)`, or `None` for zeros.
        onto: shape of x, channels innermost, or `None` for zeros.
        mean: running mean, which is changed, or `None`.
        variance: running variance, which is changed, or `None`.
        momentum: of the running statistics.
        eps: ε.
        overwrite: whether y takes the place of x.

    Returns:
        y, and μ and r, shape `(2, channels)`.
    """
    y, found = x if overwrite else torch.empty_like(x), x.new_empty((2, x.shape[1]))
    numbers = (ctypes.c_double * 2)(eps, momentum)
    given = (x, weight, shift, onto, mean, variance, y, found)
    call(library(x.dtype).norm, _shape(x, weight), ctypes.addressof(numbers), *given)
    return y, found


def norm_gradient(
    h: Tensor, x: Tensor, weight: Tensor | None, found: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients by x, weight and shift, of which those are computed that are wanted.

    Args:
        h: of y, shape of x, channels innermost.
        x: as `norm_by_kernel` read it.
        weight: as `norm_by_kernel` read it.
        found: μ and r.
        wanted: of x, weight and shift.
    """
    dx = torch.empty_like(x) if wanted[0] else None
    dw = torch.empty_like(weight) if wanted[1] and weight is not None else None
    shift = x.new_empty(x.shape[1]) if wanted[2] else None
    call(library(x.dtype).norm_gradient, _shape(x, weight), h, x, weight, found, dx, dw, shift)
    return dx, dw, shift


def norm_second_gradient(
    upper: Tensor,
    of_weight: Tensor | None,
    of_shift: Tensor | None,
    h: Tensor,
    x: Tensor,
    weight: Tensor | None,
    found: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of `norm_gradient` by h, x and weight.

    Args:
        upper: of dx, shape of x, channels innermost.
        of_weight: of dw, or `None` for zeros.
        of_shift: of d(shift), or `None` for zeros.
        h: as `norm_gradient` read it.
        x: as `norm_by_kernel` read it.
        weight: as `norm_by_kernel` read it.
        found: μ and r.
    """
    dh, dx = torch.empty_like(x), torch.empty_like(x)
    dw = None if weight is None else torch.empty_like(weight)
    given = (upper, of_weight, of_shift, h, x, weight, found, dh, dx, dw)
    call(library(x.dtype).norm_second_gradient, _shape(x, weight), *given)
    return dh, dx, dw


def _shape(x: Tensor, weight: Tensor | None) -> list[int]:
    return [x.numel() // x.shape[1], x.shape[1], 0 if weight is None else weight.numel()]
