"""A recipe: a search method as a value, joined from orthogonal pieces and checked when it is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from sharewise.data import Roles
from sharewise.distribution import Blueprint, Learned
from sharewise.engine.budget import Limit
from sharewise.engine.level import Level, Unrolled
from sharewise.engine.optimization import Optimization, WeightOptimization
from sharewise.engine.penalty import Penalty
from sharewise.engine.select import Selection
from sharewise.engine.stage import Stage, stage_at
from sharewise.errors import ConfigurationError
from sharewise.space import Option

__all__ = ["Recipe"]


@final
@dataclass(frozen=True)
class Recipe:
    """geometry × estimator × level × data roles × (penalties, schedules, stages) × selection.

    Args:
        name: of the method.
        distribution: geometry × estimator, or a sampler.
        level: which problem is descended.
        roles: which examples each role reads.
        selection: from the trained supernet to an architecture.
        weights: how w moves.
        epochs: passes over the examples of the role `weights`, at least 1.
        batch_size: examples per step, at least 1.
        penalties: terms added to the loss of architecture steps.
        stages: parts of the run; their fractions sum to one.
        exclude: options that are masked throughout; one that a space does not have is an error, `none` excepted.
        limits: what the selected architecture may cost at most.
        arguments: the arguments of the method function that built the recipe, for configuration files.

    Raises:
        ConfigurationError: when two pieces clash; the message names both and the legal alternatives.

    Example:
        >>> from sharewise.methods import darts
        >>> darts(epochs=3).epochs
        3
    """

    name: str
    distribution: Blueprint
    level: Level
    roles: Roles
    selection: Selection
    weights: Optimization
    epochs: int
    batch_size: int
    penalties: tuple[Penalty, ...] = ()
    stages: tuple[Stage, ...] = (Stage(),)
    exclude: tuple[Option, ...] = ()
    limits: tuple[Limit, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        level, distribution = type(self.level).__name__, type(self.distribution).__name__
        if self.level.learns and not self.distribution.learns:
            raise ConfigurationError(
                f"level {level} trains architecture parameters, but distribution {distribution} has none; "
                "use Learned(geometry, estimator), or the level WeightsOnly"
            )
        if self.distribution.learns and not self.level.learns:
            raise ConfigurationError(
                f"distribution {distribution} has architecture parameters that level {level} would never train; "
                "use the level Alternating, or the distribution Uniform"
            )
        if self.level.gradient != self.distribution.gradient:
            words = {"path": "through the weights of gates", "score": "through the log-probability of a draw"}
            legal = {"path": "Expectation, StraightThroughGumbel, …", "score": "ScoreFunction, Autoregressive"}
            assert self.level.gradient is not None
            assert self.distribution.gradient is not None
            raise ConfigurationError(
                f"level {level} differentiates {words[self.level.gradient]}, but distribution "
                f"{_words(self.distribution)} passes its gradient {words[self.distribution.gradient]}; use the level "
                f"{'Reward' if self.level.gradient == 'path' else 'Alternating'}, or a distribution with "
                f"{legal[self.level.gradient]}"
            )
        if isinstance(self.level, Unrolled) and not isinstance(self.weights, WeightOptimization):
            raise ConfigurationError(
                f"level {level} looks one step of stochastic gradient descent ahead, but the weights move by "
                f"{type(self.weights).__name__}; use WeightOptimization"
            )
        if self.selection.reads_probabilities and not self.distribution.learns:
            raise ConfigurationError(
                f"selection {type(self.selection).__name__} reads learned probabilities, but distribution "
                f"{distribution} has none; use RankSampled"
            )
        for role in self.level.roles:
            if role == "architecture" and self.roles.architecture is None:
                raise ConfigurationError(
                    f"level {level} draws from the role 'architecture', which these data roles leave empty; "
                    "use sharewise.data.bilevel() or sharewise.data.single_level()"
                )
        if self.penalties and not isinstance(self.distribution, Learned):
            raise ConfigurationError(
                f"penalties act on the parameters of independent decisions, but distribution {distribution} has none; "
                "remove them"
            )
        if not self.stages or abs(sum(stage.fraction for stage in self.stages) - 1) > 1e-6:
            raise ConfigurationError(
                f"the fractions of the stages must sum to 1, got {[stage.fraction for stage in self.stages]}"
            )
        reached = {stage_at(self.stages, epoch, self.epochs) for epoch in range(self.epochs)}
        for index, stage in enumerate(self.stages):
            if index not in reached:
                raise ConfigurationError(
                    f"stage {index + 1} of {len(self.stages)} has fraction {stage.fraction:g} of {self.epochs} epochs, "
                    "which rounds to none; use more epochs, or another fraction (warm_up)"
                )
        schedules = {"learning rate": self.weights.learning_rate, **self.distribution.schedules}
        for name, schedule in schedules.items():
            for epoch in range(self.epochs):
                value = schedule(epoch, self.epochs)
                if not (0 <= value < math.inf) or (value == 0 and name != "learning rate"):
                    raise ConfigurationError(f"the {name} must be positive and finite, got {value} in epoch {epoch}")
        if not self.distribution.learns and any(s.keep is not None or not s.architecture_steps for s in self.stages):
            raise ConfigurationError(
                f"stages that warm up or prune act on architecture parameters, but distribution {distribution} has none"
            )

    def with_epochs(self, epochs: int) -> Recipe:
        """The same recipe over another number of epochs; schedules stretch with it."""
        return replace(self, epochs=epochs, arguments={**self.arguments, "epochs": epochs})

    def describe(self) -> str:
        """One line that names the pieces."""
        parts = [self.distribution, self.level, self.selection, *self.penalties]
        text = " × ".join(_words(part) for part in parts)
        shared = self.roles.architecture == self.roles.weights and "architecture" in self.level.roles
        return text + (" (single level: both steps read the same examples)" if shared else "")


def _words(piece: object) -> str:
    inner = [getattr(piece, name) for name in ("geometry", "estimator") if hasattr(piece, name)]
    return " × ".join(type(part).__name__ for part in inner) if inner else type(piece).__name__
