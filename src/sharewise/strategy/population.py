"""Populations: who has children, and who lives on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, final

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.strategy.representation import Genotype

__all__ = ["Best", "Fitness", "Fittest", "Parents", "Population", "Survival", "Tournament", "Youngest"]

Fitness = TypeVar("Fitness", float, tuple[float, ...])
"""Higher is better: a number, or several of which the first decides, then the second, and so on."""
Population = tuple[tuple[Genotype, Fitness], ...]
"""Genotypes and how fit they are, in the order in which `Survival` leaves them, newcomers last."""


class Parents(ABC):
    """Who has children."""

    @abstractmethod
    def among(self, population: Population[Fitness], rng: np.random.Generator) -> Callable[[], Genotype]:
        """A function that gives one more parent at every call.

        Args:
            population: at least one member.
            rng: source of randomness.
        """


@final
@dataclass(frozen=True)
class Tournament(Parents):
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

    def among(self, population: Population[Fitness], rng: np.random.Generator) -> Callable[[], Genotype]:
        """See `Parents.among`."""
        return partial(self.winner, population, rng)

    def winner(self, population: Population[Fitness], rng: np.random.Generator) -> Genotype:
        """The fittest genotype of the sample; the first drawn of equal ones."""
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
            genotype, fitness = population[place]
            if fitness > highest:
                best, highest = genotype, fitness
        return best


@final
@dataclass(frozen=True)
class Best(Parents):
    """The fittest members of a population, each as likely; the older of equal ones.

    Args:
        count: at least 1.

    Raises:
        ConfigurationError: when the count is less than 1.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigurationError(f"at least 1 member must have children, got {self.count}")

    def among(self, population: Population[Fitness], rng: np.random.Generator) -> Callable[[], Genotype]:
        """See `Parents.among`."""
        best = [genotype for genotype, _ in Fittest(self.count).survivors(population)]
        return lambda: best[int(rng.integers(len(best)))]


class Survival(ABC):
    """Who lives on."""

    @abstractmethod
    def survivors(self, population: Population[Fitness]) -> Population[Fitness]:
        """Those members that live on, in the order of the next population.

        Args:
            population: survivors of last time, then who has come since.
        """


@final
@dataclass(frozen=True)
class Youngest(Survival):
    """Those who came last, however fit the others are: aging.

    Args:
        size: of the population.

    Example:
        >>> Youngest(2).survivors((("a", 3.0), ("b", 1.0), ("c", 2.0)))
        (('b', 1.0), ('c', 2.0))
    """

    size: int

    def survivors(self, population: Population[Fitness]) -> Population[Fitness]:
        """See `Survival.survivors`."""
        return population[-self.size :]


@final
@dataclass(frozen=True)
class Fittest(Survival):
    """The fittest, best first; the older of equal ones comes first.

    Args:
        size: of the population; `None` for everybody.

    Example:
        >>> Fittest(2).survivors((("a", 1.0), ("b", 3.0), ("c", 3.0)))
        (('b', 3.0), ('c', 3.0))
    """

    size: int | None = None

    def survivors(self, population: Population[Fitness]) -> Population[Fitness]:
        """See `Survival.survivors`."""
        return tuple(sorted(population, key=lambda member: member[1], reverse=True)[: self.size])
