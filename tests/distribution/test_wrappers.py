"""A stranger's estimator that wraps another one: it passes on what the inner one is, and keeps every contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import pytest
import torch
from torch import Tensor

from sharewise.distribution import (
    Bounded,
    Concentrations,
    Concrete,
    Constant,
    DirichletPath,
    Drawn,
    Estimator,
    Expectation,
    Factored,
    Geometry,
    Learned,
    Linear,
    Phase,
    ScoreFunction,
    Setting,
    Simplex,
    SoftmaxLogits,
    StraightThroughGumbel,
    Traits,
    TwoPath,
)
from sharewise.engine import Reward
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.spaces import RELAXABLE, load
from sharewise.testing import check_distribution, check_method
from sharewise.testing.small import first_of_each


@final
@dataclass(frozen=True)
class Perturbed(Estimator):
    """Uniform noise on the gates of weight steps, so that w does well in a neighbourhood of θ (SDARTS-RS)."""

    inner: Estimator
    radius: Setting

    @property
    def traits(self) -> Traits:
        inner = self.inner.traits
        return replace(inner, schedules={**inner.schedules, "radius": Bounded(self.radius)})

    def describe(self) -> str:
        return f"Perturbed({self.inner.describe()})"

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        drawn = self.inner.draw(geometry, theta, mask, phase, generator)
        if phase.step != "weights":
            return drawn
        radius, active = phase.value(self.radius), mask if drawn.active is None else drawn.active.to(mask.device)
        noise = (2 * torch.rand(mask.shape, generator=generator, dtype=theta.dtype) - 1).to(theta.device)
        moved = (drawn.weights + radius * noise).clamp(0, 1) * active
        moved = torch.where(moved.sum(dim=-1, keepdim=True) > 0, moved, drawn.weights)
        return replace(drawn, weights=moved / moved.sum(dim=-1, keepdim=True))


@final
@dataclass(frozen=True)
class Tempered(Estimator):
    """The same estimator at logits that are divided by a temperature."""

    inner: Estimator
    temperature: Setting

    @property
    def traits(self) -> Traits:
        schedules = {**self.inner.traits.schedules, "outer temperature": Bounded(self.temperature, positive=True)}
        return replace(self.inner.traits, geometry=SoftmaxLogits, schedules=schedules)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        return self.inner.draw(geometry, theta / phase.value(self.temperature), mask, phase, generator)


RADIUS = Linear(0.03, 0.3)
CELLS: list[tuple[Geometry, Estimator]] = [
    (SoftmaxLogits(0.05, scale=0.5), Expectation()),
    (Simplex(), Expectation()),
    (Simplex(), Concrete(Constant(1.0))),
    (Simplex(), StraightThroughGumbel(Constant(1.0))),
    (SoftmaxLogits(0.05, scale=0.5), TwoPath()),
    (Concentrations(0.05, scale=0.5), DirichletPath()),
]


@pytest.mark.sweep(3, slow=2)
@pytest.mark.parametrize("space", [name for name in first_of_each(RELAXABLE) if not name.startswith(("darts", "hw"))])
@pytest.mark.parametrize(("geometry", "inner"), CELLS, ids=[type(e).__name__ for _, e in CELLS])
def test_a_perturbed_estimator_keeps_the_contract(space: str, geometry: Geometry, inner: Estimator) -> None:
    check_distribution(Learned(geometry, Perturbed(inner, RADIUS)), load(space), draws=5)


@pytest.mark.parametrize("inner", [Expectation(), StraightThroughGumbel(Constant(1.0)), TwoPath(), ScoreFunction()])
def test_a_tempered_estimator_keeps_the_contract(inner: Estimator) -> None:
    estimator = Tempered(Perturbed(inner, 0.0), Linear(5.0, 0.5))
    check_distribution(Learned(SoftmaxLogits(0.05, scale=0.5), estimator), load("nasbench201"), draws=5)


def test_traits_pass_through() -> None:
    for geometry, inner in CELLS:
        learned = Learned(geometry, Perturbed(inner, RADIUS))
        made = learned.build(load("nasbench201").relaxation, torch.Generator().manual_seed(0))
        assert isinstance(made, Factored)
        assert made.sampled == inner.traits.sampled
        assert learned.gradient == inner.traits.gradient
        assert set(learned.schedules) == {*inner.traits.schedules, "radius"}
    assert Learned(Simplex(), Perturbed(Expectation(), 0.1)).describe() == "Simplex × Perturbed(Expectation)"
    with pytest.raises(ConfigurationError, match="needs the geometry Concentrations, got Simplex"):
        Learned(Simplex(), Perturbed(DirichletPath(), 0.1))
    with pytest.raises(ConfigurationError, match="Tempered needs the geometry SoftmaxLogits, got Simplex"):
        Learned(Simplex(), Tempered(Expectation(), 1.0))
    with pytest.raises(ConfigurationError, match=r"level Alternating.*Tempered passes its gradient through the log"):
        replace(build("darts"), distribution=Learned(SoftmaxLogits(), Tempered(ScoreFunction(), 1.0)))


def test_noise_reaches_weight_steps_alone() -> None:
    learned = Learned(SoftmaxLogits(scale=0.5), Perturbed(Expectation(), 0.2))
    made = learned.build(load("nasbench201").relaxation, torch.Generator().manual_seed(0))
    [still] = made.draw(torch.Generator().manual_seed(1), Phase("architecture"))
    [moved] = made.draw(torch.Generator().manual_seed(1), Phase("weights"))
    for name, p in made.probabilities().items():
        torch.testing.assert_close(still[name].weights.detach(), p)
        distance = (moved[name].weights.detach() - p).abs()
        assert 0.01 < float(distance.max()) < 0.4


def test_schedules_of_a_wrapper_are_checked_before_the_run() -> None:
    for radius in (Linear(0.1, -0.1), Constant(float("nan"))):
        with pytest.raises(ConfigurationError, match="the radius must be not negative and finite"):
            replace(
                build("darts", {"epochs": 3}), distribution=Learned(SoftmaxLogits(), Perturbed(Expectation(), radius))
            )


@pytest.mark.parametrize("method", ["darts", "gdas", "drnas", "enas"])
def test_methods_with_a_wrapped_estimator_keep_the_contract(method: str) -> None:
    recipe = build(method)
    if isinstance(recipe.distribution, Learned):
        inner = recipe.distribution
        wrapped = Learned(inner.geometry, Perturbed(inner.estimator, RADIUS))
    else:
        assert isinstance(recipe.level, Reward)
        wrapped = Learned(SoftmaxLogits(0.05), Perturbed(ScoreFunction(), RADIUS))
    check_method(replace(recipe, distribution=wrapped), load("toy-two-inputs"))
