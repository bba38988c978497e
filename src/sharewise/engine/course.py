"""The course of a run: the epochs of its recipe, and those in which its selection trains on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from sharewise.distribution import Schedule
from sharewise.engine.stage import Stage, stage_at

__all__ = ["Course", "Period"]


@final
@dataclass(frozen=True)
class Period:
    """Epochs of a run with stages and a learning rate of their own.

    The epochs of a recipe are one. A selection that trains on while it decides adds another (`Selection.tuning`).

    Args:
        epochs: at least 1.
        stages: whose fractions of the epochs sum to one.
        learning_rate: of w, as a function of (epoch, epochs) within the period.
    """

    epochs: int
    stages: tuple[Stage, ...]
    learning_rate: Schedule


@final
@dataclass(frozen=True)
class Course:
    """Periods, one after the other; epochs and stages are counted through.

    Args:
        periods: at least one.

    Example:
        >>> course = Course((Period(2, (Stage(),), lambda e, n: 0.1), Period(1, (Stage(),), lambda e, n: 0.01)))
        >>> [(course.stage_at(epoch), course.learning_rate_at(epoch)) for epoch in range(course.epochs)]
        [(0, 0.1), (0, 0.1), (1, 0.01)]
    """

    periods: tuple[Period, ...]

    @property
    def epochs(self) -> int:
        """Of the whole run."""
        return sum(period.epochs for period in self.periods)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Of the whole run."""
        return tuple(stage for period in self.periods for stage in period.stages)

    def stage_at(self, epoch: int) -> int:
        """The index of the stage to which an epoch belongs."""
        period, start, before = self._located(epoch)
        return before + stage_at(period.stages, epoch - start, period.epochs)

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of w in an epoch."""
        period, start, _ = self._located(epoch)
        return period.learning_rate(epoch - start, period.epochs)

    def _located(self, epoch: int) -> tuple[Period, int, int]:
        """The period of an epoch, its first epoch, and how many stages came before."""
        *others, last = self.periods
        start, before = 0, 0
        for period in others:
            if epoch < start + period.epochs:
                return period, start, before
            start, before = start + period.epochs, before + len(period.stages)
        return last, start, before
