"""Selections: the rules, the same data for every candidate, and nothing left behind."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from sharewise.data import digits
from sharewise.distribution import Factored
from sharewise.engine import (
    Alternating,
    ByStrategy,
    DartsRule,
    Evolution,
    Mode,
    RankSampled,
    Scorer,
    SearchState,
    Selection,
    Stage,
    evaluate_gates,
    numerics,
    prepare,
    rounding_gap,
    selection_scorer,
    stream,
    train,
)
from sharewise.engine.score import Opened
from sharewise.errors import ConfigurationError
from sharewise.ledger import Ledger
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.strategy import (
    LocalSearch,
    RandomSearch,
    RegularizedEvolution,
    Strategy,
    SuccessiveHalving,
    Tournament,
)
from sharewise.supernet import (
    BatchStatistics,
    Gates,
    NormPolicy,
    RecalibratedStatistics,
    RunningStatistics,
    discrete,
)


def state_of(method: str, space: str = "nasbench201", epochs: int = 1, **changes: Any) -> SearchState:
    recipe = replace(build(method, {"epochs": epochs, "batch_size": 16}), **changes)
    dataset = digits().limited(160, seed=0)
    network = {"channels": 2, "cells": 1} if space == "nasbench201" else {}
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=network)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, data, numerics=numerics("cpu"))


def digest(x: torch.Tensor) -> str:
    return hashlib.sha256(x.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("policy", [BatchStatistics(), RunningStatistics(), RecalibratedStatistics(2)])
def test_every_candidate_sees_the_same_data(policy: NormPolicy) -> None:
    state = state_of("spos", selection=RankSampled(6, policy, examples=70))
    train(state)
    seen: dict[tuple[tuple[int, ...], ...], list[str]] = {}

    def note(module: torch.nn.Module, arguments: tuple[torch.Tensor, Gates]) -> None:
        inputs, gates = arguments
        seen.setdefault(tuple(gate.active for gate in gates.values()), []).append(digest(inputs))

    handle = state.supernet.register_forward_pre_hook(note)
    selected = state.recipe.selection.select(state)
    handle.remove()
    assert len(seen) == 6
    sequences = list(seen.values())
    assert all(sequence == sequences[0] for sequence in sequences)
    assert len(sequences[0]) == policy.batches + 2  # 70 examples in batches of 64
    scores = [score["accuracy"] for _, score in selected.candidates]
    assert scores == sorted(scores, reverse=True)
    assert selected.architecture == selected.candidates[0][0]
    again = state.recipe.selection.select(state)
    assert again.candidates == selected.candidates


@pytest.mark.parametrize(
    ("method", "selection"),
    [
        ("spos", RankSampled(3)),
        ("gdas", RankSampled(3)),
        ("darts", DartsRule()),
        ("darts", Mode()),
    ],
)
def test_selection_leaves_the_search_as_it_was(method: str, selection: Selection) -> None:
    state = state_of(method, selection=selection)
    train(state)
    state.supernet.train()
    before = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    place = {role: s.state_dict() for role, s in state.streams.items()}
    random = {name: generator.get_state() for name, generator in state.generators.items()}
    selection.select(state)
    assert all(module.training for module in state.supernet.modules())
    assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())
    assert all(torch.equal(s.state_dict()["order"], place[role]["order"]) for role, s in state.streams.items())
    assert all(torch.equal(generator.get_state(), random[name]) for name, generator in state.generators.items())


def test_a_small_space_is_ranked_whole() -> None:
    state = state_of("spos", "toy-tied-width", selection=RankSampled(100))
    train(state)
    assert len(state.recipe.selection.select(state).candidates) == 12


def test_rules_of_projection() -> None:
    state = state_of("darts")
    assert isinstance(state.distribution, Factored)
    with torch.no_grad():
        state.distribution.theta.zero_()
        state.distribution.theta[:, 0] = 2.0  # none
        state.distribution.theta[:, 3] = 1.0
        state.distribution.theta[0, 2] = 1.5
    assert set(Mode().select(state).architecture.values()) == {"none"}
    found = DartsRule().select(state).architecture
    assert list(found.values()) == ["nor_conv_1x1", *["nor_conv_3x3"] * 5]


@pytest.mark.parametrize("method", ["darts", "gdas", "gaea-erm"])
def test_rounding_gap_compares_on_the_same_examples(method: str) -> None:
    state = state_of(method)
    measure = rounding_gap(40)
    assert measure is not None
    train(state)
    gap = measure(state)["gap"]
    assert gap["examples"] == 40
    assert set(gap) == {"examples", "supernet", "architecture"}
    assert set(gap["supernet"]) == {"loss", "accuracy"}
    assert isinstance(state.distribution, Factored)
    if method == "gaea-erm":  # at a corner of the simplex there is nothing left to round
        with torch.no_grad():
            corner = torch.zeros_like(state.distribution.theta)
            corner[:, 3] = 1.0
            state.distribution.theta.copy_(corner)
        gap = measure(state)["gap"]
        assert gap["supernet"]["loss"] == pytest.approx(gap["architecture"]["loss"], rel=1e-5)
    assert rounding_gap(0) is None
    with pytest.raises(ConfigurationError, match="must not be negative"):
        rounding_gap(-1)


def test_evaluation_is_the_mean_over_examples() -> None:
    state = state_of("spos")
    state.supernet.eval()
    gates = discrete(load("nasbench201").relaxation.encode(next(iter(RankSampled(1).select(state).candidates))[0]))
    batches = state.evaluation_batches("selection")
    assert len({len(batch.inputs) for batch in batches}) > 1, "the last batch is smaller, so means must be weighted"
    scores = evaluate_gates(state, gates, batches, RunningStatistics())
    with torch.no_grad():
        outputs = torch.cat([state.supernet(batch.inputs, gates) for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    assert scores["loss"] == pytest.approx(float(state.task.loss(outputs, targets)), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(float((outputs.argmax(-1) == targets).double().mean()))
    assert scores["examples"] == len(targets)


def test_finalists_of_every_round_are_scored_on_all_examples() -> None:
    state = state_of("rs-ws", selection=RankSampled(5, RunningStatistics(), examples=16, finalists=2, rounds=3))
    train(state)
    seen: list[int] = []
    handle = state.supernet.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    selected = state.recipe.selection.select(state)
    handle.remove()
    everything = state.data.size("selection")
    assert sum(seen) == 3 * (5 * 16 + 2 * everything)
    finals, others = selected.candidates[:6], selected.candidates[6:]
    assert {score["examples"] for _, score in finals} == {everything}
    assert {score["examples"] for _, score in others} == {16}
    assert len(others) == 3 * 3
    assert [s["accuracy"] for _, s in finals] == sorted((s["accuracy"] for _, s in finals), reverse=True)
    assert selected.architecture == finals[0][0]
    assert "3 rounds" in selected.rule
    assert len({a for a, _ in selected.candidates}) == 15, "rounds are independent, and no candidate is scored twice"


def test_later_rounds_of_a_small_space_have_fewer_candidates() -> None:
    state = state_of("rs-ws", "toy-tied-width", selection=RankSampled(8, RunningStatistics(), 16, 2, rounds=3))
    train(state)
    assert len(state.recipe.selection.select(state).candidates) == 12


def test_a_final_score_that_is_no_number_does_not_win(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of("rs-ws", selection=RankSampled(5, RunningStatistics(), examples=16, finalists=1, rounds=1))
    everything = state.data.size("selection")

    @contextmanager
    def broken(scorer: Scorer) -> Iterator[Any]:
        size = sum(len(batch.inputs) for batch in scorer.batches)
        found = {"loss": 1.0, "accuracy": float("nan") if size == everything else 0.5, "examples": size}
        yield Opened(scorer, lambda gates: found)

    monkeypatch.setattr(Scorer, "opened", broken)
    candidates = state.recipe.selection.select(state).candidates
    assert [score["accuracy"] for _, score in candidates[:4]] == [0.5] * 4
    assert math.isnan(candidates[4][1]["accuracy"])


def test_one_round_per_ten_thousand_steps() -> None:
    state = state_of("rs-ws", selection=RankSampled(2, RunningStatistics(), examples=16, rounds=0))
    train(state)
    assert len(state.recipe.selection.select(state).candidates) == 2
    state.recipe = replace(state.recipe, epochs=6000)
    assert state.total_steps == 30_000
    assert len(state.recipe.selection.select(state).candidates) == 3 * 2


def test_candidates_come_from_the_learned_distribution() -> None:
    state = state_of("enas", selection=RankSampled(20, BatchStatistics(), examples=16))
    keep = {d.name: torch.tensor([False, True, False, True, False]) for d in state.distribution.relaxation.decisions}
    state.distribution.restrict(keep)
    state.supernet.train()
    candidates = [a for a, _ in state.recipe.selection.select(state).candidates]
    assert len(candidates) == 20
    assert {option for a in candidates for option in a.values()} == {"skip_connect", "nor_conv_3x3"}


@pytest.mark.parametrize("strategy", [LocalSearch(), RegularizedEvolution(3, Tournament(2)), RandomSearch()])
def test_any_strategy_selects(strategy: Strategy[Any]) -> None:
    state = state_of("spos", "toy-tied-width", selection=ByStrategy(strategy, 10, RunningStatistics(), 16))
    train(state)
    seen: list[tuple[int, ...]] = []
    handle = state.supernet.register_forward_pre_hook(
        lambda module, arguments: seen.append(tuple(g.active[0] for g in arguments[1].values()))
    )
    selected = state.recipe.selection.select(state)
    handle.remove()
    assert len(seen) == len(set(seen)) == len(selected.candidates) <= 10, "no architecture is scored twice"
    scores = [found["accuracy"] for _, found in selected.candidates]
    assert scores == sorted(scores, reverse=True)
    assert selected.architecture == selected.candidates[0][0]
    assert type(strategy).__name__ in selected.rule
    assert state.recipe.selection.select(state).candidates == selected.candidates
    scorer = selection_scorer(state, RunningStatistics(), 16)
    for architecture, found in selected.candidates:
        assert evaluate_gates(state, scorer.gates(architecture), scorer.batches, scorer.policy) == found


@pytest.mark.parametrize("kind", [RankSampled, Evolution, partial(ByStrategy, LocalSearch())])
def test_one_example_is_not_normalised_by_itself(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="needs at least 2 selection examples, got 1"):
        state_of("spos", selection=kind(policy=BatchStatistics(), examples=1))


def test_a_strategy_that_does_not_fit_is_refused_before_the_search() -> None:
    with pytest.raises(ConfigurationError, match="at least two lengths"):
        state_of("spos", selection=ByStrategy(SuccessiveHalving(), 10))
    with pytest.raises(ConfigurationError, match="at least 1 evaluation"):
        ByStrategy(LocalSearch(), 0)


def test_a_scorer_serves_many_and_leaves_nothing_behind_after_each() -> None:
    state = state_of("spos", selection=RankSampled(1))
    train(state)
    state.supernet.train()
    before = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    scorer, ledger = selection_scorer(state, RecalibratedStatistics(2), 70), Ledger()
    *architectures, unseen = [state.distribution.sample(torch.Generator().manual_seed(i)) for i in range(5)]
    alone = [
        evaluate_gates(state, scorer.gates(a), scorer.batches, scorer.policy, scorer.calibration) for a in architectures
    ]
    spent = state.ledger.multiply_accumulates
    with replace(scorer, ledger=ledger).opened() as score:
        for architecture, expected in zip(architectures, alone, strict=True):
            assert score(scorer.gates(architecture)) == expected
            assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())
        with pytest.raises(RuntimeError, match="broken"), score_broken(state, "broken"):
            score(scorer.gates(unseen))
        assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())
        assert score(scorer.gates(architectures[0])) == alone[0]
    assert all(module.training for module in state.supernet.modules())
    assert state.ledger.multiply_accumulates == spent
    assert ledger.multiply_accumulates > 0


@contextmanager
def score_broken(state: SearchState, words: str) -> Iterator[None]:
    """The second batch of an evaluation fails."""
    left = [1]

    def fail(module: torch.nn.Module, arguments: tuple[torch.Tensor, Gates]) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError(words)

    handle = state.supernet.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


def test_a_run_without_a_step_on_theta_says_so() -> None:
    for method, changes, warned in (
        ("gaea-gdas", {}, True),
        ("gdas", {}, False),
        ("proxylessnas", {"stages": (Stage(),), "level": Alternating(every=50)}, True),
    ):
        state = state_of(method, epochs=4, **changes)
        state.max_steps = 2
        train(state)
        assert ("never moved" in state.recipe.selection.select(state).rule) is warned
