"""What the experiments on sharing have in common."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sharewise.methods import build
from sharewise.studies.plan import StudyPlan

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.mark.parametrize(
    ("folder", "paths"),
    [("nasbench_macro_sharing", {"fairnas": 3, "spos": 1}), ("nats_size_sharing", {"sandwich": 4, "spos": 1})],
)
def test_the_design_is_balanced(folder: str, paths: dict[str, int], executed: Callable[[Path], ModuleType]) -> None:
    running = executed(EXPERIMENTS / folder / "run.py")
    config = yaml.safe_load((EXPERIMENTS / folder / "config.yaml").read_text(encoding="utf-8"))
    cells = StudyPlan.from_plain(running.plan_of(config, Path("data"), running.TITLE)).cells()
    assert len(cells) == 10
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    trained = {
        name: build(name, {**config["options"], **own}).epochs * paths[name] for name, own in config["methods"].items()
    }
    assert len(set(trained.values())) == 1, "as many single paths in both"


def test_arms_are_compared_by_seed(executed: Callable[[Path], ModuleType]) -> None:
    sharing = sys.modules[executed(EXPERIMENTS / "nats_size_sharing" / "run.py").run.__module__]

    def answer(**values: float) -> dict[str, Any]:
        return {"document": {"agreement": {"running": {"over_seeds": {"spearman": {"values": values}}}}}}

    answers = {"spos": answer(a=0.5, b=0.7), "sandwich": answer(b=0.6, a=0.4)}
    assert sharing.differences(answers)["running"]["mean"] == pytest.approx(0.1)
    assert sharing.differences({**answers, "sandwich": answer(a=0.4)}) == {}
    assert sharing.differences({"spos": answers["spos"]}) == {}


def test_what_size_alone_says_is_told_where_there_is_something_to_tell(
    executed: Callable[[Path], ModuleType], tmp_path: Path
) -> None:
    sharing = sys.modules[executed(EXPERIMENTS / "nats_size_sharing" / "run.py").run.__module__]

    def by_cost(*rows: tuple[float, float]) -> float | None:
        found = {"architectures": [{"cost": cost, "truth": truth} for cost, truth in rows]}
        (tmp_path / "architectures.json").write_text(json.dumps(found))
        value: float | None = sharing.by_cost(tmp_path)
        return value

    assert by_cost((1, 10), (2, 30), (3, 20)) == pytest.approx(0.5)
    assert by_cost((1, 10), (1, 30)) is by_cost((1, 10), (1, 30), (1, 20)) is None
    assert by_cost((1, 10), (2, 10)) is by_cost((1, 10), (2, 10), (3, 10)) is None
