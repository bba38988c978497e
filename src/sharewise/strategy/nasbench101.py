"""NAS-Bench-101 as its own programs search it: raw 7-vertex matrices and operations, and their mutation.

A genotype is a raw cell, vertices without effect included: many genotypes are one architecture, and a mutation may wake
a sleeping vertex. So a random genotype is uniform over valid raw cells, as in the published notebook, and not over the
423,624 unique ones.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import final

import numpy as np
from numpy.typing import NDArray

from sharewise.errors import ConfigurationError
from sharewise.space import Space, SubListing
from sharewise.spaces.nasbench101.cell import EDGES, INNER, OPERATIONS, VERTICES, Cell, bit
from sharewise.spaces.nasbench101.enumeration import enumeration
from sharewise.strategy.representation import ATTEMPTS, Genotype, Mask, Representation
from sharewise.strategy.variation import Mutation

__all__ = ["EdgesAndOperations", "RawCells", "representation"]

_K = len(OPERATIONS)
_LABELS: int = _K**INNER
"""Labellings of the inner vertices, the first vertex slowest."""


@final
class RawCells(Representation):
    """Cells of exactly 7 vertices: the genotype is `edges · 243 + labelling`.

    The 21 edge bits are those of `Cell`; the labelling holds the operations of the 5 inner vertices in base 3.

    Args:
        space: `nasbench101` or a sub-space of it.
        covered: by index of the listing, what can be asked about; `None` for everything.

    Raises:
        ConfigurationError: when nothing is covered.

    Example:
        >>> from sharewise.spaces import nasbench101
        >>> cells = RawCells(nasbench101())
        >>> str(cells.architecture(cells.at(3)))
        'maxpool3x3~0|output~1'
    """

    def __init__(self, space: Space, covered: Mask | None = None) -> None:
        self.space = space
        found, listing = enumeration(), space.listing
        place = np.arange(len(found.cells), dtype=np.int32)
        self._whole = place
        if isinstance(listing, SubListing):
            self._whole = listing.rows
            place = np.full(len(found.cells), -1, dtype=np.int32)
            place[listing.rows] = np.arange(len(listing.rows), dtype=np.int32)
        self._indices = np.arange(len(listing)) if covered is None else np.flatnonzero(covered)
        if not len(self._indices):
            raise ConfigurationError(f"no architecture of space {space.name!r} is covered")
        if covered is not None:
            place = np.where((place >= 0) & covered[np.maximum(place, 0)], place, -1).astype(np.int32)
        rows = place[found.rows]
        starts, used = _raw_graphs()
        self._rows, self._starts, self._used = _fast(rows), _fast(starts), used.tobytes()
        # A graph is drawn only if some labelling of it can be asked about, which leaves the distribution as it is.
        heads = np.unique(starts[starts >= 0])
        alive = heads[np.maximum.reduceat(rows, heads) >= 0]
        self._graphs = _fast(np.flatnonzero(np.isin(starts, alive)).astype(np.int32))

    def find(self, genotype: int) -> int:
        """The index of a raw cell; -1 where it is not valid, or cannot be asked about."""
        edges, labelling = divmod(genotype, _LABELS)
        start = self._starts[edges]
        return -1 if start < 0 else self._rows[start + _KEPT[self._used[edges]][labelling]]

    def sample(self, rng: np.random.Generator) -> int:
        """Edges with probability ½ each and operations uniformly, until the cell can be asked about."""
        graphs = self._graphs
        for _ in range(ATTEMPTS):
            genotype = graphs[int(rng.random() * len(graphs))] * _LABELS + int(rng.random() * _LABELS)
            if self.find(genotype) >= 0:
                return genotype
        raise ConfigurationError(f"{ATTEMPTS:,} random cells in a row cannot be asked about")

    def mutate(
        self, genotype: int, rng: np.random.Generator, weights: Sequence[float] | None = None, *, other: bool = True
    ) -> int:
        """A neighbour, uniformly; a random cell where there is none.

        Raises:
            ConfigurationError: for weights and `other=False`, which have no meaning here.
        """
        if weights is not None or not other:
            raise ConfigurationError("raw cells take no weights, and always change")
        around = self.neighbours(genotype)
        return around[int(rng.random() * len(around))] if around else self.sample(rng)

    def neighbours(self, genotype: int) -> tuple[int, ...]:
        """Raw cells with one edge flipped or one operation changed: one for each other architecture."""
        edges, labelling = divmod(genotype, _LABELS)
        flipped = [(edges ^ 1 << place) * _LABELS + labelling for place in range(len(EDGES))]
        changed = [edges * _LABELS + _SHIFTED[labelling][shift] for shift in _SINGLE]
        found: dict[int, int] = {}
        for other in flipped + changed:
            found.setdefault(self.find(other), other)
        found.pop(-1, None)
        found.pop(self.find(genotype), None)
        return tuple(found.values())

    def allows(self, genotype: int) -> bool:
        """See `Representation.allows`."""
        return self.find(genotype) >= 0

    def index(self, genotype: int) -> int:
        """See `Representation.index`."""
        index = self.find(genotype)
        if index < 0:
            raise ConfigurationError(f"raw cell {genotype} is not valid, or cannot be asked about")
        return index

    def at(self, index: int) -> int:
        """The architecture's pruned cell, with sleeping vertices before the output."""
        cell = Cell.from_code(int(enumeration().cells[self._whole[index]]))
        last = cell.vertices - 1
        edges = sum(
            1 << bit(s, VERTICES - 1 if t == last else t)
            for t in range(1, cell.vertices)
            for s in range(t)
            if cell.edges >> bit(s, t) & 1
        )
        labelling = 0
        for place in range(INNER):
            labelling = labelling * _K + (cell.operations[place] if place < last - 1 else 0)
        return edges * _LABELS + labelling

    @property
    def indices(self) -> NDArray[np.int64]:
        """See `Representation.indices`."""
        return self._indices


