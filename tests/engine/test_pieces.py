"""Penalties, schedules, stages, the ledger: each against its definition."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sharewise.cost import SupernetCost
from sharewise.data import digits
from sharewise.distribution import Expectation, Factored, Geometry, Phase, Simplex, SoftmaxLogits
from sharewise.engine import (
    Constant,
    Cosine,
    CosineRestarts,
    EntropyPenalty,
    Event,
    Linear,
    SearchState,
    Stage,
    StageEntered,
    Stepped,
    WeightDecay,
    numerics,
    prepare,
    run,
    stage_at,
    stream,
    warm_up,
)
from sharewise.errors import ConfigurationError, NonFiniteError
from sharewise.ledger import EVALUATION, GATES_ONLY, TRAINING, Entry, Ledger
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import Gates

RELAXATION = load("toy-tied-width").relaxation  # decisions of 4 and 3 options: one row is padded
PHASE = Phase("architecture")
COSTS = SupernetCost(build_supernet(load("toy-tied-width"), (4,), 3), (4,))


def distribution(geometry: Geometry) -> Factored:
    made = Factored(RELAXATION, geometry, Expectation(), torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        raw = torch.rand(made.theta.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * made.mask
        made.theta.copy_(raw / raw.sum(-1, keepdim=True))
    return made


def test_weight_decay_penalty_is_the_weight_decay_of_adam() -> None:
    strength, generator = 0.05, torch.Generator().manual_seed(3)
    made = distribution(SoftmaxLogits(0.01))
    twin = torch.nn.Parameter(made.theta.detach().clone())
    ours = made.optimizer()
    theirs = torch.optim.Adam([twin], lr=0.01, betas=(0.5, 0.999), weight_decay=strength)
    for _ in range(20):
        g = torch.randn(twin.shape, generator=generator, dtype=torch.float64) * made.mask
        ours.zero_grad()
        made.theta.grad = g.clone()
        WeightDecay(strength)(made, COSTS, PHASE).backward()
        ours.step()
        twin.grad = g.clone()
        theirs.step()
    torch.testing.assert_close(made.theta.detach(), twin.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("geometry", [SoftmaxLogits(), Simplex()])
def test_entropy_penalty(geometry: Geometry) -> None:
    made = distribution(geometry)
    rows = [row.double() for row in made.probabilities().values()]
    expected = 0.3 * sum(float((row * (row * len(row)).log()).sum()) for row in rows)
    assert float(EntropyPenalty(0.3)(made, COSTS, PHASE).detach()) == pytest.approx(expected, rel=1e-9)
    assert expected > 0
    with torch.no_grad():
        made.theta.copy_(made.mask.double() / made.mask.sum(-1, keepdim=True))
    assert float(EntropyPenalty(0.3)(made, COSTS, PHASE).detach()) == pytest.approx(0.0, abs=1e-12)
    with torch.no_grad():  # a corner: finite value and gradient
        made.theta.copy_(torch.eye(4, dtype=torch.float64)[:2])
    penalty = EntropyPenalty(0.3)(made, COSTS, PHASE)
    penalty.backward()
    assert bool(penalty.isfinite())
    assert made.theta.grad is not None
    assert bool(made.theta.grad.isfinite().all())
    assert made.theta.grad[1, 3] == 0, "padding has no gradient"


def test_entropy_penalty_keeps_theta_from_collapsing() -> None:
    made = distribution(Simplex(0.5))
    optimizer = made.optimizer()
    before = made.entropy()
    for _ in range(50):
        optimizer.zero_grad()
        EntropyPenalty(1.0)(made, COSTS, PHASE).backward()
        optimizer.step()
    after = made.entropy()
    assert before is not None
    assert after is not None
    assert before < after
    assert after == pytest.approx((math.log(4) + math.log(3)) / 2, abs=1e-3)


@given(
    epochs=st.integers(1, 60),
    start=st.floats(0.01, 1.0),
    end=st.floats(0.0, 0.01),
    stretch=st.sampled_from([1.0, 2.0]),
)
def test_cosine_equals_torch(epochs: int, start: float, end: float, stretch: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=start)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(epochs * stretch), end)
    for epoch in range(epochs):
        assert Cosine(start, end, stretch)(epoch, epochs) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("epochs", "cycles", "factor", "first"), [(150, 4, 2, 10), (30, 3, 1, 10), (26, 3, 3, 2)])
def test_cosine_restarts_equal_torch(epochs: int, cycles: int, factor: int, first: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, factor, 0.0005)
    for epoch in range(epochs):
        made = CosineRestarts(0.05, 0.0005, cycles, factor)(epoch, epochs)
        assert made == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        schedule.step()


@given(epochs=st.integers(1, 200), cycles=st.integers(1, 5), factor=st.integers(1, 3))
def test_cosine_restarts_fill_the_epochs(epochs: int, cycles: int, factor: int) -> None:
    schedule = CosineRestarts(1.0, 0.0, cycles, factor)
    assert schedule(epochs, epochs) == pytest.approx(0.0, abs=1e-9)
    assert all(0 <= schedule(epoch, epochs) <= 1 for epoch in range(epochs))
    assert CosineRestarts(1.0, 0.0, 1, factor)(epochs // 2, epochs) == pytest.approx(Cosine(1.0)(epochs // 2, epochs))


def test_linear_and_constant() -> None:
    assert [Linear(1.0, 3.0)(e, 5) for e in range(5)] == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.0])
    assert [Constant(0.3)(e, 5) for e in range(5)] == [0.3] * 5


@given(
    fractions=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    epochs=st.integers(1, 40),
)
def test_stages_partition_the_epochs(fractions: list[int], epochs: int) -> None:
    stages = tuple(Stage(f / sum(fractions)) for f in fractions)
    indices = [stage_at(stages, e, epochs) for e in range(epochs)]
    assert indices == sorted(indices)
    for index, stage in enumerate(stages):
        assert abs(indices.count(index) - stage.fraction * epochs) <= 1 + 1e-9


def state_of(method: str, *, space: str = "nasbench201", epochs: int = 4, **changes: Any) -> SearchState:
    recipe = replace(build(method, {"epochs": epochs, "batch_size": 8}), **changes)
    dataset = digits().limited(32, seed=0)
    network = {"channels": 2, "cells": 1} if space == "nasbench201" else {}
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=network)
    return prepare(
        supernet, recipe, dataset.assign(recipe.roles, generator=stream(0, "data")), numerics=numerics("cpu")
    )


@pytest.mark.parametrize("method", ["darts", "gaea-erm", "gdas"])
def test_theta_rests_during_warm_up(method: str) -> None:
    state = state_of(method, stages=warm_up(0.5))
    start = state.distribution.state_dict()["theta"].clone()
    moved: list[tuple[int, bool]] = []

    def listen(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped):
            theta = state.distribution.state_dict()["theta"]
            moved.append((state.epoch, not torch.equal(theta, start)))

    run(state, (listen,))
    assert {epoch for epoch, changed in moved if not changed} >= {0, 1}
    assert not any(changed for epoch, changed in moved if epoch < 2)
    assert moved[-1][1]
    stages = [record for record in state.history if record["event"] == "stage"]
    assert [(r["epoch"], r["architecture_steps"]) for r in stages] == [(0, False), (2, True)]
    epochs = [record for record in state.history if record["event"] == "epoch"]
    assert ["architecture_loss" in record for record in epochs] == [False, False, True, True]


@pytest.mark.parametrize("method", ["darts", "gaea-erm", "gdas"])
@pytest.mark.parametrize("exclude", [(), ("none",)])
def test_pruning_masks_for_good(method: str, exclude: tuple[str, ...]) -> None:
    state = state_of(method, stages=(Stage(0.25), Stage(0.25, keep=3), Stage(0.5, keep=2)), exclude=exclude)
    kept: dict[str, list[int]] = {}
    limit = 5
    seen: list[Gates] = []
    state.supernet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[1]))

    def listen(state: SearchState, event: Event) -> None:
        nonlocal limit
        if isinstance(event, StageEntered) and "kept" in event.record:
            assert state.architecture_optimizer is not None
            assert isinstance(state.distribution, Factored)
            moments = state.architecture_optimizer.state[state.distribution.theta]
            for name in moments.keys() - {"step"}:
                assert not moments[name][~state.distribution.mask].any(), "moments of masked options are forgotten"
                assert moments[name].any(), "those of the others go on, as the authors' do"
            before = dict(kept)
            kept.update(event.record["kept"])
            limit = len(kept["edge_0_1"])
            for name, row in state.distribution.probabilities().items():
                assert len(kept[name]) == limit
                assert set(kept[name]) <= set(before.get(name, range(5)))
                assert sorted(row.nonzero().flatten().tolist()) == kept[name]
                assert float(row.sum()) == pytest.approx(1.0, abs=1e-5)
            seen.clear()
        if isinstance(event, Stepped) and kept:
            for gates in seen:
                for name, gate in gates.items():
                    assert set(gate.active) <= set(kept[name])
                    assert gate.size == 5, "the number of options never changes"

    result = run(state, (listen,))
    assert limit == 2
    for name, indices in kept.items():
        options = load("nasbench201").relaxation.decisions[0].options
        if method != "gdas":  # the DARTS rule does not return `none`, which may be among the kept
            assert result.architecture[name] in {options[i] for i in indices}


def test_pruning_records_what_is_really_kept() -> None:
    state = state_of("gaea-darts", space="toy-tied-width", exclude=(), stages=(Stage(0.5), Stage(0.5, keep=3)))
    run(state)
    record = next(r for r in state.history if r["event"] == "stage" and "kept" in r)
    assert len(record["kept"]["width"]) == 3
    assert record["kept"]["activation"] == [0, 1, 2], "where fewer options exist than asked for, all are kept"
    with pytest.raises(ConfigurationError, match="keeps 4 options prunes nothing, since no decision has more than 4"):
        state_of("gaea-darts", stages=(Stage(0.5), Stage(0.5, keep=4)))  # `none` is excluded


def test_masking_a_decision_without_options_left_is_an_error() -> None:
    made = distribution(Simplex())
    with pytest.raises(ConfigurationError, match="'width' would be left without options"):
        made.restrict({"width": torch.zeros(4, dtype=torch.bool)})
    made.restrict({"width": torch.tensor([True, False, True, False])})
    with pytest.raises(ConfigurationError, match="'width' would be left without options"):
        made.restrict({"width": torch.tensor([False, True, False, True])})
    p = made.probabilities()["width"]
    assert p[[1, 3]].tolist() == [0.0, 0.0]
    [gates] = made.draw(torch.Generator(), Phase("weights"))
    assert gates["width"].active == (0, 2)


def test_learning_rate_follows_its_schedule() -> None:
    state = state_of("gaea-erm", space="toy-tied-width", epochs=5)
    run(state)
    rates = [record["learning_rate"] for record in state.history if record["event"] == "epoch"]
    assert rates == pytest.approx([state.recipe.weights.learning_rate(e, 5) for e in range(5)])


def test_ledger_arithmetic() -> None:
    ledger = Ledger()
    ledger.charge("weights", examples=64, multiply_accumulates=10, passes=TRAINING, seconds=1.5)
    ledger.charge("weights", examples=32, multiply_accumulates=7, passes=TRAINING)
    ledger.charge("architecture", examples=64, multiply_accumulates=10, passes=GATES_ONLY)
    ledger.charge("selection", examples=100, multiply_accumulates=3, passes=EVALUATION)
    ledger.spend("selection", 2.0)
    assert ledger.entries["weights"] == Entry(2, 96, 64 * 10 * 3 + 32 * 7 * 3, 1.5)
    assert ledger.entries["architecture"].multiply_accumulates == 64 * 10 * 2
    assert ledger.multiply_accumulates == 64 * 30 + 32 * 21 + 64 * 20 + 300
    assert ledger.seconds == 3.5
    assert Ledger.from_json(ledger.to_json()) == ledger
    copy = ledger.to_json()
    copy["weights"]["steps"] = 0
    assert ledger.entries["weights"].steps == 2


def test_a_diverging_search_stops_with_advice() -> None:
    state = state_of("gaea-erm", space="toy-tied-width")
    with torch.no_grad():
        next(state.supernet.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"weights_loss.*smaller learning rate"):
        run(state)


def test_limits_on_steps() -> None:
    state = state_of("darts", space="toy-tied-width")
    assert state.total_steps == 4 * 2
    state.max_steps = 3
    run(state)
    assert state.step == 3
    recipe, dataset = build("darts"), digits().limited(32, seed=0)
    supernet = build_supernet(load("toy-tied-width"), dataset.input_shape, 10)
    with pytest.raises(ConfigurationError, match="max_steps must be at least 1, got 0"):
        prepare(
            supernet,
            recipe,
            dataset.assign(recipe.roles, generator=stream(0, "data")),
            numerics=numerics("cpu"),
            max_steps=0,
        )
