"""Tensors that a graph does not keep, since they are cheap to compute again from what it keeps anyway.

A step of second order holds the images of two forward passes and of one backward pass at once. Two kinds of them follow
from others in one pass: what a convolution of 1×1 computes, which the norm behind it keeps, from its input; and the
gradient of what a norm reads, which the convolution before it keeps, from what the norm keeps for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor

__all__ = ["computed_again", "forgetting"]

_Recipe = Callable[[], Tensor]
_Recipes = dict[int, tuple[ref[Tensor], int, _Recipe]]
"""By address: of what, in which version, and how."""

_RECIPES: ContextVar[_Recipes | None] = ContextVar("what is computed again", default=None)


@contextmanager
def forgetting() -> Iterator[None]:
    """Within the block graphs keep how a tensor is computed in its place, where `computed_again` says so.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> with forgetting():
        ...     y = x * 3
        ...     computed_again(y, torch.mul, x, 3)
        ...     z = y.square().sum()
        >>> torch.autograd.grad(z, x)
        (tensor([18., 18.]),)
    """
    recipes: _Recipes = {}

    def packed(tensor: Tensor) -> tuple[Tensor, int] | _Recipe:
        if tensor.layout is not torch.strided or tensor.data_ptr() not in recipes:
            return tensor, tensor._version
        known, version, recipe = recipes[tensor.data_ptr()]
        made = known()
        unchanged = made is not None and made._version == version
        return recipe if unchanged and _form(made) == _form(tensor) else (tensor, tensor._version)

    def unpacked(kept: tuple[Tensor, int] | _Recipe) -> Tensor:
        if not isinstance(kept, tuple):
            return kept()
        return _unchanged(*kept)

    token = _RECIPES.set(recipes)
    try:
        with torch.autograd.graph.saved_tensors_hooks(packed, unpacked):
            yield
    finally:
        _RECIPES.reset(token)
        recipes.clear()  # graphs hold these hooks, and must not hold what others keep


def computed_again(tensor: Tensor, function: Callable[..., Tensor], *arguments: Any) -> None:
    """Within `forgetting`, graphs need not keep a tensor that was just made on a CPU.

    Args:
        tensor: once somebody has changed it, it is kept.
        function: that made it, and makes it again to the bit.
        arguments: of the function, which nobody may change.
    """
    recipes = _RECIPES.get()
    if recipes is None or tensor.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return
    plain = [argument.detach() if isinstance(argument, Tensor) else argument for argument in arguments]
    versions = [argument._version if isinstance(argument, Tensor) else 0 for argument in plain]
    recipes[tensor.data_ptr()] = ref(tensor), tensor._version, partial(_made_again, function, plain, versions)


def _made_again(function: Callable[..., Tensor], arguments: Sequence[Any], versions: Sequence[int]) -> Tensor:
    for argument, version in zip(arguments, versions, strict=True):
        if isinstance(argument, Tensor):
            _unchanged(argument, version)
    return function(*arguments)


def _unchanged(tensor: Tensor, version: int) -> Tensor:
    """As torch says of tensors that a graph has kept, where nobody packs them."""
    if tensor._version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a tensor "
            f"of the shape {tuple(tensor.shape)} is at version {tensor._version}; expected version {version} instead"
        )
    return tensor


def _form(tensor: Tensor | None) -> object:
    return None if tensor is None else (tensor.shape, tensor.stride(), tensor.dtype)
