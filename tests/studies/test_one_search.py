"""Several seeds of one search by one command: each a run, retrained by a recipe, gone on with, and summed up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import sharewise as sw
from sharewise.cli import main
from sharewise.interruption import Interrupted
from sharewise.run import TrainConfiguration, from_mapping
from sharewise.studies import judge as judging
from sharewise.studies.plan import StudyPlan
from sharewise.studies.seeds import seeds_of

SEARCH = [
    "search",
    "--space",
    "nasbench201",
    "--method",
    "gaea-erm",
    "--channels",
    "2",
    "--cells",
    "1",
    "--device",
    "cpu",
]
SEARCH += ["--train-examples", "96", "--batch-size", "32", "--epochs", "2", "--max-steps", "5", "--gap-examples", "0"]
RETRAIN = ["--retrain", "nasbench201-short", "epochs=1", "batch_size=48", "channels=3", "learning-rate=0.1"]
KEY = "nasbench201, digits"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main([*SEARCH, *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def facts(found: dict[str, Any]) -> list[Any]:
    return [(c["seed"], c["architecture"], c["value"], c["inherited"]) for c in found["cells"]]


def test_every_seed_is_searched_and_retrained_as_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "STUDY"
    code, found = run(capsys, "--seeds", "2", *RETRAIN, "--out", out)
    assert code == 0
    cells = {cell["seed"]: cell for cell in found["cells"]}
    assert sorted(cells) == [0, 1]
    for seed, cell in cells.items():
        searched = out / "runs" / cell["cell"]
        result = json.loads((searched / "result.json").read_text(encoding="utf-8"))
        assert result["seed"] == seed
        assert cell["inherited"] == pytest.approx(100 * result["inherited"]["accuracy"])
        recipe = {"recipe": "nasbench201-short", "epochs": 1, "batch_size": 48, "learning_rate": 0.1}
        values = {
            "from_search": str(searched),
            "recipe": recipe,
            "network": {"channels": 3},
            "device": "cpu",
            "threads": 1,
        }
        alone = from_mapping("train", values)
        assert isinstance(alone, TrainConfiguration)
        assert (alone.training().gradient_clip, alone.network_options()["cells"]) == (0.0, 1)
        trained = alone.train().run()
        assert trained.test is not None
        assert cell["value"] == 100 * trained.test["accuracy"]
    arm = found["panels"][KEY]["arms"]["gaea-erm"]
    assert arm["interval"]["mean"] == pytest.approx(np.mean([cell["value"] for cell in cells.values()]))
    assert arm["inherited"]["mean"] == pytest.approx(np.mean([cell["inherited"] for cell in cells.values()]))
    [sentence] = found["panels"][KEY]["means"]
    assert sentence.startswith("gaea-erm: test accuracy after 1 epoch alone ")
    assert "; with inherited weights " in sentence
    page = (out / "report.html").read_text(encoding="utf-8")
    for words in ("With inherited weights", "at most 5 steps each", "trainings by nasbench201-short of 1 epoch"):
        assert words in page
    assert "Any-time curves" not in page  # one point alone is a number
    assert main([*SEARCH, "--seeds", "2", *RETRAIN, "--out", str(out)]) == 0  # finished
    assert sentence in " ".join(capsys.readouterr().out.split())


def test_what_was_cut_off_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--space", "toy-tied-width", "--seeds", "1,4", "--retrain", "nasbench201-short", "epochs=1"]
    command = ["search", *words, "--train-examples", "64", "--max-steps", "2", "--device", "cpu"]
    train: Callable[[Any], None] = judging._train

    def cut_off(task: Any) -> None:
        if any((tmp_path / "CUT" / "trainings").glob("*/result.json")):
            raise Interrupted("the study keeps what is done", "", 2)
        train(task)

    monkeypatch.setattr(judging, "_train", cut_off)
    assert main([*command, "--out", str(tmp_path / "CUT")]) == 130
    plan = tmp_path / "CUT" / "plan.json"
    assert f"Go on with: sharewise {' '.join(command)} --out {plan.parent}" in capsys.readouterr().err
    monkeypatch.undo()
    done = next((tmp_path / "CUT" / "trainings").glob("*/result.json"))
    before = done.stat().st_mtime_ns
    assert main(["study", str(plan), "--out", str(plan.parent), "--json"]) == 0
    gone_on = json.loads(capsys.readouterr().out)
    assert done.stat().st_mtime_ns == before
    assert main([*command, "--out", str(tmp_path / "WHOLE"), "--json"]) == 0
    assert facts(json.loads(capsys.readouterr().out)) == facts(gone_on)
    assert main([*command, "--out", str(plan.parent)]) == 0  # the command that began it finds everything done
    assert main(["search", "--resume", str(plan.parent)]) == 2
    assert "holds a study, not a run; go on with: sharewise study" in capsys.readouterr().err


def test_the_same_from_python(tmp_path: Path) -> None:
    plan = {
        "methods": ["gaea-erm"],
        "spaces": ["toy-tied-width"],
        "data": [{"data": "digits", "train_examples": 64}],
        "seeds": 2,
        "settings": {"max_steps": 2},
        "judge": {"by": "training", "training": {"recipe": "nasbench201-short", "epochs": 1}},
    }
    found = sw.study(plan, out=tmp_path / "STUDY")
    assert [cell["seed"] for cell in found.document["cells"]] == [0, 1]
    assert "; with inherited weights " in str(found)
    assert len(repr(found).splitlines()) < 6
    assert "; with inherited weights " in found._repr_html_()
    assert [(row["seed"], row["value"]) for row in found.table()] == [
        (cell["seed"], cell["value"]) for cell in found.document["cells"]
    ]
    assert len(list((tmp_path / "STUDY" / "trainings").iterdir())) == 2
    document = found.document["plan"]
    assert document["seeds"] == [0, 1]
    assert StudyPlan.from_plain(document).to_plain() == document


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "give 1 to 1000 seeds, got 0"),
        (["--seeds", "two"], "a number (5: those from 0 to 4) or a list (3,7,9), got 'two'"),
        (["--seeds", "3,3"], "seeds must differ"),
        (["--seeds", "2", "--seed", "1"], "give --seed for one search or --seeds for several"),
        (["--retrain", "nasbench201-long"], "unknown training recipe 'nasbench201-long'; did you mean"),
        (
            ["--retrain", "nasbench201-short", "epoch=3"],
            "unknown option of a retraining: 'epoch'; did you mean 'epochs'",
        ),
        (["--retrain", "nasbench201-short", "epochs=few"], "option epochs must be of type int, got 'few'"),
        (["--retrain", "nasbench201-short", "epochs"], "options as NAME=VALUE, such as epochs=3, got 'epochs'"),
        (["--retrain", "nasbench201-short", "cells=0"], "network option cells must be at least 1"),
        (["--seeds", "2", "--threads", "2"], "leave threads out, give jobs"),
        (["--seeds", "2", "--dry-run"], "--dry-run belongs to one search"),
        (["--seeds", "2", "--max-latency", "5"], "needs the latency table that all searches read"),
        (["--executor", "ray"], "--executor spreads several searches over workers: give --seeds"),
        (["--task-timeout", "9"], "--task-timeout ends workers of several searches: give --seeds"),
        (["--jobs", "0"], "candidates at once (--jobs) must be at least 1, got 0"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_runs(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SEARCH, *words, "--out", str(tmp_path / "OUT")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "OUT" / "runs").exists()


def test_seeds_in_a_word() -> None:
    assert seeds_of("5") == (0, 1, 2, 3, 4)
    assert seeds_of("3, 7,9") == (3, 7, 9)
    assert seeds_of("7,") == (7,)


def test_a_plan_is_printed_and_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SEARCH, "--seeds", "3,7", *RETRAIN, "--max-macs", "900000", "--print-config"]) == 0
    (tmp_path / "plan.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    plan = StudyPlan.read(tmp_path / "plan.yaml")
    assert plan.seeds == (3, 7)
    assert plan.settings == {"max_steps": 5, "max_macs": 900000}
    cell = plan.cells()[1].configuration
    assert (cell.seed, cell.max_steps, cell.max_macs, cell.network["channels"]) == (7, 5, 900000, 2)
    assert plan.judge.network == {"channels": 3}


def test_the_seed_of_a_file_is_the_one_that_is_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    words = ["--config", str(tmp_path / "config.yaml"), *RETRAIN, "--print-config"]
    assert main([*SEARCH, *words]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seeds"] == [7]
