"""Surgeries of progressive shrinking: options are offered, the largest network becomes a teacher, units are sorted."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch

from sharewise.engine.surgery import Surgery
from sharewise.engine.teacher import Teacher, digest_of
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.supernet.elastic.importance import IMPORTANCE, Calibration, groups_of, importance_order, reorder

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState

__all__ = ["KINDS", "Offering", "OwnTeacher", "Sorting"]

KINDS = ("kernel", "depth", "width")
"""What a stage can make elastic, in the order of Once-for-All; heads are a width."""


@final
@dataclass(frozen=True)
class Offering(Surgery):
    """Say which options of ordered choices weight steps draw from now on; choices without an order stay free.

    Args:
        elastic: kinds of choices of which all options are drawn; the others stay at their last option.
        partly: a kind of which the larger options alone are drawn, ⌊k/2⌋ + 1 of k.
        paths: architectures per batch, at least 1.

    Raises:
        ConfigurationError: for an unknown kind, or no path.

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), section 3.3: of three options, two in the first
        phase.
    """

    elastic: tuple[str, ...] = ()
    partly: str | None = None
    paths: int = 1

    def __post_init__(self) -> None:
        for kind in (*self.elastic, *(() if self.partly is None else (self.partly,))):
            if kind not in KINDS:
                raise unknown_name("kind of choice", kind, KINDS)
        if self.paths < 1:
            raise ConfigurationError(f"a stage draws at least 1 path per batch, got paths={self.paths}")

    def fits(self, recipe: Recipe) -> None:
        """Refuse a distribution that always draws all options."""
        if not recipe.distribution.staged:
            raise ConfigurationError(
                f"a stage that offers options needs the distribution Offered, not {recipe.distribution.describe()}"
            )

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        """By ordered choice the options that are drawn, and the number of paths."""
        kinds = state.supernet.kinds()
        offered = {}
        for choice in state.distribution.space.choices:
            if choice.name in kinds:
                kind, count = kinds[choice.name], len(choice.options)
                count = count if kind in self.elastic else count // 2 + 1 if kind == self.partly else 1
                offered[choice.name] = list(choice.options[-count:])
        return {"offered": offered, "paths": self.paths}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """See the class."""
        state.distribution.offer(record["offered"], record["paths"])


@final
@dataclass(frozen=True)
class OwnTeacher(Surgery):
    """Let the largest network, as it is now, teach all that follows; checkpoints hold it.

    Args:
        weight: of its soft loss beside that of the targets.
        temperature: of both outputs.

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), section 3.3 (knowledge distillation).

    Deviations:
        The teacher runs in evaluation mode; in the authors' code it runs in training mode, with statistics of batches.
    """

    weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _ = Teacher(torch.nn.Identity(), self.weight, self.temperature)  # which refuses what is out of range

    def check(self, state: SearchState) -> None:
        """Refuse a second teacher, and a task without a soft loss."""
        if state.teacher is not None:
            raise ConfigurationError(
                "this method makes a teacher of its own largest network, so that no other one can be given; leave "
                "teacher out, or set distillation to 0"
            )
        if state.task.soft is None:
            raise ConfigurationError(
                f"task {state.task.name!r} does not say how outputs are compared with those of a teacher: give it "
                "Task(…, soft=…), or set distillation to 0"
            )

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        """A digest of the weights."""
        return {"teacher": digest_of(state.supernet)}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """See the class."""
        network = copy.deepcopy(state.supernet).eval().requires_grad_(False)
        source = f"the largest network at the beginning of stage {state.stage + 1}"
        state.teacher = Teacher(network, self.weight, self.temperature, source, made=True)


@final
@dataclass(frozen=True)
class Sorting(Surgery):
    """Sort channels, neurons and heads by importance, within the parts that smaller networks were trained with.

    With a distribution whose stages offer options, units move only between two of the sizes that were offered so far;
    else anywhere. Moments of the optimiser move along. A supernet that is no elastic one has nothing to sort, and the
    record says so.

    Args:
        by: see `sharewise.sort_by_importance`.
        batches: training batches that scores may look at, at least 1.

    Raises:
        ConfigurationError: for an unknown score, or no batch.

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), section 3.3 and figure 3 (channel sorting), and the
        released code, which sorts the second time within what the first phase has established.
    """

    reads_examples: ClassVar[bool] = True

    by: str = "readers"
    batches: int = 4

    def __post_init__(self) -> None:
        if self.by not in IMPORTANCE:
            raise unknown_name("importance", self.by, IMPORTANCE)
        if self.batches < 1:
            raise ConfigurationError(f"sorting looks at 1 or more batches, got batches={self.batches}")

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        """By group the old places of its units in their new order."""
        if not groups_of(state.supernet):
            return {"order": {}}
        offered = state.distribution.offered()
        established = {
            choice.name: [choice.index(option) for option in offered[choice.name]]
            for choice in state.distribution.space.choices
            if choice.name in offered
        }
        batches = [(batch.inputs, batch.targets) for batch in state.calibration_batches(self.batches)]
        order = importance_order(state.supernet, self.by, Calibration(batches, state.loss), established)
        return {"order": {name: list(places) for name, places in order.items()}}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """See the class."""
        if record["order"]:
            reorder(state.supernet, record["order"], optimizer=state.weight_optimizer)
