"""Networks without values: built for their shapes alone, or for weights that are about to be replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["without_values"]


@contextmanager
def without_values() -> Iterator[None]:
    """Build modules on the `meta` device, where torch neither takes memory nor draws numbers.

    Torch finds out what a random initialisation does to such a tensor, which is nothing, in a millisecond each: a third
    of what it takes to price an architecture. Here it does not ask.

    Example:
        >>> with without_values():
        ...     layer = torch.nn.Linear(2, 3)
        >>> layer.weight.is_meta, tuple(layer.weight.shape)
        (True, (3, 2))
    """
    with torch.device("meta"), _Undrawn():
        yield


_DRAWS = frozenset({
    Tensor.normal_, Tensor.uniform_, Tensor.random_, Tensor.bernoulli_, Tensor.exponential_, Tensor.log_normal_,
    Tensor.cauchy_, Tensor.geometric_, Tensor.erfinv_,
    nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_,  # which torch hands over whole
})  # fmt: skip


@final
class _Undrawn(TorchFunctionMode):
    """Leaves tensors without values alone when they would be filled at random."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        filled = args[0] if args else (kwargs or {}).get("tensor")
        if func in _DRAWS and isinstance(filled, Tensor) and filled.is_meta:
            return filled
        return func(*args, **(kwargs or {}))
