from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from sharewise.methods import build
from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import Key
from sharewise.studies.plan import StudyPlan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "nasbench_macro_sharing"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_design_is_balanced(running: ModuleType, config: dict[str, Any]) -> None:
    cells = StudyPlan.from_plain(running.plan_of(config, Path("data"), running.TITLE)).cells()
    assert len(cells) == 10
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    paths = {"fairnas": 3, "spos": 1}
    trained = {
        name: build(name, {**config["options"], **own}).epochs * paths[name] for name, own in config["methods"].items()
    }
    assert len(set(trained.values())) == 1, "as many single paths in both"


@pytest.mark.slow
def test_it_runs_goes_on_and_is_appraised(running: ModuleType, config: dict[str, Any], tmp_path: Path) -> None:
    table = Draft("Made up", "nasbench_macro", {"source": "", "files": [], "notes": []})
    values = np.random.default_rng(0).random(6_561).astype(np.float32)
    table.add(Key("accuracy", "cifar10", "test", None, "mean"), values, "fraction", "test")
    write_table(table, tmp_path / "nasbench_macro.table")
    config |= {"data": {"name": "digits", "train_examples": 96}, "seeds": [0], "network": {"channels": 2}}
    config["options"] |= {"batch_size": 16, "candidates": 2}
    config["methods"] = {"fairnas": {"epochs": 1}, "spos": {"epochs": 3}}
    config["appraisal"] = {"architectures": 5, "recalibrate": 1, "examples": 32, "repeats": 3, "resamples": 20}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    words = ["--config", str(path), "--out", str(tmp_path), "--data-root", str(tmp_path)]
    words += ["--results", str(tmp_path / "results.json")]
    assert running.main(words) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["answers"]) == {"fairnas", "spos"}
    assert results["answers"]["fairnas"]["document"]["n"] == 5
    history = (tmp_path / "study-1" / "runs" / "spos-seed0" / "metrics.jsonl").read_bytes()
    assert running.main(words) == 0  # what is finished is skipped
    assert (tmp_path / "study-1" / "runs" / "spos-seed0" / "metrics.jsonl").read_bytes() == history
    assert json.loads((tmp_path / "results.json").read_text())["answers"] == results["answers"]
