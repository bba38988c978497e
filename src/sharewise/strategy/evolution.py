"""Regularized (aging) evolution, joined from a tournament and a mutation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import final

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.strategy.representation import Genotype, Representation
from sharewise.strategy.strategy import Proposal, Strategy, Trial

__all__ = ["NATS_SIZE", "NATS_TOPOLOGY", "Mutation", "OneChoice", "Population", "RegularizedEvolution", "Tournament"]

Population = tuple[tuple[Genotype, float], ...]
"""Genotypes and their signals, the oldest first."""


class Mutation(ABC):
    """How a child differs from its parent."""

    @abstractmethod
    def mutate(self, representation: Representation, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """A child of the genotype that can be asked about; on a sparse table a random one where it can have none."""


@final
@dataclass(frozen=True)
class OneChoice(Mutation):
    """Pick one choice, then an option of it, uniformly.

    Where no architecture that differs in one choice is covered by a partial table, the child is a random covered one.

    Args:
        weights: how often each choice is picked, in the order of the space's choices; `None` for all alike.
        other: whether the option must be another one; if not, a child is its parent again with probability 1/k, for k
            options.
    """

    weights: tuple[float, ...] | None = None
    other: bool = True

    def mutate(self, representation: Representation, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """See `Mutation.mutate`."""
        return representation.mutate(genotype, rng, self.weights, other=self.other)


NATS_TOPOLOGY = OneChoice((1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9))
"""The mutation of the NATS-Bench program on its topology space: a node uniformly, then one of its incoming edges."""
NATS_SIZE = OneChoice(other=False)
"""Its mutation on the size space: a layer, then one of all 8 widths, the parent's included."""


@final
@dataclass(frozen=True)
class Tournament:
    """The best of a random sample of a population.

    Args:
        size: of the sample.
        replacement: whether a member may be drawn twice; NATS-Bench draws so, NAS-Bench-101 does not.

    Raises:
        ConfigurationError: when the size is less than 1.
    """

    size: int
    replacement: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigurationError(f"a tournament needs at least 1 member, got {self.size}")

    def winner(self, population: Population, rng: np.random.Generator) -> Genotype:
        """The genotype with the highest signal in the sample; the first drawn of equal ones."""
        count, random = len(population), rng.random
        if self.replacement:
            chosen = [int(random() * count) for _ in range(self.size)]
        else:
            drawn: dict[int, None] = {}
            while len(drawn) < self.size:  # ends: a strategy has checked that the sample fits the population
                drawn[int(random() * count)] = None
            chosen = list(drawn)
        best, highest = population[chosen[0]]
        for place in chosen[1:]:
            genotype, value = population[place]
            if value > highest:
                best, highest = genotype, value
        return best


@final
@dataclass(frozen=True)
class RegularizedEvolution(Strategy[Population]):
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
    ) -> Population:
        """See `Strategy.start`."""
        return ()

    def propose(self, representation: Representation, state: Population, rng: np.random.Generator) -> Proposal:
        """See `Strategy.propose`."""
        if len(state) < self.population:
            return Proposal(representation.sample(rng))
        return Proposal(self.mutation.mutate(representation, self.tournament.winner(state, rng), rng))

    def update(self, representation: Representation, state: Population, trial: Trial) -> Population:
        """See `Strategy.update`."""
        survivors = state if len(state) < self.population else state[1:]
        return (*survivors, (trial.genotype, trial.value))
