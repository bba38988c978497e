"""How the shared weights move."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch.nn import Parameter

from sharewise.distribution import Schedule
from sharewise.errors import ConfigurationError

__all__ = ["WeightOptimization"]


@final
@dataclass(frozen=True)
class WeightOptimization:
    """Stochastic gradient descent with momentum for the shared weights w.

    Args:
        learning_rate: over the epochs.
        momentum: in [0, 1).
        weight_decay: L2, added to the gradient.
        nesterov: whether momentum looks ahead.
        gradient_clip: largest global norm of the gradient, or `None`.

    Deviations:
        Options that were not active have no gradient at all (not zero), so momentum and weight decay leave them alone
        in that step; implementations that write zero gradients decay them.
    """

    learning_rate: Schedule
    momentum: float = 0.9
    weight_decay: float = 3e-4
    nesterov: bool = False
    gradient_clip: float | None = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ConfigurationError(f"momentum must lie in [0, 1), got {self.momentum}")
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("nesterov needs a momentum, got momentum=0; set nesterov to False")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigurationError(f"weight decay must be finite and not negative, got {self.weight_decay}")
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise ConfigurationError(f"the gradient clip must be positive or absent, got {self.gradient_clip}")
        if not self.learning_rate(0, 1) > 0:
            raise ConfigurationError(f"the learning rate must be positive, got {self.learning_rate(0, 1)}")

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.SGD:
        """The optimiser, at the learning rate of the first epoch."""
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate(0, 1),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )
