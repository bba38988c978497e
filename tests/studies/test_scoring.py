"""Scores equal those of the plain way, whoever computes them and however often the work is cut off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharewise.engine import SearchState, evaluate_gates
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.run.finished import InFolder, InMemory
from sharewise.space import Architecture, sample
from sharewise.studies.scoring import Score, Scoring
from sharewise.studies.scoring import score as score_all
from sharewise.studies.workers import Workers
from sharewise.supernet import NormPolicy, RecalibratedStatistics, RunningStatistics, discrete

SCORING = Scoring(recalibrate=2, examples=48)


def score(state: SearchState, architectures: Sequence[Architecture], scoring: Scoring, **options: Any) -> list[Score]:
    return score_all(InMemory(state), architectures, scoring, **options)


@pytest.fixture(scope="module")
def state(siblings: tuple[Path, Path]) -> SearchState:
    return InFolder(siblings[0]).open()


@pytest.fixture(scope="module")
def architectures(state: SearchState) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [sample(state.supernet.space, rng) for _ in range(6)]


def snapshot(state: SearchState) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.supernet.state_dict().items()}


def plainly(state: SearchState, architecture: Architecture, policy: NormPolicy) -> tuple[float, float, int]:
    gates = discrete(state.supernet.relaxation.encode(architecture))
    before = state.ledger.multiply_accumulates
    batches, calibration = state.evaluation_batches("selection", 48), state.calibration_batches(policy.batches)
    found = evaluate_gates(state, gates, batches, policy, calibration)
    return found["accuracy"], found["loss"], state.ledger.multiply_accumulates - before


def test_scores_are_those_of_the_policies(state: SearchState, architectures: list[Architecture]) -> None:
    before = snapshot(state)
    for architecture, found in zip(architectures, score(state, architectures, SCORING), strict=True):
        for variant, policy in (("running", RunningStatistics()), ("recalibrated", RecalibratedStatistics(2))):
            accuracy, loss, macs = plainly(state, architecture, policy)
            assert found.values[variant] == accuracy
            assert found.losses[variant] == pytest.approx(loss, rel=1e-5)
            assert found.multiply_accumulates[variant] == macs
    assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())


def test_fine_tuning_changes_the_score_and_leaves_no_trace(
    state: SearchState, architectures: list[Architecture]
) -> None:
    before, modes = snapshot(state), [module.training for module in state.supernet.modules()]
    tuned = Scoring(recalibrate=2, examples=48, fine_tune=3, fine_tune_rate=0.1)
    first = score(state, architectures, tuned)
    assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())
    assert [module.training for module in state.supernet.modules()] == modes
    assert score(state, architectures[::-1], tuned)[::-1] == first  # no candidate sees what became of another
    plain = score(state, architectures, SCORING)
    assert [f.values["recalibrated"] for f in first] == [f.values["recalibrated"] for f in plain]
    assert any(f.losses["fine-tuned"] != f.losses["recalibrated"] for f in first)
    assert sum(f.losses["fine-tuned"] < f.losses["recalibrated"] for f in first) > len(first) / 2


def test_an_error_leaves_the_supernet_as_it_was(state: SearchState, architectures: list[Architecture]) -> None:
    before = snapshot(state)
    stranger = Architecture("nasbench201", (("nowhere", "none"),))
    with pytest.raises(ConfigurationError, match="unknown choice 'nowhere'"):
        score(state, [architectures[0], stranger], SCORING)
    assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())


def test_the_held_out_examples_are_scored_on_and_the_test_set_stays_sealed(state: SearchState) -> None:
    assert state.recipe.roles.is_disjoint("weights", "selection")
    assert state.data.dataset.openings == ()


def test_an_interrupted_sitting_goes_on_and_ends_with_the_same_bytes(
    state: SearchState, architectures: list[Architecture], tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    wanted = score(state, architectures, SCORING, store=whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join([lines[0], lines[4], lines[2], lines[3][:20]]))  # in another order, and torn
    told: list[tuple[str, int, int]] = []
    workers = Workers(progress=lambda *what: told.append(what))
    assert score(state, architectures, SCORING, store=cut, workers=workers) == wanted
    assert told[0][1:] == (2, 6)
    assert told[-1][1:] == (6, 6)
    assert cut.read_bytes() == whole.read_bytes()


def test_scores_of_another_supernet_or_scoring_are_refused(
    state: SearchState, siblings: tuple[Path, Path], architectures: list[Architecture], tmp_path: Path
) -> None:
    store = tmp_path / "scores.jsonl"
    score(state, architectures, SCORING, store=store)
    with pytest.raises(CheckpointError, match="depend on other facts"):
        score_all(InFolder(siblings[1]), architectures, SCORING, store=store)
    with pytest.raises(CheckpointError, match="depend on other facts"):
        score(state, architectures, Scoring(recalibrate=1, examples=48), store=store)
    lines = store.read_text(encoding="utf-8").splitlines()
    damaged = json.loads(lines[1])
    damaged["answer"] = {"running": ["x", 1.0, 1]}
    for content in ("\n".join([lines[0], json.dumps(damaged), *lines[2:]]), "[]", "{}\n", "no scores\n"):
        store.write_text(content + "\n", encoding="utf-8")
        with pytest.raises(CheckpointError, match="damaged"):
            score(state, architectures, SCORING, store=store)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recalibrate": -1}, "recalibrate must not be negative"),
        ({"examples": 0}, "at least 1 example"),
        ({"fine_tune": -2}, "fine_tune must not be negative"),
        ({"fine_tune_rate": 0.0}, "fine_tune_rate must be positive"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Scoring(**settings)  # type: ignore[arg-type]


def test_a_search_in_memory_is_not_spread_over_processes(state: SearchState, architectures: list[Architecture]) -> None:
    with pytest.raises(ConfigurationError, match="set jobs to 1"):
        score(state, architectures, SCORING, workers=Workers(2))


@pytest.mark.slow
def test_processes_change_nothing(
    state: SearchState, siblings: tuple[Path, Path], architectures: list[Architecture]
) -> None:
    spread = score_all(InFolder(siblings[0]), architectures, SCORING, workers=Workers(2))
    assert spread == score(state, architectures, SCORING)
