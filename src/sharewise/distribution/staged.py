"""A schedule made of others, one after the other: a learning rate that starts anew in every stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from sharewise.distribution.schedule import Ending, Schedule
from sharewise.errors import ConfigurationError

__all__ = ["Staged"]


@final
@dataclass(frozen=True)
class Staged(Ending):
    """Schedules in a row, each over its own part of the epochs, as if that were the whole run.

    Args:
        parts: positive numbers in proportion to the epochs of each; boundaries are rounded to whole epochs, halves up,
            as those of stages are.
        schedules: as many.

    Raises:
        ConfigurationError: when their numbers differ, or a part is not positive.

    Example:
        >>> from sharewise.distribution import Constant, Linear
        >>> [Staged((1, 1), (Constant(0.5), Linear(1.0, 0.0)))(epoch, 6) for epoch in range(6)]
        [0.5, 0.5, 0.5, 1.0, 0.5, 0.0]
    """

    parts: tuple[float, ...]
    schedules: tuple[Ending, ...]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.schedules) or not self.parts or min(self.parts) <= 0:
            raise ConfigurationError(
                f"a staged schedule needs a positive part for each schedule, got {list(self.parts)} for "
                f"{len(self.schedules)} schedules"
            )

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value of the part to which the epoch belongs."""
        total, begin, done = sum(self.parts), 0, 0.0
        for part, schedule in zip(self.parts, self.schedules, strict=True):
            done += part
            end = int(done / total * epochs + 0.5)
            if epoch < end:
                return schedule(epoch - begin, end - begin)
            begin = end if end > begin else begin
        return self.schedules[-1](max(epoch - begin, 0), max(epochs - begin, 1))

    def again(self, fraction: float) -> Schedule:
        """That of the last part."""
        return self.schedules[-1].again(fraction)
