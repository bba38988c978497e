"""Teacher: a network whose outputs others learn to reproduce, frozen, and known by a digest of its weights."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from sharewise.data import Batch, Task
from sharewise.errors import ConfigurationError
from sharewise.ledger import EVALUATION
from sharewise.supernet import Gates, Supernet, to_device

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Teacher", "digest_of", "soft_loss"]

Towards = Callable[[Tensor], Tensor]
"""From outputs to their loss towards what the teacher says of the same batch, in its weight."""


def digest_of(network: nn.Module) -> str:
    """A digest of all parameters and buffers with their names, the same on every device."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        found.update(f"{name} {plain.dtype} {tuple(plain.shape)};".encode())
        found.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def soft_loss(task: Task, outputs: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · ℓ(outputs / T, teacher / T), with ℓ the loss of the task towards outputs: a cross-entropy for classes.

    Args:
        task: whose `soft` loss it is.
        outputs: of the network that learns.
        teacher: outputs of the other one; no gradient reaches them.
        temperature: T, positive.

    Raises:
        ConfigurationError: when the task does not say how its outputs are compared.

    Example:
        >>> from sharewise.data import classification
        >>> even = torch.zeros(1, 2)
        >>> round(float(soft_loss(classification(2), even, even)), 4)
        0.6931

    References:
        G. Hinton, O. Vinyals and J. Dean, *Distilling the Knowledge in a Neural Network* (arXiv 1503.02531), section 2.
    """
    if task.soft is None:
        raise ConfigurationError(
            f"task {task.name!r} does not say how outputs are compared with those of a teacher; give it "
            "Task(…, soft=a function of outputs and the teacher's outputs), or train without one"
        )
    return task.soft(outputs / temperature, teacher.detach() / temperature) * temperature**2


@final
@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network from which weight steps learn: L = L_hard + λ T² L_soft(outputs / T, teacher / T).

    It runs in evaluation mode, without gradients. Architecture steps do not see it.

    Args:
        network: plain, or a supernet, which then runs at its largest.
        weight: λ, not negative.
        temperature: T, positive.
        source: where it comes from, in words.
        made: whether the run has made it itself, so that checkpoints hold it; one from elsewhere is given again.

    Raises:
        ConfigurationError: when a value is out of range.
    """

    network: nn.Module
    weight: float = 1.0
    temperature: float = 1.0
    source: str = "a network in memory"
    made: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.network, nn.Module):
            raise ConfigurationError(f"a teacher is a torch module, got {self.network!r}")
        if not 0 <= self.weight < math.inf or not 0 < self.temperature < math.inf:
            raise ConfigurationError(
                "the weight of a teacher must not be negative and its temperature must be positive, got "
                f"weight={self.weight}, temperature={self.temperature}"
            )

    def frozen(self) -> Teacher:
        """The same with a copy of the network that nothing else holds, in evaluation mode and without gradients."""
        network = copy.deepcopy(self.network).eval().requires_grad_(False)
        return Teacher(network, self.weight, self.temperature, self.source, self.made)

    def to_json(self) -> dict[str, Any]:
        """What a history and a fingerprint say of it."""
        return {
            "source": self.source,
            "digest": digest_of(self.network),
            "weight": self.weight,
            "temperature": self.temperature,
        }

    def state(self) -> Mapping[str, Any] | None:
        """What a checkpoint holds of it."""
        return self.network.state_dict() if self.made else None

    def towards(self, state: SearchState, batch: Batch, gates: Gates) -> Towards:
        """The soft loss of one batch, for which the teacher runs once.

        Args:
            state: the search.
            batch: of a weight step.
            gates: of the largest architecture, for a teacher that is a supernet.
        """
        with torch.no_grad(), state.numerics.autocast():
            if isinstance(self.network, Supernet):
                outputs = self.network(batch.inputs, to_device(gates, state.numerics.device, state.numerics.dtype))
                state.ledger.charge(
                    "teacher",
                    examples=len(batch.inputs),
                    multiply_accumulates=state.costs.of(gates),
                    passes=EVALUATION,
                )
            else:
                outputs = self.network(batch.inputs)
                state.ledger.charge(
                    "teacher",
                    examples=len(batch.inputs),
                    multiply_accumulates=state.teacher_costs,
                    passes=EVALUATION,
                )
        return lambda own: self.weight * soft_loss(state.task, own, outputs, self.temperature)
