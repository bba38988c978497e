"""Weights that cannot fit into memory are refused before they are made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode

from sharewise.memory import require_memory

__all__ = ["fitting"]

_COPIES = 3
"""Of every weight in training: itself, its gradient and its momentum."""


@contextmanager
def fitting() -> Iterator[None]:
    """Make modules within the block only while their weights fit into memory, trained as they will be.

    Counted as they are asked for, since a network that is too large would end the process, not raise an error.

    Raises:
        ConfigurationError: before the first tensor that does not fit.

    Example:
        >>> with fitting():
        ...     torch.nn.Linear(10**9, 10**9)
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: the weights of the network need, with gradients and momentum, ...
    """
    with _Counted():
        yield


@final
class _Counted(TorchFunctionMode):
    """Counts what layers ask for: they make their parameters by `torch.empty`."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and str(kwargs.get("device")) != "meta":
            shape = kwargs.get("size", args[0] if len(args) == 1 and not isinstance(args[0], int) else args)
            self.numbers += math.prod(shape)
            require_memory(
                4 * _COPIES * self.numbers,
                "the weights of the network need, with gradients and momentum,",
                "choose a smaller network by its options (--channels, --layers, --width, …)",
            )
        return func(*args, **kwargs)
