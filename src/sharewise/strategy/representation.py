"""What a strategy moves: genotypes that are cheap to draw, change and look up.

A strategy never handles architectures while it runs: on a space of independent choices a genotype is an integer in
mixed radix, so a mutation is one addition and a table is read by index. Elsewhere a genotype is the architecture
itself, or, on NAS-Bench-101, the raw matrix and operations that the benchmark's own programs use (`nasbench101.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import accumulate
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, ProductListing, Space, crossover, mutate, neighbours, sample

__all__ = ["Genotype", "Plain", "Ranks", "Representation", "represent"]

Genotype = Any
"""A hashable value: an integer, or an `Architecture`."""
Mask = NDArray[np.bool_]

ATTEMPTS = 10_000  # bounds rejection sampling: what defeats it gets an error instead of an endless loop
_TABULATED = 1_000_000  # spaces up to this size may hold one number per architecture in memory


class Representation(ABC):
    """Genotypes of a space, restricted to the architectures that can be asked about."""

    space: Space

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Genotype:
        """A genotype at random."""

    @abstractmethod
    def mutate(
        self,
        genotype: Genotype,
        rng: np.random.Generator,
        weights: Sequence[float] | None = None,
        *,
        other: bool = True,
    ) -> Genotype:
        """A genotype that differs in one choice; a random one where no such can be asked about, as on sparse tables.

        Args:
            genotype: the parent.
            rng: source of randomness.
            weights: how often each choice is picked, in the order of the space's choices; `None` for all alike.
            other: whether the choice must get another option; if not, it may draw its own again.
        """

    @abstractmethod
    def neighbours(self, genotype: Genotype) -> tuple[Genotype, ...]:
        """All genotypes that differ in one choice."""

    @abstractmethod
    def allows(self, genotype: Genotype) -> bool:
        """Whether the genotype can be asked about."""

    @abstractmethod
    def index(self, genotype: Genotype) -> int:
        """The architecture's index in the listing of the space."""

    @abstractmethod
    def at(self, index: int) -> Genotype:
        """A genotype of the architecture of an index."""

    @property
    @abstractmethod
    def indices(self) -> NDArray[np.int64]:
        """All indices that can be asked about, ascending."""

    def cross(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """A genotype that takes each choice from one of two; a random one where no such can be asked about.

        Args:
            first: one parent.
            second: the other parent.
            rng: source of randomness.
        """
        parents = self.architecture(first), self.architecture(second)
        for _ in range(ATTEMPTS):
            child = self.genotype(crossover(self.space, *parents, rng))
            if self.allows(child):
                return child
        return self.sample(rng)

    def architecture(self, genotype: Genotype) -> Architecture:
        """What the genotype stands for."""
        return self.space.listing.at(self.index(genotype))

    def genotype(self, architecture: Architecture) -> Genotype:
        """A genotype of the architecture."""
        return self.at(self.space.listing.index(architecture))


@final
class Ranks(Representation):
    """A space of independent choices: the genotype is the rank in mixed radix, the first choice slowest.

    Args:
        space: whose choices are independent.
        covered: by index of the listing, what can be asked about; `None` for everything.

    Raises:
        ConfigurationError: when choices depend on each other, or a partial table belongs to a space of more than a
            million architectures.

    Example:
        >>> from sharewise.spaces import nasbench201
        >>> ranks = Ranks(nasbench201())
        >>> len(ranks.neighbours(0)), str(ranks.architecture(0))
        (24, '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|')
    """

    def __init__(self, space: Space, covered: Mask | None = None) -> None:
        if not space.independent:
            raise ConfigurationError(f"the choices of space {space.name!r} depend on each other; use Plain")
        self.space, self.size = space, space.size
        self.radices = tuple(len(choice.options) for choice in space.choices)
        self.strides = tuple(reversed(list(accumulate(reversed(self.radices[1:]), lambda a, b: a * b, initial=1))))
        self._mutable = tuple((r, s) for r, s in zip(self.radices, self.strides, strict=True) if r > 1)
        self._order = self._official_order()
        self._rank_of = None if self._order is None else np.argsort(self._order).tolist()
        self._allowed: list[bool] | None = None
        self._legal: list[int] | None = None
        if covered is not None and not covered.all():
            by_rank = covered if self._order is None else covered[self._order]
            self._allowed, self._legal = by_rank.tolist(), np.flatnonzero(by_rank).tolist()
            if not self._legal:
                raise ConfigurationError(f"no architecture of space {space.name!r} is covered")
        self._neighbours: dict[int, tuple[int, ...]] = {}

    def _official_order(self) -> list[int] | None:
        """For each rank the index in the listing, where that is not the rank itself."""
        listing = self.space.listing
        if isinstance(listing, ProductListing):
            return None
        if self.size > _TABULATED:
            raise ConfigurationError(f"space {self.space.name!r} is too large for a listing in an order of its own")
        product = ProductListing(self.space.name, self.space.choices, self.space.architecture, self.space.parse)
        order = [0] * self.size
        for index in range(self.size):
            order[product.index(listing.at(index))] = index
        return order

    def sample(self, rng: np.random.Generator) -> int:
        """See `Representation.sample`."""
        if self._legal is None:
            return int(rng.random() * self.size)
        return self._legal[int(rng.random() * len(self._legal))]

    def mutate(
        self, genotype: int, rng: np.random.Generator, weights: Sequence[float] | None = None, *, other: bool = True
    ) -> int:
        """See `Representation.mutate`; choices are redrawn until the result can be asked about."""
        mutable = self._mutable
        bounds = None if weights is None else _bounds(weights, self.radices)
        for attempt in range(ATTEMPTS if mutable else 0):
            place = int(rng.random() * len(mutable)) if bounds is None else bisect_right(bounds, rng.random())
            radix, stride = mutable[place]
            digit = genotype // stride % radix
            if other:
                drawn = int(rng.random() * (radix - 1))
                drawn += drawn >= digit
            else:
                drawn = int(rng.random() * radix)
            child = genotype + (drawn - digit) * stride
            if self._allowed is None or self._allowed[child]:
                return child
            if attempt == 0 and not self.neighbours(genotype):
                break
        return self.sample(rng)

    def neighbours(self, genotype: int) -> tuple[int, ...]:
        """See `Representation.neighbours`, in the order of choices and options."""
        found = self._neighbours.get(genotype)
        if found is None:
            found = tuple(
                genotype + (other - digit) * stride
                for radix, stride in self._mutable
                for digit in (genotype // stride % radix,)
                for other in range(radix)
                if other != digit
            )
            if self._allowed is not None:
                found = tuple(child for child in found if self._allowed[child])
            if len(self._neighbours) < _TABULATED:
                self._neighbours[genotype] = found
        return found

    def digits(self, genotype: int) -> tuple[int, ...]:
        """The place of the option of each choice."""
        return tuple(genotype // stride % radix for radix, stride in zip(self.radices, self.strides, strict=True))

    def from_digits(self, digits: Sequence[int]) -> int:
        """The inverse of `digits`."""
        return sum(int(digit) * stride for digit, stride in zip(digits, self.strides, strict=True))

    def allows(self, genotype: int) -> bool:
        """See `Representation.allows`."""
        return self._allowed is None or self._allowed[genotype]

    def index(self, genotype: int) -> int:
        """See `Representation.index`."""
        return genotype if self._order is None else self._order[genotype]

    def at(self, index: int) -> int:
        """See `Representation.at`."""
        return index if self._rank_of is None else self._rank_of[index]

    @property
    def indices(self) -> NDArray[np.int64]:
        """See `Representation.indices`."""
        if self._legal is None:
            return np.arange(self.size)
        return np.sort(np.array([self.index(rank) for rank in self._legal], dtype=np.int64))


@final
class Plain(Representation):
    """Any space: the genotype is the architecture itself.

    Args:
        space: any.
        covered: by index of the listing, what can be asked about; `None` for everything.
        admits: a further condition, such as a limit on costs; `None` for none.

    Example:
        >>> from sharewise.space import Choice
        >>> space = Space("toy", (Choice("width", (1, 2, 3, 4)),))
        >>> small = Plain(space, admits=lambda a: a["width"] < 3)
        >>> [a["width"] for a in small.neighbours(space.architecture({"width": 1}))], small.indices
        ([2], array([0, 1]))
    """

    def __init__(
        self, space: Space, covered: Mask | None = None, admits: Callable[[Architecture], bool] | None = None
    ) -> None:
        self.space = space
        self._covered = None if covered is None or covered.all() else covered
        self._admits = admits

    def allows(self, genotype: Architecture) -> bool:
        """See `Representation.allows`."""
        if self._covered is not None and not self._covered[self.index(genotype)]:
            return False
        return self._admits is None or self._admits(genotype)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """See `Representation.sample` and `sharewise.space.sample`.

        Raises:
            ConfigurationError: when 10,000 architectures in a row are not admitted.
        """
        for _ in range(ATTEMPTS):
            drawn = sample(self.space, rng) if self._covered is None else self._row(self._covered, rng)
            if self._admits is None or self._admits(drawn):
                return drawn
        raise ConfigurationError(f"{ATTEMPTS:,} architectures of space {self.space.name!r} in a row are not admitted")

    def _row(self, covered: Mask, rng: np.random.Generator) -> Architecture:
        indices = np.flatnonzero(covered)
        return self.at(int(indices[int(rng.random() * len(indices))]))

    def mutate(
        self,
        genotype: Architecture,
        rng: np.random.Generator,
        weights: Sequence[float] | None = None,
        *,
        other: bool = True,
    ) -> Architecture:
        """See `Representation.mutate`.

        Raises:
            ConfigurationError: for settings that have no meaning where choices depend on each other.
        """
        if weights is not None or not other:
            raise ConfigurationError(
                f"weights of choices, and choices that may stay as they are, need independent choices; those of space "
                f"{self.space.name!r} depend on each other"
            )
        for attempt in range(ATTEMPTS):
            child = mutate(self.space, genotype, rng)
            if self.allows(child):
                return child
            if attempt == 0 and not self.neighbours(genotype):
                break
        return self.sample(rng)

    def neighbours(self, genotype: Architecture) -> tuple[Architecture, ...]:
        """See `Representation.neighbours`."""
        return tuple(other for other in neighbours(self.space, genotype) if self.allows(other))

    def index(self, genotype: Architecture) -> int:
        """See `Representation.index`."""
        return self.space.listing.index(genotype)

    def at(self, index: int) -> Architecture:
        """See `Representation.at`."""
        return self.space.listing.at(index)

    @property
    def indices(self) -> NDArray[np.int64]:
        """See `Representation.indices`."""
        indices = np.arange(self.space.size) if self._covered is None else np.flatnonzero(self._covered)
        if self._admits is None:
            return indices
        return np.array([index for index in indices.tolist() if self._admits(self.at(index))], dtype=np.int64)

    def architecture(self, genotype: Architecture) -> Architecture:
        """The genotype itself."""
        return genotype

    def genotype(self, architecture: Architecture) -> Architecture:
        """The architecture itself, as one of the space."""
        return self.space.own(architecture)


_OWN = {
    "nasbench101": "sharewise.strategy.nasbench101",
    "nasbench1shot1": "sharewise.strategy.nasbench1shot1",
}
"""Spaces with a representation of their own, by the part of the name before a colon."""


def represent(space: Space, covered: Mask | None = None) -> Representation:
    """The fastest representation of a space.

    Args:
        space: any.
        covered: by index of the listing, what can be asked about; `None` for everything.

    Example:
        >>> from sharewise.spaces import nasbench201
        >>> type(represent(nasbench201())).__name__
        'Ranks'
    """
    home = _OWN.get(space.name.partition(":")[0])
    if home is not None:
        own: Representation = import_module(home).representation(space, covered)
        return own
    return (Ranks if space.independent else Plain)(space, covered)


def _bounds(weights: Sequence[float], radices: Sequence[int]) -> list[float]:
    """Upper ends of the shares of [0, 1) that belong to the choices with more than one option."""
    if len(weights) != len(radices) or min(weights) < 0:
        raise ConfigurationError(f"give one weight of at least 0 for each of {len(radices)} choices, got {weights}")
    kept = [weight for weight, radix in zip(weights, radices, strict=True) if radix > 1]
    total = sum(kept)
    if not total > 0:
        raise ConfigurationError(f"no choice with more than one option has a positive weight: {weights}")
    return [end / total for end in accumulate(kept[:-1])]
