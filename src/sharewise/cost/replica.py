"""Copies of modules to be traced: without values, with the same ties between parameters."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["real_copy", "shape_copy"]

_Module = TypeVar("_Module", bound=nn.Module)


def shape_copy(module: _Module) -> _Module:
    """A copy whose parameters have shapes and no memory; tied parameters stay one, and buffers keep their values.

    `module.to("meta")` would give every name a parameter of its own.

    Args:
        module: any module; its hooks are copied with it.

    Example:
        >>> first, second = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> second.weight = first.weight
        >>> copied = shape_copy(nn.Sequential(first, second))
        >>> copied[0].weight is copied[1].weight, copied[0].weight.is_meta
        (True, True)
    """
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        shape = torch.empty_like(parameter, device="meta", requires_grad=False)
        memo[id(parameter)] = nn.Parameter(shape, requires_grad=parameter.requires_grad)
    for part in module.modules():
        for value in vars(part).values():
            if (
                isinstance(value, Tensor) and not value.is_leaf
            ):  # as old weight norm leaves them; no copy knows their graph
                memo[id(value)] = torch.empty_like(value, device="meta", requires_grad=False)
    return copy.deepcopy(module, memo)


def real_copy(module: _Module) -> _Module:
    """A copy with values on the host, for code that looks at them."""
    memo: dict[int, object] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo).cpu()
