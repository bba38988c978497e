from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from sharewise.spaces import nasbench201

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "blog_figure5"


@pytest.fixture(scope="module")
def experiment(executed: Callable[[Path], ModuleType]) -> ModuleType:
    return executed(FOLDER / "run.py")


def test_the_stored_results_are_those_of_the_configuration_and_the_page(experiment: ModuleType) -> None:
    results = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert results["config"] == yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert page == experiment.insert(page, experiment.markdown(results))
    for panel in results["comparison"]["datasets"].values():
        assert {run["searched_on"] for run in panel["runs"]} == {"cifar10"}
        assert all(run["cost_shown"] < 0.1 for run in panel["runs"])  # what the first finding says


def test_the_first_cost_with_so_little_regret(experiment: ModuleType) -> None:
    panel = {"scale": 10.0, "checkpoints": [10, 20, 40], "strategies": {"a": {"mean": [None, 3.0, 1.0]}}}
    assert experiment.reached(panel, "a", 3.0) == 2.0
    assert experiment.reached(panel, "a", 2.0) == 4.0
    assert experiment.reached(panel, "a", 0.5) is None


@pytest.mark.slow
def test_a_tiny_comparison(experiment: ModuleType, shared_data: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    config |= {"repeats": 3, "strategies": ["random"], "trainings": 10}
    cell = str(nasbench201().listing.at(1462))
    for arm in config["searches"].values():
        for seed in (0, 1):
            folder = tmp_path / "runs" / arm["runs"].format(rate=arm["published"]).replace("*", str(seed))
            folder.mkdir(parents=True)
            result = {
                "kind": "search",
                "space": "nasbench201",
                "architecture": cell,
                "method": folder.name.split("-")[0],
                "data": "cifar10",
                "seed": seed,
                "ledger": {"weights": {"multiply_accumulates": 10**13}},
            }
            (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(SystemExit, match="no finished search"):
        experiment.run(config, tmp_path / "absent", shared_data, tmp_path / "out")
    results = experiment.run(config, tmp_path / "runs", shared_data, tmp_path / "out")
    assert (tmp_path / "out" / "figure.png").exists()
    assert len(results["comparison"]["datasets"]["cifar10"]["runs"]) == 8
    assert str(tmp_path) not in (tmp_path / "out" / "results.json").read_text(encoding="utf-8")
    experiment.NAMES = {**experiment.NAMES, "softmax": "DARTS", "simplex": "GAEA"}
    assert "| **GAEA** | cifar100 | 4 | 0.101 |" in experiment.markdown(results)
