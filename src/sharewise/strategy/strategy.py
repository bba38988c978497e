"""The strategy: a pure proposal over what has been seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from sharewise.strategy.representation import Genotype, Representation

__all__ = ["Proposal", "State", "Strategy", "Trial"]

State = TypeVar("State")


class Proposal(NamedTuple):
    """What a strategy wants to know next.

    Args:
        genotype: of a representation.
        fidelity: epochs; `None` for the oracle's highest.
        note: comes back with the answer, untouched; for strategies of other libraries.
    """

    genotype: Genotype
    fidelity: int | None = None
    note: Any = None


class Trial(NamedTuple):
    """What it was told.

    Args:
        genotype: as proposed.
        value: the signal; higher is better.
        cost: in the oracle's unit.
        fidelity: epochs behind the value.
        others: further objectives, of which higher is better.
        note: of the proposal.
    """

    genotype: Genotype
    value: float
    cost: float
    fidelity: int = 0
    others: tuple[float, ...] = ()
    note: Any = None


class Strategy(ABC, Generic[State]):
    """How to search, as three pure functions: a first state, a proposal from a state, and the state after an answer.

    The state is an immutable value folded from the history, so that a proposal costs the same at the first step and at
    the ten-thousandth, and a history can be replayed: `state = update(update(start, t1), t2) …`. All randomness is in
    the generator that is passed in. A strategy sees genotypes, signals and costs; it never sees a test value.
    """

    objectives: int = 1
    """How many objectives it is made for; where an oracle has fewer, a comparison would not show what it is."""

    @abstractmethod
    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> State:
        """The state before anything is known.

        Args:
            representation: of the space.
            fidelities: epochs that can be asked for, ascending.
            rng: source of randomness.

        Raises:
            ConfigurationError: when the strategy does not fit the space or the fidelities.
        """

    @abstractmethod
    def propose(self, representation: Representation, state: State, rng: np.random.Generator) -> Proposal | None:
        """What to ask next; `None` when there is nothing left to ask."""

    @abstractmethod
    def update(self, representation: Representation, state: State, trial: Trial) -> State:
        """The state after an answer; the given one is left as it was."""

    def assume(self, representation: Representation, state: State, proposal: Proposal) -> State | None:
        """The state from which to propose more while a proposal has no answer yet; `None` to wait for it.

        Whoever proposes at random, from a population or by a policy, can go on as if nothing had been asked, which is
        what this does. A strategy that goes through a list takes the proposal off it, and waits where all that follows
        depends on the answer. Answers come in any order.

        Args:
            representation: of the space.
            state: without the proposal, but with those that were made before it.
            proposal: that a worker is busy with.
        """
        return state

    def replay(
        self,
        representation: Representation,
        fidelities: tuple[int, ...],
        trials: Iterable[Trial],
        rng: np.random.Generator,
    ) -> State:
        """The state after a history, which is how a search is continued.

        Args:
            representation: of the space.
            fidelities: epochs that can be asked for.
            trials: in the order in which they were made.
            rng: for `start`.
        """
        state = self.start(representation, fidelities, rng)
        for trial in trials:
            state = self.update(representation, state, trial)
        return state
