"""REINFORCE with a factored policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sharewise.errors import ConfigurationError
from sharewise.strategy.representation import ATTEMPTS, Ranks, Representation
from sharewise.strategy.strategy import Proposal, Strategy, Trial

__all__ = ["Reinforce"]

Floats = NDArray[np.float64]


class _Policy(NamedTuple):
    logits: Floats
    """(choices, options), minus infinity where a choice has fewer options; none of the arrays is ever written to."""
    probabilities: Floats
    """Their softmax."""
    mean: Floats
    """First moment of Adam."""
    square: Floats
    """Second moment of Adam."""
    steps: int
    numerator: float
    denominator: float
    """Of the moving average of rewards."""


@final
@dataclass(frozen=True)
class Reinforce(Strategy[_Policy]):
    """Learn a distribution over each choice by itself from the signals of samples.

    A step moves the logits θ by Adam along (r - b) ∇ log π(a), where ∇ log π(a) = onehot(a) - softmax(θ) for every
    choice, and b is the exponential moving average of the rewards, corrected for its start and updated before the step.

    Args:
        learning_rate: of Adam (β = 0.9, 0.999, ε = 1e-8).
        momentum: of the baseline, in [0, 1).
        scale: deviation of the first logits.

    Raises:
        ConfigurationError: when a value is out of range.

    References:
        R. Williams, *Simple statistical gradient-following algorithms*, Machine Learning 1992; settings and equations
        of the NATS-Bench program (`exps/NATS-algos/reinforce.py` of AutoDL-Projects, learning rate 0.01).

    Deviations:
        On a partial table actions are redrawn until the architecture is covered, without a correction of the gradient.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    scale: float = 1e-3

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not 0 <= self.momentum < 1 or self.scale < 0:
            raise ConfigurationError(f"learning_rate > 0, momentum in [0, 1) and scale >= 0 are needed, got {self}")

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> _Policy:
        """See `Strategy.start`.

        Raises:
            ConfigurationError: when the choices of the space depend on each other.
        """
        radices = _ranks(representation).radices
        shape = len(radices), max(radices)
        logits = self.scale * rng.standard_normal(shape)
        logits[np.arange(shape[1]) >= np.array(radices)[:, None]] = -np.inf
        return _Policy(logits, _softmax(logits), np.zeros(shape), np.zeros(shape), 0, 0.0, 0.0)

    def propose(self, representation: Representation, state: _Policy, rng: np.random.Generator) -> Proposal:
        """See `Strategy.propose`."""
        ranks = _ranks(representation)
        ends = np.cumsum(state.probabilities, axis=1)
        last = np.array(ranks.radices) - 1
        for _ in range(ATTEMPTS):
            digits = np.minimum((rng.random((len(ends), 1)) >= ends).sum(axis=1), last)
            genotype = ranks.from_digits(digits)
            if ranks.allows(genotype):
                return Proposal(genotype)
        raise ConfigurationError(f"{ATTEMPTS:,} samples of the policy in a row are not covered by the table")

    def update(self, representation: Representation, state: _Policy, trial: Trial) -> _Policy:
        """See `Strategy.update`; a signal that is no finite number (a training that failed) teaches nothing."""
        if not np.isfinite(trial.value):
            return state
        numerator = self.momentum * state.numerator + (1 - self.momentum) * trial.value
        denominator = self.momentum * state.denominator + (1 - self.momentum)
        gradient = state.probabilities.copy()
        gradient[np.arange(len(gradient)), _ranks(representation).digits(trial.genotype)] -= 1
        gradient *= trial.value - numerator / denominator
        steps = state.steps + 1
        mean = 0.9 * state.mean + 0.1 * gradient
        square = 0.999 * state.square + 0.001 * gradient**2
        moved = mean / (1 - 0.9**steps) / (np.sqrt(square / (1 - 0.999**steps)) + 1e-8)
        logits = state.logits - self.learning_rate * moved
        return _Policy(logits, _softmax(logits), mean, square, steps, numerator, denominator)


def _softmax(logits: Floats) -> Floats:
    weights: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _ranks(representation: Representation) -> Ranks:
    if not isinstance(representation, Ranks):
        raise ConfigurationError(
            f"a factored policy needs independent choices; those of space {representation.space.name!r} depend on "
            "each other. Use evolution or local search there"
        )
    return representation
