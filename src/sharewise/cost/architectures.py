"""What the architectures of a space cost, as a sum over small groups of choices where it is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any, final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sharewise.cost.layers import Pattern, decomposed
from sharewise.cost.prices import Prices, from_layers, matrix
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space, sample

__all__ = ["ArchitectureCosts", "Layered"]

Layered = Callable[[Architecture], Mapping[Any, int]]
"""What every part of an architecture's network costs, in whole numbers of a unit."""

_PROBES = 32
"""Random architectures on which a decomposition must be exact."""
_LARGEST_TABLE = 4096
"""Entries of the largest table of options that interact."""
_LISTED = 20_000
"""Architectures of a space that is large."""
_REMEMBERED = 1 << 15
"""Costs of single architectures that are kept."""


@final
class ArchitectureCosts:
    """What the architectures of a space cost, as a sum over small groups of choices where it is one.

    Networks are made of layers, and a layer's cost depends on the few choices that it reads. Where parts of a network
    are priced one by one, each finds its own group (`decomposed`). A price of whole networks c is taken apart by few
    evaluations: with a_0 the architecture of all first options and a_T the one that differs from it in the choices T
    alone,

        c(a) = c(a_0) + Σ_S f_S(a_S),   f_S(a_S) = Σ_{T ⊆ S} (-1)^{|S| - |T|} c(a_T)

    over the groups S of choices that interact in pairs (an additive cost has groups of one). Which pairs interact is
    tried on their last options, and the sum is checked on 32 random architectures. A choice that an architecture does
    not take, since a depth leaves its block out, changes nothing. Where no sum is found, or the space is no product of
    its choices, or large with decisions that are not its choices, as the cells of DARTS, costs are evaluated one by
    one: a part of such a network reads several choices in no product, and finding that out takes minutes.

    Args:
        space: whose architectures are priced.
        price: the cost of one architecture.
        layered: the same cost by parts, in multiples of `unit`.
        unit: of the parts.

    Example:
        >>> from sharewise.spaces import load
        >>> space = load("toy-tied-width")
        >>> costs = ArchitectureCosts(space, lambda a: 3.0 * a["width"] + 1)
        >>> costs.of(space.architecture({"width": 8, "activation": "relu"})), costs.additive
        (25.0, True)
    """

    def __init__(
        self,
        space: Space,
        price: Callable[[Architecture], float],
        *,
        layered: Layered | None = None,
        unit: float = 1.0,
    ) -> None:
        self.space = space
        self._price: Callable[[Architecture], float] = lru_cache(_REMEMBERED)(price)
        self._index = {c.name: {option: i for i, option in enumerate(c.options)} for c in space.choices}
        self.prices: Prices | None = None
        if not (space.constraints or space.normalise or _decides_otherwise(space)):
            self.prices = self._by_interactions() if layered is None else self._by_layers(layered, unit)

    @property
    def fixed(self) -> float:
        """What all architectures cost alike."""
        return 0.0 if self.prices is None else self.prices.fixed

    @cached_property
    def terms(self) -> Mapping[tuple[str, ...], npt.NDArray[np.float64]] | None:
        """The tables by names of choices; `None` where the cost is no sum."""
        names = list(self._index)
        return self.prices and {tuple(names[d] for d in group): table for group, table in self.prices.terms.items()}

    @property
    def sums(self) -> Prices:
        """The sum that the cost is.

        Raises:
            ConfigurationError: when it is none over small groups of choices.
        """
        if self.prices is None:
            raise ConfigurationError(
                f"the expected cost is not known for space {self.space.name!r}, whose cost is no sum over small groups "
                "of independent choices; leave the penalty out, a budget holds without it"
            )
        return self.prices

    @property
    def additive(self) -> bool:
        """Whether the cost is a sum over single choices."""
        return self.prices is not None and self.prices.additive

    def of(self, architecture: Architecture) -> float:
        """The cost of an architecture, by the sum where there is one.

        Raises:
            ConfigurationError: when it is not of the space.
        """
        architecture = self.space.own(architecture)
        if self.prices is None:
            return float(self._price(architecture))
        return self.prices.of(self._options(architecture))

    def of_all(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """The costs of many architectures, shape `(n,)`; see `of`."""
        architectures = [self.space.own(a) for a in architectures]
        if self.prices is None:
            return np.array([float(self._price(a)) for a in architectures])
        options = np.array([self._options(a) for a in architectures], dtype=np.intp)
        return self.prices.of_all(options.reshape(len(architectures), len(self._index)))

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """E[cost] of an architecture whose choices are drawn independently, exactly; differentiable.

        A choice that the drawn architecture does not take is drawn all the same, and ignored.

        Args:
            probabilities: for every choice, shape `(k,)`.

        Raises:
            ConfigurationError: when the cost is no sum over small groups of choices.
        """
        return self.sums.expected(matrix({name: probabilities[name] for name in self._index}))

    def _options(self, architecture: Architecture) -> list[int]:
        """For every choice the option that is taken; the first where there is no choice, which changes nothing."""
        return [rows[architecture[name]] if name in architecture else 0 for name, rows in self._index.items()]

    def _at(self, options: Sequence[int]) -> Architecture:
        values = {c.name: c.options[i] for c, i in zip(self.space.choices, options, strict=True)}
        return self.space.architecture(values)

    def _by_layers(self, layered: Layered, unit: float) -> Prices | None:
        sizes = [len(choice.options) for choice in self.space.choices]

        def measure(pattern: Pattern) -> Mapping[Any, int]:
            return layered(self._at([option for (option,) in pattern]))

        found = decomposed(sizes, measure, mixtures=False)
        return None if found is None else from_layers(sizes, found, unit)

    def _by_interactions(self) -> Prices | None:
        sizes = [len(choice.options) for choice in self.space.choices]

        def value(chosen: Mapping[int, int]) -> float:
            return float(self._price(self._at([chosen.get(d, 0) for d in range(len(sizes))])))

        fixed = value({})
        groups = _interacting(sizes, fixed, value)
        if groups is None:
            return None
        terms: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}
        for group in groups:  # smaller groups first, so that what they explain can be taken off
            terms[group] = _interaction(group, sizes, fixed, value, terms)
        prices = Prices(tuple(sizes), fixed, terms)
        rng = np.random.default_rng(0)
        probes = [sample(self.space, rng) for _ in range(_PROBES)]
        exact = all(math.isclose(prices.of(self._options(a)), self._price(a), rel_tol=1e-9) for a in probes)
        return prices if exact else None


