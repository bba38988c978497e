"""How the shared weights move."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch.nn import Parameter

from sharewise.distribution import Bounded, Schedule
from sharewise.engine.part import Part
from sharewise.engine.root_mean_square import RootMeanSquare
from sharewise.errors import ConfigurationError

__all__ = ["AdamOptimization", "Optimization", "RootMeanSquareOptimization", "WeightOptimization"]


class Optimization(Part):
    """A rule by which the shared weights w descend: what a recipe holds in `weights`."""

    learning_rate: Schedule
    gradient_clip: float | None

    unrollable: ClassVar[bool] = False
    """Whether a step is one of `torch.optim.SGD`, which a level can differentiate (see `unrolled_step`)."""

    continuous: ClassVar[bool] = True
    """Whether gradients that differ by an error of rounding move weights that differ by no more."""

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """The learning rate, which may fall to zero."""
        return {"learning rate": Bounded(self.learning_rate)}

    @abstractmethod
    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        """The optimiser, at the learning rate of the first epoch."""


@final
@dataclass(frozen=True)
class WeightOptimization(Optimization):
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
    unrollable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.learning_rate, self.momentum, self.weight_decay, self.gradient_clip)
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("nesterov needs a momentum, got momentum=0; set nesterov to False")

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.SGD:
        """See `Optimization.build`."""
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate(0, 1),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )


@final
@dataclass(frozen=True)
class RootMeanSquareOptimization(Optimization):
    """RMSProp with the semantics of TensorFlow for the shared weights w: see `RootMeanSquare`.

    Defaults are those of NAS-Bench-101 and of *To Share or Not To Share*.

    Args:
        learning_rate: over the epochs.
        momentum: in [0, 1).
        weight_decay: L2, added to the gradient.
        decay: of the running mean of squares, in [0, 1).
        epsilon: added to that mean within the root, positive.
        gradient_clip: largest global norm of the gradient, or `None`.

    Deviations:
        The learning rate follows epochs, that of the benchmark single steps. Options that were not active rest, as
        under `WeightOptimization`. The released code of *To Share or Not To Share* adds ε to the running mean itself in
        every step, which makes steps some ten times smaller; that is not copied.

    Example:
        >>> from sharewise.engine import Cosine
        >>> RootMeanSquareOptimization(Cosine(0.2)).epsilon
        1.0
    """

    learning_rate: Schedule
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay: float = 0.9
    epsilon: float = 1.0
    gradient_clip: float | None = None

    def __post_init__(self) -> None:
        _check(self.learning_rate, self.momentum, self.weight_decay, self.gradient_clip)
        if not 0 <= self.decay < 1:
            raise ConfigurationError(f"the decay of squares must lie in [0, 1), got {self.decay}")
        if not 0 < self.epsilon < math.inf:
            raise ConfigurationError(f"epsilon must be positive and finite, got {self.epsilon}")

    def build(self, parameters: Iterable[Parameter]) -> RootMeanSquare:
        """See `Optimization.build`."""
        return RootMeanSquare(
            parameters,
            lr=self.learning_rate(0, 1),
            decay=self.decay,
            epsilon=self.epsilon,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


@final
@dataclass(frozen=True)
class AdamOptimization(Optimization):
    """Adam for the shared weights w: for networks without batch norm, which one learning rate fits badly.

    Args:
        learning_rate: over the epochs.
        betas: decay rates of the moments, in [0, 1).
        weight_decay: L2, added to the gradient.
        gradient_clip: largest global norm of the gradient, or `None`.
        decoupled: whether weights shrink by learning rate · weight decay in each step instead, apart from the gradient
            and its moments (AdamW), as transformers are trained.

    References:
        D. Kingma and J. Ba, *Adam*, ICLR 2015 (arXiv 1412.6980); I. Loshchilov and F. Hutter, *Decoupled Weight Decay
        Regularization*, ICLR 2019 (arXiv 1711.05101), algorithm 2.
    """

    learning_rate: Schedule
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4
    gradient_clip: float | None = 5.0
    decoupled: bool = False
    continuous: ClassVar[bool] = False  # a gradient that is zero but for rounding is divided by its own size

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigurationError(f"the betas of Adam must lie in [0, 1), got {self.betas}")
        _check(self.learning_rate, 0.0, self.weight_decay, self.gradient_clip)

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Adam:
        """See `Optimization.build`."""
        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        return kind(parameters, lr=self.learning_rate(0, 1), betas=self.betas, weight_decay=self.weight_decay)


def _check(learning_rate: Schedule, momentum: float, weight_decay: float, gradient_clip: float | None) -> None:
    if not 0 <= momentum < 1:
        raise ConfigurationError(f"momentum must lie in [0, 1), got {momentum}")
    if not 0 <= weight_decay < math.inf:
        raise ConfigurationError(f"weight decay must be finite and not negative, got {weight_decay}")
    if gradient_clip is not None and gradient_clip <= 0:
        raise ConfigurationError(f"the gradient clip must be positive or absent, got {gradient_clip}")
    if not learning_rate(0, 1) > 0:
        raise ConfigurationError(f"the learning rate must be positive, got {learning_rate(0, 1)}")
