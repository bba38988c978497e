"""Weights that train at perturbed gates: what a perturbation may be, what it leaves behind, what it joins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sharewise.data import digits
from sharewise.engine import (
    Adversarial,
    Alternating,
    Perturbation,
    Ramp,
    RandomNoise,
    Recipe,
    SearchState,
    Unrolled,
    gate_loss,
    numerics,
    perturbation,
    prepare,
    pruned,
    stream,
    warm_up,
)
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import Gate, Gates, evaluating
from sharewise.testing import check_level, check_method

FORMS: list[Perturbation] = [RandomNoise(0.2), Adversarial(0.2, steps=2)]


def state_of(recipe: Recipe, space: str = "toy-two-inputs") -> SearchState:
    dataset, network = digits().limited(64, seed=0), {"channels": 2, "cells": 1} if space == "nasbench201" else {}
    recipe = replace(recipe, batch_size=16)
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=network)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"))


def drawn(state: SearchState) -> Gates:
    with torch.no_grad():
        [gates] = state.distribution.draw(state.generators["weights"], state.phase("weights"))
    return gates


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize("level", [Alternating(), Unrolled()], ids=lambda level: type(level).__name__)
def test_perturbed_levels_keep_the_contract(form: Perturbation, level: Alternating | Unrolled) -> None:
    check_level(replace(level, perturbation=form))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_perturbed_weights_are_those_of_a_mixture_nearby(form: Perturbation) -> None:
    state = state_of(build("darts", {"exclude": ("none",)}), "nasbench201")
    gates, batch = drawn(state), state.next_batch("weights")
    moved = form.altered(state, gates, batch)
    for name, gate in moved.items():
        assert gate.active == gates[name].active
        assert float(gate.weights.sum()) == pytest.approx(1)
        assert gate.weights[0] == 0, "an excluded option stays out"
        assert float((gate.weights - gates[name].weights).abs().max()) < 0.6
    assert any(not torch.equal(gate.weights, gates[name].weights) for name, gate in moved.items())


def test_weights_that_do_not_compete_are_not_normalised() -> None:
    state = state_of(build("fair-darts"), "nasbench201")
    moved = RandomNoise(0.2).altered(state, drawn(state), state.next_batch("weights"))
    sums = torch.stack([gate.weights.sum() for gate in moved.values()])
    assert bool(((sums > 1.2) & (sums < 2.8)).all()), "four sigmoids of one half each, and noise"


def test_the_ascent_leaves_nothing_behind_and_finds_a_worse_mixture() -> None:
    state = state_of(build("darts"), "nasbench201")
    for _ in range(3):
        state.recipe.level.step(state, architecture=True)
    state.weight_optimizer.zero_grad(set_to_none=True)
    kept = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    gates, batch = drawn(state), state.next_batch("weights")
    before = state.ledger.entries["weights"].multiply_accumulates
    worst = Adversarial(0.2).altered(state, gates, batch)
    paid = state.ledger.entries["weights"].multiply_accumulates - before
    forward = state.costs.of(gates) * len(batch.inputs)
    assert paid == (2 + 7 * state.costs.gate_passes) * forward
    assert state.supernet.training
    assert all(parameter.grad is None for parameter in state.supernet.parameters())
    assert all(torch.equal(value, kept[name]) for name, value in state.supernet.state_dict().items())
    with evaluating(state.supernet):
        losses = [float(gate_loss(state, batch, where, "weights")) for where in (gates, worst)]
    assert losses[1] > losses[0]


def test_what_does_not_raise_the_loss_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(build("darts"))
    gates, batch = drawn(state), state.next_batch("weights")
    falling = iter([2.0, 1.0])
    monkeypatch.setattr(perturbation, "gate_loss", lambda *arguments: torch.tensor(next(falling)))
    same = Adversarial(0.2).altered(state, gates, batch)
    assert all(torch.equal(gate.weights, gates[name].weights) for name, gate in same.items())


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([0.2, 0.6], [0.25, 0.75]), ([-0.3, 0.5], [0.0, 1.0]), ([1.5, 1.0], [0.5, 0.5]), ([-0.3, -0.1], [0.0, 1.0])],
)
def test_weights_are_clamped_and_normalised(weights: list[float], expected: list[float]) -> None:
    gate = Gate(torch.tensor([*weights, 0.9]), (0, 1))
    found: Tensor = perturbation.restored({"edge": gate}, unit_sum=True)["edge"].weights
    torch.testing.assert_close(found, torch.tensor([*expected, 0.0]))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize(
    "method", ["gaea-darts", "drnas", "darts-second-order", "beta-darts", "fair-darts", "tanglenas-gaea"]
)
def test_perturbations_join_other_methods_and_stages_without_new_code(method: str, form: Perturbation) -> None:
    recipe = build(method, {"exclude": ()})
    assert isinstance(recipe.level, Alternating | Unrolled)
    perturbed = replace(recipe, level=replace(recipe.level, perturbation=form), stages=pruned(warm_up(0.5), [2]))
    check_method(replace(perturbed, epochs=4), load("toy-two-inputs"))


def test_a_perturbation_of_nothing_is_refused() -> None:
    gdas = build("gdas")
    assert isinstance(gdas.level, Alternating)
    with pytest.raises(ConfigurationError, match=r"RandomNoise moves the weights of a mixture, but .*StraightThrough"):
        state_of(replace(gdas, level=replace(gdas.level, perturbation=RandomNoise(0.1))))
    for radius, words in [(1.0, "below 1, got 1.0"), (-0.1, "got -0.1"), (Ramp(0.0, 4.0), "in epoch")]:
        with pytest.raises(ConfigurationError, match=f"the radius of a perturbation must be .*{words}"):
            replace(build("darts"), level=Alternating(perturbation=RandomNoise(radius)))
    with pytest.raises(ConfigurationError, match="takes at least 1 step, got 0"):
        Adversarial(0.1, steps=0)
    with pytest.raises(ConfigurationError, match=r"unknown perturbation .worst.. Legal: adversarial, random"):
        build("sdarts", {"perturbation": "worst"})


def test_the_radius_grows_as_published() -> None:
    level = build("sdarts", {"epochs": 50}).level
    assert level.perturbation is not None
    radius = level.perturbation.radius
    assert callable(radius)
    assert [radius(0, 50), radius(25, 50)] == pytest.approx([0.03, 0.165])
