"""What compiled kernels can be given, and how they are called."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from sharewise.supernet.layout import IMAGE
from sharewise.supernet.native.library import enabled

__all__ = ["LANES", "are_whole", "as_stored", "call", "is_plain", "is_watched", "takes", "takes_images"]

_PLAIN = (Tensor, nn.Parameter)

LANES = 16
"""Numbers of the longest vector: a row of an image is whole vectors for all processors, or for none."""


def takes_images(x: Tensor) -> bool:
    """Whether the kernels are on and know images of such a kind, but for the number of channels.

    Args:
        x: shape `(n, channels, height, width)`.
    """
    return x.dim() == IMAGE and takes(x)


def takes(x: Tensor) -> bool:
    """Whether the kernels are on and know tensors of such a kind, but for their shape.

    Args:
        x: any tensor.
    """
    return (
        enabled()
        and not is_watched()
        and is_plain(x)
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and torch.get_num_threads() == 1
    )


def are_whole(channels: int, numbers: int) -> bool:
    """Whether numbers that lie one behind the other are whole vectors, each of which begins with the same channel.

    Args:
        channels: of a pixel.
        numbers: of whole pixels.
    """
    return channels % LANES == 0 or (LANES % channels == 0 and numbers % LANES == 0)


def is_plain(x: Tensor) -> bool:
    """Whether a tensor lies in the memory of this processor, and is of no class that somebody made."""
    return type(x) in _PLAIN and x.device.type == "cpu"


def is_watched() -> bool:
    """Whether a mode or a trace writes operations down or replaces them, or derivatives are taken in forward mode.

    `torch.func` replaces them, too. None of these sees the kernels.
    """
    if forward_ad._current_level >= 0:
        return True
    modes = torch._C._len_torch_dispatch_stack()
    if modes or torch._C._are_functorch_transforms_active() or torch._C._is_tracing():
        return True
    if torch._C._len_torch_function_stack() == 0:
        return False
    return any(map(_sees_calls, _get_current_function_mode_stack()))  # type: ignore[no-untyped-call]


def _sees_calls(mode: object) -> bool:
    """Whether a mode of torch may answer for a layer: those that say so do not, nor does one that sets a device."""
    return getattr(mode, "sees_calls", True) and not isinstance(mode, DeviceContext)


def as_stored(x: Tensor) -> Tensor:
    """The same numbers, lying in memory with their own sign, also where they are known to be zeros."""
    if x._is_zerotensor():
        return x.clone()
    return x.resolve_neg() if x.is_neg() else x  # asked, since torch dispatches the other even where it does nothing


def call(function: Any, shape: Sequence[int], *arguments: Tensor | int | None) -> None:
    """Call a kernel.

    Args:
        function: of the library; it returns 0, or 1 where there is no memory, 2 where it serves no such shape.
        shape: its first argument.
        arguments: the others: addresses, tensors that lie in memory as it reads them, or `None` for what is not there.

    Raises:
        MemoryError: when there is none.
        ValueError: when it serves no such shape.
    """
    held = [as_stored(argument) if isinstance(argument, Tensor) else argument for argument in arguments]
    addresses = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in held]
    if 0 in addresses and any(isinstance(it, Tensor) and it.numel() and not it.data_ptr() for it in held):
        raise ValueError(f"a tensor without memory of its own came to a compiled kernel, of the shape {tuple(shape)}")
    found = function((ctypes.c_long * len(shape))(*shape), *addresses)
    if found == 1:
        raise MemoryError(f"no memory for a compiled kernel on the shape {tuple(shape)}")
    if found:
        raise ValueError(f"no compiled kernel serves the shape {tuple(shape)}")
