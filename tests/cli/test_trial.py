"""A trial of a few steps chooses among few architectures, says so, and keeps what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sharewise.cli import main
from sharewise.cli.declared import fields_of_method, methods
from sharewise.cli.trial import small_selection
from sharewise.methods import build

FEW = {"candidates": 10, "population": 5, "selection_examples": 256}


def configuration(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["search", "--method", "spos", "--print-config", *words]) == 0
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found["recipe"]


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["--max-steps", "20"], FEW),
        (["--max-steps", "100"], {}),
        ([], {}),
        (["--max-steps", "20", "--candidates", "30"], {"candidates": 30, "selection_examples": 256}),
        (["--max-steps", "20", "--population", "8"], {"population": 8, "selection_examples": 256}),
        (["--max-steps", "20", "--selection-examples", "64"], {**FEW, "selection_examples": 64}),
    ],
)
def test_what_is_said_is_kept_and_the_rest_is_small(
    words: list[str], changed: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert configuration(capsys, *words) == configuration(capsys) | changed


def test_a_printed_trial_says_so_beside_it_and_several_seeds_are_no_trial(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--method", "spos", "--print-config", "--max-steps", "20"]) == 0
    assert capsys.readouterr().err.startswith("a trial of 20 steps chooses among few architectures")
    assert main(["search", "--method", "spos", "--print-config", "--max-steps", "20", "--seeds", "2"]) == 0
    printed = capsys.readouterr()
    assert "candidates: 10\n" not in printed.out
    assert not printed.err


@pytest.mark.parametrize("method", list(methods()))
def test_small_numbers_make_a_recipe_of_every_method(method: str) -> None:
    few = small_selection(20, fields_of_method(method), {})
    build(method, few)
    if "population" in few and "selection" in {field.name for field in fields_of_method(method)}:
        build(method, {**few, "selection": "evolution"})


def test_a_trial_says_so_before_it_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--space", "toy-tied-width", "--method", "spos", "--train-examples", "64", "--max-steps", "2"]
    words += ["--batch-size", "16", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    first = " ".join(capsys.readouterr().out.split())
    assert first.startswith(
        "a trial of 2 steps chooses among few architectures: --candidates 10 (the method's own: 100)"
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "of 10 sampled architectures" in result["selection"]["rule"]
