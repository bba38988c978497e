"""Surgery: what a stage changes in (w, its optimiser, θ) on entering, decided once and replayed by every resume.

A surgery is two functions. `decide` looks at the search and writes down, in plain values, what is to be done (which
options stay, how channels are ordered, which ones are doubled). `apply` does it, from that record alone. The record
goes into the history, which every checkpoint holds, so a resume gives a fresh supernet the shapes that it had by
repeating `apply`, and loads tensors after that.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn import Parameter

from sharewise.distribution import option_mask
from sharewise.engine.part import Part
from sharewise.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState

__all__ = ["Moments", "Pruning", "Surgery", "carried", "operate", "replay"]

Moments = Mapping[str, Callable[[Tensor], Tensor]]
"""By name of a parameter: how its old moments become those of the new one."""


class Surgery(Part):
    """A change of shared weights, of their optimiser or of the distribution between two stages of a run.

    The number of options k never changes: pruning is a mask.

    Example:
        Widening a layer `hidden` of an own supernet by copies of random units, momentum included::

            def decide(self, state, generator):
                old = state.supernet.hidden.out_features
                extra = torch.randint(old, (self.width - old,), generator=generator)
                return {"units": [*range(old), *extra.tolist()]}

            def apply(self, state, record):
                units = torch.tensor(record["units"])
                state.supernet.widen(units)
                state.rebind_weights({"hidden.weight": lambda m: m[units], "hidden.bias": lambda m: m[units]})
    """

    reads_examples: ClassVar[bool] = False
    """Whether it looks at examples of the search when it decides."""

    @abstractmethod
    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        """What is to be done, in plain values (numbers, words, lists, dictionaries); the state is only looked at.

        Args:
            state: the search, at the beginning of the stage.
            generator: source of randomness, the stage's own.
        """

    @abstractmethod
    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """Do it, as a function of the record and of what the surgeries before have left.

        A resume calls this on a fresh state whose optimisers have no moments yet; values of tensors do not matter then,
        shapes do. A surgery that changes parameters of the supernet, or what it executes, ends with
        `SearchState.rebind_weights`.

        Args:
            state: the search, or a fresh one.
            record: what `decide` returned, among other entries of the stage's record.
        """


@final
@dataclass(frozen=True)
class Pruning(Surgery):
    """Mask all but the most probable options of every decision that picks; those that weigh stay as they are.

    Where θ has a row for every decision its optimiser goes on, without the moments of masked entries; else it starts
    anew.

    Args:
        keep: how many options stay, at least 1.

    Raises:
        ConfigurationError: when it is less.
    """

    keep: int

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigurationError(f"a stage must keep at least 1 option, got keep={self.keep}")

    def fits(self, recipe: Recipe) -> None:
        """Refuse a distribution without parameters."""
        if not recipe.distribution.learns:
            raise ConfigurationError(
                "stages that warm up or prune act on architecture parameters, but distribution "
                f"{type(recipe.distribution).__name__} has none"
            )

    def check(self, state: SearchState) -> None:
        """Refuse to keep as many options as there are."""
        decisions = tuple(d for d in state.distribution.relaxation.decisions if not d.weighs)
        largest = int(option_mask(decisions, state.recipe.exclude).sum(dim=-1).max())
        if self.keep >= largest:
            raise ConfigurationError(
                f"a stage that keeps {self.keep} options prunes nothing, since no decision has more than {largest}"
            )

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        """Options by decision; where fewer remain than asked for, masked ones are not among the kept."""
        kept = {}
        weighing = {d.name for d in state.distribution.relaxation.decisions if d.weighs}
        for name, p in state.distribution.probabilities().items():
            if name not in weighing:
                top = p.topk(min(self.keep, len(p))).indices
                kept[name] = sorted(top[p[top] > 0].tolist())
        return {"kept": kept}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """See the class."""
        keep = {}
        for decision in state.distribution.relaxation.decisions:
            if not decision.weighs:
                keep[decision.name] = torch.zeros(decision.size, dtype=torch.bool)
                keep[decision.name][record["kept"][decision.name]] = True
        state.distribution.restrict(keep)
        assert state.architecture_optimizer is not None
        state.architecture_optimizer = state.distribution.goes_on(state.architecture_optimizer)


def operate(state: SearchState, surgeries: Iterable[Surgery], record: dict[str, Any]) -> None:
    """Decide and do everything that a stage begins with.

    Args:
        state: at the beginning of the stage.
        surgeries: in order; each sees what the ones before have done.
        record: of the stage, to which every decision is added.

    Raises:
        ConfigurationError: when two of them decide on an entry of the same name.
    """
    for place, surgery in enumerate(surgeries):
        decided = surgery.decide(state, state.fresh_generator(f"surgery/{state.stage}/{place}"))
        for name in decided.keys() & record.keys():
            raise ConfigurationError(
                f"surgery {type(surgery).__name__} records {name!r}, which the stage has already; use another name"
            )
        record |= decided
        surgery.apply(state, record)


def replay(state: SearchState, history: Iterable[Mapping[str, Any]]) -> None:
    """Repeat every recorded surgery on a fresh state, in order, so that its tensors have the shapes of a checkpoint.

    Args:
        state: as `prepare` left it.
        history: of the checkpoint.

    Raises:
        CheckpointError: when a record does not fit the recipe.
    """
    for record in history:
        if record["event"] == "stage":
            try:
                for surgery in state.course.stages[record["stage"]].surgeries:
                    surgery.apply(state, record)
            except LookupError as error:
                raise CheckpointError(
                    f"the record of stage {record.get('stage')} in the checkpoint does not fit the recipe "
                    f"({type(error).__name__}: {error}); was one of them replaced?"
                ) from None


def carried(
    optimizer: torch.optim.Optimizer,
    fresh: torch.optim.Optimizer,
    before: Mapping[str, Parameter],
    after: Mapping[str, Parameter],
    moments: Moments,
) -> torch.optim.Optimizer:
    """A fresh optimiser that goes on where an old one stopped, for parameters that changed under their names.

    Args:
        optimizer: the old one.
        fresh: of the new parameters, without moments; it is filled.
        before: parameters by name, as the old one holds them.
        after: parameters by name, as the fresh one holds them.
        moments: how the old moments of a named parameter become new ones; those of others stay as they are.

    Returns:
        `fresh`.

    Raises:
        ConfigurationError: when a moment has not the shape of its parameter.
    """
    for name in sorted(moments.keys() - (before.keys() & after.keys())):
        raise ConfigurationError(f"moments are carried for parameter {name!r}, which the supernet has not or had not")
    for name, parameter in after.items():
        old = before.get(name)
        if old is not None and old in optimizer.state:
            move = moments.get(name, lambda moment: moment)
            fresh.state[parameter] = {
                key: _moved(f"{key} of {name}", value, old, parameter, move)
                for key, value in optimizer.state[old].items()
            }
    return fresh


def _moved(what: str, value: Any, old: Tensor, new: Tensor, move: Callable[[Tensor], Tensor]) -> Any:
    """A moment in the shape of its new parameter; what has not the shape of a parameter, such as a count, stays."""
    if not isinstance(value, Tensor) or value.shape != old.shape or not value.ndim:
        return value
    moved = move(value)
    if moved.shape != new.shape:
        raise ConfigurationError(
            f"a surgery gave a parameter the shape {tuple(new.shape)}, but the {what} has {tuple(moved.shape)}; say in "
            "`moments` how it is carried along"
        )
    return moved
