"""Reaction: what a search does between two epochs in answer to its own history.

A reaction is three functions. `observe` looks at the search at the end of an epoch, adds to its line of the history and
may put the present aside (`set_aside`). `decide` is a function of the history: it says in plain values what
is to be done, or nothing. `apply` does it, from that record alone. The record joins the history, and a checkpoint
follows, so that a run that is killed anywhere goes on to the same bits.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, final

from sharewise.alarm import EigenvalueRise, standing
from sharewise.engine.aside import go_back, set_aside
from sharewise.engine.callback import Reacted
from sharewise.engine.curvature import spectrum
from sharewise.engine.part import Part
from sharewise.errors import ConfigurationError

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.stage import Stage
    from sharewise.engine.state import SearchState

__all__ = ["AdaptiveDecay", "EarlyStop", "Reaction", "goes_on"]


class Reaction(Part):
    """An answer of a search to its own history."""

    def observes(self, epoch: int) -> bool:
        """Whether it measures something at the end of an epoch, so that forecasts can count it."""
        return True

    @abstractmethod
    def observe(self, state: SearchState, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """What joins the line of the epoch that ends; w, θ and running statistics are only looked at.

        Args:
            state: at the end of the epoch, before its line joins the history.
            record: the line so far.
        """

    @abstractmethod
    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        """What is to be done before the next epoch, in plain values, or nothing; the state is only looked at."""

    @abstractmethod
    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """Do it, as a function of the record.

        Args:
            state: of which the record has joined the history.
            record: what `decide` returned.
        """


def goes_on(state: SearchState) -> bool:
    """Let a search answer to its history, and say whether it has another step to make.

    At the end of an epoch every reaction is asked, in order; the first that answers is applied and recorded. Harmless
    when repeated by a resume: what was answered already has a record after the epoch.
    """
    between = state.step < state.total_steps and state.step == state.epoch * state.steps_per_epoch
    told = (line["event"] for line in reversed(state.history) if line["event"] in ("epoch", "back"))
    fresh = next(told, "") == "epoch"  # a run that goes on elsewhere has a line of its own after that
    for reaction in state.recipe.reactions if between and fresh else ():
        decided = reaction.decide(state)
        if decided is not None:
            record = {"event": "back", "by": type(reaction).__name__, "epoch": state.epoch - 1, **decided}
            state.history.append(record)
            reaction.apply(state, record)
            state.emit(Reacted(record))
            break
    return state.step < state.total_steps


@dataclass(frozen=True)
class _ByEigenvalue(Reaction, ABC):
    """What goes back by the dominant eigenvalue has in common: when it measures, and what it cannot serve."""

    rule: EigenvalueRise = field(default_factory=EigenvalueRise)
    examples: int = 64

    def shortened(self) -> Self:
        """At most 16 examples."""
        return replace(self, examples=min(self.examples, 16))

    def fits(self, recipe: Recipe) -> None:
        """Refuse what has no spectrum."""
        if recipe.distribution.coordinates is None:
            raise ConfigurationError(
                f"{type(self).__name__} watches ∂²L_val/∂θ², but distribution {type(recipe.distribution).__name__} has "
                "no θ of independent decisions; use Learned(geometry, estimator)"
            )
        self._refuse_surgeries(recipe.stages)
        if self.examples < 2:
            raise ConfigurationError(f"{type(self).__name__} needs at least 2 examples, got {self.examples}")

    def check(self, state: SearchState) -> None:
        """Refuse a selection that settles decisions while it trains on, across which no search can go back."""
        self._refuse_surgeries(state.course.stages)

    def _refuse_surgeries(self, stages: Iterable[Stage]) -> None:
        if any(stage.surgeries for stage in stages):
            raise ConfigurationError(
                f"{type(self).__name__} goes back to earlier epochs, which is not possible across a stage that prunes "
                "or changes weights"
            )

    def observes(self, epoch: int) -> bool:
        """The epochs of the rule."""
        return self.rule.due(epoch)

    def observe(self, state: SearchState, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """The eigenvalue, in the epochs of the rule; the present is put aside for as long as the rule may want it."""
        if not self.rule.due(state.epoch):
            return {}
        found = {} if "eigenvalue" in record else spectrum(state, self.examples)
        if state.epoch >= self.rule.start:
            set_aside(state, most=self.rule.reach + 1)
        return found

    def _target(self, state: SearchState) -> int | None:
        """The epoch to go back to, if the eigenvalue of the last epoch says so: at the earliest one that is kept."""
        lines = standing(state.history)
        if not lines or not self.rule.due(lines[-1]["epoch"]):
            return None
        measured = [(line["epoch"], line["eigenvalue"]) for line in lines if self.rule.due(line["epoch"])]
        to = self.rule.goes_back_to(measured)
        return None if to is None else max(to, min(state.aside))


@final
@dataclass(frozen=True)
class EarlyStop(_ByEigenvalue):
    """Stop when the dominant eigenvalue of ∂²L_val/∂θ² rises too fast, and go back to before it did (DARTS-ES).

    Weights, θ and the architecture that is selected are those of the end of the epoch to which the rule goes back.

    Args:
        rule: when, and how far back.
        examples: of the role `architecture` on which the eigenvalue is measured, at least 2.

    References:
        A. Zela et al., *Understanding and Robustifying Differentiable Architecture Search*, ICLR 2020
        (arXiv 1909.09656), section 4.3.

    Deviations:
        The authors return the architecture of that epoch; here the shared weights go back with it. See also
        `sharewise.engine.curvature` on the examples.
    """

    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        """To which epoch, and that the search ends."""
        to = self._target(state)
        if to is None:
            return None
        note = f"the dominant eigenvalue rises: stopped, and went back to the end of epoch {to + 1}"
        return {"to": to, "stopped": True, "note": note}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """See the class."""
        go_back(state, record["to"])


@final
@dataclass(frozen=True)
class AdaptiveDecay(_ByEigenvalue):
    """Go back when the dominant eigenvalue rises too fast, and go on with a stronger weight decay (DARTS-ADA).

    Weights, θ and both optimisers become those of the end of the epoch to which the rule goes back, and the weight
    decay of w is multiplied. Data and random numbers go on where they are.

    Args:
        rule: when, and how far back.
        examples: of the role `architecture` on which the eigenvalue is measured, at least 2.
        factor: of the weight decay, above 1.
        most: weight decay that is not exceeded; at it, the search goes on to its end.

    References:
        A. Zela et al., *Understanding and Robustifying Differentiable Architecture Search*, ICLR 2020
        (arXiv 1909.09656), section 4.4.

    Deviations:
        A second rise soon after the first goes back to the earliest epoch that is still kept, where the rule asks for
        one before that.
    """

    factor: float = 3.0
    most: float = 0.0243

    def __post_init__(self) -> None:
        if not 1 < self.factor < math.inf or not 0 < self.most < math.inf:
            raise ConfigurationError(
                f"the weight decay must be multiplied by more than 1 up to a positive bound, got factor={self.factor}, "
                f"most={self.most}"
            )

    def fits(self, recipe: Recipe) -> None:
        """As `EarlyStop`, and there is a weight decay that can grow."""
        super().fits(recipe)
        if not getattr(recipe.weights, "weight_decay", 0.0) > 0:
            raise ConfigurationError(
                "AdaptiveDecay multiplies the weight decay of w, which is 0 here; give weight_decay a positive value"
            )

    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        """To which epoch, and with which weight decay; nothing where that would exceed the bound."""
        decay = self.factor * state.weight_optimizer.param_groups[0]["weight_decay"]
        to = None if decay > self.most * (1 + 1e-9) else self._target(state)
        if to is None:
            return None
        note = (
            f"the dominant eigenvalue rises: went back to the end of epoch {to + 1}, on with weight decay {decay:.3g}"
        )
        return {"to": to, "weight_decay": decay, "note": note}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        """See the class."""
        go_back(state, record["to"])
        for group in state.weight_optimizer.param_groups:
            group["weight_decay"] = record["weight_decay"]
