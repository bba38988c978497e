"""A recipe: a search method as a value, joined from orthogonal pieces and checked when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from sharewise.data import Roles
from sharewise.distribution import Blueprint, Piece
from sharewise.engine.budget import Limit
from sharewise.engine.level import Level
from sharewise.engine.optimization import Optimization
from sharewise.engine.part import Part
from sharewise.engine.penalty import Penalty
from sharewise.engine.reaction import Reaction
from sharewise.engine.select import Selection
from sharewise.engine.stage import Stage, check_stages
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
        reactions: what the search does between two epochs in answer to its own history.
        limits: what the selected architecture may cost at most.
        arguments: the arguments of the method function that built the recipe, for configuration files.
        network: options of the network that the method asks for, by name; what the user says comes first.

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
    reactions: tuple[Reaction, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict, repr=False)  # a run's folder names all its options

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        pieces: tuple[Piece[Recipe], ...] = (self.distribution, *self.parts)
        for piece in pieces:
            piece.fits(self)
            for name, bounded in piece.schedules.items():
                bounded.check(name, self.epochs)
        check_stages(self.stages, self.epochs)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All pieces but the distribution, each of which judges for itself whether it fits."""
        return (self.level, self.selection, self.weights, *self.penalties, *self.stages, *self.limits, *self.reactions)

    def shortened(self) -> Recipe:
        """The same recipe with little to do, for contracts: short pieces, small batches, an epoch for every stage."""
        return replace(
            self,
            level=self.level.shortened(),
            distribution=self.distribution.shortened(),
            selection=self.selection.shortened(),
            weights=self.weights.shortened(),
            penalties=tuple(penalty.shortened() for penalty in self.penalties),
            reactions=tuple(reaction.shortened() for reaction in self.reactions),
            stages=tuple(replace(stage, fraction=1 / len(self.stages)) for stage in self.stages),
            epochs=max(2, len(self.stages)),
            batch_size=min(self.batch_size, 16),
        )

    def with_epochs(self, epochs: int) -> Recipe:
        """The same recipe over another number of epochs; schedules stretch with it."""
        return replace(self, epochs=epochs, arguments={**self.arguments, "epochs": epochs})

    def describe(self) -> str:
        """One line that names the pieces."""
        parts: tuple[Piece[Recipe], ...] = (
            self.distribution,
            self.level,
            self.selection,
            *self.penalties,
            *self.reactions,
        )
        text = " × ".join(part.describe() for part in parts)
        shared = self.roles.architecture == self.roles.weights and "architecture" in self.level.roles
        return text + (" (single level: both steps read the same examples)" if shared else "")
