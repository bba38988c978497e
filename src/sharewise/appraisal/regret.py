"""Regret against cost: how far the architecture that a search would hand over lies below the best one.

The incumbent is chosen by the signal that the search saw; its regret is judged by the reporter's test value, which no
search saw: regret = best possible test value - test value of the incumbent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sharewise.appraisal.interval import Interval, difference_interval
from sharewise.errors import ConfigurationError

__all__ = ["RegretCurve", "at_checkpoints", "differences", "incumbents", "regret_curve"]

Floats = NDArray[np.float64]


def incumbents(values: ArrayLike, fidelities: ArrayLike | None = None) -> NDArray[np.intp]:
    """After each evaluation the place of the best one so far.

    Args:
        values: signals in the order of evaluation, `(n,)`; higher is better. Of equal ones the first stays.
        fidelities: epochs behind each; a longer training beats every shorter one, since their signals cannot be
            compared.

    Returns:
        Places, `(n,)`.

    Raises:
        ConfigurationError: when a signal is not a number, or the lengths differ.

    Example:
        >>> incumbents([0.3, 0.1, 0.5, 0.5]).tolist()
        [0, 0, 2, 2]
        >>> incumbents([0.3, 0.9, 0.5, 0.4], [200, 12, 200, 200]).tolist()
        [0, 0, 2, 2]
    """
    signal = np.asarray(values, dtype=np.float64)
    if np.isnan(signal).any():
        raise ConfigurationError("a signal is not a number; leave failed evaluations out, or give them the worst value")
    epochs = np.zeros(len(signal)) if fidelities is None else np.asarray(fidelities, dtype=np.float64)
    if signal.ndim != 1 or epochs.shape != signal.shape:
        raise ConfigurationError(f"signals and fidelities differ in shape: {signal.shape} and {epochs.shape}")
    # The rank in the lexicographic order of epochs and signal, equal for equal pairs.
    _, keys = np.unique(np.stack([epochs, signal]), axis=1, return_inverse=True)
    keys = keys.reshape(-1)
    best = np.maximum.accumulate(keys)
    new = np.concatenate([[True], best[1:] > best[:-1]]) if len(keys) else np.zeros(0, dtype=bool)
    found: NDArray[np.intp] = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))
    return found


def at_checkpoints(spent: ArrayLike, series: ArrayLike, checkpoints: ArrayLike) -> Floats:
    """A series at given costs: its value at the last evaluation that was complete by then.

    Args:
        spent: cost up to and including each evaluation, `(n,)`, ascending.
        series: a value for each evaluation, `(n,)`.
        checkpoints: costs, `(m,)`.

    Returns:
        Values, `(m,)`; not a number before the first evaluation is complete.

    Example:
        >>> at_checkpoints([10, 20, 30], [5, 4, 1], [9, 10, 29, 99]).tolist()
        [nan, 5.0, 4.0, 1.0]
    """
    costs, values = np.asarray(spent, dtype=np.float64), np.asarray(series, dtype=np.float64)
    places = np.searchsorted(costs, np.asarray(checkpoints, dtype=np.float64), side="right") - 1
    if len(values) == 0:
        return np.full(places.shape, np.nan)
    found: Floats = np.where(places >= 0, values[np.maximum(places, 0)], np.nan)
    return found


@dataclass(frozen=True)
class RegretCurve:
    """Regret over repeats at checkpoints of cost.

    Args:
        checkpoints: costs.
        mean: over repeats; `None` at a checkpoint by which some repeat had no incumbent yet.
        median: likewise.
        mean_interval: Student's t interval of the mean.
        median_interval: interval of the median from order statistics, which assumes no shape of the distribution.
        n: repeats.
        confidence: of both intervals.

    Example:
        >>> curve = regret_curve([[2.0, 1.0], [4.0, 1.5], [3.0, 0.5]], [10, 20])
        >>> curve.mean, curve.n
        ((3.0, 1.0), 3)
    """

    checkpoints: tuple[float, ...]
    mean: tuple[float | None, ...]
    mean_interval: tuple[tuple[float, float] | None, ...]
    median: tuple[float | None, ...]
    median_interval: tuple[tuple[float, float] | None, ...]
    n: int
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, and how the intervals were made."""
        return {
            "n": self.n,
            "confidence": self.confidence,
            "mean": list(self.mean),
            "mean_interval": [None if pair is None else list(pair) for pair in self.mean_interval],
            "median": list(self.median),
            "median_interval": [None if pair is None else list(pair) for pair in self.median_interval],
            "intervals": "mean: Student's t over repeats; median: order statistics (binomial)",
        }


