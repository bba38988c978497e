"""The experiment on the cells of DARTS: its plan is one of a study, and the analysis reads what a search leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sharewise.methods import parameters
from sharewise.studies.plan import StudyPlan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "darts_space"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_plan_is_legal_and_takes_the_published_rates(
    modules: tuple[ModuleType, ModuleType], config: dict[str, Any]
) -> None:
    plan = StudyPlan.from_plain(modules[0].plan_of(config, Path("/data")))
    recipes = {cell.arm: cell.configuration.build_recipe() for cell in plan.cells()}
    networks = {cell.arm: cell.configuration.network_options() for cell in plan.cells()}
    assert len(plan.cells()) == 5 * 5
    for pair in modules[1].PAIRS:
        for arm in pair:
            arguments, partial = recipes[arm].arguments, arm.endswith("pc-darts")
            for name in ("learning_rate", "architecture_learning_rate", "warm_up"):
                assert arguments[name] == parameters(arm)[name][1]
            assert (networks[arm]["partial"], networks[arm]["edge_weights"]) == ((4, True) if partial else (1, False))
            assert networks[arm]["channels"] == 4
        assert len({recipes[arm].weights for arm in pair}) == 1, "a pair differs in its geometry alone"
        assert len({recipes[arm].exclude for arm in pair}) == 1


def written(folder: Path, rows: list[dict[str, list[float]]]) -> None:
    """A finished search with a history."""
    folder.mkdir(parents=True)
    records = [
        {"event": "epoch", "epoch": epoch, "probabilities": row, "architecture": "cell", "seconds": 1.0}
        for epoch, row in enumerate(rows)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (folder / "result.json").write_text("{}", encoding="utf-8")


def test_the_analysis_tells_operations_from_edges(
    modules: tuple[ModuleType, ModuleType], config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uniform, sure = [1 / 8] * 8, [1.0, *[0.0] * 7]
    for seed in (0, 1):
        for arm, last in (("pc-darts", uniform), ("gaea-pc-darts", sure)):
            rows = [{"normal_0_2": row, "normal_inputs_of_2": [0.5, 0.5]} for row in (uniform, last)]
            written(tmp_path / "study" / "runs" / f"{arm}-seed{seed}", rows)
    assert modules[1].main(["--out", str(tmp_path / "study"), "--results", str(tmp_path / "results")]) == 0
    found = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    run = found["runs"]["gaea-pc-darts-seed0"]
    assert run["operations"] == pytest.approx([math.log(8), 0.0])
    assert run["edges"] == pytest.approx([math.log(2)] * 2)
    assert found["summary"]["difference"]["gaea-pc-darts - pc-darts"]["mean"] == pytest.approx(-math.log(8), abs=1e-3)
    assert (found["summary"]["finished"], found["summary"]["planned"]) == (4, 20)
    assert "4 of 20 searches are finished" in capsys.readouterr().out
    assert (tmp_path / "results" / "figure.png").exists()


def test_the_page_says_what_has_been_run() -> None:
    page, results = (FOLDER / name for name in ("README.md", "results.json"))
    assert results.exists() or "No results yet" in page.read_text(encoding="utf-8")
