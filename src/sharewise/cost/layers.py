"""Layers: a cost as a sum of parts, each of which depends on the few decisions that it reads.

What a part of a network costs is a product of sizes, and a size follows one decision, or few. So a table per part is
found by few passes: one with everything active, one for every option of every decision alone, and some at random on
which all that was found must be exact. A size that follows two decisions, as middle channels that are rounded follow a
width and a ratio, is no product of theirs: pairs that a part reads are tried, and it is a product over groups that do
not interact. Parts that are no such products either are tabulated over all that they read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
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
_MOST_PAIRS = 256
"""Passes spent around one pattern on finding which decisions interact, and again on tables of those that do."""


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
        if not nearly:  # measured times are no products of anything, so that all that a part reads would interact
            failing = search.group(failing, anchor)
        if not failing:
            return search.layers()
        anchor = None if mixtures and search.understood(failing) else search.next_anchor(failing)
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


_Group = tuple[int, ...]
"""Decisions, ascending."""
_Asked = tuple[Pattern, _Group, _Group, tuple[int, ...]]
"""An anchor, the decisions that a part reads, some of them, and an option of each of these; the rest is as there."""


@final
class _Search:
    """Patterns that were measured, and which table explains which part."""

    def __init__(self, sizes: tuple[int, ...], measure: Measure) -> None:
        self.sizes, self._measure = sizes, measure
        self._seen: dict[Pattern, Mapping[Any, int]] = {}
        self._anchors: list[Pattern] = []
        self._paired: list[Pattern] = []
        self._where: dict[_Asked, Pattern] = {}
        self._place: dict[Pattern, int] = {}
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

    def explain(self) -> list[_Part]:
        """Find a table for every part anew; returns those for which there is none."""
        self._place = {pattern: i for i, pattern in enumerate(self._seen)}
        self._found, failing = {}, []
        for part in self._parts():
            layer = next(
                (layer for layer in self._products(part) if layer is not None and self._exact(part, layer)), None
            )
            if layer is None:
                failing.append(part)
            else:
                self._found[part] = layer
        return failing

    def _products(self, part: _Part) -> Iterator[Layer | None]:
        """What a part is at every anchor: a product over single decisions, or over groups of those that interact."""
        for anchor in self._anchors:
            yield self._product(part, anchor, [(d,) for d in self._read(part, anchor)])
        for anchor in self._paired:
            yield self._product(part, anchor, self._groups(part, anchor))

    def group(self, failing: Sequence[_Part], anchor: Pattern) -> list[_Part]:
        """Find which decisions interact in parts that run at an anchor and are no products of single decisions.

        Args:
            failing: parts for which there is no table.
            anchor: around which every option was tried alone.

        Returns:
            The parts that still have none.
        """
        reads = {self._read(part, anchor) for part in self._running(failing, anchor)}
        reads = {read for read in reads if self._within(combinations(read, 2), _MOST_PAIRS)}
        pairs = [(read, pair) for read in sorted(reads) for pair in combinations(read, 2)]
        if not pairs or not self._measure_tables(pairs, anchor, _MOST_PAIRS):
            return list(failing)
        self._paired.append(anchor)
        remaining = self.explain()
        large = {
            (self._read(part, anchor), group)
            for part in self._running(remaining, anchor)
            for group in self._groups(part, anchor)
            if len(group) > 2 and self._within([group], _MOST_PAIRS)
        }
        return self.explain() if large and self._measure_tables(sorted(large), anchor, _MOST_PAIRS) else remaining

    def understood(self, parts: Sequence[_Part]) -> bool:
        """Whether all ran at anchors around which pairs were tried; of mixtures, more anchors then tell nothing."""
        return all(any(self._cost(part, anchor) for anchor in self._paired) for part in parts)

    def _within(self, groups: Iterable[_Group], most: int) -> bool:
        """Whether all options of some groups of decisions, one group after the other, are few."""
        return sum(math.prod(self.sizes[d] for d in group) for group in groups) <= most

    def _running(self, parts: Iterable[_Part], anchor: Pattern) -> list[_Part]:
        return [part for part in parts if self._cost(part, anchor)]

    def _cost(self, part: _Part, pattern: Pattern) -> int:
        return part.vector[self._place[pattern]]

    def _read(self, part: _Part, anchor: Pattern) -> _Group:
        """The decisions of which another option, all else as in the anchor, changes what a part costs."""
        value = self._cost(part, anchor)
        return tuple(
            d
            for d, size in enumerate(self.sizes)
            if any(self._cost(part, _with(anchor, {d: o})) != value for o in range(size))
        )

    def _groups(self, part: _Part, anchor: Pattern) -> list[_Group]:
        """The decisions that a part reads at an anchor; those that interact in pairs are together."""
        value, reads = self._cost(part, anchor), self._read(part, anchor)
        groups: list[_Group] = [(d,) for d in reads]
        for pair in combinations(reads, 2):
            both = self._table(part, reads, pair, anchor)
            first, second = (self._table(part, reads, (d,), anchor) for d in pair)
            if both is None or first is None or second is None:
                continue
            if not np.array_equal(both * value, np.multiply.outer(first, second)):
                met = [group for group in groups if not set(pair).isdisjoint(group)]
                groups = [group for group in groups if group not in met] + [tuple(sorted({*chain(*met)}))]
        return groups

    def _table(self, part: _Part, reads: _Group, group: _Group, anchor: Pattern) -> npt.NDArray[np.object_] | None:
        """What a part costs by the options of some decisions, all else as in the anchor; `None` if not measured."""
        costs = []
        for row in self._options(group):
            alone = _with(anchor, dict(zip(group, row, strict=True)))
            pattern = alone if len(group) == 1 else self._where.get((anchor, reads, group, row))
            if pattern is None:
                return None
            costs.append(self._cost(part, pattern))
        return np.array(costs, dtype=object).reshape([self.sizes[d] for d in group])

    def _options(self, group: _Group) -> Iterator[tuple[int, ...]]:
        return product(*(range(self.sizes[d]) for d in group))

    def _product(self, part: _Part, anchor: Pattern, groups: Sequence[_Group]) -> Layer | None:
        """The product over groups of decisions of what a part costs by their options at an anchor."""
        value, order = self._cost(part, anchor), tuple(chain(*groups))
        reads = tuple(sorted(order))
        if value == 0 or math.prod(self.sizes[d] for d in reads) > _LARGEST_TABLE:
            return None  # what does not run shows not what it reads
        table = np.array(value, dtype=object)
        for group in groups:
            own = self._table(part, reads, group, anchor)
            if own is None:
                return None
            table = np.multiply.outer(table, own)
        divisor = value ** len(groups)
        if np.any(table % divisor):
            return None
        return Layer(reads, np.asarray(table // divisor, dtype=np.int64).transpose([order.index(d) for d in reads]))

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
        reads, anchor = self._read_together(failing), self._anchors[0]
        if not reads or not self._measure_tables([(read, read) for read in reads], anchor, _MOST_PASSES):
            return list(failing)
        return [part for part in self.explain() if not self._tabulated(part, reads, anchor)]

    def _read_together(self, failing: Sequence[_Part]) -> list[_Group]:
        """Of each part the decisions that it reads at some anchor, where a table over them can be measured."""
        reads = set()
        for part in failing:
            running = (anchor for anchor in self._anchors if self._cost(part, anchor))
            reads.add(tuple(sorted({d for anchor in running for d in self._read(part, anchor)})))
        small = {read for read in reads if read and self._within([read], _MOST_PASSES)}
        return sorted(small, key=lambda read: (len(read), read))

    def _measure_tables(self, wanted: Sequence[tuple[_Group, _Group]], anchor: Pattern, most: int) -> bool:
        """Measure all options of some decisions that a part reads, in patterns that serve several parts at once.

        Args:
            wanted: what a part reads, and of that the decisions whose options are tried.
            anchor: which gives the rest.
            most: patterns that may be measured.

        Returns:
            Whether it was done; not where it would take more patterns.
        """
        asked = [(anchor, reads, group, row) for reads, group in wanted for row in self._options(group)]
        rows = [dict.fromkeys(reads) | dict(zip(group, row, strict=True)) for _, reads, group, row in asked]
        joint = _joined(rows, most)
        if joint is None:
            return False
        for key, chosen in zip(asked, joint, strict=True):
            self._where[key] = _with(anchor, {d: o for d, o in chosen.items() if o is not None})
        self.add(*(self._where[key] for key in asked))
        return True

    def _tabulated(self, part: _Part, reads: Sequence[_Group], anchor: Pattern) -> bool:
        for read in reads:
            table = self._table(part, read, read, anchor)
            layer = None if table is None else Layer(read, table.astype(np.int64))
            if layer is not None and self._exact(part, layer):
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


def _joined(wanted: Sequence[Mapping[int, int | None]], most: int) -> list[dict[int, int | None]] | None:
    """For every assignment one that contains it, few in all; `None` where they would be more than `most`."""
    joint: list[dict[int, int | None]] = []
    homes = []
    for chosen in wanted:
        home = next((some for some in joint if all(some.get(d, o) == o for d, o in chosen.items())), None)
        if home is None:
            if len(joint) == most:
                return None
            joint.append(home := {})
        home.update(chosen)
        homes.append(home)
    return homes
