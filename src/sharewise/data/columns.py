"""Columns: inputs that are several tensors with one row per example, by the names of a model's arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from sharewise.errors import DataError

__all__ = ["Columns", "Inputs", "concatenated"]


@final
class Columns:
    """Several tensors with one row per example: all arguments of a model, by name.

    It has what the loop asks of a tensor of inputs (`len`, `to`, `index_select`, slices), and what a call asks of
    keyword arguments, so that `model(**columns)` works. Its length is the number of examples.

    Args:
        tensors: by name, each of shape `(n, …)`.

    Raises:
        DataError: for no column, or columns of different lengths.

    Example:
        >>> columns = Columns({"tokens": torch.zeros(3, 5, dtype=torch.long), "mask": torch.ones(3, 5)})
        >>> len(columns), columns[:2]
        (3, Columns(tokens (2, 5), mask (2, 5)))
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        lengths = {name: len(tensor) for name, tensor in self._tensors.items()}
        if not lengths or len(set(lengths.values())) > 1:
            raise DataError(f"columns need tensors with one row for each example, got the lengths {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self._tensors.values())))

    def __repr__(self) -> str:
        return f"Columns({', '.join(f'{name} {tuple(t.shape)}' for name, t in self._tensors.items())})"

    def __getitem__(self, key: Any) -> Any:
        """A column by name, or the rows of a slice."""
        return self._tensors[key] if isinstance(key, str) else self._each(lambda tensor: tensor[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def keys(self) -> Iterator[str]:
        """Names of the columns."""
        return iter(self._tensors)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors."""
        return iter(self._tensors.items())

    def values(self) -> Iterator[Tensor]:
        """The tensors."""
        return iter(self._tensors.values())

    def _each(self, function: Any) -> Columns:
        return Columns({name: function(tensor) for name, tensor in self._tensors.items()})

    def to(self, place: torch.device | torch.dtype | str, *, non_blocking: bool = False) -> Columns:
        """On another device; in another precision, which integers ignore."""
        if isinstance(place, torch.dtype):
            return self._each(lambda tensor: tensor.to(place) if tensor.is_floating_point() else tensor)
        return self._each(lambda tensor: tensor.to(place, non_blocking=non_blocking))

    def index_select(self, dim: int, rows: Tensor) -> Columns:
        """Some of the examples."""
        return self._each(lambda tensor: tensor.index_select(dim, rows))

    def is_floating_point(self) -> bool:
        """Whether any column is."""
        return any(tensor.is_floating_point() for tensor in self._tensors.values())

    def numel(self) -> int:
        """Numbers in all columns."""
        return sum(tensor.numel() for tensor in self._tensors.values())

    def dim(self) -> int:
        """Of no image: columns have no dimensions in common but the first."""
        return 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one example, by column."""
        return {name: tuple(tensor.shape[1:]) for name, tensor in self._tensors.items()}

    @property
    def integers(self) -> dict[str, bool]:
        """Whether a column holds integers."""
        return {name: not tensor.is_floating_point() for name, tensor in self._tensors.items()}


Mapping.register(Columns)

Inputs = Any
"""A tensor, or `Columns`: what reads data of one kind knows which, and everything else asks for what both have."""


def concatenated(parts: Sequence[Inputs]) -> Inputs:
    """The examples of several batches one after the other.

    Example:
        >>> concatenated([Columns({"a": torch.zeros(1)}), Columns({"a": torch.ones(1)})])["a"]
        tensor([0., 1.])
    """
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    columns = [part for part in parts if isinstance(part, Columns)]
    return Columns({name: torch.cat([part[name] for part in columns]) for name in columns[0]})
