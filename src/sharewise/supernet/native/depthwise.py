"""Depthwise convolutions and the gradients of their kernels, by compiled kernels."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from sharewise.supernet.native.library import enabled, library

__all__ = ["depthwise_by_kernel", "kernel_gradient", "serves"]

_LANES = 16
_SIZES = (3, 5, 7)


def serves(x: Tensor, size: int) -> bool:
    """Whether the kernels are on and know such images and kernels.

    Args:
        x: shape `(n, channels, height, width)`.
        size: of the convolution's kernel, in both directions.
    """
    if (
        not enabled()
        or _is_watched()
        or x.device.type != "cpu"
        or x.dtype not in (torch.float32, torch.float64)
        or x.dim() != 4
    ):
        return False
    channels, width = x.shape[1], x.shape[3]
    whole = channels % _LANES == 0 or (_LANES % channels == 0 and channels * width % _LANES == 0)
    return size in _SIZES and whole and x.numel() > 0 and torch.get_num_threads() == 1


def _is_watched() -> bool:
    """Whether some mode writes operations down or counts them: it would not see what the kernels do."""
    return bool(torch.utils._python_dispatch._get_current_dispatch_mode_stack())


def kernel_gradient(x: Tensor, dy: Tensor, size: int, dilation: int) -> Tensor:
    """K(x, dy): the gradient of a depthwise kernel of stride 1 that is centred on each pixel.

    Args:
        x: shape `(n, channels, height, width)`, of which `serves` holds.
        dy: of its shape.
        size: of the kernel.
        dilation: in both directions.

    Returns:
        Shape `(channels, 1, size, size)`.
    """
    dw = x.new_empty((x.shape[1], 1, size, size))
    _call(library(x.dtype).kernel_gradient, x, size, dilation, _images(x), _images(dy), dw)
    return dw


def depthwise_by_kernel(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """x ⋆ w of stride 1, with every pixel in the middle of its kernel.

    Args:
        x: shape `(n, channels, height, width)`, of which `serves` holds.
        kernel: w, shape `(channels, 1, k, k)`.
        dilation: in both directions.
    """
    x = _images(x)
    y = torch.empty_like(x)
    _call(library(x.dtype).depthwise, x, kernel.shape[-1], dilation, x, kernel.contiguous(), y)
    return y


def _images(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _call(function: Any, x: Tensor, size: int, dilation: int, *tensors: Tensor) -> None:
    n, channels, height, width = x.shape
    shape = (ctypes.c_long * 6)(n, height, width, channels, size, dilation)
    found = function(shape, *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors))
    if found == 1:
        raise MemoryError(f"no memory for an image of {channels} channels and {height}x{width} pixels")
    if found:
        raise ValueError(f"no compiled kernel serves images of {channels} channels and kernels of {size}x{size}")
