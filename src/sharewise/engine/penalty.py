"""Penalties on a distribution: terms added to the loss of an architecture step, the same under every geometry."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sharewise.distribution import Factored
from sharewise.errors import ConfigurationError

__all__ = ["EntropyPenalty", "Penalty", "WeightDecay"]


class Penalty(ABC):
    """A differentiable scalar of θ."""

    @abstractmethod
    def __call__(self, distribution: Factored) -> Tensor:
        """The value to be added to the loss."""


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

    def __call__(self, distribution: Factored) -> Tensor:
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

    def __call__(self, distribution: Factored) -> Tensor:
        """See the class."""
        p = distribution.geometry.probabilities(distribution.theta, distribution.mask)
        k = distribution.mask.sum(dim=-1, keepdim=True).to(p.dtype)
        value: Tensor = torch.special.xlogy(p, p.clamp_min(torch.finfo(p.dtype).tiny) * k).sum()
        return self.strength * value


def _require_non_negative(strength: float) -> None:
    if not 0 <= strength < math.inf:
        raise ConfigurationError(f"the strength of a penalty must be finite and not negative, got {strength}")
