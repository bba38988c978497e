"""Experiments at equal cost say that they claim nothing until all of their searches are in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.mark.parametrize(
    ("name", "searches"), [("language_model", 35), ("vision_transformer", 35), ("conv_macro_rates", 30)]
)
def test_it_is_said_that_nothing_is_claimed_until_it_is_finished(name: str, searches: int) -> None:
    results, page = EXPERIMENTS / name / "results.json", (EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")
    finished = results.exists() and json.loads(results.read_text())["searches"] == searches
    assert finished != ("nothing is claimed" in page)
