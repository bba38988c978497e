"""The examples run as written, and each of their models keeps the laws that `sharewise check-model` checks."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from sharewise.cli import main

PATHS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
LONGER = ("bert_classifier", "shrink_a_language_model", "shrink_a_llama")
"""What trains a model of `transformers` first."""
EXAMPLES = [pytest.param(p, id=p.stem, marks=pytest.mark.slow if p.stem in LONGER else ()) for p in PATHS]


NEEDED = {"in_lightning": ("lightning",), "in_trainer": ("transformers", "accelerate")}
"""Packages that an example shows and sharewise has no use for."""


def require_packages(example: Path) -> None:
    for package in NEEDED.get(example.stem, ()):
        pytest.importorskip(package, reason=f"examples/{example.name} shows {package}, which is not installed")


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_runs(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_packages(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "an example leaves files behind"


@pytest.mark.parametrize("example", EXAMPLES)
def test_its_model_is_checked(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    assert main(["check-model", f"{example}:factory", "--samples", "4"]) == 0
    assert "4 extracted networks equal their slices, bit for bit" in capsys.readouterr().out


def test_the_language_model_reads_a_real_text(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREWISE_DATA", str(shared_data))
    example = next(path for path in PATHS if path.stem == "language_model")
    supernet = runpy.run_path(str(example))["factory"]()
    assert supernet.output_shape == (2, 32, 65)
