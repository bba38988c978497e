from __future__ import annotations

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
    equal_cost: ModuleType, programs: ModuleType, plan: dict[str, Any], tmp_path: Path
) -> None:
    text(tmp_path)
    cells = StudyPlan.from_plain(programs.plan_of(plan, tmp_path)).cells()
    assert len(cells) == 35
    assert {cell.arm for cell in cells} == {
        *(f"tanglenas-{name}" for name in ("gaea", "drnas", "darts", "gdas")),
        *("spos-random", equal_cost.UNIFORM, equal_cost.SANDWICH),
    }
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    shared = {(cell.configuration.recipe["optimizer"], cell.configuration.recipe["batch_size"]) for cell in cells}
    assert shared == {("adam", 32)}
    assert plan["judge"]["by"] == "training"
    assert cells[0].configuration.load_space().size == 774


@pytest.mark.slow
def test_it_runs_and_goes_on(
    same_again: Callable[..., Any],
    equal_cost: ModuleType,
    sampled: list[dict[str, Any]],
    plan: dict[str, Any],
    tmp_path: Path,
) -> None:
    text(tmp_path)
    plan["spaces"] = ["language-model:embedding=8,16:layers=1,2:heads=2:mlp_ratio=1,2"]
    plan["data"][0] |= {"text_length": 8, "train_examples": 256}
    plan["judge"]["points"] = 1
    plan["seeds"], plan["budget"] = [0], {"steps": 3}
    plan["methods"] = ["tanglenas-gaea", *sampled]
    results = same_again(plan)
    assert results["searches"] == 3
    assert set(results["arms"]) == {"tanglenas-gaea", equal_cost.UNIFORM, equal_cost.SANDWICH}
    assert all(cell["parameters"] > 0 for cell in results["cells"])
    assert [row["n"] for row in results["fronts"]] == [1, 1]
