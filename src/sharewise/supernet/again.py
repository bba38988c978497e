"""Tensors that a graph does not keep, since they are cheap to compute again from what it keeps anyway.

A step of second order holds the images of two forward passes and of one backward pass at once. Three kinds of them
follow from others in one pass: averages, from what they were taken of; what a convolution of 1×1 computes, which the
norm behind it keeps, from its input; and the gradient of what a norm reads, which the convolution before it keeps, from
what the norm keeps for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor

__all__ = ["computed_again", "forgetting"]

_Kept = tuple[Tensor, int] | Callable[[], Tensor]
"""A tensor in a version, or how it is computed."""

_Recipes = dict[int, tuple[ref[torch.UntypedStorage], object, Callable[[], Tensor]]]
"""By address: in what, of which form, and how."""

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
    token = _RECIPES.set(recipes)
    try:
        with torch.autograd.graph.saved_tensors_hooks(partial(_kept, recipes), _given):
            yield
    finally:
        _RECIPES.reset(token)
        recipes.clear()  # graphs hold these hooks, and must not hold what others keep


def computed_again(tensor: Tensor, function: Callable[..., Tensor], *arguments: Any) -> None:
    """Within `forgetting`, graphs need not keep a tensor that was just made on a CPU.

    Nor what it is made of, where that is computed again as well.

    Args:
        tensor: once somebody has changed it, it is kept.
        function: that made it, and makes it again to the bit.
        arguments: of the function, which nobody may change.
    """
    recipes = _RECIPES.get()
    if recipes is None or tensor.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return
    kept = {i: _kept(recipes, given.detach()) for i, given in enumerate(arguments) if isinstance(given, Tensor)}
    others = [None if i in kept else given for i, given in enumerate(arguments)]
    recipe = partial(_made_again, function, kept, others)
    recipes[tensor.data_ptr()] = ref(tensor.untyped_storage()), _form(tensor), recipe


def _made_again(function: Callable[..., Tensor], kept: Mapping[int, _Kept], others: Sequence[Any]) -> Tensor:
    arguments = [_given(kept[i]) if i in kept else other for i, other in enumerate(others)]
    made = function(*arguments)
    computed_again(made, function, *arguments)  # by a backward pass whose graph keeps it in turn
    return made


def _kept(recipes: _Recipes, tensor: Tensor) -> _Kept:
    """How a tensor is computed, or itself."""
    if tensor.layout is not torch.strided or tensor.data_ptr() not in recipes:
        return tensor, tensor._version
    storage, form, recipe = recipes[tensor.data_ptr()]
    return recipe if storage() is not None and form == _form(tensor) else (tensor, tensor._version)


def _given(kept: _Kept) -> Tensor:
    """The tensor, of which torch would say the same where nobody packs what a graph keeps."""
    if not isinstance(kept, tuple):
        return kept()
    tensor, version = kept
    if tensor._version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a tensor "
            f"of the shape {tuple(tensor.shape)} is at version {tensor._version}; expected version {version} instead"
        )
    return tensor


def _form(tensor: Tensor) -> object:
    return tensor._version, tensor.shape, tensor.stride(), tensor.dtype
