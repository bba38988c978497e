"""Extensions: epochs that are added to a run that has ended, and what becomes of its schedules in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from sharewise.distribution import Ending, Schedule
from sharewise.errors import ConfigurationError

__all__ = ["EXTENSION_RATE", "Extension", "extended"]

EXTENSION_RATE = 0.1
"""Of the first learning rate: where an extension begins if nothing else is asked for."""


@final
@dataclass(frozen=True)
class Extension:
    """Epochs that are added to a run that has ended.

    Args:
        epochs: in all, those before included.
        rate: the learning rate at which a schedule that has ended starts anew, as a fraction of the first one, in
            (0, 1].

    Raises:
        ConfigurationError: when the fraction is out of range.
    """

    epochs: int
    rate: float = EXTENSION_RATE

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ConfigurationError(
                f"an extension begins at a fraction of the first learning rate in (0, 1], got {self.rate}"
            )


def extended(schedule: Schedule, epoch: int, epochs: int, extensions: Sequence[Extension]) -> float:
    """The learning rate of an epoch, in a run that may have been extended.

    A schedule that has not come to its end goes on as it was laid out: a constant one for ever, a stretched cosine
    until it ends. Behind its end every extension starts one anew, at a fraction of the first rate. A function that says
    nothing of its end stays at the value of its last epoch.

    Args:
        schedule: of the learning rate.
        epoch: 0-based.
        epochs: of the run as it began.
        extensions: in order.

    Example:
        >>> from sharewise.distribution import Cosine
        >>> [round(extended(Cosine(1.0), epoch, 2, [Extension(4, 0.1)]), 3) for epoch in range(4)]
        [1.0, 0.5, 0.1, 0.05]
    """
    if epoch < epochs:
        return schedule(epoch, epochs)
    if not isinstance(schedule, Ending):
        return schedule(epochs - 1, epochs)
    length = schedule.length(epochs)
    if epoch < length:
        return schedule(epoch, epochs)
    begin = max(epochs, math.ceil(length))
    for extension in extensions:
        if epoch < extension.epochs:
            return schedule.again(extension.rate)(epoch - begin, extension.epochs - begin)
        begin = max(begin, extension.epochs)
    raise ConfigurationError(f"epoch {epoch} lies behind the end of the run")
