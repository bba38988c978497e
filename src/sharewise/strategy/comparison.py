"""Comparison: regret against cost of several strategies on one benchmark, at equal cost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharewise.appraisal.regret import differences, regret_curve
from sharewise.errors import ConfigurationError
from sharewise.strategy.array_oracle import ArrayOracle
from sharewise.strategy.history import Budget
from sharewise.strategy.registry import build_strategy
from sharewise.strategy.repeats import Repeats, repeat

__all__ = ["FEWEST", "Arena", "checkpoints_of", "run_arena", "summarise"]

FEWEST = 50
"""Evaluations that a budget must allow before a comparison says something about strategies."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arena:
    """Where strategies meet: one signal and one cost for all of them, and the test values that only this side knows.

    Args:
        name: of the data set.
        oracle: the searching signal.
        test: in percent, by index of the listing; not a number where unknown.
        best: the best possible test value; `None` takes the best of what the oracle covers.
    """

    name: str
    oracle: ArrayOracle
    test: Floats
    best: float | None = None

    def __post_init__(self) -> None:
        missing = self.oracle.covered & np.isnan(self.test)
        if missing.any():
            raise ConfigurationError(
                f"{int(missing.sum()):,} architectures have a signal on {self.name} but no test value"
            )

    @property
    def optimum(self) -> float:
        """The best possible test value."""
        return float(self.test[self.oracle.covered].max()) if self.best is None else self.best

    @property
    def floor(self) -> float:
        """The regret of the architecture with the best (mean) signal, with which a search that knew all would end."""
        signal, _ = self.oracle.expected(self.oracle.fidelities[-1])
        return self.optimum - float(self.test[int(np.where(self.oracle.covered, signal, -np.inf).argmax())])

    @property
    def mean_cost(self) -> float:
        """Of one evaluation at the highest fidelity, over what is covered."""
        _, costs = self.oracle.expected(self.oracle.fidelities[-1])
        return float(costs[self.oracle.covered].mean())

    def fingerprint(self) -> str:
        """A checksum of signals and costs, which says whether stored repeats belong to this arena."""
        oracle = self.oracle
        digest = hashlib.sha256(f"{oracle.space.name} {oracle.unit} {oracle.fidelities}".encode())
        arrays = [array[fidelity] for fidelity in oracle.fidelities for array in (oracle.values, oracle.costs)]
        for array in (*arrays, *oracle.others):
            values = np.ascontiguousarray(array, dtype=np.float64)
            digest.update(str(values.shape).encode() + values.tobytes())
        return digest.hexdigest()[:16]

    def note(self, budget: Budget) -> str | None:
        """A sentence where the budget is too small to tell strategies apart."""
        oracle = self.oracle
        allowed = np.inf if budget.cost is None else budget.workers * budget.cost / self.mean_cost
        allowed = min(allowed, np.inf if budget.evaluations is None else budget.evaluations)
        if allowed >= FEWEST:
            return None
        begin = f"{self.name}: the budget allows "
        end = f"fewer than {FEWEST}, with which strategies cannot be told apart. Take a larger budget"
        if oracle.unit == "evaluations":
            return f"{begin}{allowed:.0f} evaluations, {end}"
        count = "not one evaluation" if allowed < 1 else f"about {allowed:.0f} evaluations"
        signal = " of the longest signal" if len(oracle.fidelities) > 1 else ""
        mean = f"{self.mean_cost:,.0f}" if self.mean_cost < 1e7 else f"{self.mean_cost:.2e}"
        epochs = f"{oracle.fidelities[-1]} epochs, " if oracle.fidelities[-1] else ""
        return (
            f"{begin}{count}{signal} ({epochs}{mean} {oracle.unit} on average), {end}, or a shorter training as the "
            "signal"
        )

    def coverage(self) -> str | None:
        """A sentence where the table knows only a part of the space."""
        known, size = int(self.oracle.covered.sum()), self.oracle.space.size
        if known == size:
            return None
        return (
            f"{self.name}: the table knows {known:,} of {size:,} architectures, no uniform sample of them; strategies "
            "propose these alone, so curves hold for this part of the space"
        )


