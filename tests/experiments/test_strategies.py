from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "strategies"


@pytest.fixture(scope="module")
def experiment(executed: Callable[[Path], ModuleType]) -> ModuleType:
    return executed(FOLDER / "run.py")


def tiny() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    config |= {"repeats": 3, "checkpoints": 4}
    for panel in config["panels"]:
        for name, few in (("trainings", 30), ("evaluations", 60)):
            if name in panel:
                panel[name] = few
        if "mark" in panel:
            panel["mark"] = 2000
    return config


@pytest.mark.slow
def test_a_tiny_run_is_resumable_and_deterministic(experiment: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    config = tiny()
    config["panels"] = [config["panels"][0], config["panels"][8]]
    del config["transfer"], config["first_cells"]
    results = experiment.run(config, tmp_path, shared_data)
    assert list(results["panels"]) == [panel["name"] for panel in config["panels"]]
    full = results["panels"]["NAS-Bench-101, FULL (test as stand-in)"]
    assert (full["unit"], full["architectures"], full["floor"]) == ("evaluations", 423_624, 0.0)
    assert full["best_test"] == pytest.approx(94.3176, abs=5e-5)

    # What is missing is computed again, to the same numbers; what is there stays, seconds included.
    stored = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    gone = stored["panels"].pop(config["panels"][0]["name"])
    (tmp_path / "results.json").write_text(json.dumps(stored), encoding="utf-8")
    again = experiment.run(config, tmp_path, shared_data)["panels"]
    assert again[config["panels"][0]["name"]]["strategies"] == gone["strategies"]
    assert again["NAS-Bench-101, FULL (test as stand-in)"] == full
    # Other settings are computed again.
    other = experiment.run({**config, "seed": 1, "panels": config["panels"][:1]}, tmp_path, shared_data)["panels"]
    assert other[config["panels"][0]["name"]]["strategies"] != gone["strategies"]


def test_every_part_of_the_page_on_a_few_repeats(experiment: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    config = tiny()
    halving = {**config["panels"][6], "trainings": 5}
    config["panels"] = [config["panels"][0], halving]
    config["transfer"] |= {"repeats": {"random": 3, "reinforce": 2}}
    config["first_cells"] |= {"repeats": 20, "evaluations": [1, 2, 3], "shown": [3]}
    config["first_cells"]["spaces"] = ["nasbench101:RES"]
    text = experiment.markdown(experiment.run(config, tmp_path, shared_data))
    for words in (
        "| NAS-Bench-201, CIFAR-10, 12 epochs |",
        "| hyperband |",
        "| reinforce | ImageNet16-120 | 2 | 43.16 ± 2.28 |",
        "| nasbench101:RES |",
        "| +1.01 ± 0.22 | +0.01 ± 0.04 |",
    ):
        assert words in text, words


def test_the_stored_results_are_those_of_the_configuration_and_the_page(experiment: ModuleType) -> None:
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert results["config"] == yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert page == experiment.insert(page, experiment.markdown(results))
    for panel in results["panels"].values():
        for curve in panel["strategies"].values():
            assert curve["n"] == results["config"]["repeats"] == 500
            assert all(value is None or value >= 0 for value in curve["mean"])


def test_moments_are_missing_where_a_repeat_has_no_incumbent(experiment: ModuleType) -> None:
    assert experiment.moments(np.array([1.0, np.nan])) is None
    assert experiment.moments(np.array([1.0, 3.0])) == pytest.approx([2.0, np.sqrt(2)])
