"""Geometry: what θ is, how it becomes probabilities, and how it moves.

DARTS against GAEA is a change of geometry and nothing else. All decisions of a distribution live in one matrix with a
row per decision; entries that are padding, excluded or pruned are masked.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import logsigmoid
from torch.optim import Adam, Optimizer

from sharewise.distribution.exponentiated_gradient import ExponentiatedGradient
from sharewise.distribution.mass_preserving_adam import MassPreservingAdam
from sharewise.errors import ConfigurationError
from sharewise.space import Decision

__all__ = ["Concentrations", "Geometry", "SigmoidLogits", "Simplex", "SoftmaxLogits"]


class Geometry(ABC):
    """The coordinates of a distribution over options."""

    competing: ClassVar[bool] = True
    """Whether the options of a decision share one unit of weight in a mixture."""

    def among(self, decisions: Sequence[Decision]) -> Geometry:
        """The geometry as these decisions move in it, one row each; itself, where it treats all of them alike."""
        return self

    @abstractmethod
    def initial(self, mask: Tensor, generator: torch.Generator) -> Tensor:
        """θ at the start, of the mask's shape `(decisions, k)`; `mask` is true where an option exists."""

    @abstractmethod
    def log_probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """log p of shape `(decisions, k)`, differentiable; -inf where masked."""

    @abstractmethod
    def probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """The probabilities p of shape `(decisions, k)`, differentiable; rows sum to one, masked entries are zero."""

    def mixture(self, theta: Tensor, mask: Tensor) -> Tensor:
        """The weights of a mixture of all options, shape `(decisions, k)`: the probabilities, where options compete."""
        return self.probabilities(theta, mask)

    @abstractmethod
    def optimizer(self, theta: Parameter) -> Optimizer:
        """The optimiser that moves θ within this geometry."""

    @abstractmethod
    def restricted(self, theta: Tensor, mask: Tensor) -> Tensor:
        """θ after options were masked: a legal value whose remaining options keep their proportions."""


