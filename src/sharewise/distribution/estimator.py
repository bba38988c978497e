"""Estimator: from probabilities to gates, and what the gradient through them means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sharewise.distribution.phase import Phase, Schedule
from sharewise.errors import ConfigurationError

__all__ = ["Estimator", "Expectation", "StraightThroughGumbel"]


class Estimator(ABC):
    """How one set of gates is made from the probabilities of all decisions."""

    sampled: bool
    """Whether draws are random; then the distribution stays on the host, where `active` is decided without a device
    synchronisation."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Values that change over the epochs, by name; all must stay positive."""
        return {}

    @abstractmethod
    def weights(
        self, log_p: Tensor, p: Tensor, phase: Phase, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Gate weights and which options are active.

        Args:
            log_p: log-probabilities, shape `(decisions, k)`, -inf where masked.
            p: probabilities, same shape, zero where masked.
            phase: which step asks.
            generator: source of randomness.

        Returns:
            Weights of shape `(decisions, k)`, differentiable, and a boolean tensor of the same shape on the host, or
            `None` where every option that is not masked is active.
        """


@final
@dataclass(frozen=True)
class Expectation(Estimator):
    """The gates are the probabilities: every option is executed.

    Gradient: exact for the mixture's loss, which is not the expected loss of a sampled architecture. Cost and memory
    grow with the number k of options.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), equation 2.
    """

    sampled: bool = False

    def weights(self, log_p: Tensor, p: Tensor, phase: Phase, generator: torch.Generator) -> tuple[Tensor, None]:
        """p itself, with every option active that is not masked (also one whose probability underflows)."""
        return p, None


@final
@dataclass(frozen=True)
class StraightThroughGumbel(Estimator):
    """One option per decision by the Gumbel-max trick, with the gradient of the relaxed sample.

    With Gumbel noise G and temperature τ: p̃ = softmax((log p + G) / τ), h = one-hot(argmax p̃), and the gate is
    h - stop(p̃) + p̃, whose value is h and whose gradient is that of p̃. Forward executes the chosen option alone, so
    the gradient with respect to the gate is zero for the others; through the softmax it still reaches every entry of θ.
    Biased; variance falls and bias grows with τ.

    Args:
        temperature: τ over the epochs, positive.

    References:
        X. Dong and Y. Yang, *Searching for A Robust Neural Architecture in Four GPU Hours* (GDAS), CVPR 2019
        (arXiv 1910.04465), equations 3 to 5; E. Jang et al., *Categorical Reparameterization with Gumbel-Softmax*.

    Deviations:
        The authors' code adds the zero-valued weights of the unchosen options to the output, which gives those a
        gradient of their own; the paper's equations, and this, do not. Noise is bounded away from infinity instead of
        being redrawn.
    """

    temperature: Schedule
    sampled: bool = True

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """The temperature."""
        return {"temperature": self.temperature}

    def weights(self, log_p: Tensor, p: Tensor, phase: Phase, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The straight-through weights and the one-hot choice."""
        temperature = self.temperature(phase.epoch, phase.epochs)
        if temperature <= 0:
            raise ConfigurationError(f"the temperature must stay positive, got {temperature} in epoch {phase.epoch}")
        exponential = torch.empty_like(log_p, device=generator.device).exponential_(generator=generator)
        noise = -exponential.clamp_min(torch.finfo(log_p.dtype).tiny).log().to(log_p.device)
        relaxed = torch.softmax((log_p + noise) / temperature, dim=-1)
        chosen = torch.zeros_like(relaxed).scatter_(-1, relaxed.argmax(dim=-1, keepdim=True), 1.0)
        # In this order the value is exactly h: the bracket is exactly zero.
        return chosen + (relaxed - relaxed.detach()), chosen.bool().cpu()
