"""A stranger's level whose weight step runs at other gates than those that were drawn (SDARTS-ADV)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import pytest
import torch
from torch import Tensor

from sharewise.data import Batch, Role, digits
from sharewise.distribution import Bounded, Gradient, Linear, Setting
from sharewise.engine import (
    Level,
    Losses,
    SearchState,
    architecture_step,
    gate_slopes,
    numerics,
    prepare,
    stream,
    weight_step,
)
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import Gate, Gates
from sharewise.testing import check_level


@final
@dataclass(frozen=True)
class Adversarial(Level):
    """Weights that do well at the worst mixture within a radius: signed ascent on the gates of weight steps."""

    radius: Setting
    steps: int = 7
    gradient: ClassVar[Gradient | None] = "path"
    roles: ClassVar[tuple[Role, ...]] = ("weights", "architecture")

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        return {"radius": Bounded(self.radius)}

    def architecture_step(self, state: SearchState) -> Losses:
        return {"architecture_loss": architecture_step(state)}

    def weight_step(self, state: SearchState) -> Losses:
        return {"weights_loss": weight_step(state, altered=lambda gates, batch: self.worst(state, gates, batch))}

    def step(self, state: SearchState, *, architecture: bool) -> Losses:
        return {**(self.architecture_step(state) if architecture else {}), **self.weight_step(state)}

    def worst(self, state: SearchState, gates: Gates, batch: Batch) -> Gates:
        radius, moved = state.phase("weights").value(self.radius), gates
        for _ in range(self.steps):
            _, slopes = gate_slopes(state, batch, moved, "weights")
            moved = {
                name: ascended(gate, gates[name], slopes.get(name), 2 * radius / self.steps, radius)
                for name, gate in moved.items()
            }
        return moved


def ascended(gate: Gate, centre: Gate, slope: Tensor | None, step: float, radius: float) -> Gate:
    if slope is None:
        return gate
    active = torch.tensor([option in gate.active for option in range(gate.size)])
    weights = gate.weights + step * slope.sign().to(gate.weights)
    weights = weights.clamp(centre.weights - radius, centre.weights + radius).clamp(0, 1) * active
    return replace(gate, weights=weights / weights.sum())


def state_of(level: Level) -> SearchState:
    recipe = replace(build("darts", {"epochs": 3, "batch_size": 16}), level=level)
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load("toy-two-inputs"), dataset.input_shape, 10)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"))


def test_the_weight_step_runs_at_the_worst_mixture_and_leaves_nothing_behind() -> None:
    level = Adversarial(Linear(0.03, 0.3), steps=3)
    state = state_of(level)
    batch = state.next_batch("weights")
    with torch.no_grad():
        [gates] = state.distribution.draw(state.generators["weights"], state.phase("weights"))
    kept = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    worst = level.worst(state, gates, batch)
    assert all(p.grad is None for p in state.supernet.parameters())
    assert all(torch.equal(value, kept[name]) for name, value in state.supernet.state_dict().items())
    losses = [gate_slopes(state, batch, where, "weights")[0] for where in (gates, worst)]
    assert losses[1] > losses[0]
    spent = state.ledger.multiply_accumulates
    assert spent == pytest.approx(5 * state.costs.of(gates) * len(batch.inputs) * state.costs.gate_passes)


def test_it_keeps_the_contract() -> None:
    check_level(Adversarial(0.1, steps=1))


def test_a_step_of_no_radius_is_the_plain_one() -> None:
    results = []
    for level in (Adversarial(0.0, steps=1), build("darts").level):
        state = state_of(level)
        for _ in range(2):
            level.step(state, architecture=True)
        results.append(state.supernet.state_dict())
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-12, atol=1e-14)
