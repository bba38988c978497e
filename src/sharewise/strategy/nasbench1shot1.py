"""NAS-Bench-1Shot1 as its blocks describe it: parents of every node and operations of every block, loose ends included.

A genotype is one wiring with one operation a block, so that a move changes the parents of one node, or one operation.
Many genotypes are one architecture, and as in the authors' programs a random genotype is uniform over wirings and
operations, not over unique cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import comb
from typing import final

import numpy as np
from numpy.typing import NDArray

from sharewise.errors import ConfigurationError
from sharewise.space import Space, SubListing
from sharewise.spaces.nasbench1shot1.topology import forms, parent_choices, pruned
from sharewise.spaces.nasbench101.cell import OPERATIONS
from sharewise.spaces.nasbench101.space import nasbench101
from sharewise.strategy.representation import Mask, Representation

__all__ = ["RawBlocks", "representation"]

_K = len(OPERATIONS)


@final
class RawBlocks(Representation):
    """Wirings and operations: the genotype is `wiring · 3^B + labelling`, the first node and block slowest.

    Args:
        space: `nasbench1shot1:1` to `nasbench1shot1:3`, or a part of one.
        covered: by index of the listing, what can be asked about; `None` for everything.

    Raises:
        ConfigurationError: when nothing is covered.

    Example:
        >>> from sharewise.spaces import load
        >>> blocks = RawBlocks(load("nasbench1shot1:1"))
        >>> str(blocks.architecture(0)), len(blocks.neighbours(0))
        ('conv3x3-bn-relu~0|output~0,1', 5)
    """

    def __init__(self, space: Space, covered: Mask | None = None) -> None:
        self.space = space
        found = forms(space.name.partition(":")[2])
        design, listing = found.design, space.listing
        self._indices = np.arange(len(listing)) if covered is None else np.flatnonzero(covered)
        if not len(self._indices):
            raise ConfigurationError(f"no architecture of space {space.name!r} is covered")
        place = np.full(len(nasbench101().listing), -1, np.int32)
        place[_whole_rows(space)[self._indices]] = self._indices
        by_topology = {parents: place[rows] for parents, rows in found.rows_by_topology().items()}
        digits = np.indices((_K,) * design.blocks).reshape(design.blocks, -1)
        self._index = np.concatenate(
            [_spread(by_topology[wiring], wiring, digits) for wiring in map(pruned, parent_choices(design))]
        )
        radices = [comb(node, count) for node, count in enumerate(design.parents, start=1)] + [_K] * design.blocks
        strides = reversed(list(accumulate(reversed(radices[1:]), lambda a, b: a * b, initial=1)))
        self._mutable = tuple((r, s) for r, s in zip(radices, strides, strict=True) if r > 1)
        self._legal = np.flatnonzero(self._index >= 0)

    def sample(self, rng: np.random.Generator) -> int:
        """Uniform over the wirings and operations that can be asked about."""
        return int(self._legal[int(rng.random() * len(self._legal))])

    def mutate(
        self, genotype: int, rng: np.random.Generator, weights: Sequence[float] | None = None, *, other: bool = True
    ) -> int:
        """A neighbour, uniformly; a random genotype where there is none.

        Raises:
            ConfigurationError: for weights and `other=False`, which have no meaning here.
        """
        if weights is not None or not other:
            raise ConfigurationError("raw blocks take no weights, and always change")
        around = self.neighbours(genotype)
        return around[int(rng.random() * len(around))] if around else self.sample(rng)

    def neighbours(self, genotype: int) -> tuple[int, ...]:
        """Genotypes with other parents of one node, or another operation: one for each other architecture."""
        found: dict[int, int] = {}
        for radix, stride in self._mutable:
            digit = genotype // stride % radix
            for other in range(radix):
                child = genotype + (other - digit) * stride
                found.setdefault(int(self._index[child]), child)
        found.pop(-1, None)
        found.pop(int(self._index[genotype]), None)
        return tuple(found.values())

    def allows(self, genotype: int) -> bool:
        """See `Representation.allows`."""
        return bool(self._index[genotype] >= 0)

    def index(self, genotype: int) -> int:
        """See `Representation.index`."""
        index = int(self._index[genotype])
        if index < 0:
            raise ConfigurationError(f"genotype {genotype} cannot be asked about")
        return index

    def at(self, index: int) -> int:
        """The first genotype of an architecture."""
        found = np.flatnonzero(self._index == index)
        if not len(found):
            raise ConfigurationError(f"architecture {index} of space {self.space.name!r} cannot be asked about")
        return int(found[0])

    @property
    def indices(self) -> NDArray[np.int64]:
        """See `Representation.indices`."""
        return self._indices


def representation(space: Space, covered: Mask | None = None) -> Representation:
    """The representation of the search spaces; see `sharewise.strategy.represent`."""
    return RawBlocks(space, covered)


def _whole_rows(space: Space) -> NDArray[np.int64]:
    """Of each architecture the row in NAS-Bench-101."""
    listing, whole = space.listing, nasbench101().listing
    if isinstance(listing, SubListing) and listing.of(whole):
        return listing.rows.astype(np.int64)
    return np.array([whole.index(listing.at(row)) for row in range(len(listing))], np.int64)


def _spread(
    rows: NDArray[np.int32], wiring: tuple[tuple[int, ...], ...], digits: NDArray[np.int64]
) -> NDArray[np.int32]:
    """What a wiring is under all operations of all blocks, of which those without effect do not count."""
    used = [block for block, own in enumerate(wiring[:-1]) if own]
    place = np.zeros(digits.shape[1], np.int64)
    for block in used:
        place = place * _K + digits[block]
    return rows[place]
