"""How far a mean over a few seeds can be trusted, in numbers and in words no stronger than the numbers.

Searches are repeated over a handful of seeds, so everything here is a small-sample method: Student's t for
one mean, Welch's t for a difference of two, and a prediction interval where one side is a single value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sharewise.errors import ConfigurationError, NonFiniteError

__all__ = [
    "Comparison",
    "Estimate",
    "Interval",
    "compare",
    "difference_interval",
    "mean_interval",
    "require_squares",
]

_LARGEST = 1e150
"""The square of a value beyond it may be infinite."""


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds the true one, so that no number travels without its uncertainty.

    Args:
        mean: the centre of the interval.
        low: the lower end; minus infinity where the values are too few to tell.
        high: the upper end; infinity where the values are too few to tell.
        n: how many values the interval rests on (both sides together for a difference).
        confidence: the share of such intervals that hold the true value, between 0 and 1.

    Example:
        >>> print(Interval(mean=97.2, low=96.8, high=97.6, n=5, confidence=0.95))
        97.2 ± 0.4 (95 % interval, n = 5)
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float

    @property
    def half_width(self) -> float:
        """Half the length of the interval, the number after ±."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if not math.isfinite(self.half_width):
            return f"{self.mean:.4g} (n = {self.n}: too few values for an interval)"
        if self.half_width == 0:
            return f"{self.mean:.6g} ± 0 (no spread, n = {self.n})"
        digits = _decimals(self.half_width)
        centre = f"{self.mean:.{digits}f} ± {self.half_width:.{digits}f}"
        return f"{centre} ({_percent(self.confidence)} interval, n = {self.n})"


@dataclass(frozen=True)
class Estimate:
    """A statistic with an interval that need not be symmetric around it, and the way in which the interval was made.

    Args:
        value: of the statistic on the data.
        low: the lower end; minus infinity where the data are too few to tell.
        high: the upper end; infinity where the data are too few to tell.
        n: how many units the interval rests on.
        confidence: the share of such intervals that hold the true value, between 0 and 1.
        how: the way in which the interval was made, in a few words.

    Example:
        >>> print(Estimate(0.593, 0.511, 0.66, n=300, confidence=0.95, how="percentile bootstrap over architectures"))
        0.593 [0.511, 0.660] (95 % interval, percentile bootstrap over architectures, n = 300)
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float
    how: str

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if not math.isfinite(self.high - self.low):
            return f"{self.value:.4g} (n = {self.n}: too few values for an interval)"
        if self.high == self.low:
            return f"{self.value:.4g} (no spread, n = {self.n})"
        digits = max(0, 1 - math.floor(math.log10((self.high - self.low) / 2)))
        ends = f"[{_fixed(self.low, digits)}, {_fixed(self.high, digits)}]"
        return f"{_fixed(self.value, digits)} {ends} ({_percent(self.confidence)} interval, {self.how}, n = {self.n})"


@dataclass(frozen=True)
class Comparison:
    """What was found against random draws, with the one sentence that the numbers allow.

    Args:
        metric: the name of what was measured.
        interval: Welch's interval of the difference `mean(found) - mean(random)`; infinite where a side has
            one value.
        p_value: two-sided, of no difference; for a single found value, of its being one more random draw. Not
            a number where nothing varies.
        cohens_d: the difference in units of the pooled standard deviation; not a number where nothing varies.
        found_n: how many found values there are.
        random_n: how many random values there are.
        beats: how many of the random values the mean found value beats (a tie is not a win).
        prediction: for a single found value, where one more random draw is expected; None otherwise.
        sentence: the verdict in words.

    Example:
        >>> verdict = compare([0.95, 0.96, 0.97], [0.90, 0.91, 0.92])
        >>> verdict.found_n, verdict.beats, round(verdict.difference, 3)
        (3, 3, 0.05)
    """

    metric: str
    interval: Interval
    p_value: float
    cohens_d: float
    found_n: int
    random_n: int
    beats: int
    prediction: Interval | None
    sentence: str

    @property
    def difference(self) -> float:
        """Mean found value less mean random value, in the metric's own unit and direction."""
        return self.interval.mean


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Put Student's t interval around a mean, which is honest for the few seeds that a search can afford.

    Args:
        values: the values, one per seed; one value gives an infinite interval.
        confidence: the coverage asked for.

    Returns:
        The mean and its interval.

    Raises:
        ConfigurationError: there is no value, or the confidence is not between 0 and 1.
        NonFiniteError: a value is infinite or not a number.

    Example:
        >>> print(mean_interval([96.9, 97.1, 97.2, 97.3, 97.5]))
        97.2 ± 0.3 (95 % interval, n = 5)
        >>> print(mean_interval([97.2]))
        97.2 (n = 1: too few values for an interval)
    """
    array = _checked(values, "values")
    error = _deviation(array) / math.sqrt(array.size)
    return _around(_mean(array), error, array.size - 1, array.size, confidence)


def difference_interval(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Put Welch's t interval around `mean(a) - mean(b)`, which does not assume that both vary alike.

    Args:
        a: values of the first side.
        b: values of the second side.
        confidence: the coverage asked for.

    Returns:
        The difference and its interval, infinite where a side has one value and of width 0 if none varies.

    Raises:
        ConfigurationError: a side is empty, or the confidence is not between 0 and 1.
        NonFiniteError: a value is infinite or not a number.

    Example:
        >>> print(difference_interval([97.0, 97.2, 97.4], [96.0, 96.1, 96.2]))
        1.1 ± 0.4 (95 % interval, n = 6)
    """
    first, second = _checked(a, "a"), _checked(b, "b")
    error, freedom = _welch(first, second)
    return _around(_mean(first) - _mean(second), error, freedom, first.size + second.size, confidence)


