"""Penalties on a distribution: terms added to the loss of an architecture step, the same under every geometry."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from sharewise.cost import Quantity, SupernetCost
from sharewise.distribution import Concentrations, Factored
from sharewise.errors import ConfigurationError

__all__ = ["AnchorPenalty", "CostTarget", "EntropyPenalty", "ExpectedCost", "Penalty", "WeightDecay"]


class Penalty(ABC):
    """A differentiable scalar of θ."""

    @abstractmethod
    def __call__(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """The value to be added to the loss.

        Args:
            distribution: its θ is penalised.
            costs: of the supernet's options.
        """


@final
@dataclass(frozen=True)
class WeightDecay(Penalty):
    """λ/2 · Σ θ², whose gradient is λθ: exactly the L2 weight decay of Adam or SGD.

    Args:
        strength: λ, not negative.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 3.1 (1e-3 on the logits).
    """

    strength: float = 1e-3

    def __post_init__(self) -> None:
        _require_non_negative(self.strength)

    def __call__(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """See the class."""
        return 0.5 * self.strength * (distribution.theta * distribution.mask).square().sum()


@final
@dataclass(frozen=True)
class EntropyPenalty(Penalty):
    """λ · Σ p log(p · k) over all decisions with k options each: zero at uniform, positive for sparse p.

    A positive strength therefore keeps the distribution from collapsing.

    Args:
        strength: λ; GAEA uses 0.01 with the Gumbel estimator and 0 otherwise.

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for NAS*, ICLR 2021 (arXiv 2004.07802), released code.
    """

    strength: float = 0.01

    def __post_init__(self) -> None:
        _require_non_negative(self.strength)

    def __call__(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """See the class."""
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        k = distribution.mask.sum(dim=-1, keepdim=True).to(p.dtype)
        value: Tensor = torch.special.xlogy(p, p.clamp_min(torch.finfo(p.dtype).tiny) * k).sum()
        return self.strength * value


@final
@dataclass(frozen=True)
class AnchorPenalty(Penalty):
    """λ · Σ_d KL(Dir(β_d) ‖ Dir(1)): holds every Dirichlet distribution near the uniform one, at which it is zero.

    Args:
        strength: λ, not negative.

    References:
        X. Chen et al., *DrNAS*, ICLR 2021 (arXiv 2006.10355), equation 2; the KL divergence from the released code.
    """

    strength: float = 1e-3

    def __post_init__(self) -> None:
        _require_non_negative(self.strength)

    def __call__(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """See the class; decisions with a single option left add nothing."""
        if not isinstance(distribution.geometry, Concentrations):
            raise ConfigurationError(
                "the anchor penalty acts on Dirichlet concentrations: use the geometry Concentrations, not "
                f"{type(distribution.geometry).__name__}"
            )
        concentrations = distribution.geometry.concentrations(distribution.theta)
        total = distribution.theta.new_zeros(())
        for row, mask in zip(concentrations, distribution.mask, strict=True):
            kept = row[mask]
            if len(kept) > 1:
                total = total + kl_divergence(Dirichlet(kept), Dirichlet(torch.ones_like(kept)))
        return self.strength * total


@final
@dataclass(frozen=True)
class ExpectedCost(Penalty):
    """λ · E_{a ~ p}[cost(a)] / largest cost, with the cost of an architecture in multiply-accumulates.

    With c_{d,o} the price of option o in decision d, E[cost] = Σ_d Σ_o p_{d,o} c_{d,o} is exact where prices add. What
    all architectures pay alike is left out of numerator and denominator, and the largest cost is that of options which
    are not masked, so that the value lies in [0, λ].

    Args:
        strength: λ, not negative.

    References:
        S. Xie et al., *SNAS*, ICLR 2019 (arXiv 1812.09926), section 2.4; H. Cai et al., *ProxylessNAS*, ICLR 2019
        (arXiv 1812.00332), equation 7 with multiply-accumulates in place of latency.
    """

    strength: float

    def __post_init__(self) -> None:
        _require_non_negative(self.strength)

    def __call__(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """See the class."""
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        prices = replace(costs.paths, fixed=0.0)
        value: Tensor = prices.expected(p) / max(prices.largest(distribution.mask), 1.0)
        return self.strength * value


@final
@dataclass(frozen=True)
class CostTarget(Penalty):
    """λ · max(0, E_{a ~ p}[cost(a)] / target - 1): pulls the expected cost below a target; or λ · |E / target - 1|.

    The one-sided hinge leaves architectures alone whose cost is within the target; the absolute value pulls cheaper
    ones up as well. The expectation is exact, also where choices interact (`ArchitectureCosts.expected`). A penalty
    alone guarantees nothing about the architecture that is selected: `Limit` does.

    Args:
        quantity: what is bounded.
        target: in its unit, positive.
        strength: λ, not negative.
        two_sided: whether to take the absolute value.

    Raises:
        ConfigurationError: when a number is out of range, or the decisions of the supernet are not the choices of its
            space, so that p is no distribution over architectures.

    References:
        H. Cai et al., *ProxylessNAS*, ICLR 2019 (arXiv 1812.00332), section 3.3; the form with a target follows
        M. Tan et al., *MnasNet*, CVPR 2019 (arXiv 1807.11626), section 3.1, in the logarithm to first order.
    """

    quantity: Quantity
    target: float
    strength: float
    two_sided: bool = False

    def __post_init__(self) -> None:
        _require_non_negative(self.strength)
        if not 0 < self.target < math.inf:
            raise ConfigurationError(f"the target of a cost must be positive and finite, got {self.target}")

    def __call__(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """See the class."""
        decisions = distribution.relaxation.decisions
        table = costs.architectures(self.quantity)
        if [(d.name, d.options) for d in decisions] != [(c.name, c.options) for c in table.space.choices]:
            raise ConfigurationError(
                f"the expected cost needs one decision per choice, which space {table.space.name!r} has not; leave the "
                "penalty out, a budget holds without it"
            )
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        rows = {d.name: row[: d.size] for d, row in zip(decisions, p, strict=True)}
        excess = table.expected(rows) / self.target - 1
        return self.strength * (excess.abs() if self.two_sided else excess.clamp_min(0))


def _require_non_negative(strength: float) -> None:
    if not 0 <= strength < math.inf:
        raise ConfigurationError(f"the strength of a penalty must be finite and not negative, got {strength}")
