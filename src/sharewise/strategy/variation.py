"""Variation: how a child comes about, of one parent or of two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.strategy.representation import Genotype, Representation

__all__ = ["NATS_SIZE", "NATS_TOPOLOGY", "Crossover", "Mutation", "OneChoice", "SeveralChoices", "Variation"]


class Variation(ABC):
    """How a child comes about."""

    @abstractmethod
    def child(
        self, representation: Representation, parent: Callable[[], Genotype], rng: np.random.Generator
    ) -> Genotype:
        """A child that can be asked about.

        Args:
            representation: of the space.
            parent: gives one more parent at every call.
            rng: source of randomness.
        """


class Mutation(Variation):
    """How a child differs from its only parent."""

    @abstractmethod
    def mutate(self, representation: Representation, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """A child of the genotype that can be asked about; on a sparse table a random one where it can have none."""

    def child(
        self, representation: Representation, parent: Callable[[], Genotype], rng: np.random.Generator
    ) -> Genotype:
        """See `Variation.child`."""
        return self.mutate(representation, parent(), rng)


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
class SeveralChoices(Mutation):
    """Change a binomially distributed number of choices, at least one, one after another.

    Each step leads to a neighbour that can be asked about, so that the mutation serves spaces whose choices depend on
    each other; a choice may change twice.

    Args:
        probability: with which every choice of the parent changes, in [0, 1].

    Raises:
        ConfigurationError: when the probability is out of range.

    Example:
        >>> from sharewise.spaces import nasbench201
        >>> from sharewise.strategy import represent
        >>> ranks = represent(nasbench201())
        >>> child = SeveralChoices(1.0).mutate(ranks, 0, np.random.default_rng(0))
        >>> sum(digit > 0 for digit in ranks.digits(child))
        4

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), algorithm 1, where each choice changes by
        itself.
    """

    probability: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigurationError(f"the probability of a mutation must lie in [0, 1], got {self.probability}")

    def mutate(self, representation: Representation, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """See `Mutation.mutate`."""
        choices = len(representation.architecture(genotype))
        for _ in range(max(1, int(rng.binomial(choices, self.probability)))):
            genotype = representation.mutate(genotype, rng)
        return genotype


@final
@dataclass(frozen=True)
class Crossover(Variation):
    """Take every choice from one of two parents with equal probability; see `Representation.cross`."""

    def child(
        self, representation: Representation, parent: Callable[[], Genotype], rng: np.random.Generator
    ) -> Genotype:
        """See `Variation.child`; the parents may be one and the same."""
        return representation.cross(parent(), parent(), rng)