def compare(
    found: Sequence[float],
    random: Sequence[float],
    *,
    metric: str = "accuracy",
    higher_is_better: bool = True,
    confidence: float = 0.95,
) -> Comparison:
    """Say whether found architectures beat random ones, in words only as strong as the interval allows.

    Several found values are compared by Welch's t. A single one has no spread of its own, so it is asked
    instead whether it could have been one more random draw.

    Args:
        found: the metric of what was found, one value per seed.
        random: the metric of architectures drawn at random and treated alike.
        metric: the name of the metric, for the sentence.
        higher_is_better: whether a larger value is better.
        confidence: the coverage of the intervals.

    Returns:
        The difference, its interval, p-value and effect size, and the sentence.

    Raises:
        ConfigurationError: a side is empty, or the confidence is not between 0 and 1.
        NonFiniteError: a value is infinite or not a number.

    Example:
        >>> print(compare([0.95, 0.96, 0.97], [0.90, 0.91, 0.92]).sentence)
        better by 0.050: accuracy, 95 % interval of the difference 0.027 to 0.073
        (p = 0.0036, n = 3 against 3)
        >>> print(compare([0.90, 0.97], [0.90, 0.91, 0.92]).sentence)
        no difference can be claimed: accuracy differs by 0.03, 95 % interval of the difference -0.37 to 0.42
        (p = 0.6, n = 2 against 3)
    """
    ours, theirs = _checked(found, "found"), _checked(random, "random")
    interval = difference_interval(found, random, confidence)
    gain = interval.mean if higher_is_better else -interval.mean
    wins = theirs < _mean(ours) if higher_is_better else theirs > _mean(ours)
    prediction = _prediction(theirs, confidence) if ours.size == 1 else None
    error, freedom = _draw(theirs) if ours.size == 1 else _welch(ours, theirs)
    p_value = _p_value(interval.mean, error, freedom)
    beats = int(wins.sum())
    if prediction is None:
        sentence = _sentence_of_means(metric, interval, gain, p_value, ours.size, theirs.size)
    else:
        sentence = _sentence_of_one(metric, float(ours[0]), prediction, gain, p_value, beats)
    return Comparison(
        metric=metric,
        interval=interval,
        p_value=p_value,
        cohens_d=_cohens_d(ours, theirs),
        found_n=ours.size,
        random_n=theirs.size,
        beats=beats,
        prediction=prediction,
        sentence=sentence,
    )


