"""The experiment on RobustDARTS's spaces: its plan is one of a study, and the analysis reads what searches leave."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sharewise.studies.plan import StudyPlan

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "robust_darts"
SKIPS = "[" + ", ".join(["('skip_connect', 0), ('skip_connect', 1)"] * 4) + "]"
SOUND = SKIPS.replace("skip_connect", "sep_conv_3x3")
CELL = "Genotype(normal={}, normal_concat=range(2, 6), reduce={}, reduce_concat=range(2, 6))"


def test_the_arms_differ_in_what_they_are_about(modules: tuple[ModuleType, ModuleType]) -> None:
    plan = yaml.safe_load((FOLDER / "plan.yaml").read_text(encoding="utf-8"))
    cells = StudyPlan.from_plain(modules[0].plan_of(plan, Path("/data"))).cells()
    recipes = {cell.arm: cell.configuration.build_recipe() for cell in cells}
    assert len(cells) == 6 * 2 * 5
    searched = {arm: recipe for arm, recipe in recipes.items() if arm != modules[1].RANDOM}
    assert {(r.epochs, r.batch_size, r.distribution.geometry.learning_rate) for r in searched.values()} == {
        (24, 32, 0.01)
    }
    assert {arm: recipe.weights.weight_decay for arm, recipe in searched.items() if recipe.weights.weight_decay > 3e-4}
    (reaction,) = recipes["r-darts"].reactions
    earliest = reaction.rule.start + (reaction.rule.window // 2 + reaction.rule.delta) * reaction.rule.every
    assert earliest == 16 < recipes["r-darts"].epochs


def written(folder: Path, normal: str, skips: list[float], losses: list[tuple[float, float]]) -> None:
    """A finished search with a history."""
    folder.mkdir(parents=True)
    records = [
        {
            "event": "epoch",
            "epoch": epoch,
            "step": 10 * (epoch + 1),
            "weights_loss": train,
            "held_out_loss": held_out,
            "blind_loss": 2.3,
            "skips": {"normal": share, "reduce": 0.0},
            "seconds": 1.0 + epoch,
        }
        for epoch, (share, (train, held_out)) in enumerate(zip(skips, losses, strict=True))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps({"architecture": CELL.format(normal, SOUND)}), encoding="utf-8")


def test_the_analysis_labels_and_counts(
    modules: tuple[ModuleType, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overfitting, fine, lost = [(1.5, 1.8)] * 12, [(1.8, 1.8)] * 12, [(2.31, 2.31)] * 12
    runs = tmp_path / "study" / "runs"
    for seed in (0, 1):
        written(runs / f"darts-darts_S3-seed{seed}", SKIPS, [0.0, *[0.5] * 11], overfitting)
        written(runs / f"sdarts-darts_S3-seed{seed}", SOUND, [0.125] * 12, fine)
    written(runs / "darts-decay-darts_S3-seed0", SKIPS, [0.0] * 12, lost)
    words = ["--out", str(tmp_path / "study"), "--results", str(tmp_path / "results")]
    assert modules[1].main(words) == 0
    found = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    arms = {row["arm"]: row for row in found["arms"]}
    assert (found["finished"], found["planned"]) == (5, 60)
    assert arms["darts"]["collapsed"].startswith("2 of 2 [16 %, 100 %]")
    assert arms["sdarts"]["collapsed"].startswith("0 of 2")
    assert arms["sdarts"]["skips above darts"].startswith("-8.0")
    assert arms["darts-decay"]["never learned"] == 1
    assert found["alarm"]["recall"].startswith("2 of 2")
    assert found["alarm"]["false alarms"].startswith("0 of 3")
    assert found["alarm"]["leads"] == [7, 7], "of 12 epochs the fifth is the first with five of overfitting"
    assert "Partial: 5 of 60" in capsys.readouterr().out
    assert (tmp_path / "results" / "figure.png").exists()


def test_the_page_says_what_has_been_run() -> None:
    results, page = FOLDER / "results.json", (FOLDER / "README.md").read_text(encoding="utf-8")
    assert results.exists() or "Nothing has been run at this scale yet" in page


@pytest.mark.slow
def test_it_runs_and_goes_on(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    plan: dict[str, Any] = yaml.safe_load((FOLDER / "plan.yaml").read_text(encoding="utf-8"))
    plan["data"], plan["seeds"] = [{"data": "digits", "train_examples": 64}], [0]
    plan["spaces"] = [{"space": "darts:S3", "network": {"channels": 2, "layers": 3}}]
    plan["options"], plan["judge"]["training"] = {"epochs": 2, "batch_size": 16}, {"epochs": 1}
    plan["methods"] = [arm for arm in plan["methods"] if arm["name"] in ("darts", "darts-pt", "random")]
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    words = ["--plan", str(path), "--out", str(tmp_path / "study")]
    for _ in range(2):
        assert modules[0].main([*words, "--data-root", str(tmp_path), "--jobs", "1"]) == 0
    assert modules[1].main([*words, "--results", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [row["n"] for row in found["arms"]] == [1, 1, 1]
    assert all(0 <= run["accuracy"] <= 100 for run in found["runs"])
