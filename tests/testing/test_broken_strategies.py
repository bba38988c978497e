"""Strategies that are broken on purpose, each caught by `check_strategy` for what is wrong with it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from sharewise.space import Choice, Space
from sharewise.strategy import STRATEGIES, ArrayOracle, Proposal, Representation, Strategy, Trial, build_strategy
from sharewise.testing import check_strategy

SPACE = Space("wide", (Choice("a", (1, 2, 3), ordered=True), Choice("b", ("x", "y")), Choice("c", (1, 2, 3, 4))))
ORACLE = ArrayOracle(SPACE, {0: np.arange(24) / 24}, {0: 1.0})


@dataclass(frozen=True)
class Climber(Strategy[Any]):
    """Mutates the best of the last few answers; sound, and the trunk of all that is broken here."""

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> Any:
        return ()

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        if len(state) < 4:
            return Proposal(representation.sample(rng))
        return Proposal(representation.mutate(self.parent(state), rng))

    def parent(self, state: Any) -> Any:
        return max(state, key=lambda pair: pair[1])[0]

    def update(self, representation: Representation, state: Any, trial: Trial) -> Any:
        return (*state[-7:], (trial.genotype, trial.value))


class AmbientNumpy(Climber):
    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        np.random.random()  # noqa: NPY002
        return super().propose(representation, state, rng)


class AmbientRandom(Climber):
    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal(representation.at(random.choice(representation.indices.tolist())))


class Entropic(Climber):
    """Seeds itself by the operating system."""

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return super().propose(representation, state, np.random.default_rng())


class OwnSeed(Climber):
    """Ignores the generator that it is given."""

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return super().propose(representation, state, np.random.default_rng(len(state)))


class Everywhere(Climber):
    """Proposes from the whole space, whatever the table covers."""

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal(int(rng.integers(representation.space.size)))


class Outside(Climber):
    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal(representation.space.size + 3)


class Foreign(Climber):
    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal([representation.sample(rng)])


class TooLong(Climber):
    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal(representation.sample(rng), 200)


class Mutable(Climber):
    """Appends to the state that it was given."""

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> Any:
        return []

    def update(self, representation: Representation, state: Any, trial: Trial) -> Any:
        state.append((trial.genotype, trial.value))
        return state


@dataclass(frozen=True)
class Remembering(Climber):
    """Keeps the history in itself, where no replay finds it."""

    seen: list[Any] = field(default_factory=list)

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return super().propose(representation, tuple(self.seen), rng)

    def update(self, representation: Representation, state: Any, trial: Trial) -> Any:
        self.seen.append((trial.genotype, trial.value))
        return len(self.seen)


class Counting(Climber):
    """The state does not hold what the generator of `start` decided."""

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> Any:
        return (int(rng.integers(1000)), ())

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal(int(representation.indices[(state[0] + len(state[1])) % len(representation.indices)]))

    def update(self, representation: Representation, state: Any, trial: Trial) -> Any:
        return (state[0], (*state[1], trial))

    def replay(self, representation: Any, fidelities: Any, trials: Any, rng: Any) -> Any:
        return (0, tuple(trials))


class Descending(Climber):
    """Takes the worst for the best."""

    def parent(self, state: Any) -> Any:
        return min(state, key=lambda pair: pair[1])[0]


@dataclass(frozen=True)
class Peeking(Climber):
    """Knows the values before it asks."""

    answers: Any = ORACLE


@dataclass(frozen=True)
class Unsendable(Climber):
    better: Callable[[float, float], bool] = lambda first, second: first > second


class Brittle(Climber):
    """Meets a failed training with a failure."""

    def update(self, representation: Representation, state: Any, trial: Trial) -> Any:
        assert np.isfinite(trial.value), "a strategy that takes finite values only"
        return super().update(representation, state, trial)


class Silent(Climber):
    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return None


class Sweeping(Climber):
    """Sound, and draws nothing."""

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> Any:
        return 0

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal(int(representation.indices[state % len(representation.indices)]))

    def update(self, representation: Representation, state: Any, trial: Trial) -> Any:
        return state + 1


class Stuck(Climber):
    """Asks about its first architecture again and again."""

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        drawn = representation.sample(rng)
        return Proposal(state[0][0] if state else drawn)


class Deaf(Climber):
    """Goes on from any of the last answers, whatever they were worth."""

    def parent(self, state: Any) -> Any:
        return state[-1][0]


BROKEN: list[tuple[Strategy[Any], str]] = [
    (Stuck(), "Stuck asks about one architecture 24 times, and about no other"),
    (AmbientNumpy(), "draws from numpy's global generator"),
    (AmbientRandom(), "draws from the module random"),
    (Entropic(), "two runs of Entropic with equal generators differ"),
    (OwnSeed(), "asks the same under five different seeds"),
    (Everywhere(), "no architecture that can be asked about"),
    (Outside(), "no architecture that can be asked about"),
    (Foreign(), "no genotype of this space"),
    (TooLong(), r"asked for fidelity 200, which is none of \(1, 3, 9\)"),
    (Mutable(), "was changed by what came later"),
    (Remembering(), "not all that a proposal depends on"),
    (Counting(), "could not be resumed"),
    (Descending(), "higher is better, does it descend"),
    (Peeking(), "holds ArrayOracle"),
    (Unsendable(), "cannot be sent to another process"),
    (Brittle(), "takes finite values only"),
    (Silent(), "has nothing to ask"),
]


def test_the_sound_strategy_passes() -> None:
    check_strategy(Climber())
    check_strategy(Climber(), SPACE, fidelities=(0,), seed=3)


@pytest.mark.parametrize(("strategy", "message"), BROKEN, ids=[type(s).__name__ for s, _ in BROKEN])
def test_broken_strategies_are_caught(strategy: Strategy[Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_strategy(strategy)


def test_a_strategy_that_enumerates_needs_no_generator() -> None:
    check_strategy(Sweeping(), random=False)
    with pytest.raises(AssertionError, match="ignores its generator"):
        check_strategy(Sweeping())


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_of_the_house_passes(name: str) -> None:
    if name in ("tpe", "nsga2"):
        pytest.importorskip("optuna")
    check_strategy(build_strategy(name, SPACE), evaluations=12 if name in ("tpe", "nsga2") else 24)


def test_a_strategy_that_claims_to_learn_must() -> None:
    check_strategy(Climber(), learns=True)
    check_strategy(Deaf())  # as random search is sound
    with pytest.raises(AssertionError, match=r"what Deaf proposes late .* does it learn from what it is told"):
        check_strategy(Deaf(), learns=True)


@pytest.mark.parametrize("name", ["local", "local-first"])
def test_strategies_of_the_house_learn(name: str) -> None:
    check_strategy(build_strategy(name, SPACE), learns=True)
