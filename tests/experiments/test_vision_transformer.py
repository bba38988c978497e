from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sharewise.studies.plan import StudyPlan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "vision_transformer"


def test_the_plan_compares_seven_arms_on_equal_terms(
    equal_cost: ModuleType, programs: ModuleType, plan: dict[str, Any], tmp_path: Path
) -> None:
    cells = StudyPlan.from_plain(programs.plan_of(plan, tmp_path)).cells()
    assert len(cells) == 35
    assert {cell.arm for cell in cells} == {
        *(f"tanglenas-{name}" for name in ("gaea", "drnas", "darts", "gdas")),
        *("spos-random", equal_cost.UNIFORM, equal_cost.SANDWICH),
    }
    shared = {(cell.configuration.recipe["optimizer"], cell.configuration.recipe["batch_size"]) for cell in cells}
    assert shared == {("adam", 64)}
    assert plan["judge"]["by"] == "training"
    assert cells[0].configuration.load_space().size == 774


@pytest.mark.slow
def test_it_runs_and_goes_on(
    same_again: Callable[..., Any], equal_cost: ModuleType, sampled: list[dict[str, Any]], plan: dict[str, Any]
) -> None:
    plan["spaces"][0]["space"] = "vision-transformer-tiny:embedding=8,16:layers=1,2:heads=1,2:mlp_ratio=1,2"
    plan["data"] = [{"data": "digits", "train_examples": 128}]
    plan["options"]["batch_size"] = plan["judge"]["training"]["batch_size"] = 32
    plan["judge"] |= {"points": 1, "training": {**plan["judge"]["training"], "epochs": 1}}
    plan["seeds"], plan["budget"] = [0], {"steps": 2}
    plan["methods"] = sampled
    results = same_again(plan)
    assert results["searches"] == 2
    assert [row["n"] for row in results["fronts"]] == [1, 1]
    assert all(equal_cost.SANDWICH in row for row in results["fronts"])
