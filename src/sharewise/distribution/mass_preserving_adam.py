"""Adam for logits of which only some are compared: the probabilities of the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch.optim import Adam

__all__ = ["MassPreservingAdam"]


@final
class MassPreservingAdam(Adam):
    """Adam on rows of logits that keeps the mass of the options which received a gradient.

    A softmax couples all options: raising two logits lowers every other probability, although the step says nothing
    about those. With S the entries of a row whose gradient is not zero, α' the logits after Adam::

        α_S ← α'_S - log Σ_S exp(α'_S) + log Σ_S exp(α_S)

    so that Σ_S exp(α), and with it the probability of every option outside S, is unchanged. Where all options have a
    gradient the probabilities are those of plain Adam. Momentum would move entries without gradient: let the first beta
    be zero.

    Example:
        >>> alpha = torch.nn.Parameter(torch.zeros(1, 3))
        >>> optimizer = MassPreservingAdam([alpha], lr=0.5, betas=(0.0, 0.999))
        >>> alpha.grad = torch.tensor([[1.0, -1.0, 0.0]])
        >>> optimizer.step()
        >>> torch.softmax(alpha, -1)[0]
        tensor([0.1793, 0.4874, 0.3333], grad_fn=...)

    References:
        H. Cai, L. Zhu and S. Han, *ProxylessNAS*, ICLR 2019 (arXiv 1812.00332), section 3.2 (rescaling of the two
        updated architecture parameters).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Adam's step, then the shift of every row."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        before = [
            (theta, theta.clone(), theta.grad != 0)
            for group in self.param_groups
            for theta in group["params"]
            if theta.grad is not None
        ]
        super().step()
        for theta, old, compared in before:
            gained = _mass(theta, compared) - _mass(old, compared)
            theta.sub_(torch.where(compared, gained, 0.0))
        return loss


def _mass(logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """log Σ exp over the members of each row."""
    return logits.masked_fill(~members, -torch.inf).logsumexp(dim=-1, keepdim=True)
