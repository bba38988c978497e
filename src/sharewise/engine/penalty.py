"""Penalties on a distribution: terms added to the loss of an architecture step, the same under every geometry."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, final

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from sharewise.cost import Quantity, SupernetCost
from sharewise.distribution import (
    Bounded,
    Concentrations,
    Factored,
    Geometry,
    Phase,
    Setting,
    SigmoidLogits,
    SoftmaxLogits,
)
from sharewise.engine.part import Part
from sharewise.errors import ConfigurationError, unknown_name

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState

__all__ = [
    "AnchorPenalty",
    "BetaDecay",
    "CostTarget",
    "EntropyPenalty",
    "ExpectedCost",
    "Penalty",
    "WeightDecay",
    "ZeroOnePenalty",
]


class Penalty(Part):
    """λ times a differentiable scalar of θ, added to the loss of every architecture step.

    A penalty is its strength and its `value`. For instance the largest logit of every decision, held down ever more:

    Example:
        >>> from sharewise.distribution import Linear
        >>> @dataclass(frozen=True)
        ... class LargestLogit(Penalty):
        ...     strength: Setting
        ...
        ...     def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        ...         return distribution.theta.masked_fill(~distribution.mask, -torch.inf).amax(dim=-1).mean()
        >>> Phase("architecture", 2, 3).value(LargestLogit(Linear(0.0, 50.0)).strength)
        50.0
    """

    strength: Setting
    """λ, a number or a schedule over the epochs, never negative."""

    geometry: ClassVar[type] = Geometry
    """The geometries whose θ the penalty understands."""

    def __post_init__(self) -> None:
        if not callable(self.strength):  # a schedule is checked by the recipe, which knows the number of epochs
            Bounded(self.strength).check(self._strength_name())

    def __call__(self, distribution: Factored, costs: SupernetCost, phase: Phase) -> Tensor:
        """The value to be added to the loss: λ at this moment, times `value`.

        Args:
            distribution: its θ is penalised.
            costs: of the supernet's options.
            phase: the moment.
        """
        return phase.value(self.strength) * self.value(distribution, costs)

    @abstractmethod
    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """The penalty at strength one, differentiable; masked entries of θ have no part in it.

        Args:
            distribution: its θ is penalised.
            costs: of the supernet's options.
        """

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """The strength."""
        return {self._strength_name(): Bounded(self.strength)}

    def fits(self, recipe: Recipe) -> None:
        """Refuse a distribution that has no row of θ for every decision, or has it in another geometry."""
        found = recipe.distribution.coordinates
        if found is None:
            raise ConfigurationError(
                f"penalties act on the parameters of independent decisions, but distribution "
                f"{type(recipe.distribution).__name__} has none; remove them"
            )
        self.require(found)

    def check(self, state: SearchState) -> None:
        """Take the value once, before a search begins, so that one that does not fit the space speaks up now."""
        assert isinstance(state.distribution, Factored)  # see `fits`
        with torch.no_grad():
            self(state.distribution, state.costs, state.phase("architecture"))

    def require(self, geometry: Geometry) -> None:
        """Refuse a geometry whose θ means something else.

        Raises:
            ConfigurationError: naming both.
        """
        if not isinstance(geometry, self.geometry):
            raise ConfigurationError(
                f"penalty {type(self).__name__} cannot act on this θ: use the geometry {self.geometry.__name__}, not "
                f"{type(geometry).__name__}"
            )

    def _strength_name(self) -> str:
        return f"strength of penalty {type(self).__name__}"


@final
@dataclass(frozen=True)
class WeightDecay(Penalty):
    """λ/2 · Σ θ², whose gradient is λθ: exactly the L2 weight decay of Adam or SGD.

    Args:
        strength: λ, not negative; a number or a schedule.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 3.1 (1e-3 on the logits).
    """

    strength: Setting = 1e-3

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """Half the squared norm of what is not masked."""
        return 0.5 * (distribution.theta * distribution.mask).square().sum()


@final
@dataclass(frozen=True)
class EntropyPenalty(Penalty):
    """λ · Σ p log(p · k) over all decisions with k options each: zero at uniform, positive for sparse p.

    A positive strength therefore keeps the distribution from collapsing.

    Args:
        strength: λ, not negative; a number or a schedule. GAEA uses 0.01 with the Gumbel estimator and 0 otherwise.

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for NAS*, ICLR 2021 (arXiv 2004.07802), released code.
    """

    strength: Setting = 0.01

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """The negative entropy, counted from that of the uniform distribution."""
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        k = distribution.mask.sum(dim=-1, keepdim=True).to(p.dtype)
        value: Tensor = torch.special.xlogy(p, p.clamp_min(torch.finfo(p.dtype).tiny) * k).sum()
        return value


@final
@dataclass(frozen=True)
class AnchorPenalty(Penalty):
    """λ · Σ_d KL(Dir(β_d) ‖ Dir(1)): holds every Dirichlet distribution near the uniform one, at which it is zero.

    Args:
        strength: λ, not negative; a number or a schedule.

    References:
        X. Chen et al., *DrNAS*, ICLR 2021 (arXiv 2006.10355), equation 2; the KL divergence from the released code.
    """

    strength: Setting = 1e-3
    geometry: ClassVar[type] = Concentrations

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """The divergence; decisions with a single option left add nothing."""
        self.require(distribution.geometry)
        assert isinstance(distribution.geometry, Concentrations)
        concentrations = distribution.geometry.concentrations(distribution.theta)
        total = distribution.theta.new_zeros(())
        for row, mask in zip(concentrations, distribution.mask, strict=True):
            kept = row[mask]
            if len(kept) > 1:
                total = total + kl_divergence(Dirichlet(kept), Dirichlet(torch.ones_like(kept)))
        return total


@final
@dataclass(frozen=True)
class BetaDecay(Penalty):
    """λ · mean over decisions d of log Σ_o exp(α_{d,o}): β-decay, which holds the logits low and alike.

    Its gradient with respect to α_{d,o} is λ p_{d,o} over the number of decisions, so that the strongest option is held
    back most, whereas weight decay pulls by the size of α.

    Args:
        strength: λ, not negative; a number or a schedule. The paper raises it linearly from 0 to 50.

    References:
        P. Ye et al., *β-DARTS: Beta-Decay Regularization for Differentiable Architecture Search*, CVPR 2022
        (arXiv 2203.01665), and the released code.
    """

    strength: Setting
    geometry: ClassVar[type] = SoftmaxLogits

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """The mean of the logarithms."""
        self.require(distribution.geometry)
        value: Tensor = distribution.theta.masked_fill(~distribution.mask, -torch.inf).logsumexp(dim=-1).mean()
        return value


@final
@dataclass(frozen=True)
class ZeroOnePenalty(Penalty):
    """-λ · mean over options of (σ(α) - 1/2)²: pushes weights that do not compete towards zero or one.

    Args:
        strength: λ, not negative; a number or a schedule. Fair-DARTS uses 10.
        norm: `"l2"` as above, or `"l1"` for |σ(α) - 1/2|, whose pull is the same however near to 1/2 an option is.

    Raises:
        ConfigurationError: for a norm that is neither.

    References:
        X. Chu et al., *Fair DARTS*, ECCV 2020 (arXiv 1911.12126), the zero-one loss, and the released code.
    """

    strength: Setting = 10.0
    norm: Literal["l2", "l1"] = "l2"
    geometry: ClassVar[type] = SigmoidLogits

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in ("l2", "l1"):
            raise unknown_name("norm of penalty ZeroOnePenalty:", self.norm, ("l2", "l1"))

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """The negative mean distance from one half, over the options that are not masked."""
        self.require(distribution.geometry)
        distance = (distribution.theta.sigmoid() - 0.5).abs() * distribution.mask
        return -(distance.square() if self.norm == "l2" else distance).sum() / distribution.mask.sum()


@final
@dataclass(frozen=True)
class ExpectedCost(Penalty):
    """λ · E_{a ~ p}[cost(a)] / largest cost, with the cost of an architecture in multiply-accumulates.

    With c_{d,o} the price of option o in decision d, E[cost] = Σ_d Σ_o p_{d,o} c_{d,o} where prices add; where a layer
    reads several decisions S, its table adds Σ_{o_S} c_{S,o_S} Π_{d ∈ S} p_{d,o_d}, exactly (`SupernetCost.paths`). So
    an edge with a weight β_e of its own (partial channels) adds β_e Σ_o p_{e,o} c_{e,o}, as the mixture weighs it.
    Layers that read no decision are left out of numerator and denominator, and the largest cost is the sum over groups
    of their largest entries among options which are not masked, so that the value lies in [0, λ].

    Args:
        strength: λ, not negative; a number or a schedule.

    References:
        S. Xie et al., *SNAS*, ICLR 2019 (arXiv 1812.09926), section 2.4; H. Cai et al., *ProxylessNAS*, ICLR 2019
        (arXiv 1812.00332), equation 7 with multiply-accumulates in place of latency.
    """

    strength: Setting

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """The expected cost over the largest one."""
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        prices = replace(costs.paths, fixed=0.0)
        value: Tensor = prices.expected(p) / max(prices.largest(distribution.mask), 1.0)
        return value


@final
@dataclass(frozen=True)
class CostTarget(Penalty):
    """λ · max(0, E_{a ~ p}[cost(a)] / target - 1): pulls the expected cost below a target; or λ · |E / target - 1|.

    The one-sided hinge leaves architectures alone whose cost is within the target; the absolute value pulls cheaper
    ones up as well. The expectation is exact, also where choices interact (`SupernetCost.expected`). Where decisions
    are not choices, as in a DARTS cell, an architecture is drawn in proportion to the product of the probabilities of
    all that it takes (`sharewise.cost.Blocks`). A penalty alone guarantees nothing about the architecture that is
    selected: `Limit` does.

    Args:
        quantity: what is bounded.
        target: in its unit, positive.
        strength: λ, not negative; a number or a schedule.
        two_sided: whether to take the absolute value.

    Raises:
        ConfigurationError: when a number is out of range, or the expected cost of an architecture is not known.

    References:
        H. Cai et al., *ProxylessNAS*, ICLR 2019 (arXiv 1812.00332), section 3.3; the form with a target follows
        M. Tan et al., *MnasNet*, CVPR 2019 (arXiv 1807.11626), section 3.1, in the logarithm to first order.
    """

    quantity: Quantity
    target: float
    strength: Setting
    two_sided: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.target < math.inf:
            raise ConfigurationError(f"the target of a cost must be positive and finite, got {self.target}")

    def value(self, distribution: Factored, costs: SupernetCost) -> Tensor:
        """What the expected cost exceeds the target by, as a part of it."""
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        excess = costs.expected(self.quantity, p) / self.target - 1
        return excess.abs() if self.two_sided else excess.clamp_min(0)