def checkpoints_of(budget: Budget, arena: Arena, count: int = 25) -> tuple[float, ...]:
    """Costs at which regret is shown: evenly spaced on a logarithmic axis, up to the budget.

    Args:
        budget: of every repeat.
        arena: whose mean evaluation is the first cost worth showing.
        count: at most so many.
    """
    if arena.oracle.unit == "evaluations":
        last = min(limit for limit in (budget.cost, budget.evaluations) if limit is not None)
        return tuple(float(cost) for cost in np.unique(np.round(np.geomspace(1, last, count))))
    if budget.cost is None:
        raise ConfigurationError(
            f"the oracle charges {arena.oracle.unit}; regret against cost needs a budget of that unit: Budget(cost=…)"
        )
    first = min(arena.mean_cost, budget.cost / 2)
    return tuple(float(f"{cost:.6g}") for cost in np.geomspace(first, budget.cost, count))


def run_arena(
    arena: Arena,
    strategy: str,
    budget: Budget,
    checkpoints: Sequence[float],
    *,
    repeats: int | range,
    seed: int,
) -> Repeats:
    """Repeats of one strategy; the test values stay here.

    Args:
        arena: signals and costs.
        strategy: by name.
        budget: of every repeat.
        checkpoints: costs.
        repeats: how many, or their numbers.
        seed: of all random streams.
    """
    built = build_strategy(strategy, arena.oracle.space)
    name = f"{arena.name}/{strategy}"
    return repeat(built, arena.oracle, budget, checkpoints, repeats=repeats, seed=seed, name=name)


def summarise(arena: Arena, budget: Budget, found: Mapping[str, Repeats]) -> dict[str, Any]:
    """Regret curves with intervals, and every pair of strategies at equal cost.

    Args:
        arena: signals, costs and test values.
        budget: of every repeat.
        found: repeats by name of the strategy, all with the same checkpoints.

    Returns:
        Plain values for JSON.
    """
    names = list(found)
    checkpoints = found[names[0]].checkpoints
    regrets = {name: arena.optimum - repeats.scored(arena.test) for name, repeats in found.items()}
    strategies = {}
    for name, repeats in found.items():
        last = regrets[name][:, -1]
        strategies[name] = {
            **regret_curve(regrets[name], checkpoints).to_json(),
            "evaluations": {"mean": float(repeats.evaluations.mean()), "least": int(repeats.evaluations.min())},
            "mean_cost": float(repeats.spent.mean()),
            # Absent where a repeat could not afford a single evaluation, and so has no architecture to score.
            "final_deviation": float(last.std(ddof=1)) if len(last) > 1 and np.isfinite(last).all() else None,
            "final_test_mean": arena.optimum - float(last.mean()) if np.isfinite(last).all() else None,
        }
    pairs = {}
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            intervals = differences(regrets[one], regrets[other], checkpoints)
            pairs[f"{one} - {other}"] = [
                None if i is None or not np.isfinite(i.half_width) else {"mean": i.mean, "low": i.low, "high": i.high}
                for i in intervals
            ]
    notes = [note for note in (arena.note(budget), arena.coverage()) if note]
    for name, repeats in found.items():
        idle = int((repeats.evaluations == 0).sum())
        if idle:
            notes.append(
                f"{arena.name}: {idle} of {len(repeats.evaluations)} repeats of {name} completed no evaluation"
            )
    return {
        "unit": arena.oracle.unit,
        "fidelities": list(arena.oracle.fidelities),
        "architectures": int(arena.oracle.covered.sum()),
        "of": arena.oracle.space.size,
        "best_test": arena.optimum,
        "floor": arena.floor,
        "mean_cost_of_an_evaluation": arena.mean_cost,
        "checkpoints": list(checkpoints),
        "strategies": strategies,
        "differences": pairs,
        "notes": notes,
    }
