from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sharewise.studies.plan import StudyPlan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "language_model"


def text(folder: Path) -> Path:
    path = folder / "text" / "tinyshakespeare.txt"
    path.parent.mkdir()
    path.write_text("the quick brown fox jumps over the lazy dog, and the dog sleeps on.\n" * 60)
    return path


def test_the_plan_compares_seven_arms_on_equal_terms(
    programs: ModuleType, plan: dict[str, Any], tmp_path: Path
) -> None:
    text(tmp_path)
    cells = StudyPlan.from_plain(programs.plan_of(plan, tmp_path)).cells()
    assert len(cells) == 35
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    shared = {(cell.configuration.recipe["optimizer"], cell.configuration.recipe["batch_size"]) for cell in cells}
    assert shared == {("adam", 32)}
    assert plan["judge"]["by"] == "training"
    assert cells[0].configuration.load_space().size == 774


@pytest.mark.slow
def test_it_runs_and_goes_on(
    running: ModuleType,
    equal_cost: ModuleType,
    plan: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words_for: Callable[..., list[str]],
) -> None:
    monkeypatch.setattr(equal_cost, "EVALUATIONS", 4)
    monkeypatch.setattr(equal_cost, "POPULATION", 2)
    monkeypatch.setattr(equal_cost, "RUNGS", 2)
    text(tmp_path)
    plan["spaces"] = ["language-model:embedding=8,16:layers=1,2:heads=2:mlp_ratio=1,2"]
    plan["data"][0] |= {"text_length": 8, "train_examples": 256}
    plan["judge"]["points"] = 1
    plan["seeds"], plan["budget"] = [0], {"steps": 3}
    small = {"selection": "evolution", "candidates": 4, "population": 2, "selection_examples": 32}
    plan["methods"] = [
        "tanglenas-gaea",
        {"method": "spos", "name": equal_cost.UNIFORM, "options": small},
        {"method": "sandwich", "name": equal_cost.SANDWICH, "options": small},
    ]
    words = words_for(plan)
    assert running.main([*words, "--run"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["searches"] == 3
    assert set(results["arms"]) == {"tanglenas-gaea", equal_cost.UNIFORM, equal_cost.SANDWICH}
    assert all(cell["parameters"] > 0 for cell in results["cells"])
    assert [row["n"] for row in results["fronts"]] == [1, 1]
    assert running.main(words) == 0
    assert json.loads((tmp_path / "results.json").read_text()) == results
