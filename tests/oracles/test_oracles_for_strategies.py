from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import sharewise as sw
from sharewise.engine import SupernetOracle, evaluate_gates
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.table import Table, open_table
from sharewise.oracle.tabulated import table_oracle
from sharewise.run import RunFolder
from sharewise.run.standalone import TrainingRecipe
from sharewise.run.training_cost import training_epochs
from sharewise.space import Choice, Space
from sharewise.spaces import load
from sharewise.strategy import (
    ArrayOracle,
    Budget,
    LocalSearch,
    RandomSearch,
    RegularizedEvolution,
    Tournament,
    run_strategy,
)
from sharewise.studies.oracles import StandaloneOracle, supernet_oracle
from sharewise.supernet import RecalibratedStatistics, discrete


@pytest.fixture(scope="module")
def nb201(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("tables") / "nb201.table"
    import_benchmark(shared_data / "nasbench201", path)
    return open_table(path)


def test_arrays_are_checked() -> None:
    space = Space("toy", (Choice("width", (1, 2, 3)),))
    for values, costs, message in (
        ({0: [1, 2]}, {0: 1.0}, "3 architectures"),
        ({0: [1, 2, 3]}, {1: 1.0}, "same fidelities"),
        ({0: [1, 2, 3]}, {0: 0.0}, "no positive cost"),
        ({0: [1, 2, np.inf]}, {0: 1.0}, "infinite"),
        ({0: [np.nan] * 3}, {0: 1.0}, "no architecture is known"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            ArrayOracle(space, values, costs)  # type: ignore[arg-type]
    oracle = ArrayOracle(space, {0: [1, np.nan, 3]}, {0: 2.0})
    rng = np.random.default_rng(0)
    assert oracle.evaluate(space.listing.at(2), 0, rng).value == 3
    with pytest.raises(ConfigurationError, match="not covered"):
        oracle.evaluate(space.listing.at(1), 0, rng)
    with pytest.raises(ConfigurationError, match="unknown fidelity"):
        oracle.evaluate(space.listing.at(0), 12, rng)


def test_a_table_answers_with_its_own_values_and_seconds(nb201: Table) -> None:
    oracle = table_oracle(nb201, dataset="cifar100", epochs=(12, 200), latency="eyeriss")
    architecture = oracle.space.listing.at(1462)
    rng = np.random.default_rng(0)
    for epochs in (12, 200):
        found = oracle.evaluate(architecture, epochs, rng)
        expected = nb201.query(
            architecture, dataset="cifar100", metric="accuracy", split="valid", epochs=epochs, seed="mean"
        )
        assert (found.value, found.cost) == (expected.value, expected.seconds)
        assert found.others == (-nb201.query(architecture, metric="latency", device="eyeriss").value,)
    assert oracle.unit == "seconds"
    assert np.asarray(oracle.costs[200]).mean() == pytest.approx(3656, rel=0.005)  # as the issue states it


def test_strategies_get_no_test_values(nb201: Table) -> None:
    with pytest.raises(ConfigurationError, match="must not see"):
        table_oracle(nb201, dataset="cifar100", epochs=200, split="test")


def test_a_run_at_random_is_one_of_the_runs(nb201: Table) -> None:
    oracle = table_oracle(nb201, dataset="cifar10", epochs=200, seed="random", unit="evaluations")
    runs = np.asarray(oracle.values[200])
    assert len(runs) == 3
    assert oracle.covered.all()  # though the third run is known for 8,169 cells only
    assert (~np.isnan(runs)).all(axis=0).sum() == 8169
    rng = np.random.default_rng(0)
    for index in (int(np.isnan(runs[2]).argmax()), int((~np.isnan(runs[2])).argmax())):
        known = runs[:, index][~np.isnan(runs[:, index])]
        drawn = [oracle.draw(index, 200, rng)[0] for _ in range(1500)]
        counts = [drawn.count(value) for value in known]
        assert sum(counts) == 1500  # nothing else, and never not-a-number
        assert stats.chisquare(counts).pvalue > 0.001
    with pytest.raises(ConfigurationError, match="no single runs"):
        table_oracle(nb201, dataset="cifar100", epochs=12, seed="random")
    with pytest.raises(ConfigurationError, match="Legal: 12, 200"):
        table_oracle(nb201, dataset="cifar100", epochs=13, seed="random")


def test_a_sub_space_takes_its_rows(shared_data: Path, tmp_path: Path) -> None:
    import_benchmark(shared_data / "nasbench101", tmp_path / "nb101.table")
    table, space = open_table(tmp_path / "nb101.table"), load("nasbench101:A_4")
    oracle = table_oracle(table, dataset="cifar10", epochs=108, space=space)
    assert oracle.covered.sum() / space.size == pytest.approx(0.947, abs=0.0005)
    history = run_strategy(RandomSearch(), oracle, Budget(evaluations=20), np.random.default_rng(0))
    for evaluation in history:
        key = {"dataset": "cifar10", "metric": "accuracy", "split": "valid", "epochs": 108, "seed": "mean"}
        found = table.query(str(evaluation.architecture), **key)  # type: ignore[arg-type]
        assert (found.value, found.seconds) == (evaluation.value, evaluation.cost)
    with pytest.raises(ConfigurationError, match="no part"):
        table_oracle(table, dataset="cifar10", epochs=108, space=load("nasbench201"))

    # A run at random is charged its own seconds.
    noisy = table_oracle(table, dataset="cifar10", epochs=108, seed="random", space=space)
    rng = np.random.default_rng(1)
    index = int(noisy.covered.argmax())
    row = int(np.asarray(space.listing.rows)[index])  # type: ignore[attr-defined]
    key = {"dataset": "cifar10", "metric": "accuracy", "split": "valid", "epochs": 108}
    stated = [table.query(row, **key, seed=seed) for seed in range(3)]  # type: ignore[arg-type]
    pairs = {(found.value, found.seconds) for found in stated}
    assert len({seconds for _, seconds in pairs}) == 3
    assert {noisy.draw(index, 108, rng) for _ in range(100)} == pairs
    signal, seconds = noisy.expected(108)
    assert (signal[index], seconds[index]) == pytest.approx(np.mean(sorted(pairs), axis=0))


def test_where_a_run_has_no_seconds_of_its_own_the_mean_is_charged(nb201: Table) -> None:
    oracle = table_oracle(nb201, dataset="cifar10", epochs=200, seed="random")
    mean = nb201.seconds(dataset="cifar10", metric="accuracy", split="valid", epochs=200, seed="mean")
    rng = np.random.default_rng(0)
    assert {oracle.draw(77, 200, rng)[1] for _ in range(30)} == {mean[77]}


def test_costs_of_runs_go_with_their_values() -> None:
    space = Space("toy", (Choice("width", (1, 2)),))
    values = [[np.nan, 5.0], [2.0, np.nan], [3.0, 7.0]]
    oracle = ArrayOracle(space, {0: values}, {0: [[9.0, 50.0], [20.0, 9.0], [30.0, 70.0]]})
    rng = np.random.default_rng(0)
    assert {oracle.draw(0, 0, rng) for _ in range(50)} == {(2.0, 20.0), (3.0, 30.0)}
    assert {oracle.draw(1, 0, rng) for _ in range(50)} == {(5.0, 50.0), (7.0, 70.0)}
    assert [part.tolist() for part in oracle.expected(0)] == [[2.5, 6.0], [25.0, 60.0]]
    found = oracle.evaluate(space.listing.at(0), 0, rng)
    assert (found.value, found.cost) in {(2.0, 20.0), (3.0, 30.0)}
    for costs, message in (([[1.0, 1.0]] * 2, "one for each value"), ([[1, 1], [0, 1], [1, 1]], "no positive cost")):
        with pytest.raises(ConfigurationError, match=message):
            ArrayOracle(space, {0: values}, {0: costs})


@pytest.mark.slow
def test_the_cost_of_a_training_is_that_of_the_published_network() -> None:
    costs, mean = training_epochs(load("nasbench201"), "cifar10")
    assert costs[1462] == 3 * 25_000 * 220_119_690  # multiply-accumulates as published for this cell
    assert costs[11] == 3 * 25_000 * 113_951_370
    assert mean == costs.mean()
    assert training_epochs(load("nasbench201"), "ImageNet16-120")[0][0] == 3 * 151_700 * 3_919_480
    with pytest.raises(ConfigurationError, match="unknown data set"):
        training_epochs(load("nasbench201"), "digits")


@pytest.mark.parametrize(
    ("space", "dataset", "message"),
    [
        ("nasbench_macro", "cifar10", "of 'nasbench_macro' costs .* is not known, only of nasbench201.*seconds"),
        ("nasbench101", "cifar10", "'nasbench101' cannot be added up choice by choice.*or as a number of evaluations"),
        ("nasbench201", "cifar", "unknown data set of 'nasbench201': 'cifar'; did you mean 'cifar10'"),
    ],
)
def test_costs_that_are_not_known_are_said(space: str, dataset: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        training_epochs(load(space), dataset)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[sw.engine.SearchResult, Path]:  # type: ignore[name-defined]
    folder = tmp_path_factory.mktemp("runs") / "spos"
    recipe = {"name": "spos", "arguments": {"candidates": 2, "epochs": 1}}
    configuration = sw.run.SearchConfiguration(  # type: ignore[attr-defined]
        space="toy-two-inputs",
        method=recipe["name"],
        data="digits",
        recipe=recipe["arguments"],
        max_steps=5,
        device="cpu",
    )
    result = sw.search(
        configuration.load_space(),
        configuration.build_recipe(),
        configuration.load_data(),
        max_steps=5,
        device="cpu",
        out=folder,
        configuration=configuration.complete(),
    )
    return result, folder


def test_a_supernet_answers_with_inherited_weights_and_stays_as_it_was(searched: tuple[object, Path]) -> None:
    state = searched[0].state  # type: ignore[attr-defined]
    before = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    oracle = SupernetOracle(state, examples=128)
    spent = state.ledger.multiply_accumulates
    history = run_strategy(
        RegularizedEvolution(3, Tournament(2)), oracle, Budget(evaluations=6), np.random.default_rng(0)
    )
    assert state.ledger.multiply_accumulates - spent == history.spent[-1]
    assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())
    first = history[0]
    policy = RecalibratedStatistics()
    scores = evaluate_gates(
        state,
        discrete(state.supernet.relaxation.encode(first.architecture)),
        state.evaluation_batches("selection", 128),
        policy,
        state.calibration_batches(policy.batches),
    )
    assert first.value == scores["accuracy"]
    with pytest.raises(ConfigurationError, match="no fidelities"):
        oracle.evaluate(first.architecture, 3, np.random.default_rng(0))


def test_the_supernet_of_a_finished_run_gives_the_same_answers(searched: tuple[object, Path]) -> None:
    result, folder = searched
    restored = supernet_oracle(RunFolder(folder), examples=64)
    fresh = SupernetOracle(result.state, examples=64)  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for index in (0, 5):
        architecture = restored.space.listing.at(index)
        assert restored.evaluate(architecture, 0, rng) == fresh.evaluate(architecture, 0, rng)
    with pytest.raises(CheckpointError, match="no run folder"):
        supernet_oracle(RunFolder(folder.parent / "absent"))


def test_standalone_training_keeps_the_test_examples_sealed() -> None:
    space, data = sw.spaces.toy_tied_width(), sw.data.digits()
    oracle = StandaloneOracle(
        space,
        data,
        training=TrainingRecipe(epochs=1, validation_fraction=0.2, batch_size=128),
        epochs=(1, 2),
        device="cpu",
        max_steps=4,
    )
    history = run_strategy(LocalSearch(first=True), oracle, Budget(evaluations=2), np.random.default_rng(0))
    assert [evaluation.fidelity for evaluation in history] == [2, 2]
    assert all(0 <= evaluation.value <= 1 and evaluation.cost > 0 for evaluation in history)
    assert list(data.openings) == []
    with pytest.raises(ConfigurationError, match="held-out"):
        StandaloneOracle(space, data, training=TrainingRecipe())
