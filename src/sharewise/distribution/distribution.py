"""A distribution over the decisions of a relaxation: where gates come from and where their gradients go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sharewise.distribution.phase import Phase
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Relaxation, Space
from sharewise.supernet.gate import Gates

__all__ = ["Distribution", "entropy_of"]


def entropy_of(shares: Tensor) -> Tensor:
    """-Σ p ln p, in nats, of shares that sum to one; those of zero add nothing.

    Example:
        >>> round(float(entropy_of(torch.tensor([0.5, 0.5, 0.0]))), 3)
        0.693
    """
    found: Tensor = -torch.special.xlogy(shares, shares).sum()
    return found


class Distribution(nn.Module, ABC):
    """Something that draws gates, kept apart from the supernet.

    `supernet.parameters()` is w and `distribution.parameters()` is θ; no step needs a list of exceptions.
    """

    relaxation: Relaxation
    space: Space
    """The architectures that can be drawn or selected: the relaxation's space without excluded options."""

    competing: bool = True
    """Whether the weights of a drawn gate sum to one."""

    summed: bool = False
    """Whether the losses of the paths of one draw are added (strict fairness) instead of averaged."""

    sampled: bool = True
    """Whether a draw decides on the host. Then θ stays there, where options are chosen without waiting for a device;
    otherwise it lives beside the network, and no step moves anything back."""

    constant: bool = False
    """Whether every draw executes the same options, until some are masked. Such a network can be compiled."""

    @abstractmethod
    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """Gates of one or more paths for one batch; their weights carry the graph to θ where gradients are enabled.

        Args:
            generator: source of randomness; always on the host.
            phase: which step asks.
        """

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Architecture:
        """One architecture at random, according to the distribution."""

    @abstractmethod
    def probabilities(self) -> Mapping[str, Tensor]:
        """For every decision the current probabilities, shape `(k,)`, detached and on the host."""

    def mixture(self) -> Mapping[str, Tensor]:
        """For every decision the weights of the mixture of all its options: the probabilities, where they compete."""
        return self.probabilities()

    @abstractmethod
    def optimizer(self) -> Optimizer | None:
        """The optimiser of θ, or `None` where there is nothing to learn."""

    @abstractmethod
    def restrict(self, keep: Mapping[str, Tensor]) -> None:
        """Mask options for good: `keep` is true, per decision, for those that remain. The number k never changes.

        Raises:
            ConfigurationError: when a decision would be left without options.
        """

    def offer(self, options: Mapping[str, Sequence[Option]], paths: int) -> None:
        """Let weight steps draw some options alone, until the next call; the number k never changes.

        Args:
            options: by choice those that are drawn; choices that are absent stay as they are.
            paths: architectures per batch.

        Raises:
            ConfigurationError: for a distribution that knows no such thing.
        """
        raise ConfigurationError(
            f"{type(self).__name__} draws all options at all times; use the distribution Offered in a recipe whose "
            "stages offer options"
        )

    def offered(self) -> Mapping[str, Sequence[Option]]:
        """By choice the options that weight steps draw; empty for a distribution that always draws all."""
        return {}

    def goes_on(self, optimizer: Optimizer) -> Optimizer:
        """The optimiser of θ after options were masked, given that of before: a new one, unless moments know options.

        Moments of masked options must move nothing.
        """
        fresh = self.optimizer()
        return optimizer if fresh is None else fresh

    def pullback(self, gates: Gates, cotangents: Mapping[str, Tensor]) -> None:
        """Accumulate in `θ.grad` the vector-Jacobian product of drawn gates with gradients of a loss.

        This one product is all that connects a network's backward pass to θ, for whatever the estimator.

        Args:
            gates: as `draw` returned them, with their graph.
            cotangents: dL/dgate by decision name, shape `(k,)`; decisions that had no effect may be absent.
        """
        names = [name for name in cotangents if gates[name].weights.requires_grad]
        if not names:
            return
        weights = [gates[name].weights for name in names]
        # One copy for all decisions, since each one from a device makes the host wait.
        flat = torch.cat([cotangents[name] for name in names]).to(weights[0])
        torch.autograd.backward(weights, torch.split(flat, [len(row) for row in weights]))

    def entropy(self) -> float | None:
        """Mean entropy over the decisions, in nats; `None` for a distribution that does not learn."""
        rows = list(self.probabilities().values())
        if not rows:
            return None
        return float(torch.stack([entropy_of(row) for row in rows]).mean())
