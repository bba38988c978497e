"""Tensors that a graph does not keep, since they are cheap to compute again from what it keeps anyway.

A step of second order holds the images of two forward passes and of one backward pass at once. Three kinds of them
follow from others in one pass: averages, from what they were taken of; what a convolution of 1×1 computes, which the
norm behind it keeps, from its input; and the gradient of what a norm reads, which the convolution before it keeps, from
what the norm keeps for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, final
from weakref import ref

import torch
from torch import Tensor

__all__ = ["computed_again", "forgetting"]


@final
class _Recipe(NamedTuple):
    """How a tensor is computed.

    Args:
        alive: the tensor; of one that a backward pass has made, its memory, since torch hands that on as another.
        version: of the tensor.
        form: shape, strides and precision.
        make: the tensor once more.
    """

    alive: ref[Tensor] | ref[torch.UntypedStorage]
    version: int
    form: object
    make: Callable[[], Tensor]

    def makes(self, tensor: Tensor) -> bool:
        """Whether a tensor at the same address is the one that it makes."""
        own = self.alive()
        known = own if isinstance(own, Tensor) else tensor
        return own is not None and known._version == self.version and self.form == _form(tensor)


_Recipes = dict[int, _Recipe]
"""By address."""

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

    def packed(tensor: Tensor) -> tuple[Tensor, int] | Callable[[], Tensor]:
        recipe = recipes.get(tensor.data_ptr()) if tensor.layout is torch.strided else None
        return recipe.make if recipe is not None and recipe.makes(tensor) else (tensor, tensor._version)

    def unpacked(kept: tuple[Tensor, int] | Callable[[], Tensor]) -> Tensor:
        return _unchanged(*kept) if isinstance(kept, tuple) else kept()

    token = _RECIPES.set(recipes)
    try:
        with torch.autograd.graph.saved_tensors_hooks(packed, unpacked):
            yield
    finally:
        _RECIPES.reset(token)
        recipes.clear()  # graphs hold these hooks, and must not hold what others keep


def computed_again(tensor: Tensor, function: Callable[..., Tensor], *arguments: Any) -> None:
    """Within `forgetting`, graphs need not keep a tensor that was just made on a CPU.

    Nor need the graph of a backward pass, which computes it again.

    Args:
        tensor: once somebody has changed it, it is kept.
        function: that made it, and makes it again to the bit.
        arguments: of the function, which nobody may change.
    """
    if _RECIPES.get() is None:
        return
    plain = [argument.detach() if isinstance(argument, Tensor) else argument for argument in arguments]
    versions = [argument._version if isinstance(argument, Tensor) else 0 for argument in plain]
    _note(ref(tensor), tensor, partial(_made_again, function, plain, versions))


def _made_again(function: Callable[..., Tensor], arguments: Sequence[Any], versions: Sequence[int]) -> Tensor:
    for argument, version in zip(arguments, versions, strict=True):
        if isinstance(argument, Tensor):
            _unchanged(argument, version)
    made = function(*arguments)
    if torch.is_grad_enabled():  # else nobody keeps it
        _note(ref(made.untyped_storage()), made, partial(_made_again, function, arguments, versions))
    return made


def _note(alive: ref[Tensor] | ref[torch.UntypedStorage], tensor: Tensor, make: Callable[[], Tensor]) -> None:
    recipes = _RECIPES.get()
    if recipes is not None and tensor.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        recipes[tensor.data_ptr()] = _Recipe(alive, tensor._version, _form(tensor), make)


def _unchanged(tensor: Tensor, version: int) -> Tensor:
    """As torch says of tensors that a graph has kept, where nobody packs them."""
    if tensor._version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a tensor "
            f"of the shape {tuple(tensor.shape)} is at version {tensor._version}; expected version {version} instead"
        )
    return tensor


def _form(tensor: Tensor) -> object:
    return tensor.shape, tensor.stride(), tensor.dtype
