from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sharewise.methods import build
from sharewise.studies.plan import StudyPlan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "nats_size_sharing"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_design_is_balanced(running: ModuleType, config: dict[str, Any]) -> None:
    cells = StudyPlan.from_plain(running.plan_of(config, Path("data"), running.TITLE)).cells()
    assert len(cells) == 10
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    paths = {"sandwich": 4, "spos": 1}
    trained = {
        name: build(name, {**config["options"], **own}).epochs * paths[name] for name, own in config["methods"].items()
    }
    assert len(set(trained.values())) == 1, "as many single paths in both"


def test_arms_are_compared_by_seed(running: ModuleType) -> None:
    sharing = sys.modules[running.run.__module__]

    def answer(**values: float) -> dict[str, Any]:
        return {"document": {"agreement": {"running": {"over_seeds": {"spearman": {"values": values}}}}}}

    answers = {"spos": answer(a=0.5, b=0.7), "sandwich": answer(b=0.6, a=0.4)}
    assert sharing.differences(answers)["running"]["mean"] == pytest.approx(0.1)
    assert sharing.differences({**answers, "sandwich": answer(a=0.4)}) == {}
    assert sharing.differences({"spos": answers["spos"]}) == {}


@pytest.mark.slow
def test_both_arms_are_appraised_against_the_same_trainings(
    running: ModuleType, config: dict[str, Any], tmp_path: Path
) -> None:
    config |= {"data": {"name": "digits", "train_examples": 96}, "seeds": [0]}
    config["options"] |= {"batch_size": 16, "candidates": 2}
    config["methods"]["sandwich"]["epochs"] = config["methods"]["spos"]["epochs"] = 1
    config["training"] |= {"epochs": 1}
    config["appraisal"] = {"architectures": 3, "recalibrate": 1, "examples": 32, "repeats": 3, "resamples": 20}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    words = ["--config", str(path), "--out", str(tmp_path), "--data-root", str(tmp_path)]
    words += ["--results", str(tmp_path / "results.json")]
    assert running.main(words) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["answers"]) == {"sandwich", "spos"}
    assert results["answers"]["spos"]["document"]["n"] == 3
    kept = [tmp_path / f"appraisal-{method}-1" / "trainings" for method in config["methods"]]
    assert len({(folder / "trainings.jsonl").read_bytes() for folder in kept}) == 1
    assert [folder.is_dir() for folder in (kept[0] / "0000", kept[1] / "0000")] == [True, False], "trained once"
    history = (tmp_path / "study-1" / "runs" / "spos-seed0" / "metrics.jsonl").read_bytes()
    assert running.main(words) == 0  # what is finished is skipped
    assert (tmp_path / "study-1" / "runs" / "spos-seed0" / "metrics.jsonl").read_bytes() == history
    assert json.loads((tmp_path / "results.json").read_text())["answers"] == results["answers"]
