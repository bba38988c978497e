"""Options of a space on the command line: recorded in one name, read again by every verb that opens the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from sharewise.cli import main

SIZES = ["--embedding", "8,12", "--layers", "1,2", "--heads", "2", "--mlp-ratio", "2", "3"]
NAME = "language-model:embedding=8,12:layers=1,2:heads=2:mlp_ratio=2,3"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "play.txt").write_text("".join(np.random.default_rng(0).choice(list("abcd "), 3000)))
    words = ["--data", "text", "--data-path", str(folder / "play.txt"), "--text-length", "6", "--max-steps", "2"]
    words += ["--batch-size", "8", "--gap-examples", "0", "--device", "cpu", "--out", str(folder / "run")]
    assert main(["search", "--space", "language-model", "--method", "tanglenas-gaea", *SIZES, *words]) == 0
    return folder / "run"


def test_the_run_records_one_name(searched: Path) -> None:
    assert yaml.safe_load((searched / "config.yaml").read_text())["space"] == NAME


def test_what_was_found_is_trained_evaluated_and_exported(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--from-search", str(searched), "--max-steps", "2", "--out", str(tmp_path / "t")]) == 0
    assert yaml.safe_load((tmp_path / "t" / "config.yaml").read_text())["space"] == NAME
    assert main(["evaluate", str(tmp_path / "t"), "--json"]) == 0
    text = capsys.readouterr().out
    assert "perplexity" in text
    assert main(["export", str(searched), "--format", "torch-export", "--out", str(tmp_path / "e")]) == 0
    assert (tmp_path / "e" / "model.pt2").exists()


def test_a_resumed_run_keeps_its_sizes(searched: Path) -> None:
    before = (searched / "result.json").read_text()
    assert main(["search", "--resume", str(searched)]) == 0
    assert main(["search", "--resume", str(searched), "--layers", "1,2"]) == 0
    assert (searched / "result.json").read_text() == before


def test_other_sizes_beside_a_resume_are_refused(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--resume", str(searched), "--layers", "1,2,3"]) == 2
    assert f"space was {NAME!r} and is now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "--space", "language-model", "--layers", "2,1", "--print-config"], "ascending sizes"),
        (["search", "--space", "language-model", "--layers", "x", "--print-config"], "invalid int value"),
        (["search", "--space", "conv-macro", "--layers", "1,2", "--print-config"], "no option --layers"),
        (["cost", "--space", "language-model", "--architecture", "8-2x2", "--embedding", "8,12"], "must divide"),
    ],
)
def test_wrong_sizes_are_answered_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_sizes_shrink_what_space_and_cost_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", "language-model", *SIZES, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["size"]) == (NAME, 2 * (2 + 4))
    words = ["--architecture", "8-3x2", "--input-shape", "6", "--outputs", "5", "--json"]
    assert main(["cost", "--space", "language-model", *SIZES, *words]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 8 * (5 + 6) + 10 * 8 * 8 + 3 * 8


def test_a_configuration_may_name_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("space: language-model:heads=2:layers=1,2:embedding=8,12\ndata: bytes\n")
    words = ["search", "--config", str(tmp_path / "c.yaml"), "--mlp-ratio", "2,3", "--print-config"]
    assert main(words) == 0
    assert yaml.safe_load(capsys.readouterr().out)["space"] == NAME
