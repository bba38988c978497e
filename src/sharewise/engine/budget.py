"""Budgets: hard limits on what the selected architecture may cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import final

import numpy as np
import numpy.typing as npt

from sharewise.cost import ArchitectureCosts, Quantity, SupernetCost
from sharewise.engine.part import Part
from sharewise.errors import ConfigurationError
from sharewise.space import (
    Architecture,
    Option,
    Probabilities,
    Relaxation,
    Space,
    enumerate_architectures,
    mutate,
    sample,
)
from sharewise.strategy.evolution import Generations, by_chance
from sharewise.strategy.population import Best, Fittest
from sharewise.strategy.representation import Plain
from sharewise.strategy.variation import Crossover, OneChoice

__all__ = ["Affordable", "Limit"]

_LISTED = 20_000
"""Spaces up to this size are searched completely."""
_REPAIR = Generations(40, 50, Best(10), ((OneChoice(), 25), (Crossover(), 25)), Fittest(10), patience=1)
"""Finds what keeps the limits in spaces that are larger."""


@final
@dataclass(frozen=True)
class Limit(Part):
    """Bounds on a cost of the selected architecture: from above, from below, or both.

    Args:
        quantity: what is bounded.
        most: the largest value that is allowed, in its unit, positive; infinite where only `least` bounds.
        least: the smallest value that is allowed, not more than `most`.

    Raises:
        ConfigurationError: when there is no bound, or nothing lies between the two.

    Example:
        >>> from sharewise.cost import Parameters
        >>> Limit(Parameters(), 100_000).most, Limit(Parameters(), 9e6, least=5e6).admits(4e6)
        (100000, False)
    """

    quantity: Quantity
    most: float
    least: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.most < math.inf or (self.most == math.inf and self.least > 0)):
            raise ConfigurationError(f"{self.quantity.option} must be positive and finite, got {self.most}")
        if not 0 <= self.least <= self.most or self.least == math.inf:
            raise ConfigurationError(
                f"{self.lower} must lie between 0 and {self.quantity.option}, got {self.least:,.10g} and "
                f"{self.most:,.10g}"
            )

    @property
    def lower(self) -> str:
        """What the bound from below is called."""
        return f"min_{self.quantity.option.removeprefix('max_')}"

    def admits(self, cost: float, *, rounding: float = 1e-12) -> bool:
        """Whether a cost lies within the bounds.

        Args:
            cost: in the unit of the quantity.
            rounding: of sums, relative to the bounds: far below one parameter.
        """
        return self.least * (1 - rounding) <= cost <= self.most * (1 + rounding)

    def excess(self, cost: float) -> float:
        """How far a cost lies outside of the bounds, relative to the bound that it breaks; zero within."""
        return 0.0 if self.admits(cost) else max(cost / self.most - 1, 1 - cost / self.least if self.least else 0.0)

    @property
    def wrong_end(self) -> str:
        """Which of all costs is named where none lies within the bounds."""
        return "smallest" if not self.least else "largest" if self.most == math.inf else "nearest"

    @property
    def bounds(self) -> dict[str, float]:
        """Those that are given, by the options of the command line."""
        lower = {self.lower: self.least} if self.least else {}
        return lower | ({self.quantity.option: self.most} if self.most < math.inf else {})

    def words(self, verb: str = "is") -> str:
        """The bounds for messages."""
        return " and ".join(f"{name} {verb} {value:,.10g}" for name, value in self.bounds.items())


@final
class Affordable:
    """The architectures of a space that keep all limits, and the most probable one among them.

    The projection within a budget maximises Σ_d log p_d(a) over the decisions that an architecture takes, subject to
    cost(a) ≤ limit. It is exact where the space has at most 20,000 architectures (all are compared), and where there is
    one limit from above on a cost that is a sum over choices (dynamic programming over the architectures that no other
    dominates); elsewhere evolution repairs the rule's own pick, and the result is affordable but perhaps not the best.

    Args:
        limits: at least one.
        costs: of the supernet.
        relaxation: its decisions.
        space: what may be selected: the relaxation's space, or its part without excluded options.

    Raises:
        ConfigurationError: when no architecture keeps the limits; the message names the smallest possible cost, or the
            largest one below a bound from below.
    """

    def __init__(self, limits: Sequence[Limit], costs: SupernetCost, relaxation: Relaxation, space: Space) -> None:
        self.limits, self.relaxation, self.space = tuple(limits), relaxation, space
        self._supernet = costs
        self.costs: tuple[ArchitectureCosts, ...] = tuple(costs.architectures(limit.quantity) for limit in limits)
        names = [choice.name for choice in space.choices]
        one_each = space.independent and [d.name for d in relaxation.decisions] == names
        self.additive = one_each and self.costs[0].additive and not any(limit.least for limit in self.limits)
        self._seed: Architecture | None = None
        self._require_possible()

    def admits(self, architecture: Architecture) -> bool:
        """Whether an architecture keeps every limit."""
        return all(limit.admits(table.of(architecture)) for table, limit in self._pairs)

    def spent(self, architecture: Architecture) -> dict[str, dict[str, float]]:
        """What an architecture costs beside what it may cost, by the option that bounds it; priced anew, not summed up.

        Raises:
            ConfigurationError: when it breaks a limit, which no selection lets happen.
        """
        prices = {
            limit.quantity.option: float(limit.quantity.price(self._supernet)(architecture)) for limit in self.limits
        }
        for limit in self.limits:
            price = prices[limit.quantity.option]
            if not limit.admits(price, rounding=1e-9):
                raise ConfigurationError(
                    f"{architecture} costs {price:,.10g} {limit.quantity.name}, "
                    f"{'more' if price > limit.most else 'less'} than {limit.words('=')}; is its cost a function of "
                    "its choices?"
                )
        return {
            limit.quantity.option: {
                **({"most": limit.most} if limit.most < math.inf else {}),
                **({"least": limit.least} if limit.least else {}),
                "spent": prices[limit.quantity.option],
            }
            for limit in self.limits
        }

    def sample(self, rng: np.random.Generator) -> Architecture:
        """An affordable architecture: uniform among them in a small space, by a random walk elsewhere."""
        if self._listed:
            return self._listed[int(rng.choice(self._kept))]
        for _ in range(100):
            drawn = sample(self.space, rng)
            if self.admits(drawn):
                return drawn
        assert self._seed is not None
        found = self._seed
        for _ in range(10 * len(self.space.choices)):
            step = mutate(self.space, found, rng)
            found = step if self.admits(step) else found
        return found

    def best(self, probabilities: Probabilities, wish: Architecture) -> Architecture:
        """The most probable affordable architecture.

        Where architectures may leave out as much as they like (`Relaxation.sparse`), those that take more would always
        be less probable: there it is the one whose options weigh most in sum, none of which weighs nothing.

        Args:
            probabilities: by decision.
            wish: what the rule of the selection picks without limits; returned where it is affordable.
        """
        if self.admits(wish):
            return wish
        logs = {name: list(map(self._worth, row)) for name, row in probabilities.items()}
        if self._listed:
            row = np.concatenate([logs[decision.name] for decision in self.relaxation.decisions])
            scores = self._taken[self._kept] @ row
            return self._listed[int(self._kept[int(scores.argmax())])]
        if self.additive and len(self.limits) == 1:
            return self._by_sums(logs)
        return self._evolved(lambda a: self._score(a, logs), [wish])

    def _worth(self, probability: float) -> float:
        if self.relaxation.sparse:
            return probability if probability > 0 else -1.0
        return math.log(max(probability, 1e-30))

    @property
    def _pairs(self) -> list[tuple[ArchitectureCosts, Limit]]:
        return list(zip(self.costs, self.limits, strict=True))

    # How far the guarantee goes

    @property
    def exact(self) -> bool:
        """Whether `best` is the best one, not merely affordable."""
        return bool(self._listed) or (self.additive and len(self.limits) == 1)

    @cached_property
    def _listed(self) -> tuple[Architecture, ...]:
        """All architectures of a small space; nothing for a larger one."""
        if self.space.independent and self.space.size > _LISTED:
            return ()
        found = tuple(islice(enumerate_architectures(self.space), _LISTED + 1))
        return found if len(found) <= _LISTED else ()

    @cached_property
    def _kept(self) -> npt.NDArray[np.intp]:
        """Indices of the affordable ones among the listed."""
        fits = np.ones(len(self._listed), dtype=bool)
        for table, limit in self._pairs:
            fits &= np.array([limit.admits(cost) for cost in table.of_all(self._listed)], dtype=np.bool_)
        return np.flatnonzero(fits)

    @cached_property
    def _taken(self) -> npt.NDArray[np.bool_]:
        """For every listed architecture the options of all decisions that it takes, in one row."""
        rows = []
        for architecture in self._listed:
            encoding = self.relaxation.encode(architecture)
            rows.append(np.concatenate([np.array(encoding[d.name]) != 0 for d in self.relaxation.decisions]))
        return np.array(rows, dtype=np.bool_)

    def _score(self, architecture: Architecture, logs: Mapping[str, Sequence[float]]) -> float:
        encoding = self.relaxation.encode(architecture)
        return sum(logs[name][i] for name, weights in encoding.items() for i, weight in enumerate(weights) if weight)

    def _require_possible(self) -> None:
        nearest: list[float] = []
        if self._listed:
            if len(self._kept):
                return
            nearest = [_nearest(table.of_all(self._listed), limit) for table, limit in self._pairs]
        elif self.additive and len(self.limits) == 1:
            low = self.costs[0].fixed + sum(min(row.values()) for row in self._sums().values())
            if self.limits[0].admits(low):
                self._seed = self._by_sums({d.name: [0.0] * d.size for d in self.relaxation.decisions})
                return
            nearest = [low]
        else:
            found = self._evolved(lambda a: 0.0, [])
            if self.admits(found):
                self._seed = found
                return
            nearest = [table.of(found) for table in self.costs]
        how = "" if self._listed or self.additive else " that a search could find"
        words = [
            f"{limit.words()}, but the {limit.wrong_end} number of {limit.quantity.name}{how} is {cost:,.10g}"
            for limit, cost in zip(self.limits, nearest, strict=True)
            if not limit.admits(cost)
        ]
        raise ConfigurationError(
            f"no architecture of space {self.space.name!r} keeps the budget: "
            + ("; ".join(words) or "each limit can be kept, but not all of them together; raise one of them")
        )

    def _sums(self) -> dict[str, dict[Option, float]]:
        """What each option adds, by choice, of the options that may be selected."""
        prices, whole = self.costs[0].prices, self.costs[0].space.choices
        assert prices is not None
        kept = {choice.name: set(choice.options) for choice in self.space.choices}
        return {
            choice.name: {
                option: float(prices.terms[d,][i]) if (d,) in prices.terms else 0.0
                for i, option in enumerate(choice.options)
                if option in kept[choice.name]
            }
            for d, choice in enumerate(whole)
        }

    def _by_sums(self, logs: Mapping[str, Sequence[float]]) -> Architecture:
        """Choice by choice, keep the partial architectures for which no other is both cheaper and more probable."""
        sums, most = self._sums(), self.limits[0].most * (1 + 1e-12)
        rest = sum(min(row.values()) for row in sums.values())
        options = {d.name: d.options for d in self.relaxation.decisions}
        labels: list[tuple[float, float, tuple[Option, ...]]] = [(self.costs[0].fixed, 0.0, ())]
        for name, row in sums.items():
            rest -= min(row.values())
            extended = sorted(
                (
                    (cost + price, score + logs[name][options[name].index(option)], (*taken, option))
                    for cost, score, taken in labels
                    for option, price in row.items()
                    if cost + price + rest <= most
                ),
                key=lambda label: (label[0], -label[1]),
            )
            labels = []
            for label in extended:
                if not labels or label[1] > labels[-1][1]:
                    labels.append(label)
        return self.space.architecture(dict(zip(sums, labels[-1][2], strict=True)))

    def _evolved(self, score: Callable[[Architecture], float], start: Sequence[Architecture]) -> Architecture:
        """Evolution on (excess over the limits, score): the excess comes first."""
        rng, plain = np.random.default_rng(0), Plain(self.space)
        seed = () if self._seed is None else (self._seed,)
        first = [a for a in start if all(a[c.name] in c.options for c in self.space.choices if c.name in a)]
        fill = by_chance(plain, rng)

        def newcomers(count: int, taken: Set[Architecture]) -> Sequence[Architecture]:
            return fill(count, taken) if taken else [*dict.fromkeys((*first, *seed)), *fill(count, taken)][:count]

        def excess(architecture: Architecture) -> float:
            return sum(limit.excess(table.of(architecture)) for table, limit in self._pairs)

        def fitness(born: Sequence[Architecture]) -> list[tuple[float, ...]]:
            return [(-excess(architecture), score(architecture)) for architecture in born]

        *_, population = _REPAIR.populations(plain, fitness, newcomers, rng)
        best: Architecture = population[0][0]
        return best


def _nearest(costs: npt.NDArray[np.float64], limit: Limit) -> float:
    """The cost that breaks the bounds least."""
    return min(map(float, costs), key=limit.excess)
