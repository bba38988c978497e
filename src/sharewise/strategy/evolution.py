"""Evolution, joined from operators: who has children, how a child comes about, who lives on.

The operators are values (`Parents`, `Variation`, `Survival`) on one kind of population. Joined one child at a time they
are regularized evolution, a strategy for any oracle; joined a generation at a time they are the evolution of SPOS, by
which a search selects and a budget is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import final

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.strategy.population import Fitness, Fittest, Parents, Population, Survival, Tournament, Youngest
from sharewise.strategy.representation import Genotype, Representation
from sharewise.strategy.strategy import Proposal, Strategy, Trial
from sharewise.strategy.variation import Mutation, OneChoice, Variation

__all__ = ["Generations", "Newcomers", "RegularizedEvolution", "by_chance", "distinct"]

_PATIENCE = 10
"""Attempts for each newcomer."""


@final
@dataclass(frozen=True)
class RegularizedEvolution(Strategy[Population[float]]):
    """Mutate the winner of a tournament; the oldest member dies, however good it is.

    The population starts with random architectures. Aging makes the search robust against noise: a lucky value dies
    with its bearer unless its children are good too. On a table so sparse that a parent has no covered neighbour, its
    child is a random covered architecture.

    Args:
        population: members.
        tournament: how a parent is chosen.
        mutation: how a child differs.

    Raises:
        ConfigurationError: when the population has no member, or the tournament does not fit into it.

    References:
        E. Real et al., *Regularized Evolution for Image Classifier Architecture Search*, AAAI 2019, algorithm 1;
        population 100, sample 25 there. NATS-Bench: population 10, sample 3 with replacement. NAS-Bench-101:
        population 50, sample 10.
    """

    population: int = 100
    tournament: Tournament = field(default_factory=lambda: Tournament(25))
    mutation: Mutation = field(default_factory=OneChoice)

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ConfigurationError(f"a population needs at least 1 member, got {self.population}")
        if not self.tournament.replacement and self.tournament.size > self.population:
            raise ConfigurationError(
                f"a tournament of {self.tournament.size} does not fit into a population of {self.population}"
            )

    def start(
        self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator
    ) -> Population[float]:
        """See `Strategy.start`."""
        return ()

    def propose(self, representation: Representation, state: Population[float], rng: np.random.Generator) -> Proposal:
        """See `Strategy.propose`."""
        if len(state) < self.population:
            return Proposal(representation.sample(rng))
        return Proposal(self.mutation.child(representation, self.tournament.among(state, rng), rng))

    def update(self, representation: Representation, state: Population[float], trial: Trial) -> Population[float]:
        """See `Strategy.update`."""
        return Youngest(self.population).survivors((*state, (trial.genotype, trial.value)))


Newcomers = Callable[[int, Set[Genotype]], Sequence[Genotype]]
"""Up to so many different genotypes without parents, none of them among those that are taken."""


@final
@dataclass(frozen=True)
class Generations:
    """Evolution by generations: all children of a generation are born before the first of them is scored.

    The first generation are newcomers, who also make up for children that could not be had. Nobody is born twice.

    Args:
        generations: at least 1.
        population: born in each, at least 1.
        parents: who has children.
        variations: how children come about, each with how many of a generation; at most `population`
            together.
        survival: who lives on; by default everybody, best first.
        patience: attempts for each child: in a small space, or under a tight constraint, new ones are rare.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> from sharewise.space import Choice, Space
        >>> from sharewise.strategy import Best, Crossover, Plain
        >>> space = Space("toy", tuple(Choice(name, tuple(range(9))) for name in "abcdef"))
        >>> evolution = Generations(10, 20, Best(5), ((OneChoice(), 10), (Crossover(), 10)))
        >>> plain, rng = Plain(space), np.random.default_rng(0)
        >>> def fitness(born):
        ...     return [float(sum(architecture.values())) for architecture in born]
        >>> *_, last = evolution.populations(plain, fitness, by_chance(plain, rng), rng)
        >>> len(last), list(last[0][0].values())
        (200, [8, 8, 8, 8, 8, 8])
    """

    generations: int
    population: int
    parents: Parents
    variations: tuple[tuple[Variation, int], ...]
    survival: Survival = field(default_factory=Fittest)
    patience: int = 10

    def __post_init__(self) -> None:
        for name in ("generations", "population", "patience"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"evolution needs {name} of at least 1, got {getattr(self, name)}")
        counts = [count for _, count in self.variations]
        if any(count < 0 for count in counts) or sum(counts) > self.population:
            raise ConfigurationError(
                f"a generation of {self.population} cannot have {' + '.join(map(str, counts))} children"
            )

    def populations(
        self,
        representation: Representation,
        fitness: Callable[[Sequence[Genotype]], Sequence[Fitness]],
        newcomers: Newcomers,
        rng: np.random.Generator,
        admits: Callable[[Genotype], bool] = lambda genotype: True,
    ) -> Iterator[Population[Fitness]]:
        """The population after each generation.

        Args:
            representation: of the space.
            fitness: of those who are born in a generation, in the order of their birth; asked once for each.
            newcomers: members without parents.
            rng: source of randomness for parents and children.
            admits: whether a child may be born; one that may not is never scored.
        """
        population: Population[Fitness] = ()
        born: list[Genotype]
        for _ in range(self.generations):
            taken = {genotype for genotype, _ in population}
            born = self._children(representation, population, rng, taken, admits) if population else []
            born += newcomers(self.population - len(born), taken)
            population = self.survival.survivors(population + tuple(zip(born, fitness(born), strict=True)))
            yield population

    def _children(
        self,
        representation: Representation,
        population: Population[Fitness],
        rng: np.random.Generator,
        taken: set[Genotype],
        admits: Callable[[Genotype], bool],
    ) -> list[Genotype]:
        """New ones, which join those that are taken."""
        parent, born = self.parents.among(population, rng), list[Genotype]()
        for variation, count in self.variations:
            make = partial(variation.child, representation, parent, rng)
            found = distinct(make, count, self.patience * count, lambda g: g not in taken and admits(g))
            taken.update(found)
            born += found
        return born


def distinct(
    make: Callable[[], Genotype], count: int, attempts: int, admits: Callable[[Genotype], bool]
) -> list[Genotype]:
    """Up to `count` different genotypes that are admitted, of at most so many attempts.

    Args:
        make: a genotype, which may be one of those before.
        count: wanted.
        attempts: at most; then there may be fewer.
        admits: whether a genotype is wanted.

    Example:
        >>> numbers = iter([3, 3, 4, 5, 6])
        >>> distinct(lambda: next(numbers), 2, 4, lambda number: number != 4)
        [3, 5]
    """
    found: dict[Genotype, None] = {}
    for _ in range(attempts):
        if len(found) == count:
            break
        made = make()
        if admits(made):
            found.setdefault(made)
    return list(found)


def by_chance(representation: Representation, rng: np.random.Generator) -> Newcomers:
    """Newcomers that a representation samples.

    Args:
        representation: of the space.
        rng: source of randomness.
    """

    def newcomers(count: int, taken: Set[Genotype]) -> Sequence[Genotype]:
        return distinct(lambda: representation.sample(rng), count, _PATIENCE * count, lambda g: g not in taken)

    return newcomers
