"""The one loop: any strategy on any oracle, with a ledger of costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.strategy.array_oracle import ArrayOracle
from sharewise.strategy.history import Budget, History
from sharewise.strategy.oracle import Oracle
from sharewise.strategy.representation import Genotype, Representation, represent
from sharewise.strategy.strategy import Strategy, Trial

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

    Deviations:
        The programs of NAS-Bench-101 and NATS-Bench keep the evaluation that exceeds the budget.
    """
    if representation is None:
        representation = represent(oracle.space, oracle.covered if isinstance(oracle, ArrayOracle) else None)
    ask = _asker(oracle, representation, rng)
    limit = np.inf if budget.cost is None else budget.cost
    count = np.inf if budget.evaluations is None else budget.evaluations
    trials: list[Trial] = []
    spent = 0.0
    state = strategy.start(representation, oracle.fidelities, rng)
    while len(trials) < count:
        proposal = strategy.propose(representation, state, rng)
        if proposal is None:
            break
        fidelity = oracle.fidelities[-1] if proposal.fidelity is None else proposal.fidelity
        trial = ask(proposal.genotype, fidelity, proposal.note)
        spent += trial.cost
        if spent > limit:
            break
        trials.append(trial)
        state = strategy.update(representation, state, trial)
    return History(representation, tuple(trials), oracle.unit)


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