def regret_curve(regrets: ArrayLike, checkpoints: Sequence[float], confidence: float = 0.95) -> RegretCurve:
    """Mean and median regret with their intervals.

    Args:
        regrets: `(repeats, checkpoints)`; not a number where a repeat had no incumbent yet.
        checkpoints: costs, ascending.
        confidence: coverage of the intervals, between 0 and 1.

    Returns:
        The curve.

    Raises:
        ConfigurationError: when shapes do not fit or the confidence is out of range.
    """
    table = np.asarray(regrets, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(checkpoints) or len(table) == 0:
        raise ConfigurationError(f"regrets of shape (repeats, {len(checkpoints)}) are needed, got {table.shape}")
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence is {confidence}; give a share between 0 and 1, such as 0.95")
    n = len(table)
    low, high = median_ranks(n, confidence)
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1)) if n > 1 else np.inf
    means: list[float | None] = []
    medians: list[float | None] = []
    of_means: list[tuple[float, float] | None] = []
    of_medians: list[tuple[float, float] | None] = []
    for column in table.T:
        if np.isnan(column).any():
            for found in (means, medians, of_means, of_medians):
                found.append(None)
            continue
        mean = float(column.mean())
        half = quantile * float(column.std(ddof=1)) / np.sqrt(n) if n > 1 else np.inf
        ordered = np.sort(column)
        means.append(mean)
        medians.append(float(np.median(column)))
        of_means.append((mean - half, mean + half) if np.isfinite(half) else None)
        of_medians.append((float(ordered[low]), float(ordered[high])) if low >= 0 else None)
    return RegretCurve(
        tuple(float(c) for c in checkpoints),
        tuple(means),
        tuple(of_means),
        tuple(medians),
        tuple(of_medians),
        n,
        confidence,
    )


def median_ranks(n: int, confidence: float = 0.95) -> tuple[int, int]:
    """Places in a sorted sample between which the median lies with at least the confidence; (-1, -1) if n is too small.

    The number of values below the median is binomial with probability ½.

    Example:
        >>> median_ranks(500)
        (227, 272)
    """
    low = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5)) - 1
    return (low, n - 1 - low) if low >= 0 else (-1, -1)


def differences(
    a: ArrayLike, b: ArrayLike, checkpoints: Sequence[float], confidence: float = 0.95
) -> list[Interval | None]:
    """Two strategies at equal cost: mean regret of `a` less that of `b` with Welch's interval, at each checkpoint.

    Args:
        a: regrets of one, `(repeats, checkpoints)`.
        b: of the other, from independent repeats.
        checkpoints: costs.
        confidence: of the interval.

    Returns:
        An interval for each checkpoint; `None` where some repeat had no incumbent yet.

    Example:
        >>> print(differences([[3.0], [3.2], [3.4]], [[2.0], [2.1], [2.2]], [100])[0])
        1.1 ± 0.4 (95 % interval, n = 6)
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    found: list[Interval | None] = []
    for place in range(len(checkpoints)):
        sides = first[:, place], second[:, place]
        missing = any(np.isnan(side).any() for side in sides)
        found.append(None if missing else difference_interval(sides[0].tolist(), sides[1].tolist(), confidence))
    return found
