"""AlphaNet's loss: an adaptive alpha-divergence in the place of the cross-entropy of soft targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from sharewise.errors import ConfigurationError

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["AlphaDivergence"]


@final
@dataclass(frozen=True)
class AlphaDivergence:
    """The larger of two divergences of the teacher's probabilities p from the network's q, in value at every example.

    D_α(p ‖ q) = Σ_c q_c ((p_c / q_c)^α - 1) / (α (α - 1)), for the α in {α₋, α₊} whose value is larger; at α = 1 the
    divergence of Kullback and Leibler. Its gradient is that of -Σ_c q_c (p_c / q_c)^α log q_c / α with all but log q
    held fixed. Where α ≠ 1 the power of the ratio is clipped at β, in value and gradient.

    Args:
        least: α₋.
        most: α₊; 1 is the divergence of Kullback and Leibler.
        clip: β, positive.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> even = torch.zeros(1, 2, requires_grad=True)
        >>> float(AlphaDivergence().of(even, torch.zeros(1, 2)).detach())
        0.0

    References:
        D. Wang et al., *AlphaNet*, ICML 2021 (arXiv 2102.07954), equations 5 to 8 and algorithm 1; the released code
        takes α in {-1, 1} and clips at 5.
    """

    least: float = -1.0
    most: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        if not self.clip > 0 or self.least >= self.most or 0.0 in (self.least, self.most):
            raise ConfigurationError(
                "an alpha-divergence needs least < most, neither of them 0, and a positive clip, got "
                f"least={self.least}, most={self.most}, clip={self.clip}"
            )

    def __call__(self, state: SearchState, outputs: Tensor, teacher: Tensor) -> Tensor:
        """See `of`."""
        return self.of(outputs, teacher)

    def of(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """The mean over all positions.

        Args:
            outputs: class scores of the network that learns, classes last.
            teacher: those of the other one.
        """
        log_q, log_p = (_rows(scores).log_softmax(-1) for scores in (outputs, teacher.detach()))
        first, second = (self._one(alpha, log_q, log_p) for alpha in (self.least, self.most))
        larger = (first[0] > second[0]).detach()
        return torch.where(larger, first[1], second[1]).mean()

    def _one(self, alpha: float, log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
        """The value of a divergence, and what has its value and the clipped gradient."""
        difference = log_p - log_q.detach()  # and never a ratio, which under- or overflows
        if alpha == 1.0:
            p = log_p.exp()
            value, slope = (p * difference).sum(-1), -(p * log_q).sum(-1)
            return value, value + slope - slope.detach()
        q, power = log_q.detach().exp(), (alpha * difference).exp().clamp(max=self.clip)
        value = (q * (power - 1)).sum(-1) / (alpha * (alpha - 1))
        slope = -(q * power * log_q).sum(-1) / alpha
        return value, value + slope - slope.detach()


def _rows(scores: Tensor) -> Tensor:
    """One row for each position, in at least single precision."""
    rows = scores.flatten(0, -2)
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
