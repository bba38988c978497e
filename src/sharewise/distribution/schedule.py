"""Schedules: values as functions of (epoch, epochs), stateless, so that a resume needs to store nothing.

Learning rates, temperatures, strengths and probabilities all speak this one language, and one check (`Bounded`) holds
each of them against what it may be before a run begins.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from sharewise.errors import ConfigurationError

__all__ = [
    "Bounded",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Ending",
    "Exponential",
    "Linear",
    "LinearToZero",
    "Ramp",
    "Schedule",
    "Setting",
    "WarmUp",
    "value_at",
]

Schedule = Callable[[int, int], float]
"""A value as a function of (epoch, epochs), 0-based."""

Setting = float | Schedule
"""A number, or a schedule of numbers."""


def value_at(setting: Setting, epoch: int, epochs: int) -> float:
    """A setting in an epoch.

    Args:
        setting: a number or a schedule.
        epoch: 0-based.
        epochs: total.

    Example:
        >>> value_at(0.5, 3, 10), value_at(Linear(0.0, 1.0), 1, 3)
        (0.5, 0.5)
    """
    return setting(epoch, epochs) if callable(setting) else setting


class Ending(ABC):
    """A schedule that comes to an end, and knows how it would start anew in a run that goes on behind it."""

    @abstractmethod
    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`, 0-based."""

    def length(self, epochs: int) -> float:
        """The epochs after which it has ended, in a run of so many; infinite for one that never does."""
        return epochs

    @abstractmethod
    def again(self, fraction: float) -> Schedule:
        """What follows behind the end: the way from a fraction of its first value to its last."""


@final
@dataclass(frozen=True)
class Bounded:
    """A setting beside the values that it may take: finite, not negative, and as follows.

    Args:
        setting: a number or a schedule.
        positive: whether zero is refused as well.
        below: what every value stays under.
    """

    setting: Setting
    positive: bool = False
    below: float = math.inf

    def check(self, name: str, epochs: int = 1) -> None:
        """Hold every epoch's value against the bounds.

        Args:
            name: of the setting, for the message.
            epochs: of the run.

        Raises:
            ConfigurationError: naming the setting, its value and the epoch.

        Example:
            >>> Bounded(Linear(10.0, 0.0), positive=True).check("temperature", 3)
            Traceback (most recent call last):
            sharewise.errors.ConfigurationError: the temperature must be positive and finite, got 0.0 in epoch 2
        """
        for epoch in range(epochs):
            self.at(name, epoch, epochs)

    def at(self, name: str, epoch: int, epochs: int) -> float:
        """The value in an epoch, arguments and errors as for `check`."""
        value = value_at(self.setting, epoch, epochs)
        if 0 <= value < self.below and (value > 0 or not self.positive):
            return value
        kind = "positive" if self.positive else "not negative"
        bound = "finite" if self.below == math.inf else f"below {self.below:g}"
        when = f" in epoch {epoch}" if callable(self.setting) else ""
        raise ConfigurationError(f"the {name} must be {kind} and {bound}, got {value}{when}")


@final
@dataclass(frozen=True)
class Constant(Ending):
    """The same value throughout.

    Example:
        >>> Constant(0.1)(3, 10)
        0.1
    """

    value: float

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value."""
        return self.value

    def length(self, epochs: int) -> float:
        """It never ends."""
        return math.inf

    def again(self, fraction: float) -> Schedule:
        """It goes on."""
        return self


@final
@dataclass(frozen=True)
class Linear(Ending):
    """From `start` in the first epoch to `end` in the last: start + (end - start) · epoch / (epochs - 1).

    Example:
        >>> [Linear(10.0, 0.0)(e, 3) for e in range(3)]
        [10.0, 5.0, 0.0]
    """

    start: float
    end: float

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`; a single epoch takes the start."""
        return self.start + (self.end - self.start) * (epoch / (epochs - 1) if epochs > 1 else 0.0)

    def again(self, fraction: float) -> Schedule:
        """Another line down to the end; the end itself where that lies higher."""
        return Linear(max(fraction * self.start, self.end), self.end)