@final
@dataclass(frozen=True)
class EdgesAndOperations(Mutation):
    """The published mutation: each of the 21 edges flips, each of the 5 operations changes, until the cell is valid.

    Args:
        rate: an edge flips with probability rate / 7, and an operation is drawn again among the two others with
            probability rate / 5; in (0, 5].

    Raises:
        ConfigurationError: when the rate is out of range.

    References:
        C. Ying et al., *NAS-Bench-101*, ICML 2019, and `mutate_spec` of its notebook (rate 1).
    """

    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= INNER:
            raise ConfigurationError(f"the mutation rate must lie in (0, {INNER}], got {self.rate}")

    @cached_property
    def _ends(self) -> tuple[list[float], list[float]]:
        """Distribution functions of the flips of 7 edges, 128 patterns, and of the 243 shifts of operations."""
        flip, change = self.rate / VERTICES, self.rate / INNER
        ones = [pattern.bit_count() for pattern in range(1 << VERTICES)]
        edges = [flip**n * (1 - flip) ** (VERTICES - n) for n in ones]
        moved = [sum(digit > 0 for digit in _DIGITS[shift]) for shift in range(_LABELS)]
        operations = [(change / (_K - 1)) ** n * (1 - change) ** (INNER - n) for n in moved]
        return list(accumulate(edges[:-1])), list(accumulate(operations[:-1]))

    def mutate(self, representation: Representation, genotype: Genotype, rng: np.random.Generator) -> int:
        """See `Mutation.mutate`; the child may be the parent's architecture again, as in the notebook.

        On a sparse table it mostly is, since only cells that can be asked about are kept.

        Raises:
            ConfigurationError: when the genotype is no raw cell.
        """
        if not isinstance(representation, RawCells):
            raise ConfigurationError(f"this mutation is NAS-Bench-101's; space {representation.space.name!r} has none")
        edges, labelling = divmod(genotype, _LABELS)
        shifted, random, find = _SHIFTED[labelling], rng.random, representation.find
        flips, shifts = self._ends
        for _ in range(ATTEMPTS):
            flipped = (
                bisect_right(flips, random())
                | bisect_right(flips, random()) << VERTICES
                | bisect_right(flips, random()) << 2 * VERTICES
            )
            child: int = (edges ^ flipped) * _LABELS + shifted[bisect_right(shifts, random())]
            if find(child) >= 0:
                return child
        return representation.sample(rng)