def _decides_otherwise(space: Space) -> bool:
    """Whether a large space has decisions that are not its choices."""
    large = space.independent and space.size > _LISTED
    return large and [d.name for d in space.relaxation.decisions] != [choice.name for choice in space.choices]


_Value = Callable[[Mapping[int, int]], float]
"""The cost where some choices take another option than their first."""


def _interacting(sizes: Sequence[int], fixed: float, value: _Value) -> list[tuple[int, ...]] | None:
    """Groups of choices that interact in pairs, small ones first; `None` where one would need too large a table."""
    alone = {d: value({d: size - 1}) for d, size in enumerate(sizes)}
    together: dict[int, set[int]] = {d: set() for d in alone}
    for a, b in combinations(alone, 2):
        both = value({a: sizes[a] - 1, b: sizes[b] - 1})
        if not math.isclose(both + fixed, alone[a] + alone[b], rel_tol=1e-9):
            together[a].add(b)
            together[b].add(a)
    groups: list[tuple[int, ...]] = []
    frontier: list[tuple[int, ...]] = [(d,) for d in alone]
    while frontier:
        groups += frontier
        frontier = [
            (*group, d)
            for group in frontier
            for d in range(group[-1] + 1, len(sizes))
            if all(d in together[member] for member in group)
        ]
        if any(math.prod(sizes[d] for d in group) > _LARGEST_TABLE for group in frontier):
            return None
    return groups


def _interaction(
    group: tuple[int, ...],
    sizes: Sequence[int],
    fixed: float,
    value: _Value,
    smaller: Mapping[tuple[int, ...], npt.NDArray[np.float64]],
) -> npt.NDArray[np.float64]:
    """f_S of a group: what none of its parts explains; zero where a choice stands at its first option."""
    table = np.zeros([sizes[d] for d in group])
    for indices in np.ndindex(*table.shape):
        if 0 in indices:
            continue
        rest = value(dict(zip(group, indices, strict=True))) - fixed
        for size in range(1, len(group)):
            for part in combinations(range(len(group)), size):
                rest -= smaller[tuple(group[i] for i in part)][tuple(indices[i] for i in part)]
        table[indices] = rest
    return table
