from __future__ import annotations

import numpy as np
import pytest

from sharewise.errors import ConfigurationError
from sharewise.space import Space
from sharewise.strategy import ArrayOracle, Budget
from sharewise.strategy.comparison import Arena, checkpoints_of, run_arena, summarise

TEST = np.arange(24.0)[::-1].copy()  # the best test value belongs to index 0


def partial(tiny: Space, costs: object = 2.0) -> ArrayOracle:
    """Known at the odd indices alone."""
    values = np.where(np.arange(24) % 2 == 1, np.arange(24.0), np.nan)
    return ArrayOracle(tiny, {0: values}, {0: costs}, "seconds")  # type: ignore[dict-item]


def test_the_optimum_is_that_of_the_covered_part(tiny: Space) -> None:
    arena = Arena("part", partial(tiny), TEST)
    assert arena.optimum == 22.0  # index 1; index 0, with 23, cannot be found
    assert arena.floor == 22.0  # the best signal, at index 23, has a test value of 0
    assert Arena("part", partial(tiny), TEST, best=30.0).optimum == 30.0
    with pytest.raises(ConfigurationError, match="1 architectures have a signal on part but no test value"):
        Arena("part", partial(tiny), np.where(np.arange(24) == 1, np.nan, TEST))


def test_regret_is_never_negative_on_a_part_of_the_space(tiny: Space) -> None:
    arena, budget = Arena("part", partial(tiny), TEST), Budget(cost=40.0)
    checkpoints = checkpoints_of(budget, arena, 5)
    found = run_arena(arena, "random", budget, checkpoints, repeats=20, seed=0)
    panel = summarise(arena, budget, {"random": found})
    assert panel["best_test"] == 22.0
    assert min(value for value in panel["strategies"]["random"]["mean"] if value is not None) >= 0
    assert (panel["architectures"], panel["of"]) == (12, 24)


def test_the_fingerprint_holds_signals_and_costs(tiny: Space) -> None:
    costs = np.full(24, 2.0)
    base = Arena("a", partial(tiny), TEST).fingerprint()
    assert Arena("b", partial(tiny, costs), TEST * 2).fingerprint() == base  # names and test values are no part of it
    costs[5] = 2.5
    assert Arena("a", partial(tiny, costs), TEST).fingerprint() != base
    values = np.array(partial(tiny).values[0])
    values[0, 5] += 1
    assert Arena("a", ArrayOracle(tiny, {0: values}, {0: 2.0}, "seconds"), TEST).fingerprint() != base
    assert Arena("a", ArrayOracle(tiny, {3: partial(tiny).values[0]}, {3: 2.0}), TEST).fingerprint() != base


def test_means_over_runs_are_over_the_runs_that_there_are(tiny: Space) -> None:
    values = np.stack([np.full(24, 1.0), np.where(np.arange(24) < 12, np.nan, 5.0)])
    costs = np.stack([np.full(24, 10.0), np.full(24, 30.0)])
    arena = Arena("ragged", ArrayOracle(tiny, {0: values}, {0: costs}, "seconds"), TEST)
    assert arena.mean_cost == pytest.approx((12 * 10 + 12 * 20) / 24)
    assert arena.floor == 23.0 - TEST[12]  # the first of those with the best mean signal, 3


@pytest.mark.parametrize(
    ("fidelities", "unit", "budget", "expected"),
    [
        (
            (12,),
            "seconds",
            Budget(cost=20.0),
            "the budget allows about 10 evaluations (12 epochs, 2 seconds on average",
        ),
        ((12, 200), "seconds", Budget(cost=20.0), "about 10 evaluations of the longest signal (200 epochs"),
        ((0,), "evaluations", Budget(evaluations=7), "the budget allows 7 evaluations"),
        ((12,), "seconds", Budget(cost=0.5), "not one evaluation"),
        ((12,), "seconds", Budget(cost=2 * 50.0), None),
        ((0,), "evaluations", Budget(evaluations=50), None),
    ],
)
def test_the_note_on_small_budgets(
    tiny: Space, fidelities: tuple[int, ...], unit: str, budget: Budget, expected: str | None
) -> None:
    cost = 1.0 if unit == "evaluations" else 2.0
    values = {fidelity: np.arange(24.0) for fidelity in fidelities}
    arena = Arena("data", ArrayOracle(tiny, values, dict.fromkeys(fidelities, cost), unit), TEST)
    note = arena.note(budget)
    if expected is None:
        assert note is None
    else:
        assert note is not None
        assert expected in note
        assert "fewer than 50" in note
        assert ("shorter" in note) is (unit == "seconds")
