"""Equality to the bit of whatever a state holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["same", "timeless", "values"]


def same(first: Any, second: Any) -> bool:
    """Whether two nested values of dictionaries, sequences, tensors and plain values are equal to the bit.

    Args:
        first: any value.
        second: any value.

    Example:
        >>> same({"a": [torch.ones(2), 1]}, {"a": [torch.ones(2), 1]})
        True
    """
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def timeless(value: Any) -> Any:
    """A record, or a list of them, without measured seconds, which no seed decides.

    Example:
        >>> timeless([{"seconds": 1.5, "step": 2}])
        [{'step': 2}]
    """
    if isinstance(value, Mapping):
        return {key: timeless(inner) for key, inner in value.items() if key != "seconds"}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def values(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters and buffers of a module by name.

    Args:
        module: any.

    Example:
        >>> sorted(values(nn.Linear(1, 1)))
        ['bias', 'weight']
    """
    return {name: value.clone() for name, value in module.state_dict().items()}