@dataclass(frozen=True)
class Logits(Geometry):
    """Unconstrained parameters α, one per option, moved by Adam without weight decay, which is a penalty here.

    Args:
        learning_rate: of Adam.
        betas: of Adam.
        scale: standard deviation of the initial α.
    """

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    scale: float = 1e-3

    def __post_init__(self) -> None:
        _require_positive(self.learning_rate)

    def initial(self, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Normal noise of standard deviation `scale`."""
        return self.scale * torch.randn(mask.shape, generator=generator) * mask

    def optimizer(self, theta: Parameter) -> Optimizer:
        """Adam."""
        return Adam([theta], lr=self.learning_rate, betas=self.betas)

    def restricted(self, theta: Tensor, mask: Tensor) -> Tensor:
        """α unchanged where it remains."""
        return theta * mask


@final
@dataclass(frozen=True)
class SoftmaxLogits(Logits):
    """Logits α with p = softmax(α), moved by Adam.

    Args:
        learning_rate: of Adam.
        betas: of Adam.
        scale: standard deviation of the initial logits.
        preserve_mass: whether a step leaves the probabilities of options without gradient as they are (see
            `MassPreservingAdam`; for the two-path estimator, with a first beta of zero).

    Raises:
        ConfigurationError: when a value is out of range.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), equation 2 and section 3.1.
    """

    preserve_mass: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preserve_mass and self.betas[0] != 0:
            raise ConfigurationError(
                f"preserve_mass needs a first beta of 0, got betas={self.betas}: momentum would move options that "
                "have no gradient"
            )

    def log_probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """log softmax over the options that are not masked."""
        return torch.log_softmax(theta.masked_fill(~mask, -torch.inf), dim=-1)

    def probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """Softmax over the options that are not masked."""
        return torch.softmax(theta.masked_fill(~mask, -torch.inf), dim=-1)

    def optimizer(self, theta: Parameter) -> Optimizer:
        """Adam, or the one that preserves mass."""
        if self.preserve_mass:
            return MassPreservingAdam([theta], lr=self.learning_rate, betas=self.betas)
        return super().optimizer(theta)


@final
@dataclass(frozen=True)
class SigmoidLogits(Logits):
    """Logits α whose options do not compete: each has a mixture weight σ(α) of its own, moved by Adam.

    Where probabilities are asked for (sampling, entropy, selection) they are p = σ(α) / Σ σ(α), in the same order.

    Args:
        learning_rate: of Adam.
        betas: of Adam.
        scale: standard deviation of the initial logits.

    References:
        X. Chu et al., *Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search*, ECCV 2020
        (arXiv 1911.12126), equation 3.
    """

    competing: ClassVar[bool] = False

    def log_probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """log σ(α), normalised over the options that are not masked."""
        return torch.log_softmax(logsigmoid(theta).masked_fill(~mask, -torch.inf), dim=-1)

    def probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """σ(α) / Σ σ(α) over the options that are not masked."""
        return torch.softmax(logsigmoid(theta).masked_fill(~mask, -torch.inf), dim=-1)

    def mixture(self, theta: Tensor, mask: Tensor) -> Tensor:
        """σ(α), each in (0, 1); rows do not sum to one."""
        return torch.sigmoid(theta) * mask


@final
@dataclass(frozen=True)
class Concentrations(Logits):
    """Dirichlet distributions over the simplex: concentrations β = elu(α) + 1, moved by Adam on α.

    The probabilities are the means β / Σ β. At α = 0 the distribution is uniform over the simplex, Dir(1). Masking
    leaves the marginal on the other options, normalised, which is their Dirichlet distribution.

    Args:
        learning_rate: of Adam.
        betas: of Adam.
        scale: standard deviation of the initial α.

    References:
        X. Chen et al., *DrNAS: Dirichlet Neural Architecture Search*, ICLR 2021 (arXiv 2006.10355), section 3.1.

    Deviations:
        β is held above exp(-13), where its gradients can still be computed in single precision.
    """

    def concentrations(self, theta: Tensor) -> Tensor:
        """β = elu(α) + 1, computed as α + 1 or exp(α), which does not round to zero."""
        # Bounded above 0, since the gradient at a bound itself is one thing in torch 2.13 and another in 2.14.
        return torch.where(theta > 0, theta + 1, theta.clamp(-13, 1).exp())

    def log_probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """Logarithm of the mean; masked entries pass no gradient."""
        return torch.log_softmax(self.concentrations(theta).log().masked_fill(~mask, -torch.inf), dim=-1)

    def probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """The mean β / Σ β over the options that are not masked."""
        kept = self.concentrations(theta) * mask
        return kept / kept.sum(dim=-1, keepdim=True)


@final
@dataclass(frozen=True)
class Simplex(Geometry):
    """Weights θ on the simplex itself, p = θ, moved by exponentiated gradient.

    Rows of decisions that weigh (`Decision.weighs`, the edges into a node) may approach zero, and may have a rate of
    their own.

    Args:
        learning_rate: η of the multiplicative update.
        floor: the smallest θ before normalisation, of decisions that pick.
        edge_learning_rate: η of decisions that weigh; `None` for the same.
        weighing: for every row whether it weighs; `among` fills it in.

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for Neural Architecture Search*, ICLR 2021 (arXiv 2004.07802),
        and the released code for the edges.
    """

    learning_rate: float = 0.1
    floor: float = 1e-5
    edge_learning_rate: float | None = None
    weighing: tuple[bool, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _require_positive(self.learning_rate)
        if self.edge_learning_rate is not None:
            _require_positive(self.edge_learning_rate)
        if not 0 <= self.floor < 1:
            raise ConfigurationError(f"the floor of the simplex must lie in [0, 1), got {self.floor}")

    def among(self, decisions: Sequence[Decision]) -> Simplex:
        """With the rows that weigh, where there are any."""
        weighing = tuple(decision.weighs for decision in decisions)
        return replace(self, weighing=weighing if any(weighing) else ())

    def initial(self, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform over the options that are not masked."""
        if self.floor * int(mask.sum(dim=-1).max()) >= 1:
            raise ConfigurationError(
                f"the floor {self.floor} of the simplex leaves no room for {int(mask.sum(dim=-1).max())} options; "
                "it must be less than one over their number"
            )
        return mask / mask.sum(dim=-1, keepdim=True)

    def log_probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """log θ; masked entries pass no gradient."""
        tiny = torch.finfo(theta.dtype).tiny  # an entry that has underflowed must not make gradients of others NaN
        return torch.where(mask, theta.masked_fill(~mask, 1.0).clamp_min(tiny).log(), -torch.inf)

    def probabilities(self, theta: Tensor, mask: Tensor) -> Tensor:
        """θ itself."""
        return theta * mask

    def optimizer(self, theta: Parameter) -> Optimizer:
        """Exponentiated gradient, by rows where some of them weigh."""
        edges = self.learning_rate if self.edge_learning_rate is None else self.edge_learning_rate
        if not self.weighing:
            return ExponentiatedGradient([theta], lr=self.learning_rate, floor=self.floor)
        return ExponentiatedGradient(
            [theta],
            lr=[edges if weighs else self.learning_rate for weighs in self.weighing],
            floor=[0.0 if weighs else self.floor for weighs in self.weighing],
        )

    def restricted(self, theta: Tensor, mask: Tensor) -> Tensor:
        """The remaining entries, normalised again."""
        kept = theta * mask
        return kept / kept.sum(dim=-1, keepdim=True)


def _require_positive(learning_rate: float) -> None:
    if not 0 < learning_rate < math.inf:
        raise ConfigurationError(f"the architecture learning rate must be positive and finite, got {learning_rate}")
