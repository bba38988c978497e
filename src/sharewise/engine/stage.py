"""Stages: a run is a sequence of them; what changes between two is recorded and replayed by a resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, final

from sharewise.engine.part import Part
from sharewise.engine.surgery import Pruning, Surgery
from sharewise.engine.widening import Widening
from sharewise.errors import ConfigurationError

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState

__all__ = ["Stage", "check_stages", "pruned", "pruning", "stage_at", "warm_up"]


@final
@dataclass(frozen=True)
class Stage(Part):
    """A part of a run.

    Args:
        fraction: of the epochs, positive; the fractions of a recipe sum to one.
        architecture_steps: whether θ moves; a warm-up holds it still while the weights train.
        keep: on entering, mask all but the `keep` most probable options of every decision; `None` keeps them all. The
            number of options never changes: a mask does, and it is part of every checkpoint.
        operations: what else changes on entering, after the mask and in this order.

    Raises:
        ConfigurationError: when a value is out of range.
    """

    fraction: float = 1.0
    architecture_steps: bool = True
    keep: int | None = None
    operations: tuple[Surgery, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigurationError(f"the fraction of a stage must lie in (0, 1], got {self.fraction}")
        _ = self.surgeries  # one that cannot be made speaks up now

    @property
    def surgeries(self) -> tuple[Surgery, ...]:
        """All that changes on entering, in order."""
        return (*([] if self.keep is None else [Pruning(self.keep)]), *self.operations)

    def fits(self, recipe: Recipe) -> None:
        """Refuse a rest of what never moves, and whatever the surgeries refuse."""
        if not self.architecture_steps and not recipe.distribution.learns:
            raise ConfigurationError(
                "stages that warm up or prune act on architecture parameters, but distribution "
                f"{type(recipe.distribution).__name__} has none"
            )
        for surgery in self.surgeries:
            surgery.fits(recipe)

    def check(self, state: SearchState) -> None:
        """Ask every surgery whether it can be done in this search."""
        for surgery in self.surgeries:
            surgery.check(state)


def check_stages(stages: Sequence[Stage], epochs: int) -> None:
    """Refuse stages that do not fill the run, or of which one would have no epoch.

    Args:
        stages: of a recipe.
        epochs: of the run.

    Raises:
        ConfigurationError: naming the stage.
    """
    if not stages or abs(sum(stage.fraction for stage in stages) - 1) > 1e-6:
        raise ConfigurationError(
            f"the fractions of the stages must sum to 1, got {[stage.fraction for stage in stages]}"
        )
    reached = {stage_at(tuple(stages), epoch, epochs) for epoch in range(epochs)}
    for index, stage in enumerate(stages):
        if index not in reached:
            raise ConfigurationError(
                f"stage {index + 1} of {len(stages)} has fraction {stage.fraction:g} of {epochs} epochs, "
                "which rounds to none; use more epochs, or another fraction (warm_up)"
            )


def stage_at(stages: tuple[Stage, ...], epoch: int, epochs: int) -> int:
    """The index of the stage to which an epoch belongs; boundaries are rounded to whole epochs, halves up.

    Args:
        stages: of the recipe.
        epoch: 0-based.
        epochs: total.

    Example:
        >>> halves = (Stage(0.5, architecture_steps=False), Stage(0.5))
        >>> [stage_at(halves, epoch, 4) for epoch in range(4)]
        [0, 0, 1, 1]
    """
    end = 0.0
    for index, stage in enumerate(stages):
        end += stage.fraction
        if epoch < math.floor(end * epochs + 0.5):
            return index
    return len(stages) - 1


def warm_up(fraction: float) -> tuple[Stage, ...]:
    """Stages in which θ rests for the first `fraction` of the epochs; one plain stage for a fraction of zero.

    Raises:
        ConfigurationError: when the fraction is not in [0, 1).

    Example:
        >>> [stage.architecture_steps for stage in warm_up(0.25)]
        [False, True]
    """
    if not 0 <= fraction < 1:
        raise ConfigurationError(f"the warm-up must be a fraction of the epochs in [0, 1), got {fraction}")
    if fraction == 0:
        return (Stage(),)
    return (Stage(fraction, architecture_steps=False), Stage(1 - fraction))


def pruning(keep: Sequence[int], rest: float = 0.0, parts: Sequence[int] = ()) -> tuple[Stage, ...]:
    """Stages of equal length, of which each after the first begins by masking all but the most probable options.

    Args:
        keep: options that the second, third, … stage keeps; none for a single stage.
        rest: fraction of every stage in which θ rests, in [0, 1).
        parts: K of the first, second, … stage, whose operations see 1/K of the channels; none for all of them. The
            network begins with the first.

    Raises:
        ConfigurationError: when a value is out of range, or the numbers do not fall.

    Example:
        >>> [(stage.fraction, stage.keep, stage.operations) for stage in pruning([3], parts=[4, 2])]
        [(0.5, None, ()), (0.5, 3, (Widening(partial=2),))]

    References:
        X. Chen et al., *DrNAS*, ICLR 2021 (arXiv 2006.10355), section 3.3 (progressive learning).
    """
    if parts and len(parts) != len(keep) + 1:
        raise ConfigurationError(f"parts {list(parts)} do not fit {len(keep) + 1} stages; give one K for each")
    stages, wider = pruned(warm_up(rest), keep), iter(parts[1:])
    return tuple(
        replace(stage, operations=(Widening(next(wider)),)) if parts and stage.keep is not None else stage
        for stage in stages
    )


def pruned(stages: Sequence[Stage], keep: Sequence[int]) -> tuple[Stage, ...]:
    """The stages of a recipe once for each number of options: all of them first, then fewer and fewer.

    Args:
        stages: which may rest and operate, but not prune themselves.
        keep: options that remain from the second round of the stages on, and so on; they fall.

    Raises:
        ConfigurationError: when the stages prune already, or the numbers do not fall.

    Example:
        >>> [(stage.fraction, stage.architecture_steps, stage.keep) for stage in pruned(warm_up(0.5), [3])]
        [(0.25, False, None), (0.25, True, None), (0.25, False, 3), (0.25, True, None)]
    """
    if any(stage.keep is not None for stage in stages):
        raise ConfigurationError("the stages of this recipe prune already; leave one of the two out")
    if any(later >= earlier for earlier, later in pairwise(keep)):
        raise ConfigurationError(f"every stage must keep fewer options than the one before, got {list(keep)}")
    rounds = [(replace(stages[0], keep=options), *stages[1:]) for options in (None, *keep)]
    return tuple(replace(stage, fraction=stage.fraction / len(rounds)) for each in rounds for stage in each)