@final
@dataclass(frozen=True)
class Ramp(Ending):
    """From `start` in the first epoch to `end` after the last: start + (end - start) · epoch / epochs.

    The line along which the authors of SDARTS and β-DARTS raise their radius and their strength.

    Example:
        >>> [Ramp(0.0, 50.0)(e, 5) for e in range(5)]
        [0.0, 10.0, 20.0, 30.0, 40.0]
    """

    start: float
    end: float

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`."""
        return self.start + (self.end - self.start) * (epoch / epochs)

    def again(self, fraction: float) -> Schedule:
        """Another line to the end; the end itself where that lies higher."""
        return Ramp(max(fraction * self.start, self.end), self.end)


@final
@dataclass(frozen=True)
class Cosine(Ending):
    """Half a cosine from `start` towards `end`: end + (start - end) · (1 + cos(π · epoch / T)) / 2.

    Args:
        start: value in the first epoch.
        end: value after T epochs.
        stretch: T as a multiple of the number of epochs; GAEA runs 25 epochs of a schedule of 50, a stretch of 2.

    Example:
        >>> Cosine(1.0, 0.0)(5, 10)
        0.5
    """

    start: float
    end: float = 0.0
    stretch: float = 1.0

    def __post_init__(self) -> None:
        if self.stretch <= 0:
            raise ConfigurationError(f"the stretch of a cosine schedule must be positive, got {self.stretch}")

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * epoch / (epochs * self.stretch))) / 2

    def length(self, epochs: int) -> float:
        """T, which a stretch may put behind the last epoch."""
        return epochs * self.stretch

    def again(self, fraction: float) -> Schedule:
        """Another half cosine down to the end; the end itself where that lies higher."""
        return Cosine(max(fraction * self.start, self.end), self.end)


@final
@dataclass(frozen=True)
class CosineRestarts(Ending):
    """Half cosines from `start` to `end`, one after the other, each `factor` times as long as the one before.

    Together they fill the epochs, so that a run ends at the end of a cosine: the first one has the length
    epochs · (factor - 1) / (factor^cycles - 1), which is 10 of 150 epochs for four cycles of factor 2.

    Args:
        start: value at the beginning of every cosine.
        end: value that each approaches.
        cycles: how many, at least 1.
        factor: growth of their length, at least 1.

    Raises:
        ConfigurationError: when a value is out of range.

    Example:
        >>> [CosineRestarts(1.0, 0.0, cycles=2)(e, 6) for e in range(4)]
        [1.0, 0.5, 1.0, 0.8535...]

    References:
        I. Loshchilov and F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, equation 5.
    """

    start: float
    end: float = 0.0
    cycles: int = 4
    factor: int = 2

    def __post_init__(self) -> None:
        if self.cycles < 1 or self.factor < 1:
            raise ConfigurationError(
                f"cosine restarts need cycles and a factor of at least 1, got {self.cycles} and {self.factor}"
            )

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`."""
        lengths = [self.factor**cycle for cycle in range(self.cycles)]
        place = epoch * sum(lengths) / epochs  # in units of the first length
        for length in lengths[:-1]:
            if place < length:
                break
            place -= length
        else:
            length = lengths[-1]
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * min(place / length, 1.0))) / 2

    def again(self, fraction: float) -> Schedule:
        """One more half cosine down to the end; the end itself where that lies higher."""
        return Cosine(max(fraction * self.start, self.end), self.end)


@final
@dataclass(frozen=True)
class Exponential(Ending):
    """start · factor^epoch: an epoch is an epoch, however many there are.

    Args:
        start: value in the first epoch.
        factor: from one epoch to the next, in (0, 1].

    Raises:
        ConfigurationError: when the factor is out of range.

    Example:
        >>> [Exponential(1.0, 0.5)(e, 600) for e in range(3)]
        [1.0, 0.5, 0.25]
    """

    start: float
    factor: float

    def __post_init__(self) -> None:
        if not 0 < self.factor <= 1:
            raise ConfigurationError(f"the factor of an exponential schedule must lie in (0, 1], got {self.factor}")

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`."""
        return self.start * self.factor**epoch

    def length(self, epochs: int) -> float:
        """It never ends."""
        return math.inf

    def again(self, fraction: float) -> Schedule:
        """It goes on."""
        return self


@final
@dataclass(frozen=True)
class LinearToZero(Ending):
    """A straight line to zero, whose last epochs go on gently where it would have arrived.

    With E epochs of which the last are T = tail · E: start · (E - T - e) / (E - T) while more than T remain, then
    start · (E - e) / (T · (E - T)), which begins at one step of the line and ends above zero.

    Args:
        start: value in the first epoch.
        tail: part of the epochs that the end takes, in [0, 0.5); it is rounded to whole epochs, halves up.

    Raises:
        ConfigurationError: when the tail is out of range.

    Example:
        >>> [round(LinearToZero(1.0, tail=0.2)(e, 10), 4) for e in (0, 1, 7, 8, 9)]
        [1.0, 0.875, 0.125, 0.125, 0.0625]

    References:
        Y. Xu et al., *PC-DARTS*, ICLR 2020 (arXiv 1907.05737): its ImageNet training, as in the authors' code, whose
        tail is 5 of 250 epochs.
    """

    start: float
    tail: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.tail < 0.5:
            raise ConfigurationError(f"the tail of a linear schedule must lie in [0, 0.5), got {self.tail}")

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`."""
        tail = math.floor(self.tail * epochs + 0.5)
        remaining, line = epochs - epoch, epochs - tail
        return self.start * ((remaining - tail) / line if remaining > tail else remaining / (tail * line))

    def again(self, fraction: float) -> Schedule:
        """Another line to zero."""
        return LinearToZero(fraction * self.start, self.tail)


@final
@dataclass(frozen=True)
class WarmUp(Ending):
    """A schedule whose first W = fraction · E epochs rise in equal steps to its start: start · (epoch + 1) / W.

    Args:
        schedule: that is followed afterwards, as if it had been followed from the beginning.
        fraction: of the epochs, in [0, 1); rounded to whole epochs, halves up.

    Raises:
        ConfigurationError: when the fraction is out of range.

    Example:
        >>> [WarmUp(Constant(1.0), 0.4)(e, 5) for e in range(3)]
        [0.5, 1.0, 1.0]

    References:
        P. Goyal et al., *Accurate, Large Minibatch SGD* (arXiv 1706.02677), section 2.2.

    Deviations:
        By epoch instead of by step, as the authors of PC-DARTS do.
    """

    schedule: Ending
    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ConfigurationError(f"the fraction of a warm-up must lie in [0, 1), got {self.fraction}")

    def __call__(self, epoch: int, epochs: int) -> float:
        """The value in `epoch`."""
        rising = math.floor(self.fraction * epochs + 0.5)
        return self.schedule(0, epochs) * (epoch + 1) / rising if epoch < rising else self.schedule(epoch, epochs)

    def length(self, epochs: int) -> float:
        """With the schedule."""
        return self.schedule.length(epochs)

    def again(self, fraction: float) -> Schedule:
        """The schedule's own; no warm-up is repeated."""
        return self.schedule.again(fraction)
