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

    def spread(self, spread: _Spread) -> None:
        spread.limit(self.part, spread.now(self.whole)[self.positions])
        allowed = np.ones_like(spread.now(self.whole))
        allowed[self.positions] = spread.now(self.part)
        spread.limit(self.whole, allowed)

    def check(self, spread: _Spread) -> None:
        """Any positions may be left."""


@dataclass(frozen=True)
class _Product:
    """The positions of `flat` are the tuples of positions of `factors`, the last factor varying fastest."""

    flat: int
    factors: tuple[int, ...]
    where: str

    def members(self) -> tuple[int, ...]:
        return self.flat, *self.factors

    def spread(self, spread: _Spread) -> None:
        spread.limit(self.flat, _outer([spread.now(f) for f in self.factors]))
        whole = spread.now(self.flat).reshape([len(spread.now(f)) for f in self.factors])
        for axis, factor in enumerate(self.factors):
            others = tuple(i for i in range(whole.ndim) if i != axis)
            spread.limit(factor, np.asarray(whole.any(axis=others)))

    def check(self, spread: _Spread) -> None:
        """What is left must still be a product."""
        flat, factors = spread.now(self.flat), [spread.now(f) for f in self.factors]
        if not (flat == _outer(factors)).all():
            label = spread.dimensions.label(spread.dimensions.find(self.flat))
            raise FixedDimensionError(
                f"{label} is used as {' × '.join(str(len(f)) for f in factors)} in {self.where!r}, which "
                f"{int(flat.sum())} of its {len(flat)} positions do not fit"
            )


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

    def made_of(self, dimension: int) -> list[int]:
        """What a dimension is made of: the factors of a product, the last first, and a part that repeats."""
        root, found, pieces = self.find(dimension), list[int](), dict[tuple[int, ...], int]()
        for relation in self._around(root):
            if isinstance(relation, _Product) and self.find(relation.flat) == root:
                found += [self.find(factor) for factor in reversed(relation.factors)]
            elif isinstance(relation, _Part) and self.find(relation.whole) == root:
                pieces[tuple(relation.positions.tolist())] = self.find(relation.part)
        parts = list(pieces.values())
        repeated = [part for part in parts if parts.count(part) * self.size(part) == self.size(root)]
        return list(dict.fromkeys(f for f in (*repeated, *found) if f != root and 1 < self.size(f) < self.size(root)))

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
        spread = _Spread(self)
        for dimension, allowed in seeds.items():
            spread.limit(dimension, allowed)
        touched: list[_Part | _Product] = []
        while spread.queue:
            for relation in self._around(spread.queue.pop()):
                touched.append(relation)
                relation.spread(spread)
        for relation in touched:
            relation.check(spread)
        return spread.alive

    def fixed(self, dimension: int) -> str | None:
        """Why no position may die, where none may."""
        return self._fixed.get(dimension)

    def _around(self, root: int) -> list[_Part | _Product]:
        if self._neighbours is None:
            self._neighbours = {}
            for relation in self._relations:
                for member in {self.find(m) for m in relation.members()}:
                    self._neighbours.setdefault(member, []).append(relation)
        return self._neighbours.get(root, [])


@final
class _Spread:
    """What is alive while deaths spread from dimension to dimension."""

    def __init__(self, dimensions: Dimensions) -> None:
        self.dimensions = dimensions
        self.alive: dict[int, Alive] = {}
        self.queue: list[int] = []

    def now(self, dimension: int) -> Alive:
        """The positions of a dimension that are still alive."""
        root = self.dimensions.find(dimension)
        return self.alive.get(root, np.ones(self.dimensions.size(root), dtype=bool))

    def limit(self, dimension: int, allowed: Alive) -> None:
        """Let all positions die that are not allowed."""
        root = self.dimensions.find(dimension)
        before = self.now(root)
        after = before & allowed
        if (after == before).all():
            return
        label, reason = self.dimensions.label(root), self.dimensions.fixed(root)
        if reason is not None:
            raise FixedDimensionError(f"{label} cannot shrink: {reason}")
        if not after.any():
            raise FixedDimensionError(f"nothing would be left of {label}")
        self.alive[root] = after
        self.queue.append(root)


def _outer(factors: Sequence[Alive]) -> Alive:
    flat = factors[0]
    for factor in factors[1:]:
        flat = (flat[:, None] & factor).reshape(-1)
    return flat
