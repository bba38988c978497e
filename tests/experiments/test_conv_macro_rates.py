from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sharewise.studies.plan import Arm, StudyPlan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "conv_macro_rates"


def test_rates_are_chosen_on_seeds_that_are_not_reported(plan: dict[str, Any], running: ModuleType) -> None:
    assert not set(plan.pop("tuning_seeds")) & set(plan["seeds"])
    grids = [arm for method in plan["methods"] for arm in Arm(**method).spread()]
    assert len(grids) == 4 * 9 + 2 * 3
    StudyPlan.from_plain({**plan, "methods": [{"method": arm.method, "options": arm.options} for arm in grids[:1]]})


@pytest.mark.parametrize(("higher", "best"), [(True, 0.1), (False, 0.01)])
def test_the_best_rate_is_the_best_mean(running: ModuleType, higher: bool, best: float) -> None:
    arms = [Arm("spos", "paths", {"selection": "random"}, {"learning_rate": [0.01, 0.1]})]
    scores = {"paths-learning_rate=0.01": [0.9, 0.1], "paths-learning_rate=0.1": [0.7, 0.7]}
    cells = [{"arm": arm, "value": value} for arm, values in scores.items() for value in values]
    chosen, table = running.best_rates(arms, {"cells": cells, "metric": {"higher_is_better": higher}})
    assert chosen == [
        {"method": "spos", "name": "paths", "options": {"selection": "random", "learning_rate": best}},
    ]
    with pytest.raises(SystemExit, match=r"no search of paths is finished \(no such folder\); mend that"):
        running.best_rates(arms, {"cells": [], "failures": {"paths-seed0": "no such folder"}})
    assert table[0] == {"arm": "paths", "learning_rate": best, "mean": 0.7 if higher else 0.5}


@pytest.mark.long
def test_it_runs_and_goes_on(
    running: ModuleType, plan: dict[str, Any], tmp_path: Path, words_for: Callable[..., list[str]]
) -> None:
    plan["data"] = [{"data": "digits", "image_size": 12, "train_examples": 128}]
    plan["seeds"], plan["tuning_seeds"], plan["budget"] = [0], [1], {"steps": 2}
    plan["judge"]["training"]["epochs"] = 1
    plan["methods"] = [
        {"method": "tanglenas-gaea", "grid": {"architecture_learning_rate": [0.1, 1.0]}},
        {
            "method": "spos",
            "name": "spos-evolution",
            "options": {"selection": "evolution", "candidates": 4, "population": 2, "selection_examples": 16},
            "grid": {"learning_rate": [0.001]},
        },
    ]
    words = words_for(plan)
    assert running.main([*words, "--run"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["searches"] == 2
    assert set(results["arms"]) == {"tanglenas-gaea", "spos-evolution"}
    assert len(results["tuning"]["rates"]) == 3
    assert {arm: len(losses) for arm, losses in results["last_losses"].items()} == dict.fromkeys(results["arms"], 1)
    assert sum(map(len, results["tuning"]["last_losses"].values())) == 3
    assert running.main(words) == 0
    assert json.loads((tmp_path / "results.json").read_text()) == results