def _checked(values: Sequence[float], name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        raise ConfigurationError(f"{name} is empty; an interval needs at least one value")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise NonFiniteError(f"{name}[{at}] is {array[at]}; leave failed runs out on purpose, not by averaging them")
    require_squares(array, name)
    return array


def require_squares(values: NDArray[np.float64], name: str) -> None:
    """Refuse values whose squares are no numbers: no spread could be told.

    Raises:
        NonFiniteError: naming the first one.
    """
    large = np.flatnonzero(np.abs(values) > _LARGEST)
    if len(large):
        at = int(large[0])
        raise NonFiniteError(
            f"{name}[{at}] is {values[at]:.3g}, beyond {_LARGEST:g}, where spreads cannot be computed; leave diverged "
            "runs out on purpose"
        )


def _mean(array: NDArray[np.float64]) -> float:
    """The mean, exactly the common value of equal ones despite rounding."""
    return float(array[0] if array.min() == array.max() else array.mean())


def _deviation(array: NDArray[np.float64]) -> float:
    """The sample standard deviation: infinite for one value, exactly 0 for equal ones despite rounding."""
    if array.size == 1:
        return math.inf
    return 0.0 if array.min() == array.max() else float(array.std(ddof=1))


def _welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """The standard error of a difference of two means, and its Welch-Satterthwaite degrees of freedom."""
    first, second = _deviation(a), _deviation(b)
    error = math.hypot(first / math.sqrt(a.size), second / math.sqrt(b.size))
    if error == 0 or not math.isfinite(error):
        return error, 0.0
    shares = (first / error) ** 2 / a.size, (second / error) ** 2 / b.size
    return error, 1 / (shares[0] ** 2 / (a.size - 1) + shares[1] ** 2 / (b.size - 1))


def _draw(population: NDArray[np.float64]) -> tuple[float, float]:
    """The standard error and degrees of freedom of one more draw less the mean of those drawn."""
    return _deviation(population) * math.sqrt(1 + 1 / population.size), float(population.size - 1)


def _prediction(population: NDArray[np.float64], confidence: float) -> Interval:
    return _around(_mean(population), *_draw(population), population.size, confidence)


def _around(mean: float, error: float, freedom: float, n: int, confidence: float) -> Interval:
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence is {confidence}; give a share between 0 and 1, such as 0.95")
    if error == 0 or not math.isfinite(error):
        half = error
    else:
        half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    return Interval(mean, mean - half, mean + half, n, confidence)


def _p_value(difference: float, error: float, freedom: float) -> float:
    if error == 0 or not math.isfinite(error):
        return math.nan
    return float(2 * stats.t.sf(abs(difference) / error, freedom))


def _cohens_d(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    freedom = a.size + b.size - 2
    squares = sum(0.0 if side.size == 1 else (side.size - 1) * _deviation(side) ** 2 for side in (a, b))
    if squares == 0:
        return math.nan
    return (_mean(a) - _mean(b)) / math.sqrt(squares / freedom)


def _sentence_of_means(
    metric: str, interval: Interval, gain: float, p_value: float, found_n: int, random_n: int
) -> str:
    sizes = f"n = {found_n} against {random_n}"
    if not math.isfinite(interval.half_width):
        return f"no difference can be claimed: one random {metric} value has no spread to compare with ({sizes})"
    if interval.half_width == 0:
        if gain == 0:
            return f"no difference can be claimed: every {metric} value is the same ({sizes})"
        return (
            f"no difference can be claimed: {metric} is {_direction(gain)} by {abs(gain):.3g}, but the "
            f"values of neither side vary, so chance cannot be judged ({sizes})"
        )
    digits = _decimals(interval.half_width) + 1
    span = (
        f"{_percent(interval.confidence)} interval of the difference {_fixed(interval.low, digits)} to "
        f"{_fixed(interval.high, digits)} (p = {p_value:.2g}, {sizes})"
    )
    if 0 in interval:
        return f"no difference can be claimed: {metric} differs by {_fixed(interval.mean, digits)}, {span}"
    return f"{_direction(gain)} by {abs(gain):.{digits}f}: {metric}, {span}"


def _sentence_of_one(metric: str, value: float, prediction: Interval, gain: float, p_value: float, beats: int) -> str:
    rank = f"one found {metric}, {value:.4g}, beats {beats} of {prediction.n} random values"
    if not math.isfinite(prediction.half_width):
        return f"no difference can be claimed: {rank}, and one value on each side shows no spread"
    if prediction.half_width == 0:
        return f"no difference can be claimed: {rank}, and these do not vary, so chance cannot be judged"
    inside = value in prediction
    digits = _decimals(prediction.half_width) + 1
    where = (
        f"and lies {'inside' if inside else 'outside'} the {_percent(prediction.confidence)} prediction "
        f"interval of one random draw, {_fixed(prediction.low, digits)} to {_fixed(prediction.high, digits)} "
        f"(p = {p_value:.2g})"
    )
    if inside:
        return f"no difference can be claimed: {rank} {where}"
    return f"{_direction(gain)} than a random draw would be by chance: {rank} {where}"


def _direction(gain: float) -> str:
    return "better" if gain > 0 else "worse"


def _percent(confidence: float) -> str:
    return f"{100 * confidence:g} %"


def _fixed(value: float, digits: int) -> str:
    """Write with a fixed number of decimals, and never as minus zero."""
    return f"{value:.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def _decimals(half_width: float) -> int:
    """How many decimals show one digit of the half width, or two where the first is 1."""
    exponent = math.floor(math.log10(half_width))
    leading = round(half_width / 10.0**exponent, 1)
    return max(0, -exponent + (1 if leading < 2 else 0))
