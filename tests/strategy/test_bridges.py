from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Condition, Constraint, Space
from sharewise.spaces import load, nasbench201, nats_size
from sharewise.strategy import ArrayOracle
from sharewise.strategy.bridges import (
    categories,
    from_parameters,
    optuna_distributions,
    ray_tune_space,
    syne_tune_space,
    to_parameters,
)

BRIDGES = [
    ("optuna.distributions", "strategies", optuna_distributions),
    ("syne_tune.config_space", "syne-tune", syne_tune_space),
    ("ray.tune", "ray-tune", ray_tune_space),
]


@pytest.fixture
def awkward() -> Space:
    """Tuples, options of several types, one option alone, conditions and a constraint."""
    return Space(
        "awkward",
        (
            Choice("depth", (1, 2), ordered=True),
            Choice("inputs", ((0, 1), (0, 2))),
            Choice("rate", (0, 0.5, "none")),
            Choice("alone", ("only",)),
            Choice("alone_in_order", (7,), ordered=True),
            Choice("second", ("a", "b"), condition=Condition("depth", (2,))),
        ),
        (Constraint("b needs the inputs 0 and 1", lambda v: v.get("second") != "b" or v["inputs"] == (0, 1)),),
    )


def test_parameters_are_a_round_trip(awkward: Space) -> None:
    for space in (awkward, nasbench201(), nats_size(), load("nasbench101:A_4")):
        for index in range(0, space.size, max(1, space.size // 50)):
            architecture = space.listing.at(index)
            parameters = to_parameters(space, architecture)
            assert {type(value) for value in parameters.values()} <= {str, int, float}
            assert from_parameters(space, {**parameters, "learning_rate": 0.1}) == architecture


def test_categories_are_of_one_plain_type(awkward: Space) -> None:
    found = [categories(choice) for choice in awkward.choices]
    assert found == [(1, 2), ("[0, 1]", "[0, 2]"), ("0", "0.5", '"none"'), ("only",), (7,), ("a", "b")]


def test_what_is_wrong_with_parameters_is_said(awkward: Space) -> None:
    right: dict[str, Any] = {"depth": 0, "inputs": "[0, 2]", "rate": "0", "alone": "only", "alone_in_order": 0}
    assert from_parameters(awkward, {**right, "second": "of no effect"})["inputs"] == (0, 2)
    for parameters, message in (
        ({**right, "rate": 1.0}, "parameter 'rate' is 1.0; legal: '0', '0.5'"),
        ({name: value for name, value in right.items() if name != "alone"}, "parameter 'alone' of space 'awkward'"),
        ({**right, "depth": 1, "second": "b"}, "b needs the inputs 0 and 1"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            from_parameters(awkward, parameters)


@pytest.mark.parametrize(("module", "extra", "bridge"), BRIDGES)
def test_without_the_library_the_message_says_what_to_install(
    module: str, extra: str, bridge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'sharewise\[{extra}\]'"):
        bridge(nasbench201())


def test_bridges_load_no_torch_and_no_tuner() -> None:
    program = (
        "import sys\nimport sharewise.strategy.bridges\n"
        "print({'torch', 'optuna', 'syne_tune', 'ray'} & {name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"


# ---------------------------------------------------------------------------------------------------------------------
# The libraries, where they are installed


def convolutions() -> ArrayOracle:
    space = nasbench201()
    values = [str(space.listing.at(index)).count("nor_conv_3x3") for index in range(space.size)]
    return ArrayOracle(space, {0: values}, {0: 1.0})


def test_a_study_of_optuna_searches_nasbench201() -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    oracle, rng = convolutions(), np.random.default_rng(0)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    best = next(a for a in (oracle.space.listing.at(i) for i in range(15625)) if str(a).count("nor_conv_3x3") == 3)
    study.enqueue_trial(to_parameters(oracle.space, best))
    distributions = optuna_distributions(oracle.space)
    for _ in range(60):
        trial = study.ask(distributions)
        architecture = from_parameters(oracle.space, trial.params)
        study.tell(trial, oracle.evaluate(architecture, 0, rng).value)
    assert study.trials[0].value == 3
    assert study.best_value >= 5
    assert str(from_parameters(oracle.space, study.best_params)).count("nor_conv_3x3") == study.best_value


def test_distributions_of_optuna_reach_everything(awkward: Space) -> None:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen, refused = set(), 0
    for _ in range(300):
        parameters = study.ask(optuna_distributions(awkward)).params
        try:
            seen.add(from_parameters(awkward, parameters))
        except ConfigurationError:
            refused += 1
    assert seen == {awkward.listing.at(index) for index in range(awkward.size)}
    assert 0 < refused < 100


def test_a_scheduler_of_syne_tune_searches_nasbench201(awkward: Space) -> None:
    pytest.importorskip("syne_tune")
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.baselines import REA

    oracle, rng = convolutions(), np.random.default_rng(0)
    scheduler = REA(syne_tune_space(oracle.space), metric="score", do_minimize=False, population_size=10, random_seed=0)
    values = []
    for number in range(80):
        suggested = scheduler.suggest()
        trial = Trial(number, suggested.config, datetime(2020, 1, 1))
        scheduler.on_trial_add(trial)
        values.append(oracle.evaluate(from_parameters(oracle.space, suggested.config), 0, rng).value)
        scheduler.on_trial_complete(trial, {"score": values[-1]})
    assert np.mean(values[-20:]) > np.mean(values[:10])
    assert {name: domain.sample() for name, domain in syne_tune_space(awkward).items()}.keys() == {
        choice.name for choice in awkward.choices
    }


def test_samples_of_ray_tune_are_architectures(awkward: Space) -> None:
    pytest.importorskip("ray.tune", exc_type=ImportError)
    for space in (nasbench201(), nats_size()):
        domains = ray_tune_space(space)
        seen = {from_parameters(space, {n: domain.sample() for n, domain in domains.items()}) for _ in range(200)}
        assert len(seen) > 150
    widths = [ray_tune_space(nats_size())["channels_0"].sample() for _ in range(300)]
    assert set(widths) == set(range(8))
    assert ray_tune_space(awkward).keys() == {choice.name for choice in awkward.choices}
