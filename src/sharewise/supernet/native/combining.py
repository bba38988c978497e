"""Sums of images with weights, several at once, and their gradients, by compiled kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from sharewise.supernet.layout import is_channels_last
from sharewise.supernet.native.images import as_stored, call, is_plain, takes_images
from sharewise.supernet.native.library import library

__all__ = ["combined_by_kernel", "products_by_kernel", "serves_combined"]


def serves_combined(images: Sequence[Tensor]) -> bool:
    """Whether the kernels are on and know such images, which must be of one shape and type.

    Args:
        images: shape `(n, channels, height, width)`, each.
    """
    first = images[0]
    return takes_images(first) and all(
        x.shape == first.shape and x.dtype == first.dtype and is_plain(x) and is_channels_last(x) for x in images
    )


def combined_by_kernel(weights: Tensor, images: Sequence[Tensor]) -> list[Tensor]:
    """Σ_k w_jk x_k for every j.

    Args:
        weights: w, shape `(outputs, images)`.
        images: x, channels innermost, of which `serves_combined` holds.
    """
    images, made = [as_stored(x) for x in images], [torch.empty_like(images[0]) for _ in weights]
    read, written = _addresses(images), _addresses(made)
    shape = [images[0].numel(), len(images), len(made)]
    call(library(weights.dtype).combine, shape, weights.contiguous(), ctypes.addressof(read), ctypes.addressof(written))
    return made


def products_by_kernel(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """⟨x_j, y_k⟩, shape `(first, second)`.

    Args:
        first: x, channels innermost, of which `serves_combined` holds.
        second: y, as x.
    """
    first, second = ([as_stored(x) for x in images] for images in (first, second))
    found = first[0].new_empty((len(first), len(second)))
    one, other = _addresses(first), _addresses(second)
    shape = [first[0].numel(), len(first), len(second)]
    call(library(found.dtype).products, shape, ctypes.addressof(one), ctypes.addressof(other), found)
    return found


def _addresses(images: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(images))(*[x.data_ptr() for x in images])
