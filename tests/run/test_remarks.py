"""A search says when it has not decided, when it never learned, and when it fled to skip connections; else nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.engine import SearchResult
from sharewise.run.remarks import remarks

SPACE = sw.spaces.nasbench201()
NETWORK = {"channels": 2, "cells": 1}


def cell(*operations: str) -> sw.Architecture:
    return SPACE.architecture({choice.name: name for choice, name in zip(SPACE.choices, operations, strict=True)})


PLAIN = cell(*["nor_conv_3x3"] * 6)


@pytest.fixture(scope="module")
def found() -> SearchResult:
    data = sw.data.digits().limited(64, seed=0)
    return sw.search(SPACE, "gaea-darts", data, network=NETWORK, max_steps=1, gap_examples=0, device="cpu")


def kinds(result: SearchResult, architecture: sw.Architecture = PLAIN) -> set[str]:
    return {remark.kind for remark in remarks(result.state, architecture)}


def at(monkeypatch: pytest.MonkeyPatch, result: SearchResult, largest: float, loss: float) -> None:
    """As if each decision gave its first of five options so much, none to an excluded one, and the loss were this."""
    names = [decision.name for decision in result.state.distribution.relaxation.decisions]
    row = torch.tensor([largest, *[(1 - largest) / 3] * 3, 0.0])
    history: list[dict[str, Any]] = [{"weights_loss": 9.0}, {"weights_loss": loss}]
    monkeypatch.setattr(result.state.distribution, "probabilities", lambda: dict.fromkeys(names, row))
    monkeypatch.setattr(result.state, "history", history)


def test_nothing_is_said_where_nothing_is_wrong(found: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, found, largest=0.9, loss=1.0)
    assert not kinds(found)


def test_flat_probabilities_have_not_decided(found: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, found, largest=0.3, loss=1.0)
    (remark,) = remarks(found.state, PLAIN)
    assert remark.kind == "undecided"
    assert "1.380 of at most 1.386 nats" in remark.sentence, "an excluded option is no way to decide"
    assert "--architecture-learning-rate" in remark.advice


@pytest.mark.parametrize(("logit", "said"), [(0.0, "0.693 of at most 0.693 nats"), (4.0, ""), (-4.0, "")])
def test_options_that_do_not_compete_decide_one_by_one(logit: float, said: str) -> None:
    data = sw.data.digits().limited(64, seed=0)
    result = sw.search(SPACE, "fair-darts", data, network=NETWORK, max_steps=1, gap_examples=0, device="cpu")
    theta = result.state.distribution.get_parameter("theta")
    with torch.no_grad():
        theta.fill_(logit)  # all of them there, or none: as even as at the start, and decided
    found = [remark.sentence for remark in remarks(result.state, PLAIN) if remark.kind == "undecided"]
    assert len(found) == bool(said)
    assert all(said in sentence for sentence in found), found


def test_a_loss_of_guessing_has_not_learned(found: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, found, largest=0.9, loss=2.30)
    assert kinds(found) == {"unlearned"}
    at(monkeypatch, found, largest=0.9, loss=2.20)
    assert not kinds(found)


def test_more_skips_than_not(found: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, found, largest=0.9, loss=1.0)
    assert kinds(found, cell(*["skip_connect"] * 4, "none", "none")) == {"skipping"}
    assert not kinds(found, cell(*["skip_connect"] * 3, "none", "none", "none"))


def test_a_sampler_has_nothing_to_decide() -> None:
    data = sw.data.digits().limited(64, seed=0)
    recipe = sw.methods.rs_ws(candidates=2)
    result = sw.search(SPACE, recipe, data, network=NETWORK, max_steps=1, gap_examples=0, device="cpu")
    assert "undecided" not in kinds(result)


def test_remarks_are_printed_recorded_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--channels", "2", "--cells", "1", "--train-examples", "64", "--gap-examples", "0", "--device", "cpu"]
    assert main(["search", *small, "--max-steps", "1", "--out", str(tmp_path / "RUN")]) == 0
    assert "but: the search has not decided" in capsys.readouterr().out
    result = json.loads((tmp_path / "RUN" / "result.json").read_text())
    assert "undecided" in [remark["kind"] for remark in result["remarks"]]
    assert "The search has not decided" in (tmp_path / "RUN" / "report.html").read_text()
