"""Simulated workers, beside schedules that were worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Space
from sharewise.strategy import (
    ArrayOracle,
    Budget,
    LocalSearch,
    Proposal,
    RandomSearch,
    Representation,
    Strategy,
    SuccessiveHalving,
    Trial,
    build_strategy,
    repeat,
    run_strategy,
)

SPACE = Space("six", (Choice("number", tuple(range(6))),))
COSTS = [5.0, 2.0, 4.0, 3.0, 1.0, 2.0]
ORACLE = ArrayOracle(SPACE, {0: [0.1, 0.2, 0.6, 0.4, 0.5, 0.3]}, {0: COSTS}, unit="seconds")


@dataclass(frozen=True)
class InOrder(Strategy[Any]):
    """Asks about 0, 1, 2, …, and remembers in which order answers came."""

    waits: tuple[int, ...] = ()
    """Questions after which it waits for all answers."""

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> Any:
        return 0

    def propose(self, representation: Representation, state: Any, rng: np.random.Generator) -> Proposal | None:
        return Proposal(state) if state < 6 else None

    def assume(self, representation: Representation, state: Any, proposal: Proposal) -> Any:
        return None if proposal.genotype in self.waits else state + 1

    def update(self, representation: Representation, state: Any, trial: Trial) -> Any:
        return state + 1


def schedule(strategy: Strategy[Any], budget: Budget) -> list[tuple[int, float]]:
    history = run_strategy(strategy, ORACLE, budget, np.random.default_rng(0))
    return [(trial.genotype, float(end)) for trial, end in zip(history.trials, history.spent, strict=True)]


@pytest.mark.parametrize(
    ("workers", "waits", "cost", "expected"),
    [
        # one after the other: 5, 2, 4, 3, 1, 2
        (1, (), 99, [(0, 5), (1, 7), (2, 11), (3, 14), (4, 15), (5, 17)]),
        # A: 0 [0-5] 3 [5-8]                  B: 1 [0-2] 2 [2-6] 4 [6-7] 5 [7-9]
        (2, (), 99, [(1, 2), (0, 5), (2, 6), (4, 7), (3, 8), (5, 9)]),
        # A: 0 [0-5]   B: 1 [0-2] 3 [2-5]   C: 2 [0-4] 4 [4-5]; at 5 who was asked first; 5 [5-7]
        (3, (), 99, [(1, 2), (2, 4), (0, 5), (3, 5), (4, 5), (5, 7)]),
        (6, (), 99, [(4, 1), (1, 2), (5, 2), (3, 3), (2, 4), (0, 5)]),
        # nothing beside 0 [0-5]; then A: 1 [5-7] 3 [7-10] 5 [10-12]   B: 2 [5-9] 4 [9-10]; at 10 who was asked first
        (2, (0,), 99, [(0, 5), (1, 7), (2, 9), (3, 10), (4, 10), (5, 12)]),
        # what ends after the budget is no part of the history, what runs beside it is
        (2, (), 7, [(1, 2), (0, 5), (2, 6), (4, 7)]),
        (2, (), 6.5, [(1, 2), (0, 5), (2, 6)]),
    ],
)
def test_schedules_by_hand(
    workers: int, waits: tuple[int, ...], cost: float, expected: list[tuple[int, float]]
) -> None:
    assert schedule(InOrder(waits), Budget(cost=cost, workers=workers)) == expected
    few = schedule(InOrder(waits), Budget(cost=cost, evaluations=2, workers=workers))
    assert sorted(number for number, _ in few) == [0, 1]


def test_regret_is_read_on_the_clock_of_the_workers() -> None:
    found = repeat(InOrder(), ORACLE, Budget(cost=9, workers=2), [1, 2, 5.5, 6, 9], repeats=2)
    assert found.incumbents.tolist() == [[-1, 1, 1, 2, 2]] * 2  # signals of 1, 0 and 2: 0.2, 0.1, 0.6
    assert found.evaluations.tolist() == [6, 6]
    assert found.spent.tolist() == [9.0, 9.0]


WIDE = Space("wide", (Choice("a", (1, 2, 3), ordered=True), Choice("b", ("x", "y")), Choice("c", (1, 2, 3, 4))))


@pytest.mark.parametrize("name", ["random", "evolution", "local", "reinforce", "hyperband"])
def test_more_workers_take_less_time_and_do_no_more_work(name: str) -> None:
    durations = np.random.default_rng(1).uniform(1, 9, 24)
    oracle = ArrayOracle(WIDE, {f: np.arange(24) / 24 for f in (1, 3)}, {f: durations * f for f in (1, 3)}, unit="s")
    ends = []
    for workers in (1, 4):
        built = build_strategy(name, WIDE)
        history = run_strategy(built, oracle, Budget(evaluations=60, workers=workers), np.random.default_rng(2))
        work = sum(trial.cost for trial in history.trials)
        assert len(history) == 60
        assert work / workers <= history.spent[-1] * (1 + 1e-12)
        assert list(history.spent) == sorted(history.spent)
        ends.append(float(history.spent[-1] / work))
    assert ends[0] == pytest.approx(1)
    assert ends[1] < 0.75  # 0.25 where nobody waits


def test_a_walk_waits_for_its_centre_and_for_its_last_neighbours() -> None:
    oracle = ArrayOracle(SPACE, {0: np.arange(6) / 6}, {0: 1.0}, unit="s")
    history = run_strategy(LocalSearch(), oracle, Budget(cost=2, workers=8), np.random.default_rng(0))
    assert history.spent.tolist() == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0]  # a centre, then its five neighbours together
    assert len({trial.genotype for trial in history.trials}) == 6
    first = run_strategy(LocalSearch(first=True), oracle, Budget(cost=4, workers=8), np.random.default_rng(0))
    assert first.spent.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_rungs_are_asked_together_and_wait_for_each_other() -> None:
    oracle = ArrayOracle(WIDE, {f: np.arange(24) / 24 for f in (1, 3)}, {f: float(f) for f in (1, 3)}, unit="s")
    halving = SuccessiveHalving(width=4, reduction=2)
    history = run_strategy(halving, oracle, Budget(cost=8, workers=3), np.random.default_rng(0))
    # three of the first rung, the fourth, two of the second; at 5 the next bracket, whose second rung begins at 7
    assert [(trial.fidelity, float(end)) for trial, end in zip(history.trials, history.spent, strict=True)] == [
        *[(1, 1.0)] * 3, (1, 2.0), *[(3, 5.0)] * 2, *[(1, 6.0)] * 3, (1, 7.0),
    ]  # fmt: skip
    first, second = history.trials[:4], history.trials[4:6]
    best = sorted((trial.genotype for trial in first), reverse=True)[:2]
    assert [trial.genotype for trial in second] == best


def test_no_architecture_twice_without_replacement() -> None:
    oracle = ArrayOracle(WIDE, {0: np.arange(24) / 24}, {0: np.random.default_rng(0).uniform(1, 5, 24)}, unit="s")
    budget = Budget(evaluations=100, workers=5)
    history = run_strategy(RandomSearch(replacement=False), oracle, budget, np.random.default_rng(0))
    assert sorted(trial.genotype for trial in history.trials) == list(range(24))


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="workers=0"):
        Budget(cost=1, workers=0)
