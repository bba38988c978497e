from __future__ import annotations

import sys

import numpy as np
import pytest

from sharewise.appraisal import pareto_front
from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Condition, Constraint, Space
from sharewise.strategy import ArrayOracle, Budget, RandomSearch, Trial, build_strategy, represent, run_strategy
from sharewise.strategy.with_optuna import nsga2, suggest, tree_parzen_estimator

optuna = pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def dependent() -> Space:
    return Space(
        "dependent",
        (
            Choice("depth", (1, 2), ordered=True),
            Choice("inputs", ((0, 1), (0, 2))),
            Choice("second", ("a", "b"), condition=Condition("depth", (2,))),
        ),
        (Constraint("b needs the inputs 0 and 1", lambda v: v.get("second") != "b" or v["inputs"] == (0, 1)),),
    )


def test_a_study_of_ones_own_visits_the_whole_space_and_nothing_else(dependent: Space) -> None:
    seen = []

    def objective(trial: optuna.Trial) -> float:
        seen.append(suggest(dependent, trial))
        return 0.0

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=100)
    assert set(seen) == {dependent.listing.at(index) for index in range(dependent.size)}
    states = {trial.state for trial in study.trials}
    assert states == {optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED}
    assert {type(v) for trial in study.trials for v in trial.params.values()} == {int, str}


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_optunas_samplers_are_pure_strategies(name: str, tiny: Space, tiny_oracle: ArrayOracle) -> None:
    strategy = build_strategy(name, tiny)
    first, second = (
        run_strategy(strategy, tiny_oracle, Budget(evaluations=15), np.random.default_rng(1)) for _ in "12"
    )
    assert [(t.genotype, t.value) for t in first.trials] == [(t.genotype, t.value) for t in second.trials]
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING


def test_tpe_beats_random_search_where_choices_add_up() -> None:
    space = Space("sum", tuple(Choice(f"c{place}", tuple(range(5)), ordered=True) for place in range(6)))
    values = np.indices((5,) * 6).sum(axis=0).ravel()
    oracle, budget = ArrayOracle(space, {0: values}, {0: 1.0}), Budget(evaluations=50)
    found = {
        name: np.mean(
            [run_strategy(strategy, oracle, budget, np.random.default_rng(seed)).best.value for seed in range(6)]
        )
        for name, strategy in (("tpe", tree_parzen_estimator()), ("random", RandomSearch()))
    }
    assert found["tpe"] > found["random"] + 1


@pytest.mark.slow
def test_nsga2_spreads_along_the_front_of_two_objectives() -> None:
    space = Space("trade", tuple(Choice(f"c{place}", tuple(range(4)), ordered=True) for place in range(6)))
    digits = np.indices((4,) * 6).reshape(6, -1)
    accuracy, latency = digits[:3].sum(axis=0) + digits[3:].sum(axis=0) / 2, digits[:3].sum(axis=0) + 0.0
    oracle = ArrayOracle(space, {0: accuracy}, {0: 1.0}, others=(-latency,))
    history = run_strategy(nsga2(20), oracle, Budget(evaluations=200), np.random.default_rng(0))
    generations = [t.note.system_attrs for t in history.trials]
    assert all(generations)  # each knows its generation, as the sampler has noted it
    objectives = np.array([[e.value, *e.others] for e in history])
    front = objectives[pareto_front(objectives)]
    assert len(np.unique(front, axis=0)) >= 5
    # Close to the true front, accuracy = latency + 4.5: better than as many random draws.
    drawn = run_strategy(RandomSearch(), oracle, Budget(evaluations=200), np.random.default_rng(0))
    chance = np.array([[e.value, *e.others] for e in drawn])
    assert (objectives[-50:, 0] + objectives[-50:, 1]).mean() > (chance[:, 0] + chance[:, 1]).mean() + 0.5


def test_uncovered_suggestions_are_asked_for_again(tiny: Space) -> None:
    values = np.where(np.arange(24) % 3 == 0, np.arange(24.0), np.nan)
    oracle = ArrayOracle(tiny, {0: values}, {0: 1.0})
    history = run_strategy(tree_parzen_estimator(2), oracle, Budget(evaluations=8), np.random.default_rng(0))
    assert all(trial.genotype % 3 == 0 for trial in history.trials)


def test_without_optuna_the_message_says_what_to_install(tiny: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    strategy = build_strategy("tpe", tiny)
    with pytest.raises(ConfigurationError, match=r"pip install 'sharewise\[strategies\]'"):
        strategy.start(represent(tiny), (0,), np.random.default_rng(0))
    assert Trial(0, 1.0, 1.0).note is None
