"""Narrowing: which positions of a dimension stay when a smaller size is chosen, and which sizes a model allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from torch import nn

from sharewise.supernet.elastic.dimensions import Alive, Dimensions, FixedDimensionError
from sharewise.supernet.elastic.places import Place
from sharewise.supernet.elastic.record import Record
from sharewise.supernet.elastic.targets import target

__all__ = ["Narrowing", "narrowing", "rounded", "sizes_that_work"]

_FARTHEST = 128
"""How far a size is rounded at most."""


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
                f"{dimensions.label(self.dimension)} shrinks in steps of {whole // parts}, which {size} is no multiple of"
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


def _ways(dimensions: Dimensions, dimension: int) -> Iterator[Narrowing]:
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
    ways = _ways(dimensions, dimension)
    found = (way for way in ways if all(way.fits(dimensions, size) for size in sizes))
    return next(found, Narrowing(dimension, dimension))


def sizes_that_work(dimensions: Dimensions, dimension: int) -> tuple[int, ...]:
    """Sizes below its own to which a dimension can shrink, in the first way that has any; at most 16, evenly spread."""
    for way in _ways(dimensions, dimension):
        whole = dimensions.size(dimension)
        step = whole // np.gcd(whole, dimensions.size(way.by))
        found = [size for size in range(step, whole, max(step, whole // 256)) if way.fits(dimensions, size)]
        if found:
            return tuple(found[:: -(-len(found) // 16)])
    return ()


def rounded(model: nn.Module, places: Sequence[Place], record: Record) -> tuple[tuple[Place, ...], list[str]]:
    """Places whose widths the model allows: each that it does not is replaced by the nearest one that it does.

    Args:
        model: whose modules they are.
        places: as they were asked for.
        record: of the model's graph.

    Returns:
        The places, and a sentence for every decision that was changed.
    """
    said, changed = [], {}
    for decision in dict.fromkeys(place.decision for place in places if place.kind == "width"):
        acting = [place for place in places if place.decision == decision and place.kind == "width"]
        dimensions = [target(model, record, place) for place in acting]
        asked = acting[0].sizes
        sizes = _legal(record.dimensions, dimensions, asked)
        if sizes != asked:
            changed[decision] = sizes
            said.append(
                f"widths {list(asked)} of {acting[0].path!r} are rounded to {list(sizes)}, since groups, heads or "
                "halves that read or write them stay whole"
            )
    return tuple(replace(p, options=changed.get(p.decision, p.options)) for p in places), said


def _legal(dimensions: Dimensions, targets: Sequence[int], asked: tuple[int, ...]) -> tuple[int, ...]:
    """The nearest sizes that all targets allow; as they were asked for, where there are none."""
    if all(any(all(w.fits(dimensions, s) for s in asked) for w in _ways(dimensions, t)) for t in targets):
        return asked
    for ways in zip(*(list(_ways(dimensions, t)) for t in targets), strict=False):
        known: dict[int, bool] = {asked[-1]: True}

        def fits(size: int, ways: tuple[Narrowing, ...] = ways, known: dict[int, bool] = known) -> bool:
            if size not in known:
                known[size] = all(way.fits(dimensions, size) for way in ways)
            return known[size]

        found = {_nearest(size, asked[-1], fits) for size in asked}
        if len(found - {0, asked[-1]}):
            return tuple(sorted(found - {0}))
    return asked


def _nearest(size: int, largest: int, fits: object) -> int:
    """The nearest size that fits, the larger of two; 0 where there is none."""
    assert callable(fits)
    for distance in range(_FARTHEST):
        for candidate in (size + distance, size - distance):
            if 0 < candidate <= largest and fits(candidate):
                return candidate
    return 0
