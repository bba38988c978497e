from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "to_share_or_not"
MODULES = ("published", "table1", "evolution", "regrets", "table2", "table3", "run")
# Means of table 1 as printed, in the order of the paper's columns.
PRINTED = {
    "A_4": (0.08, 0.64, 0.66, 0.68, 0.67, 0.69),
    "A_3": (0.12, 0.59, 0.62, 0.63, 0.61, 0.66),
    "A_2": (0.24, 0.60, 0.64, 0.64, 0.61, 0.65),
    "A_1": (0.32, 0.68, 0.72, 0.75, 0.73, 0.67),
    "FULL": (0.24, 0.56, 0.63, 0.59, 0.61, 0.58),
    "NRES": (0.11, 0.46, 0.58, 0.56, 0.52, 0.49),
    "RES": (0.34, 0.71, 0.68, 0.72, 0.69, 0.66),
}
FAILED = {
    ("AVG-3", "A_4"): 1,
    ("BNS-FT", "NRES"): 3,
    ("NO-FT", "NRES"): 3,
    ("SINGLE-K", "FULL"): 0,
    ("SINGLE-K", "NRES"): 1,
}


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The programs, which import each other as scripts do."""
    kept = {name: sys.modules.pop(name, None) for name in MODULES}
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != str(FOLDER)]
        for name, module in kept.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


@pytest.fixture(scope="module")
def data(modules: dict[str, ModuleType], shared_data: Path) -> Any:
    return modules["published"].load(shared_data)


def test_all_cells_of_table_1_come_out_as_printed(
    modules: dict[str, ModuleType], shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert modules["table1"].main(["--data", str(shared_data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["cells"]) == 42
    for cell in found["cells"]:
        place = list(modules["published"].VARIANTS).index(cell["variant"])
        assert round(cell["mean"], 2) == PRINTED[cell["space"]][place]
        assert cell["equal"]["mean"]
        failed = FAILED.get((cell["variant"], cell["space"]))
        assert cell["failed"] == ([] if failed is None else [failed])
        assert cell["n"] == 5 - len(cell["failed"]) == sum(value is not None for value in cell["values"])
        low, high = cell["interval"]["t"]
        narrow = cell["interval"]["paper"]
        assert low < narrow[0] < cell["mean"] < narrow[1] < high
    assert found["failed_supernets"] == 5
    wrong = [(c["space"], c["variant"]) for c in found["cells"] if not c["equal"]["half_width"]]
    assert wrong == [("RES", "S-K+P-R")]
    twice = {(c["space"], c["variant"]): c["same_supernet_twice"] for c in found["cells"] if c["same_supernet_twice"]}
    assert twice == {("A_4", "NO-FT"): [[3, 4]], ("A_1", "S-K+P-R"): [[0, 1]]}
    assert modules["table1"].main(["--data", str(shared_data)]) == 0
    shown = capsys.readouterr().out
    assert "| NRES | * 0.11 ± 0.05 (0.09) |" in shown
    assert "42 of 42 means" in shown


def test_missing_data_is_said_in_one_line(
    modules: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("table1", "table2"):
        assert modules[name].main(["--data", str(tmp_path)]) == 1
        assert "cannot be read" in capsys.readouterr().err


def test_spaces_and_features_are_those_of_the_facts(modules: dict[str, ModuleType], data: Any) -> None:
    sizes = {space: int(data.members(space).sum()) for space in modules["published"].SPACES}
    assert sizes == {
        "A_4": 10467,
        "A_3": 90782,
        "A_2": 201441,
        "A_1": 120933,
        "FULL": 423624,
        "NRES": 342604,
        "RES": 81020,
    }
    assert round(data.best_test("FULL"), 4) == 94.3176
    for space in sizes:
        assert data.members(space)[data.pool(space)].all()
    # The best cell: edges 0-1, 0-2, 0-5, 0-6, 1-5, 2-3, 3-4, 4-5, 5-6 and operations 1x1, 3x3, max-pooling, 3x3, 3x3.
    best = np.array([int(data.architectures["test_correct_sum"].argmax())])
    features = {name: values[0] for name, values in data.features(best).items()}
    assert features["residual edge"]
    assert features["1x1 convolution on the first node"]
    assert not features["3x3 convolution on the first node"]
    assert features["3x3 max-pooling on the third node"]
    assert features["number of 3x3 convolutions"] == 3
    assert (features["nodes feeding the output"], features["depth"], features["parameters"]) == (1, 5, 32_426_634)


def test_tables_of_regret_have_the_stated_sign_and_cost(modules: dict[str, ModuleType], data: Any) -> None:
    regrets, config = modules["regrets"], modules["published"].settings()
    config = {**config, "repeats": 60}
    arenas = {space: regrets.arena(data, config, space, "BNS-FT", trainings=150) for space in ("A_1", "NRES")}
    found = regrets.document(arenas, [1, 10], config)
    assert len(arenas["NRES"].guided) == 4
    assert arenas["NRES"].failed == ("3",)
    # 432 epochs of 40,000 images and 1,000 architectures of 11,024 images, at 1/64 of 108 epochs of 40,000 images.
    images = (432 * 40_000 * 3 + 1_000 * 11_024) / (108 * 40_000 * 3)
    assert found["cost_of_supernet_in_trainings"]["by_mac"] == pytest.approx(images / 64)
    cell = found["cells"][0]
    assert (cell["space"], cell["top"], cell["by_mac"]["random_trainings"]) == ("A_1", 1, 1)
    here = arenas["A_1"]
    expected = np.mean(here.regrets(1)) - here.random[:, 0].mean()
    assert cell["by_mac"]["difference"] == pytest.approx(expected)
    assert cell["as_implied"]["random_trainings"] == int(
        1 + found["cost_of_supernet_in_trainings"]["as_implied"]["median"]
    )
    assert cell["printed"] == {"difference": -1.37, "half_width": 0.14, "p": "< 0.01", "cohens_d": -1.16}
    sample = data.sample("BNS-FT", "A_1", 0)
    first = sample.proxy.argmax()
    assert here.guided["0"].top(1)[0] == pytest.approx(data.best_test("A_1") - sample.test[first])


def test_what_lies_outside_a_sub_space_fills_the_population_of_evolution_and_costs_nothing(
    modules: dict[str, ModuleType], data: Any
) -> None:
    """So the 12th training on A_4, one raw cell in a hundred, is of a mutant, and on FULL it never is."""
    config, rng = {**modules["published"].settings(), "repeats": 12}, np.random.default_rng(0)
    found = {space: modules["evolution"].whole(data, config, space, 12, rng) for space in ("A_4", "FULL")}
    assert found["A_4"].share < 0.02
    assert found["FULL"].share == 1
    assert found["A_4"].mutants[:, -1].mean() > 0.9
    assert not found["FULL"].mutants.any()
    for one in found.values():
        for regrets in (one.random, one.evolution, one.confined):
            assert regrets.shape == (12, 12)
            assert (np.diff(regrets, axis=1) <= 0).all()
            assert (regrets >= 0).all()
        assert (one.evolution < 100).all(), "no accuracy of 0 is ever an incumbent"


def test_the_biases_of_figure_3_are_found(modules: dict[str, ModuleType], data: Any) -> None:
    config = {**modules["published"].settings(), "permutations": 50}
    for space, feature in modules["run"].POINTED_OUT.items():
        sample = data.sample("BNS-FT", space, 0)
        report = modules["run"].find_biases(
            data.features(sample.rows),
            sample.proxy,
            sample.valid,
            generator=np.random.default_rng(0),
            permutations=config["permutations"],
            resamples=0,
            reliability=modules["run"].reliability(data.repeats(sample.rows)),
        )
        assert report.biases[0].feature == feature
        assert report.biases[0].effect.value > 0.5
        assert report.biases[0].found


def test_the_stored_results_are_those_of_the_configuration_and_the_page(modules: dict[str, ModuleType]) -> None:
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    assert results["config"] == json.loads(json.dumps(config))
    page = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert page == modules["run"].insert(page, modules["run"].markdown(results))
