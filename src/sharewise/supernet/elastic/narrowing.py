"""Narrowing: which positions of a dimension stay when a smaller size is chosen, and which sizes a model allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from sharewise.supernet.elastic.dimensions import Alive, Dimensions, FixedDimensionError

__all__ = ["Narrowing", "narrowing", "sizes_that_work", "ways"]


@final
@dataclass(frozen=True)
class Narrowing:
    """A dimension is narrowed by the leading positions of itself, or of one that it is made of.

    A layer whose output is cut into halves that are multiplied keeps the leading positions of each half.

    Args:
        dimension: whose size is chosen.
        by: whose leading positions stay.
    """

    dimension: int
    by: int

    def seeds(self, dimensions: Dimensions, size: int) -> dict[int, Alive]:
        """What stays alive.

        Raises:
            FixedDimensionError: when the size is no multiple of what must stay whole.
        """
        whole, parts = dimensions.size(self.dimension), dimensions.size(self.by)
        if size * parts % whole:
            raise FixedDimensionError(
                f"{dimensions.label(self.dimension)} shrinks in steps of {whole // parts}, and {size} is no multiple"
            )
        return {dimensions.find(self.by): np.arange(parts) < size * parts // whole}

    def fits(self, dimensions: Dimensions, size: int) -> bool:
        """Whether the model allows a size."""
        try:
            alive = dimensions.closure(self.seeds(dimensions, size))
        except FixedDimensionError:
            return False
        whole = np.ones(dimensions.size(self.dimension), dtype=bool)
        return int(alive.get(dimensions.find(self.dimension), whole).sum()) == size


def ways(dimensions: Dimensions, dimension: int) -> Iterator[Narrowing]:
    """The likeliest first: leading positions, then those of what it is made of, from the inside."""
    seen = [dimensions.find(dimension)]
    for each in seen:
        yield Narrowing(dimension, each)
        seen += [part for part in dimensions.made_of(each) if part not in seen]


def narrowing(dimensions: Dimensions, dimension: int, sizes: Sequence[int]) -> Narrowing:
    """How a dimension is narrowed to any of some sizes; by its leading positions, where no way allows them all.

    Args:
        dimensions: all of them.
        dimension: whose size is chosen.
        sizes: ascending.

    Example:
        >>> dimensions = Dimensions()
        >>> rows, half = dimensions.new(4, "rows"), dimensions.new(2, "half")
        >>> dimensions.part(rows, range(2), half)
        >>> dimensions.part(rows, range(2, 4), half)
        >>> narrowing(dimensions, rows, [2, 4]).by == half
        True
    """
    found = (way for way in ways(dimensions, dimension) if all(way.fits(dimensions, size) for size in sizes))
    return next(found, Narrowing(dimension, dimension))


def sizes_that_work(dimensions: Dimensions, dimension: int) -> tuple[int, ...]:
    """Sizes below its own to which a dimension can shrink, in the first way that has any; at most 16, evenly spread."""
    for way in ways(dimensions, dimension):
        whole = dimensions.size(dimension)
        step = whole // np.gcd(whole, dimensions.size(way.by))
        found = [size for size in range(step, whole, max(step, whole // 256)) if way.fits(dimensions, size)]
        if found:
            return tuple(found[:: -(-len(found) // 16)])
    return ()
