"""Penalties that are broken on purpose, each caught by `check_penalty` for what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from sharewise.cost import MultiplyAccumulates, SupernetCost
from sharewise.distribution import Concentrations, Factored, Phase, Setting, Simplex, SoftmaxLogits
from sharewise.engine import (
    AnchorPenalty,
    BetaDecay,
    CostTarget,
    EntropyPenalty,
    ExpectedCost,
    Penalty,
    Ramp,
    WeightDecay,
    ZeroOnePenalty,
)
from sharewise.testing import check_penalty


def expected_cost(distribution: Factored, costs: SupernetCost) -> float:
    rows = distribution.probabilities()
    return sum(float(row @ torch.tensor(costs.prices[name], dtype=row.dtype)) for name, row in rows.items())


def collapse(distribution: Factored, costs: SupernetCost) -> float:
    entropy = distribution.entropy()
    assert entropy is not None
    return -entropy


@dataclass(frozen=True)
class Sparse(Penalty):
    """λ Σ p log p over all options; sound, and the trunk of all that is broken here."""

    strength: Setting = 0.5

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        p = self.probabilities(distribution)
        return torch.special.xlogy(p, p.clamp_min(1e-30)).sum()

    def probabilities(self, distribution: Factored) -> Tensor:
        return distribution.geometry.probabilities(distribution.theta, distribution.mask)


class WrongSign(Sparse):
    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        return -super().value(distribution, costs)


class NoEffect(Sparse):
    """A constant with a graph."""

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        return 3 + 0 * distribution.theta.sum()


class Detached(Sparse):
    def probabilities(self, distribution: Factored) -> Tensor:
        return super().probabilities(distribution).detach()


class HalfDetached(Sparse):
    """One factor of the product lost its graph."""

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        p = self.probabilities(distribution)
        return (p * p.detach().clamp_min(1e-30).log()).sum()


class ReadsMasked(Sparse):
    """Decays masked entries as well."""

    geometry: ClassVar[type] = SoftmaxLogits

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        return super().value(distribution, costs) + 0.1 * distribution.theta.square().sum()


class CountsMasked(Sparse):
    """No gradient at masked entries, but a value that depends on them."""

    geometry: ClassVar[type] = SoftmaxLogits

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        return super().value(distribution, costs) * (1 + distribution.theta.detach()[~distribution.mask].abs().sum())


class NotANumberAtCorners(Sparse):
    """p log p without a thought of zero."""

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        p = self.probabilities(distribution)
        return torch.where(distribution.mask, p * p.log(), 0).nan_to_num(nan=torch.nan).sum()


class MovesTheta(Sparse):
    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        result = super().value(distribution, costs)
        with torch.no_grad():
            distribution.theta[:, 0] += 1e-9
        return result


class Ambient(Sparse):
    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        torch.rand(1)
        return super().value(distribution, costs)


class Vector(Sparse):
    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        p = self.probabilities(distribution)
        return torch.special.xlogy(p, p.clamp_min(1e-30)).sum(-1)


class IgnoresSchedule(Sparse):
    """Takes its strength at the last epoch throughout."""

    def __call__(self, distribution: Factored, costs: SupernetCost, phase: Phase) -> Tensor:
        return super().__call__(distribution, costs, Phase(phase.step, phase.epochs - 1, phase.epochs))


class IgnoresStrength(Sparse):
    def __call__(self, distribution: Factored, costs: SupernetCost, phase: Phase) -> Tensor:
        return self.value(distribution, costs)


class CostsUpwards(ExpectedCost):  # type: ignore[misc]
    """Rewards what is dear."""

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        return -super().value(distribution, costs)


class PricesOfOthers(ExpectedCost):  # type: ignore[misc]
    """Reads the prices in the reverse order of the options."""

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        rows = [list(costs.prices[d.name])[::-1] for d in distribution.relaxation.decisions]
        return (p * torch.tensor(rows, dtype=p.dtype)).sum() / max(max(row) for row in rows)


BROKEN: list[tuple[Penalty, Any, str]] = [
    (WrongSign(), collapse, "is its sign wrong"),
    (NoEffect(), collapse, "has no effect"),
    (Detached(), collapse, "carries no graph to θ, and so has no effect"),
    (HalfDetached(), collapse, "the derivative of HalfDetached .* but its gradient says"),
    (ReadsMasked(), collapse, "has a gradient at masked options|reads masked options"),
    (CountsMasked(), collapse, "reads masked options"),
    (NotANumberAtCorners(), collapse, "is not finite where a decision is settled|or its gradient is"),
    (MovesTheta(), collapse, "changes θ or its mask while it is computed"),
    (Ambient(), collapse, "draws from torch's global generator"),
    (Vector(), collapse, "is a scalar"),
    (IgnoresSchedule(), collapse, "in epoch 0 is"),
    (IgnoresStrength(), collapse, "with a strength of 0 in epoch 0 is"),
    (CostsUpwards(1.0), expected_cost, "is its sign wrong"),
    (PricesOfOthers(1.0), expected_cost, "is its sign wrong"),
]


def test_the_sound_penalty_passes() -> None:
    check_penalty(Sparse(), collapse)


@pytest.mark.parametrize(("penalty", "lowers", "message"), BROKEN, ids=[type(b[0]).__name__ for b in BROKEN])
def test_broken_penalties_are_caught(penalty: Penalty, lowers: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_penalty(penalty, lowers)


def distance_from_uniform(distribution: Factored, costs: SupernetCost) -> Tensor:
    assert isinstance(distribution.geometry, Concentrations)
    return (distribution.geometry.concentrations(distribution.theta) - 1).square().sum()


def logits(distribution: Factored, costs: SupernetCost) -> Tensor:
    return distribution.theta.amax(dim=-1).mean()


def indecision(distribution: Factored, costs: SupernetCost) -> Tensor:
    return -(distribution.theta.sigmoid() - 0.5).abs().mean()


HOUSE: list[tuple[Penalty, Callable[[Factored, SupernetCost], Tensor | float]]] = [
    (WeightDecay(), lambda distribution, costs: distribution.theta.square().sum()),
    (EntropyPenalty(), collapse),
    (AnchorPenalty(), distance_from_uniform),
    (BetaDecay(Ramp(0.0, 50.0)), logits),
    (ZeroOnePenalty(), indecision),
    (ZeroOnePenalty(norm="l1"), indecision),
    (ExpectedCost(1.0), expected_cost),
    (CostTarget(MultiplyAccumulates(), 1000, 1.0), expected_cost),
    (CostTarget(MultiplyAccumulates(), 1000, 1.0, two_sided=True), expected_cost),
]


@pytest.mark.sweep(2)
@pytest.mark.parametrize(("penalty", "lowers"), HOUSE, ids=[repr(p) for p, _ in HOUSE])
def test_penalties_of_the_house_pass(penalty: Penalty, lowers: Any) -> None:
    check_penalty(penalty, lowers)


def test_a_penalty_that_understands_nothing_is_caught() -> None:
    class Lost(Sparse):
        geometry: ClassVar[type] = int

    assert not isinstance(Simplex(), Lost.geometry)
    with pytest.raises(AssertionError, match="understands none of the geometries"):
        check_penalty(Lost(), collapse)
