"""Perturbation: weights that train at other gates than were drawn, so that they do well all around θ (SDARTS)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from sharewise.data import Batch
from sharewise.distribution import Bounded, Setting
from sharewise.engine.part import Part
from sharewise.engine.step import gate_loss, gate_slopes
from sharewise.errors import ConfigurationError
from sharewise.supernet import Gate, Gates, evaluating

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Adversarial", "Perturbation", "RandomNoise"]


@dataclass(frozen=True)
class Perturbation(Part):
    """A change of the gates of a weight step, within a radius; a level holds it, and architecture steps never see it.

    With p the weights of a gate, the perturbed ones are p + δ with |δ| ≤ ε, brought back by `restored`.

    Args:
        radius: ε, not negative and below one; a number or a schedule.

    Raises:
        ConfigurationError: when a radius is out of range.
    """

    radius: Setting

    def __post_init__(self) -> None:
        if not callable(self.radius):
            Bounded(self.radius, below=1.0).check("radius of a perturbation")

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """The radius."""
        return {"radius of a perturbation": Bounded(self.radius, below=1.0)}

    def check(self, state: SearchState) -> None:
        """Refuse paths of one option each, whose only weight is one however it is perturbed."""
        with torch.no_grad():
            paths = state.distribution.draw(state.fresh_generator("perturbation"), state.phase("weights"))
        if all(len(gate.active) < 2 for gates in paths for gate in gates.values()):
            raise ConfigurationError(
                f"perturbation {type(self).__name__} moves the weights of a mixture, but weight steps of "
                f"{state.recipe.distribution.describe()} run one option of each decision; use an estimator that mixes "
                "(Expectation, Concrete, DirichletPath)"
            )

    @abstractmethod
    def altered(self, state: SearchState, gates: Gates, batch: Batch) -> Gates:
        """The gates at which the weights train.

        Args:
            state: the search; its stream `weights` is the source of randomness.
            gates: as drawn for the step.
            batch: of the step.
        """


@final
@dataclass(frozen=True)
class RandomNoise(Perturbation):
    """Uniform noise on every weight: p + δ with δ ~ U(-ε, ε), restored. A smoothed loss in expectation (SDARTS-RS).

    Args:
        radius: ε.

    References:
        X. Chen and C.-J. Hsieh, *Stabilizing Differentiable Architecture Search via Perturbation-based
        Regularization*, ICML 2020 (arXiv 2002.05283), section 4.1.
    """

    def altered(self, state: SearchState, gates: Gates, batch: Batch) -> Gates:
        """See `Perturbation.altered`."""
        return _noisy(state, gates, state.phase("weights").value(self.radius))


@final
@dataclass(frozen=True)
class Adversarial(Perturbation):
    """The worst weights within a box: ascent on the training loss of the same batch (SDARTS-ADV).

    From a random start, `steps` times p' ← restored(p + clip(p' + 2ε/steps · sign ∂L/∂p' - p, ±ε)), with the network in
    evaluation mode. What does not raise the loss there is undone.

    Args:
        radius: ε.
        steps: of the ascent, at least 1.

    Raises:
        ConfigurationError: when a value is out of range.

    References:
        X. Chen and C.-J. Hsieh, *Stabilizing Differentiable Architecture Search via Perturbation-based
        Regularization*, ICML 2020 (arXiv 2002.05283), section 4.2, and the released code.
    """

    steps: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ConfigurationError(f"an adversarial perturbation takes at least 1 step, got {self.steps}")

    def altered(self, state: SearchState, gates: Gates, batch: Batch) -> Gates:
        """See `Perturbation.altered`."""
        radius = state.phase("weights").value(self.radius)
        with evaluating(state.supernet):
            before = gate_loss(state, batch, gates, "weights")
            moved = _noisy(state, gates, radius)
            for _ in range(self.steps):
                _, slopes = gate_slopes(state, batch, moved, "weights")
                moved = {
                    name: _risen(gate, gates[name], slopes[name].sign(), 2 * radius / self.steps, radius)
                    if name in slopes
                    else gate
                    for name, gate in moved.items()
                }
                moved = restored(moved, unit_sum=state.distribution.competing)
            after = gate_loss(state, batch, moved, "weights")
        undone = before > after  # decided where the losses are, so that a device need not be waited for
        return {name: _either(undone, gates[name], gate) for name, gate in moved.items()}


def restored(gates: Gates, *, unit_sum: bool) -> Gates:
    """Weights as those of a mixture: clamped to [0, 1]; where none is left, one at the former largest; sum one.

    Args:
        gates: whose active weights may be anything.
        unit_sum: whether the weights of a gate sum to one; where options do not compete they are clamped alone.

    Example:
        >>> gate = Gate(torch.tensor([-0.2, 0.4, 1.4]), (0, 1, 2))
        >>> restored({"edge": gate}, unit_sum=True)["edge"].weights
        tensor([0.0000, 0.2857, 0.7143])
        >>> restored({"edge": Gate(torch.tensor([-0.2, -0.1]), (0, 1))}, unit_sum=True)["edge"].weights
        tensor([0., 1.])
    """
    return {name: replace(gate, weights=_restored(gate, unit_sum), unit=False) for name, gate in gates.items()}


def _restored(gate: Gate, unit_sum: bool) -> Tensor:
    chosen = set(gate.active)
    active = torch.tensor([option in chosen for option in range(gate.size)], device="cpu")
    active = active.to(gate.weights.device, non_blocking=True)
    kept = gate.weights.clamp(0, 1) * active
    if not unit_sum or not gate.active:
        return kept
    largest = gate.weights.masked_fill(~active, -torch.inf).argmax()
    corner = torch.zeros_like(kept).index_fill(0, largest, 1.0)
    kept = torch.where(kept.sum() > 0, kept, corner)
    return kept / kept.sum()


def _noisy(state: SearchState, gates: Gates, radius: float) -> Gates:
    generator = state.generators["weights"]
    moved = {}
    for name, gate in gates.items():
        noise = torch.empty(gate.size, dtype=gate.weights.dtype).uniform_(-radius, radius, generator=generator)
        moved[name] = replace(gate, weights=gate.weights + noise.to(gate.weights.device, non_blocking=True))
    return restored(moved, unit_sum=state.distribution.competing)


def _either(condition: Tensor, first: Gate, second: Gate) -> Gate:
    weights = torch.where(condition.to(second.weights.device), first.weights, second.weights)
    return replace(second, weights=weights)


def _risen(gate: Gate, centre: Gate, direction: Tensor, step: float, radius: float) -> Gate:
    moved = gate.weights + step * direction.to(gate.weights)
    return replace(gate, weights=centre.weights + (moved - centre.weights).clamp(-radius, radius))
