"""Rounding: widths that a model does not allow are replaced by the nearest that it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from sharewise.supernet.elastic.dimensions import Dimensions
from sharewise.supernet.elastic.narrowing import Narrowing, ways
from sharewise.supernet.elastic.places import Place
from sharewise.supernet.elastic.record import Record
from sharewise.supernet.elastic.targets import target

__all__ = ["legal", "rounded"]

_FARTHEST = 128
"""How far a size is rounded at most."""


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
    tied = {name for place in places for name in place.of} | {p.decision for p in places if p.kind != "width"}
    for decision in dict.fromkeys(p.decision for p in places if p.kind == "width" and p.decision not in tied):
        acting = [place for place in places if place.decision == decision and place.kind == "width"]
        dimensions = [target(model, record, place) for place in acting]
        asked = acting[0].sizes
        sizes = legal(record.dimensions, dimensions, asked)
        if sizes != asked:
            changed[decision] = sizes
            said.append(
                f"widths {list(asked)} of {acting[0].path!r} are rounded to {list(sizes)}, since groups, heads or "
                "halves that read or write them stay whole"
            )
    return tuple(replace(p, options=changed.get(p.decision, p.options)) for p in places), said


def legal(dimensions: Dimensions, targets: Sequence[int], asked: tuple[int, ...]) -> tuple[int, ...]:
    """The nearest sizes that all targets allow; as they were asked for, where there are none.

    Args:
        dimensions: all of them.
        targets: dimensions that have the same size.
        asked: ascending; the last is their own.
    """
    if all(any(all(w.fits(dimensions, s) for s in asked) for w in ways(dimensions, t)) for t in targets):
        return asked
    for together in zip(*(list(ways(dimensions, t)) for t in targets), strict=False):
        known: dict[int, bool] = {asked[-1]: True}

        def fits(size: int, together: tuple[Narrowing, ...] = together, known: dict[int, bool] = known) -> bool:
            if size not in known:
                known[size] = all(way.fits(dimensions, size) for way in together)
            return known[size]

        found = {_nearest(size, asked[-1], fits) for size in asked}
        if len(found - {0, asked[-1]}):
            return tuple(sorted(found - {0}))
    return asked


def _nearest(size: int, largest: int, fits: Callable[[int], bool]) -> int:
    """The nearest size that fits, the larger of two; 0 where there is none."""
    for distance in range(_FARTHEST):
        for candidate in (size + distance, size - distance):
            if 0 < candidate <= largest and fits(candidate):
                return candidate
    return 0
