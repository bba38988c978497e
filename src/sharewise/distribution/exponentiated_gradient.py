"""Exponentiated gradient: the optimiser of the simplex."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from sharewise.errors import ConfigurationError

__all__ = ["ExponentiatedGradient"]

Rows = float | Sequence[float]
"""One number for all rows of a parameter, or one for each."""


@final
class ExponentiatedGradient(Optimizer):
    """Multiplicative updates that keep every row of a parameter on the probability simplex.

    Mirror descent with the entropy as mirror map. For a row θ with gradient g, learning rate η and floor ε::

        θ ← θ · exp(-η g),   θ ← θ / Σ θ,   θ ← max(θ, ε),   θ ← θ / Σ θ

    Gradients are with respect to θ, not log θ. Entries that are exactly zero are masked options and stay zero. The
    largest exponent of a row is subtracted first, which changes nothing (the update is invariant to a constant added to
    a row's gradient) and prevents overflow.

    Args:
        params: tensors of shape `(…, k)` whose last dimension lies on the simplex.
        lr: the learning rate η, positive; or one for every row.
        floor: the lower bound ε, in [0, 1) and sensibly far below 1/k; keeps options recoverable. Or one for every row.

    Raises:
        ConfigurationError: when a setting is out of range.

    Example:
        >>> theta = torch.nn.Parameter(torch.tensor([[0.5, 0.5]]))
        >>> optimizer = ExponentiatedGradient([theta], lr=1.0)
        >>> theta.grad = torch.tensor([[torch.log(torch.tensor(3.0)), 0.0]])
        >>> optimizer.step()
        >>> theta.data
        tensor([[0.2500, 0.7500]])

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for Neural Architecture Search*, ICLR 2021 (arXiv 2004.07802),
        algorithm 1; J. Kivinen and M. Warmuth, *Exponentiated Gradient versus Gradient Descent*, 1997.

    Deviations:
        The authors' code clamps at 1e-5 before it normalises, which makes the floor depend on a constant added to the
        gradient; their Gumbel variant normalises first and clamps then. Here both: normalised, clamped, and normalised
        again, so that the update is invariant at the floor too. Inside the simplex all of these coincide.
    """

    def __init__(self, params: Iterable[Tensor], lr: Rows = 0.1, floor: Rows = 1e-5) -> None:
        if min(_listed(lr)) <= 0:
            raise ConfigurationError(f"the learning rate must be positive, got {lr}")
        if not all(0 <= value < 1 for value in _listed(floor)):
            raise ConfigurationError(f"the floor must lie in [0, 1), got {floor}")
        super().__init__(params, {"lr": lr, "floor": floor})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; `closure`, if given, re-evaluates the loss first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is not None:
                    rate, floor = (_by_row(group[name], theta) for name in ("lr", "floor"))
                    theta.copy_(exponentiated_step(theta, theta.grad, rate, floor))
        return loss


def _listed(rows: Rows) -> Sequence[float]:
    return [rows] if isinstance(rows, int | float) else rows


def _by_row(rows: Rows, theta: Tensor) -> Tensor | float:
    return rows if isinstance(rows, int | float) else _column(tuple(rows), theta.dtype, theta.device)


@cache
def _column(rows: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: a copy to a device makes the host wait."""
    return torch.tensor(rows, dtype=dtype, device=device)[:, None]


def exponentiated_step(theta: Tensor, gradient: Tensor, lr: float | Tensor, floor: float | Tensor = 0.0) -> Tensor:
    """One exponentiated-gradient step on rows of the simplex, as a pure function.

    Args:
        theta: shape `(…, k)`, rows summing to one; exact zeros are masked.
        gradient: of the loss with respect to θ, same shape.
        lr: the learning rate, a number or of shape `(…, 1)`.
        floor: lower bound before normalisation, likewise.

    Returns:
        The new θ.

    Example:
        >>> exponentiated_step(torch.tensor([0.5, 0.5, 0.0]), torch.zeros(3), lr=1.0, floor=1e-3)
        tensor([0.5000, 0.5000, 0.0000])
    """
    alive = theta > 0
    exponent = torch.where(alive, -lr * gradient, -torch.inf)
    exponent = exponent - exponent.amax(dim=-1, keepdim=True)
    updated = (theta * exponent.exp()) / (theta * exponent.exp()).sum(dim=-1, keepdim=True)
    clamped = torch.where(alive, updated.clamp(min=floor), 0.0)
    return clamped / clamped.sum(dim=-1, keepdim=True)
