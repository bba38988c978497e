"""Layers: a cost as a sum of parts, each of which depends on the few decisions that it reads.

What a part of a network costs is a product of sizes, and a size follows one decision, or few. So a table per part is
found by few passes: one with everything active, one for every option of every decision alone, and some at random on
which all that was found must be exact. Parts that are no products are tabulated over what they read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = ["Layer", "Measure", "Pattern", "decomposed"]

Pattern = tuple[tuple[int, ...], ...]
"""For every decision its active options, ascending."""
Measure = Callable[[Pattern], Mapping[Any, int]]
"""What every part costs under a pattern; a part that is absent costs nothing."""

_PROBES = 12
"""Random patterns on which every table must be exact."""
_ANCHORS = 8
"""Patterns around which every option is tried alone."""
_LARGEST_TABLE = 4096
"""Entries of the table of one part."""
_MOST_PASSES = 512
"""Spent on tables of parts that are no products."""


@final
@dataclass(frozen=True)
class Layer:
    """Parts of a network that cost the same function of the same decisions.

    Under several active options of a decision a part costs what the dearest of them costs: slices are taken up to the
    largest, blocks are executed up to the deepest, and a branch runs where its option is among them.

    Args:
        reads: indices of the decisions.
        table: the cost, an axis for every decision that is read.

    Example:
        >>> layer = Layer((1,), np.array([10, 30]))
        >>> layer.at(((0,), (0, 1)))
        30
    """

    reads: tuple[int, ...]
    table: npt.NDArray[np.int64]

    def at(self, pattern: Pattern) -> int:
        """The cost under a pattern."""
        return int(self.table[np.ix_(*(pattern[d] for d in self.reads))].max(initial=0))


def decomposed(
    sizes: Sequence[int], measure: Measure, *, mixtures: bool, nearly: bool = False, seed: int = 0
) -> list[Layer] | None:
    """Find the layers of a cost.

    Args:
        sizes: the number of options of every decision.
        measure: counts exactly.
        mixtures: whether several options of a decision can be active; otherwise each pattern has one.
        nearly: whether parts that read too many decisions are approximated by a sum over them, by least squares on all
            that was measured, as measured times allow.
        seed: of the patterns that are tried at random.

    Returns:
        Layers with different `reads`, whose sum was exact on every pattern that was measured; `None` where none was
        found.

    Example:
        >>> def measure(pattern):
        ...     first, second = (max(active) + 1 for active in pattern)
        ...     return {"convolution": 9 * first * second, "head": 7}
        >>> layers = decomposed((2, 3), measure, mixtures=False)
        >>> [layer.reads for layer in layers], sum(layer.at(((1,), (2,))) for layer in layers)
        ([(), (0, 1)], 61)
    """
    search = _Search(tuple(sizes), measure)
    rng = np.random.default_rng(seed)
    whole = tuple(tuple(range(size)) if mixtures else (size - 1,) for size in sizes)
    search.add(whole, *(search.random(rng, mixtures and number % 2 == 1) for number in range(_PROBES)))
    if not mixtures:  # patterns in which parts run that the last options leave out
        search.add(*(tuple((min(o, size - 1),) for size in sizes) for o in range(max(sizes, default=0))))
    anchor: Pattern | None = whole
    for _ in range(_ANCHORS):
        if anchor is None:
            break
        search.vary(anchor)
        failing = search.explain()
        if not failing:
            return search.layers()
        anchor = search.next_anchor(failing)
    failing = search.tabulate(search.explain())
    if not failing:
        return search.layers()
    return [*search.layers(), *search.approximated(failing)] if nearly else None


@final
@dataclass(frozen=True)
class _Part:
    """Parts whose costs are proportional on all that was measured: their common vector without its divisor."""

    vector: tuple[int, ...]
    weight: int


@final
class _Search:
    """Patterns that were measured, and which table explains which part."""

    def __init__(self, sizes: tuple[int, ...], measure: Measure) -> None:
        self.sizes, self._measure = sizes, measure
        self._seen: dict[Pattern, Mapping[Any, int]] = {}
        self._anchors: list[Pattern] = []
        self._found: dict[_Part, Layer] = {}

    def add(self, *patterns: Pattern) -> None:
        for pattern in patterns:
            if pattern not in self._seen:
                self._seen[pattern] = self._measure(pattern)

    def random(self, rng: np.random.Generator, mixture: bool) -> Pattern:
        numbers = [int(rng.integers(1, size + 1)) if mixture else 1 for size in self.sizes]
        draws = (rng.choice(size, number, replace=False) for size, number in zip(self.sizes, numbers, strict=True))
        return tuple(tuple(sorted(int(option) for option in draw)) for draw in draws)

    def vary(self, anchor: Pattern) -> None:
        """Measure every option of every decision alone, all else as in the anchor."""
        self._anchors.append(anchor)
        self.add(*(_with(anchor, {d: o}) for d, size in enumerate(self.sizes) for o in range(size)))

    def _parts(self) -> list[_Part]:
        units = dict.fromkeys(unit for counts in self._seen.values() for unit in counts)
        weights: dict[tuple[int, ...], int] = {}
        for unit in units:
            values = [counts.get(unit, 0) for counts in self._seen.values()]
            divisor = math.gcd(*values)
            if divisor:
                vector = tuple(value // divisor for value in values)
                weights[vector] = weights.get(vector, 0) + divisor
        return [_Part(vector, weight) for vector, weight in weights.items()]

    def _places(self) -> dict[Pattern, int]:
        """Where a measured pattern stands in the vectors of parts."""
        return {pattern: i for i, pattern in enumerate(self._seen)}

    def explain(self) -> list[_Part]:
        """Find a table for every part anew; returns those for which there is none."""
        self._found, failing = {}, []
        place = self._places()
        for part in self._parts():
            layers = (self._product(part, anchor, place) for anchor in self._anchors)
            layer = next((layer for layer in layers if layer is not None and self._exact(part, layer)), None)
            if layer is None:
                failing.append(part)
            else:
                self._found[part] = layer
        return failing

    def _rows(self, part: _Part, anchor: Pattern, place: Mapping[Pattern, int]) -> dict[int, list[int]]:
        """What the part costs by option, for every decision that changes it at the anchor."""
        rows = {
            d: [part.vector[place[_with(anchor, {d: o})]] for o in range(size)] for d, size in enumerate(self.sizes)
        }
        value = part.vector[place[anchor]]
        return {d: row for d, row in rows.items() if any(entry != value for entry in row)}

    def _product(self, part: _Part, anchor: Pattern, place: Mapping[Pattern, int]) -> Layer | None:
        value, rows = part.vector[place[anchor]], self._rows(part, anchor, place)
        if value == 0 or math.prod(self.sizes[d] for d in rows) > _LARGEST_TABLE:
            return None  # what does not run shows not what it reads
        if len(rows) < 2:
            return Layer(tuple(rows), np.array(next(iter(rows.values()), value), dtype=np.int64))
        table = np.array(1, dtype=object)
        for row in rows.values():
            table = np.multiply.outer(table, np.array(row, dtype=object))
        divisor = value ** (len(rows) - 1)
        return None if (table % divisor).any() else Layer(tuple(rows), (table // divisor).astype(np.int64))

    def _exact(self, part: _Part, layer: Layer) -> bool:
        return all(layer.at(pattern) == value for pattern, value in zip(self._seen, part.vector, strict=True))

    def next_anchor(self, failing: Sequence[_Part]) -> Pattern | None:
        """The measured pattern in which most of the unexplained parts are executed."""
        counts = np.array([[value > 0 for value in part.vector] for part in failing]).sum(0)
        for index in np.argsort(-counts, kind="stable"):
            pattern = list(self._seen)[int(index)]
            if pattern not in self._anchors and counts[index]:
                return pattern
        return None

    def tabulate(self, failing: Sequence[_Part]) -> list[_Part]:
        """Measure the tables of parts that are no products; returns those that still have none."""
        reads = self._read_together(failing)
        measured = self._measured_over(reads)
        if not measured:
            return list(failing)
        remaining, place = self.explain(), self._places()
        return [part for part in remaining if not self._tabulated(part, reads, measured, place)]

    def _read_together(self, failing: Sequence[_Part]) -> set[tuple[int, ...]]:
        """Of each part the decisions that it reads at some anchor, where a table over them can be measured."""
        place = self._places()
        reads = set()
        for part in failing:
            rows = (self._rows(part, a, place) for a in self._anchors if part.vector[place[a]])
            reads.add(tuple(sorted({d for row in rows for d in row})))
        return {read for read in reads if read and math.prod(self.sizes[d] for d in read) <= _MOST_PASSES}

    def _measured_over(self, reads: Iterable[tuple[int, ...]]) -> Sequence[tuple[Mapping[int, int], Pattern]]:
        """Measure all options of decisions that are read together; none where they take too many passes."""
        options = {read: product(*(range(self.sizes[d]) for d in read)) for read in reads}
        joint = _joined([dict(zip(read, row, strict=True)) for read, rows in options.items() for row in rows])
        if len(joint) > _MOST_PASSES:
            return []
        measured = [(chosen, _with(self._anchors[0], chosen)) for chosen in joint]
        self.add(*(pattern for _, pattern in measured))
        return measured

    def _tabulated(
        self,
        part: _Part,
        reads: Iterable[tuple[int, ...]],
        measured: Sequence[tuple[Mapping[int, int], Pattern]],
        place: Mapping[Pattern, int],
    ) -> bool:
        for read in sorted(reads, key=len):
            table = np.zeros([self.sizes[d] for d in read], dtype=np.int64)
            for chosen, pattern in measured:
                if all(d in chosen for d in read):
                    table[tuple(chosen[d] for d in read)] = part.vector[place[pattern]]
            layer = Layer(read, table)
            if self._exact(part, layer):
                self._found[part] = layer
                return True
        return False

    def approximated(self, failing: Sequence[_Part]) -> list[Layer]:
        """Sums over single decisions that are nearest to what these parts cost together."""
        patterns = list(self._seen)
        values = [sum(part.vector[i] * part.weight for part in failing) for i in range(len(patterns))]
        rows = [
            [1.0, *(float(o in a) for a, size in zip(p, self.sizes, strict=True) for o in range(size))]
            for p in patterns
        ]
        fitted = np.linalg.lstsq(np.array(rows), np.array(values, dtype=np.float64), rcond=None)[0]
        parts = np.split(fitted, np.cumsum([1, *self.sizes])[:-1])
        tables = [np.array(round(parts[0][0])), *(np.round(part) for part in parts[1:])]
        reads = [(), *((d,) for d in range(len(self.sizes)))]
        return [Layer(read, table.astype(np.int64)) for read, table in zip(reads, tables, strict=True)]

    def layers(self) -> list[Layer]:
        """The tables that were found; parts that cost proportionally are one."""
        totals: dict[tuple[tuple[int, ...], bytes], tuple[Layer, int]] = {}
        for part, layer in self._found.items():
            key = (layer.reads, layer.table.tobytes())
            before = totals[key][1] if key in totals else 0
            totals[key] = (layer, before + part.weight)
        found = [Layer(layer.reads, layer.table * weight) for layer, weight in totals.values()]
        return sorted(found, key=lambda layer: (len(layer.reads), layer.reads))


def _with(pattern: Pattern, chosen: Mapping[int, int]) -> Pattern:
    return tuple((chosen[d],) if d in chosen else active for d, active in enumerate(pattern))


def _joined(wanted: Sequence[Mapping[int, int]]) -> list[dict[int, int]]:
    """Few assignments that contain all of those that are wanted."""
    joint: list[dict[int, int]] = []
    for chosen in wanted:
        for before in joint:
            if all(before.get(d, o) == o for d, o in chosen.items()):
                before.update(chosen)
                break
        else:
            joint.append(dict(chosen))
    return joint
