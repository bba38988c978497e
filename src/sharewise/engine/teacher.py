"""Teacher: a network whose outputs others learn to reproduce, frozen, and known by a digest of its weights."""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from sharewise.cost import cost
from sharewise.data import Batch, Dataset, Task
from sharewise.engine.numerics import Numerics
from sharewise.errors import ConfigurationError
from sharewise.ledger import EVALUATION
from sharewise.supernet import Gates, Supernet, to_device
from sharewise.supernet.structures import call, shapes_of

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Teacher", "digest_of", "soft_loss"]


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
        network: plain; of a search that teaches itself its own supernet, which then runs at its largest.
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
    _known: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.network, nn.Module):
            raise ConfigurationError(f"a teacher is a torch module, got {self.network!r}")
        if not 0 <= self.weight < math.inf or not 0 < self.temperature < math.inf:
            raise ConfigurationError(
                "the weight of a teacher must not be negative and its temperature must be positive, got "
                f"weight={self.weight}, temperature={self.temperature}"
            )

    def frozen(self, numerics: Numerics) -> Teacher:
        """The same with a copy of the network, placed, in evaluation mode and without gradients."""
        with _quiet():
            network = copy.deepcopy(self.network).eval().requires_grad_(False)
        return replace(self, network=numerics.place(network))

    @cached_property
    def digest(self) -> str:
        """Of the weights, as they were when it was first asked for."""
        return digest_of(self.network)

    def describe(self) -> str:
        """What must agree where a run goes on."""
        return f"{self.digest}, weight {self.weight:g}, temperature {self.temperature:g}"

    def to_json(self) -> dict[str, str | float]:
        """What a history says of it."""
        return {
            "source": self.source,
            "digest": self.digest,
            "weight": self.weight,
            "temperature": self.temperature,
        }

    def check(self, state: SearchState) -> None:
        """Refuse a task whose outputs cannot be compared, and a teacher that answers something else.

        Args:
            state: at step 0.

        Raises:
            ConfigurationError: naming what does not fit.
        """
        if isinstance(self.network, Supernet):
            raise ConfigurationError(
                f"the teacher ({self.source}) is a supernet; give one of its networks: sharewise.extract(supernet, "
                "architecture)"
            )
        [batch] = state.evaluation_batches("weights", 2)
        with torch.no_grad(), state.numerics.autocast():
            try:
                outputs = state.task.answer(call(self.network, batch.inputs))
            except Exception as error:
                raise ConfigurationError(
                    f"the teacher ({self.source}) does not run on examples of shape {shapes_of(batch.inputs)}: "
                    f"{' '.join(str(error).split())[:160]}"
                ) from error
        if not isinstance(outputs, Tensor) or outputs.shape[-1] != state.task.outputs:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ConfigurationError(
                f"the teacher ({self.source}) answers {shape}, but the task has {state.task.outputs} outputs; distil "
                "from a network of the same task"
            )
        soft_loss(state.task, outputs, outputs)
        if not state.recipe.level.teachable:
            raise ConfigurationError(
                f"level {state.recipe.level.describe()} computes its weight step ahead, without a teacher; use the "
                "level Alternating (darts, gaea-darts, …)"
            )

    def towards(self, state: SearchState, batch: Batch, gates: Gates) -> Callable[[Any, slice], Tensor]:
        """From outputs for some rows to λ T² L_soft, for one batch, for which the teacher runs once.

        Args:
            state: the search.
            batch: of a weight step.
            gates: of the largest architecture, for a teacher that is a supernet.
        """
        shared = isinstance(self.network, Supernet)
        arguments = (to_device(gates, state.numerics.device, state.numerics.dtype),) if shared else ()
        with torch.no_grad(), state.numerics.autocast():
            found = self.network(batch.inputs, *arguments) if shared else call(self.network, batch.inputs)
            outputs = state.task.answer(found)
        price = state.costs.of(gates) if shared else self._price(state.data.dataset)
        state.ledger.charge("teacher", examples=batch.examples, multiply_accumulates=price, passes=EVALUATION)

        def soft(own: Any, rows: slice) -> Tensor:
            return self.weight * soft_loss(state.task, state.task.answer(own), outputs[rows], self.temperature)

        return soft

    def _price(self, dataset: Dataset) -> int:
        """Multiply-accumulates of one example."""
        if "price" not in self._known:
            with _quiet():
                found = cost(self.network, dataset.input_shape, integers=dataset.integers)
            self._known["price"] = found.multiply_accumulates
        return self._known["price"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch has to say about the insides of its own exported programs when they are copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