def representation(space: Space, covered: Mask | None = None) -> Representation:
    """The representation of `nasbench101` and its sub-spaces; see `sharewise.strategy.represent`."""
    return RawCells(space, covered)


def _fast(values: NDArray[np.int32]) -> array[int]:
    """The same numbers in a container of which one entry is read faster than of a numpy array."""
    found = array("i")
    assert found.itemsize == 4
    found.frombytes(np.ascontiguousarray(values, dtype=np.int32).tobytes())
    return found


@cache
def _raw_graphs() -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """For each of the 2²¹ edge sets where its pruned graph begins in `enumeration().rows`, and its used inner vertices.

    -1 where input and output are not connected, or more than 9 edges are left.
    """
    edges = np.arange(1 << len(EDGES), dtype=np.uint32)
    has = {(s, t): (edges >> np.uint32(bit(s, t)) & np.uint32(1)).astype(bool) for s, t in EDGES}
    yes, no = np.ones(len(edges), dtype=bool), np.zeros(len(edges), dtype=bool)
    reached, needed = [yes], [yes]
    for t in range(1, VERTICES):
        reached.append(np.logical_or.reduce([has[s, t] & reached[s] for s in range(t)], initial=False))
    for s in range(VERTICES - 2, -1, -1):
        needed.insert(0, np.logical_or.reduce([has[s, t] & needed[t - s - 1] for t in range(s + 1, VERTICES)]))
    used = [r & n for r, n in zip(reached, needed, strict=True)]
    place = np.cumsum(np.array(used, dtype=np.uint32), axis=0, dtype=np.uint32) - np.uint32(1)
    pruned = np.zeros(len(edges), dtype=np.uint32)
    for (s, t), here in has.items():
        kept = here & used[s] & used[t]
        shift = place[s] + place[t] * (place[t] - np.uint32(1)) // np.uint32(2)
        pruned |= np.where(kept, np.uint32(1) << np.where(kept, shift, np.uint32(0)), np.uint32(0))
    codes = enumeration().codes
    wanted = pruned << np.uint32(2 * INNER)
    start = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1).astype(np.int32)
    start[(codes[start] != wanted) | (used[0] == no)] = -1
    inner = sum((used[v].astype(np.uint8) << np.uint8(v - 1) for v in range(1, INNER + 1)), np.uint8(0))
    return start, np.asarray(inner, dtype=np.uint8)


_DIGITS: list[tuple[int, ...]] = [
    tuple(labelling // _K**place % _K for place in range(INNER - 1, -1, -1)) for labelling in range(_LABELS)
]


def _joined(digits: Sequence[int]) -> int:
    number = 0
    for digit in digits:
        number = number * _K + digit
    return number


_KEPT = [
    [_joined([digit for v, digit in enumerate(digits) if used >> v & 1]) for digits in _DIGITS]
    for used in range(1 << INNER)
]
"""By used inner vertices and labelling, the labelling of the used ones alone."""
_SHIFTED = [
    [_joined([(a + b) % _K for a, b in zip(digits, shift, strict=True)]) for shift in _DIGITS] for digits in _DIGITS
]
"""By labelling and shift, the labelling whose operations are shifted."""
_SINGLE = [shift for shift in range(_LABELS) if sum(digit > 0 for digit in _DIGITS[shift]) == 1]
