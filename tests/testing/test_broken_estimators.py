"""Estimators that are broken on purpose, each caught by `check_estimator` for what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.distribution import (
    Bounded,
    Concrete,
    Constant,
    DirichletPath,
    Drawn,
    Estimator,
    Expectation,
    Geometry,
    Linear,
    Phase,
    Schedule,
    ScoreFunction,
    SoftmaxLogits,
    StraightThroughGumbel,
    Traits,
    TwoPath,
)
from sharewise.testing import check_estimator

WARM = Constant(1.0)


@dataclass(frozen=True)
class Straight(Estimator):
    """A straight-through sample by the Gumbel-max trick; sound, and the trunk of most that is broken here."""

    temperature: Schedule = WARM

    @property
    def traits(self) -> Traits:
        return Traits(sampled=True, schedules={"temperature": Bounded(self.temperature, positive=True)})

    def noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(like.shape, generator=generator, dtype=like.dtype).clamp(1e-12, 1 - 1e-12)
        return -(-uniform.log()).log()

    def relaxed(self, log_p: Tensor, noise: Tensor, phase: Phase) -> Tensor:
        return torch.softmax((log_p + noise) / phase.value(self.temperature), dim=-1)

    def gate(self, relaxed: Tensor) -> Tensor:
        return F.one_hot(relaxed.argmax(-1), relaxed.shape[-1]).to(relaxed.dtype) + (relaxed - relaxed.detach())

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        log_p = geometry.log_probabilities(theta, mask)
        weights = self.gate(self.relaxed(log_p, self.noise(log_p, generator), phase))
        return Drawn(weights, weights.detach() > 0.5)


class Detached(Straight):
    def gate(self, relaxed: Tensor) -> Tensor:
        return super().gate(relaxed).detach()


class Negated(Straight):
    def gate(self, relaxed: Tensor) -> Tensor:
        return super().gate(relaxed).detach() - (relaxed - relaxed.detach())


class Tenfold(Straight):
    """The gradient is off by a factor."""

    def gate(self, relaxed: Tensor) -> Tensor:
        return super().gate(relaxed).detach() + 30 * (relaxed - relaxed.detach())


class Vanishing(Straight):
    def gate(self, relaxed: Tensor) -> Tensor:
        return super().gate(relaxed).detach() + 1e-3 * (relaxed - relaxed.detach())


class Rolled(Straight):
    """The gradient belongs to the next option."""

    def gate(self, relaxed: Tensor) -> Tensor:
        return super().gate(relaxed).detach() + (relaxed - relaxed.detach()).roll(1, -1)


class Argmax(Straight):
    """No sample at all."""

    def noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.zeros_like(like)


class Reversed(Straight):
    """The noise has the wrong sign."""

    def noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return -super().noise(like, generator)


class Gaussian(Straight):
    """Not the noise under which the largest is distributed as p."""

    def noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)


class Ambient(Straight):
    def noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return super().noise(like, torch.default_generator)


class IgnoresTemperature(Straight):
    def relaxed(self, log_p: Tensor, noise: Tensor, phase: Phase) -> Tensor:
        return torch.softmax(log_p + noise, dim=-1)


class OneForAll(Straight):
    """The same noise for every decision: the draws of a batch are one draw."""

    def noise(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return super().noise(like[:1], generator).expand_as(like)


class AllActive(Straight):
    """Executes everything, masked options too."""

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        drawn = super().draw(geometry, theta, mask, phase, generator)
        return replace(drawn, active=torch.ones_like(mask))


class OtherActive(Straight):
    """Executes another option than the one with the weight."""

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        drawn = super().draw(geometry, theta, mask, phase, generator)
        weakest = torch.where(mask, drawn.weights.detach(), 2.0).argmin(-1)
        return replace(drawn, active=F.one_hot(weakest, mask.shape[-1]).bool())


@dataclass(frozen=True)
class Soft(Estimator):
    """The mixture; sound, and the trunk of what follows."""

    @property
    def traits(self) -> Traits:
        return Traits(sampled=False, normalised=False)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        return Drawn(self.weights(geometry.mixture(theta, mask)))

    def weights(self, p: Tensor) -> Tensor:
        return p


class Doubled(Soft):
    def weights(self, p: Tensor) -> Tensor:
        return 2 * p


class Steeper(Soft):
    """The gates are right, and their gradient is half as large again."""

    def weights(self, p: Tensor) -> Tensor:
        return p + 0.5 * (p - p.detach())


class Blurred(Soft):
    """Mixed with the uniform distribution."""

    def weights(self, p: Tensor) -> Tensor:
        alive = (p > 0).to(p.dtype)
        return 0.5 * p + 0.5 * p.sum(-1, keepdim=True) * alive / alive.sum(-1, keepdim=True)


class NotANumber(Soft):
    """A square root whose gradient is infinite at zero."""

    def weights(self, p: Tensor) -> Tensor:
        return p + 0 * p.clamp_min(0).sqrt()


@dataclass(frozen=True)
class Score(Estimator):
    """A sound score; the trunk of what follows."""

    @property
    def traits(self) -> Traits:
        return Traits(sampled=True, gradient="score")

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        p = geometry.probabilities(theta, mask)
        index = torch.multinomial(p.detach(), 1, generator=generator)
        weights = F.one_hot(index[:, 0], p.shape[-1]).to(p.dtype)
        return Drawn(weights, weights.bool(), self.log_prob(geometry.log_probabilities(theta, mask), index))

    def log_prob(self, log_p: Tensor, index: Tensor) -> Tensor:
        return log_p.gather(-1, index)[:, 0]


class OfTheLikeliest(Score):
    """The log-probability of another option than was drawn."""

    def log_prob(self, log_p: Tensor, index: Tensor) -> Tensor:
        return log_p.max(-1).values


class Unlearned(Score):
    """The value is right, its gradient half."""

    def log_prob(self, log_p: Tensor, index: Tensor) -> Tensor:
        value = super().log_prob(log_p, index)
        return 0.5 * value + 0.5 * value.detach()


class NoGraph(Score):
    def log_prob(self, log_p: Tensor, index: Tensor) -> Tensor:
        return super().log_prob(log_p, index).detach()


class Pretending(Straight):
    """Says that it mixes all options, and executes one."""

    @property
    def traits(self) -> Traits:
        return replace(super().traits, mixes=True)


BROKEN: list[tuple[Estimator, str]] = [
    (Detached(), "are they detached"),
    (Negated(), "it points the other way"),
    (Tenfold(), "times that of the probabilities"),
    (Vanishing(), "times that of the probabilities"),
    (Rolled(), "it points (elsewhere|the other way)"),
    (Argmax(), "neither the mean gate of Argmax .* nor its strongest option follows the probabilities"),
    (Reversed(), "neither the mean gate of Reversed .* nor its strongest option follows the probabilities"),
    (Gaussian(), "neither the mean gate of Gaussian .* nor its strongest option follows the probabilities"),
    (Ambient(), "are not a function of the generator"),
    (IgnoresTemperature(), "the schedule 'temperature' of IgnoresTemperature .* is not followed"),
    (OneForAll(), "neither the mean gate of OneForAll"),
    (AllActive(), "is masked, but active"),
    (OtherActive(), "options of 'a' that are not active have weights"),
    (Doubled(), "the weights of 'a' sum to (2|1.99)"),
    (Steeper(), "is not the derivative of its gates"),
    (Blurred(), "neither the mean gate of Blurred"),
    (NotANumber(), "is not finite|differs from that of the whole graph by up to nan|gradient"),
    (OfTheLikeliest(), "differs from that of its draw by"),
    (Unlearned(), "the gradient of the log-probability that Unlearned .* is not that of its draw"),
    (Pretending(), "every draw executes the same options, and draws differ in them"),
    (NoGraph(), "does not depend on θ|carries no graph"),
]


@pytest.mark.parametrize("estimator", [Straight(), Soft(), Score()], ids=["straight", "soft", "score"])
def test_sound_estimators_pass(estimator: Estimator) -> None:
    check_estimator(estimator)


@pytest.mark.parametrize(("estimator", "message"), BROKEN, ids=[type(e).__name__ for e, _ in BROKEN])
def test_broken_estimators_are_caught(estimator: Estimator, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_estimator(estimator)


HOUSE = [
    Expectation(),
    Concrete(Linear(5.0, 0.5)),
    StraightThroughGumbel(Constant(1.0)),
    StraightThroughGumbel(Linear(10.0, 0.1)),
    TwoPath(),
    DirichletPath(),
    ScoreFunction(),
]


@pytest.mark.parametrize("estimator", HOUSE, ids=[type(e).__name__ for e in HOUSE])
def test_estimators_of_the_house_pass(estimator: Estimator) -> None:
    check_estimator(estimator)


@dataclass(frozen=True)
class Tempered(Estimator):
    """A wrapper: the inner estimator at logits that are divided by a temperature."""

    inner: Estimator
    outer: Schedule

    @property
    def traits(self) -> Traits:
        schedules = {**self.inner.traits.schedules, "outer": Bounded(self.outer, positive=True)}
        return replace(self.inner.traits, geometry=SoftmaxLogits, schedules=schedules)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        return self.inner.draw(geometry, theta / phase.value(self.outer), mask, phase, generator)


@dataclass(frozen=True)
class Perturbed(Estimator):
    """A wrapper: noise on the gates of weight steps."""

    inner: Estimator
    radius: float = 0.1

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        drawn = self.inner.draw(geometry, theta, mask, phase, generator)
        if phase.step != "weights":
            return drawn
        moved = drawn.weights + self.radius * torch.rand(mask.shape, generator=generator, dtype=theta.dtype)
        moved = moved * (mask if drawn.active is None else drawn.active)
        return replace(drawn, weights=moved / moved.sum(-1, keepdim=True))


@pytest.mark.parametrize("inner", [StraightThroughGumbel(Constant(1.0)), TwoPath(), Concrete(Constant(1.0))])
def test_wrappers_pass(inner: Any) -> None:
    check_estimator(Perturbed(inner))
    check_estimator(
        Tempered(inner, Linear(5.0, 0.5)),
        follows=lambda geometry, theta, mask, phase: geometry.probabilities(
            theta / phase.value(Linear(5.0, 0.5)), mask
        ),
    )
    with pytest.raises(AssertionError, match="nor its strongest option follows the probabilities"):
        check_estimator(Tempered(inner, Linear(5.0, 0.5)))


@dataclass(frozen=True)
class SecondOrder(Estimator):
    """A sample whose gradient is right to second order (L. Liu et al., NeurIPS 2023); it asks for every option."""

    ahead: float = 2.0
    behind: float = 0.5

    @property
    def traits(self) -> Traits:
        return Traits(sampled=True)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        log_p = geometry.log_probabilities(theta, mask)
        p = log_p.exp()
        chosen = F.one_hot(torch.multinomial(p.detach(), 1, generator=generator)[:, 0], p.shape[-1]).to(p.dtype)
        if phase.step == "weights":
            return Drawn(chosen, chosen.bool())
        shift = ((chosen + p) / 2).clamp_min(1e-300).log() - log_p.masked_fill(~mask, 0.0)
        middle = torch.softmax(shift.detach() + log_p.masked_fill(~mask, 0.0), dim=-1)
        second = self.ahead * middle - self.behind * p
        return Drawn(chosen + (second - second.detach()))


def test_a_hard_gate_may_execute_all_options_and_claim_an_exact_gradient() -> None:
    logits = (SoftmaxLogits(scale=1.0),)
    check_estimator(SecondOrder(), logits, unbiased=True)
    for wrong in (SecondOrder(ahead=1.0), SecondOrder(behind=-0.5)):
        check_estimator(wrong, logits)  # a biased gradient in the right direction
        with pytest.raises(AssertionError, match=r"times that of the probabilities, or .* it is not unbiased"):
            check_estimator(wrong, logits, unbiased=True)
    with pytest.raises(AssertionError, match="it is not unbiased"):
        check_estimator(StraightThroughGumbel(WARM), logits, unbiased=True)
