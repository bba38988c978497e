"""The one loop: any strategy on any oracle, with a ledger of costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.strategy.array_oracle import ArrayOracle
from sharewise.strategy.history import Budget, History
from sharewise.strategy.oracle import Oracle
from sharewise.strategy.representation import Genotype, Representation, represent
from sharewise.strategy.strategy import Proposal, Strategy, Trial

__all__ = ["run_strategy"]


def run_strategy(
    strategy: Strategy[Any],
    oracle: Oracle,
    budget: Budget,
    rng: np.random.Generator,
    representation: Representation | None = None,
) -> History:
    """Ask, pay and learn until the budget is spent.

    Every evaluation is charged in full, also one that was made before, as the benchmarks' own programs do. The first
    evaluation that does not fit into the budget is not part of the history.

    With several workers this simulates them: a clock counts in the oracle's unit, an evaluation takes as long as it
    costs, and whoever is free is given the next proposal at once, made from the answers of that moment
    (`Strategy.assume` says what a strategy makes of those that are still to come). Proposals themselves take no time.
    The answer that comes first is learnt from first, of equally early ones that which was asked for first.

    Args:
        strategy: what to ask.
        oracle: who answers.
        budget: in the oracle's unit, in evaluations, or both.
        rng: source of all randomness; equal generators give equal histories.
        representation: of the oracle's space; chosen by itself where it is not given.

    Returns:
        The history.

    Raises:
        ConfigurationError: when the strategy asks for a fidelity that the oracle does not have, or does not fit the
            space.

    Example:
        >>> from sharewise.space import Choice, Space
        >>> from sharewise.strategy import RandomSearch
        >>> toy = Space("toy", (Choice("width", (1, 2, 3)),))
        >>> oracle = ArrayOracle(toy, {0: [0.1, 0.5, 0.9]}, {0: 1.0})
        >>> history = run_strategy(RandomSearch(replacement=False), oracle, Budget(cost=3), np.random.default_rng(0))
        >>> len(history), history.best.architecture["width"]
        (3, 3)
        >>> run_strategy(RandomSearch(), oracle, Budget(cost=3, workers=2), np.random.default_rng(0)).spent.tolist()
        [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]

    References:
        D. Salinas et al., *Syne Tune*, AutoML-Conf 2022, section 4 (the simulator back-end).

    Deviations:
        The programs of NAS-Bench-101 and NATS-Bench keep the evaluation that exceeds the budget.
    """
    if representation is None:
        representation = represent(oracle.space, oracle.covered if isinstance(oracle, ArrayOracle) else None)
    ask = _asker(oracle, representation, rng)
    limit = np.inf if budget.cost is None else budget.cost
    count = np.inf if budget.evaluations is None else budget.evaluations
    trials: list[Trial] = []
    ended: list[float] = []
    running: list[_Running] = []  # a heap: who will answer first comes first
    now, asked = 0.0, 0
    state = strategy.start(representation, oracle.fidelities, rng)
    while True:
        while len(running) < budget.workers and asked < count:
            proposal = _proposed(strategy, representation, state, running, rng)
            if proposal is None:
                break
            fidelity = oracle.fidelities[-1] if proposal.fidelity is None else proposal.fidelity
            trial = ask(proposal.genotype, fidelity, proposal.note)
            heappush(running, _Running(now + trial.cost, asked, proposal, trial))
            asked += 1
        if not running:
            break
        now, _, _, trial = heappop(running)
        if now > limit:
            break
        trials.append(trial)
        ended.append(now)
        state = strategy.update(representation, state, trial)
    return History(representation, tuple(trials), oracle.unit, tuple(ended))


class _Running(NamedTuple):
    """An evaluation that is being made; the earlier it ends, the less it is."""

    end: float
    number: int
    proposal: Proposal
    trial: Trial


def _proposed(
    strategy: Strategy[Any],
    representation: Representation,
    state: Any,
    running: Sequence[_Running],
    rng: np.random.Generator,
) -> Proposal | None:
    """What to ask beside what is being asked; `None` when a worker has to wait."""
    for one in sorted(running, key=attrgetter("number")):
        state = strategy.assume(representation, state, one.proposal)
        if state is None:
            return None
    return strategy.propose(representation, state, rng)


def _asker(
    oracle: Oracle, representation: Representation, rng: np.random.Generator
) -> Callable[[Genotype, int, Any], Trial]:
    """The oracle as a function of genotypes; arrays are read by index, without building an architecture."""
    if not isinstance(oracle, ArrayOracle):

        def evaluate(genotype: Genotype, fidelity: int, note: Any) -> Trial:
            found = oracle.evaluate(representation.architecture(genotype), fidelity, rng)
            if not (np.isfinite(found.cost) and found.cost > 0):
                raise ConfigurationError(f"an evaluation must cost something, got {found.cost} {oracle.unit}")
            return Trial(genotype, found.value, found.cost, found.fidelity, found.others, note)

        return evaluate
    draw, others = oracle.draw, [np.asarray(column).tolist() for column in oracle.others]
    index_of = representation.index

    def look_up(genotype: Genotype, fidelity: int, note: Any) -> Trial:
        index = index_of(genotype)
        value, cost = draw(index, fidelity, rng)
        further = tuple(column[index] for column in others) if others else ()
        return Trial(genotype, value, cost, fidelity, further, note)

    return look_up
