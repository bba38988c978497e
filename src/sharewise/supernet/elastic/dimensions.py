"""Dimensions of the tensors of a traced model: which of them are one, and what dies with what.

A dimension is a row of positions that are alive or dead. Tensors that are added share their dimensions; a concatenation
is made of *parts*; a dimension that is viewed as heads × head size is a *product*. When some positions of one dimension
die, `closure` finds all that must die with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError

__all__ = ["Alive", "Dimensions", "FixedDimensionError"]

Alive = npt.NDArray[np.bool_]
"""Which positions of a dimension are alive."""


class FixedDimensionError(ConfigurationError):
    """A dimension would have to shrink that cannot."""


@dataclass(frozen=True)
class _Part:
    """`part` is made of the positions `positions` of `whole`."""

    whole: int
    positions: npt.NDArray[np.int64]
    part: int

    def members(self) -> tuple[int, ...]:
        return self.whole, self.part


@dataclass(frozen=True)
class _Product:
    """The positions of `flat` are the tuples of positions of `factors`, the last factor varying fastest."""

    flat: int
    factors: tuple[int, ...]
    where: str

    def members(self) -> tuple[int, ...]:
        return self.flat, *self.factors


@final
class Dimensions:
    """All dimensions of a traced model.

    Example:
        >>> dimensions = Dimensions()
        >>> rows, heads, size = dimensions.new(6, "rows"), dimensions.new(2, "heads"), dimensions.new(3, "size")
        >>> dimensions.product(rows, (heads, size), "attention")
        >>> dimensions.closure({heads: np.array([True, False])})[rows].astype(int).tolist()
        [1, 1, 1, 0, 0, 0]
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._sizes: list[int] = []
        self._labels: list[str] = []
        self._fixed: dict[int, str] = {}
        self._relations: list[_Part | _Product] = []
        self._neighbours: dict[int, list[_Part | _Product]] | None = None

    def new(self, size: int, label: str) -> int:
        """A dimension of its own.

        Args:
            size: number of positions.
            label: how messages call it.
        """
        self._parents.append(len(self._parents))
        self._sizes.append(size)
        self._labels.append(label)
        return len(self._parents) - 1

    def find(self, dimension: int) -> int:
        """The representative of all dimensions that are the same."""
        while self._parents[dimension] != dimension:
            self._parents[dimension] = self._parents[self._parents[dimension]]
            dimension = self._parents[dimension]
        return dimension

    def size(self, dimension: int) -> int:
        """The number of positions."""
        return self._sizes[dimension]

    def label(self, dimension: int) -> str:
        """How messages call the dimension."""
        return self._labels[dimension]

    def same(self, first: int, second: int) -> None:
        """Both are one dimension; a name that a parameter gave survives."""
        first, second = sorted((self.find(first), self.find(second)))
        assert self._sizes[first] == self._sizes[second]
        if first != second:
            self._parents[second] = first
            if second in self._fixed:
                self._fixed.setdefault(first, self._fixed.pop(second))
            self._neighbours = None

    def fix(self, dimension: int, reason: str) -> None:
        """No position may die, for a reason that messages give."""
        self._fixed.setdefault(self.find(dimension), reason)

    def part(self, whole: int, positions: Sequence[int] | range, part: int) -> None:
        """`part` is made of some positions of `whole`."""
        self._relations.append(_Part(whole, np.asarray(positions, dtype=np.int64), part))
        self._neighbours = None

    def product(self, flat: int, factors: Sequence[int], where: str) -> None:
        """`flat` is the product of `factors`, the last one varying fastest."""
        if len(factors) == 1:
            self.same(flat, factors[0])
            return
        self._relations.append(_Product(flat, tuple(factors), where))
        self._neighbours = None

    def products(self) -> list[tuple[str, tuple[int, ...]]]:
        """Where dimensions are split or merged, and the factors."""
        return [(r.where, r.factors) for r in self._relations if isinstance(r, _Product)]

    def closure(self, seeds: Mapping[int, Alive]) -> dict[int, Alive]:
        """All that must die when some positions die.

        Args:
            seeds: which positions of some dimensions stay alive.

        Returns:
            For every dimension (its representative) that loses positions, what stays alive.

        Raises:
            FixedDimensionError: when a dimension would have to shrink that cannot, or by a part that its use does not
                allow.
        """
        alive: dict[int, Alive] = {}
        queue: list[int] = []

        def now(dimension: int) -> Alive:
            root = self.find(dimension)
            return alive.get(root, np.ones(self._sizes[root], dtype=bool))

        def limit(dimension: int, allowed: Alive) -> None:
            root = self.find(dimension)
            before = now(root)
            after = before & allowed
            if (after == before).all():
                return
            if root in self._fixed:
                raise FixedDimensionError(f"{self._labels[root]} cannot shrink: {self._fixed[root]}")
            if not after.any():
                raise FixedDimensionError(f"nothing would be left of {self._labels[root]}")
            alive[root] = after
            queue.append(root)

        for dimension, allowed in seeds.items():
            limit(dimension, allowed)
        touched: list[_Part | _Product] = []
        while queue:
            for relation in self._around(queue.pop()):
                touched.append(relation)
                if isinstance(relation, _Part):
                    limit(relation.part, now(relation.whole)[relation.positions])
                    allowed = np.ones(self._sizes[self.find(relation.whole)], dtype=bool)
                    allowed[relation.positions] = now(relation.part)
                    limit(relation.whole, allowed)
                else:
                    limit(relation.flat, _outer([now(f) for f in relation.factors]))
                    whole = now(relation.flat).reshape([self._sizes[f] for f in relation.factors])
                    for axis, factor in enumerate(relation.factors):
                        others = tuple(i for i in range(whole.ndim) if i != axis)
                        limit(factor, np.asarray(whole.any(axis=others)))
        for relation in touched:
            if isinstance(relation, _Part):
                continue
            flat = now(relation.flat)
            if not (flat == _outer([now(f) for f in relation.factors])).all():
                sizes = " × ".join(str(self._sizes[f]) for f in relation.factors)
                raise FixedDimensionError(
                    f"{self._labels[self.find(relation.flat)]} is used as {sizes} in {relation.where!r}, which "
                    f"{int(flat.sum())} of its {len(flat)} positions do not fit"
                )
        return alive

    def _around(self, root: int) -> list[_Part | _Product]:
        if self._neighbours is None:
            self._neighbours = {}
            for relation in self._relations:
                for member in {self.find(m) for m in relation.members()}:
                    self._neighbours.setdefault(member, []).append(relation)
        return self._neighbours.get(root, [])


def _outer(factors: Sequence[Alive]) -> Alive:
    flat = factors[0]
    for factor in factors[1:]:
        flat = (flat[:, None] & factor).reshape(-1)
    return flat
