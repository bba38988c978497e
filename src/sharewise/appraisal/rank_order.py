"""Are the ranks of supernets inverted? A claim that stands over other supernets and over other architectures alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sharewise.appraisal.agreement import paired
from sharewise.appraisal.interval import Estimate, mean_interval
from sharewise.errors import ConfigurationError

__all__ = ["ADVICE", "Order", "RankOrder", "rank_order"]

Floats = NDArray[np.float64]
_RESAMPLES = 1000
"""Permutations, and resamples of the bootstrap."""

ADVICE = (
    "check that higher is better in scores and truth alike; score with recalibrated statistics (--recalibrate) on more "
    "examples; train the supernets longer, or by sampling (--method spos); until ranks agree, search without them"
)


class Order(Enum):
    """In which order supernets put architectures."""

    AGREES = "ranks agree with the true ones"
    INVERTED = "ranks are inverted"
    OPEN = "no order can be claimed"


@dataclass(frozen=True)
class RankOrder:
    """Whether the order of the scores is the true one, its opposite, or neither that one could claim.

    Args:
        order: what is claimed.
        spearman: mean correlation over the supernets, with its bootstrap interval over architectures.
        p_value: of a mean as far from 0 on its side if scores had nothing to do with the truth, by permutation.
        supernets: that the mean rests on.
        sentence: the finding in words.
        advice: what to try; `None` unless ranks are inverted.
    """

    order: Order
    spearman: Estimate
    p_value: float
    supernets: int
    sentence: str
    advice: str | None


def rank_order(
    scores: Sequence[ArrayLike],
    truth: ArrayLike,
    *,
    generator: np.random.Generator,
    confidence: float = 0.95,
) -> RankOrder:
    """Say whether supernets rank architectures as the truth does, or the other way round.

    Let ρ be the mean over the supernets of Spearman's correlation with the truth. It is claimed to differ from 0 only
    where all of these say so: Student's interval over the supernets (where there are two or more), the percentile
    bootstrap over architectures, and a one-sided permutation test at (1 - confidence) / 2. All supernets rank the same
    sample, so that they easily agree by luck on a small one; and the bootstrap alone is too narrow there. Ranks are
    therefore called inverted in at most (1 - confidence) / 2 of all appraisals in which they are not.

    Args:
        scores: one array `(n,)` a supernet; higher is better. Failed supernets, with one score for all, are left out.
        truth: `(n,)`; higher is better.
        generator: of permutations and bootstrap.
        confidence: of both intervals.

    Raises:
        ConfigurationError: when every supernet failed, or shapes do not fit.
        NonFiniteError: when a value is infinite or not a number.

    Example:
        >>> truth = np.linspace(0.8, 0.9, 60)
        >>> noise = np.random.default_rng(0)
        >>> scores = [-truth + noise.normal(0, 0.05, 60) for _ in range(3)]
        >>> found = rank_order(scores, truth, generator=np.random.default_rng(1))
        >>> found.order
        <Order.INVERTED: 'ranks are inverted'>
        >>> print(found.sentence)
        ranks are inverted: Spearman -0.47 [-0.58, -0.33] (95 % interval, percentile bootstrap over architectures,
        n = 60), mean of 3 supernets (p = 0.001 by permutation): architectures that score high are the worse ones
    """
    columns = [paired(column, truth)[0] for column in scores]
    kept = np.array([column for column in columns if column.min() < column.max()])
    values = np.asarray(truth, dtype=np.float64)
    if not len(kept) or values.min() == values.max():
        raise ConfigurationError("there is no order to judge: all scores of every supernet, or all true values, tie")
    each = _correlations(kept, values)
    mean = float(each.mean())
    ends = (1 - confidence) / 2
    drawn = generator.integers(len(values), size=(_RESAMPLES, len(values)))
    resampled = np.mean([_correlations(column[drawn], values[drawn]) for column in kept], axis=0)
    low, high = _middle(resampled, ends)
    estimate = Estimate(mean, low, high, len(values), confidence, "percentile bootstrap over architectures")
    p_value = _by_permutation(kept, values, abs(mean), np.sign(mean), generator)
    spread = mean_interval(each.tolist(), confidence)
    stands = 0 not in estimate and p_value <= ends and (len(each) == 1 or 0 not in spread)
    order = Order.OPEN if not stands else Order.AGREES if mean > 0 else Order.INVERTED
    return RankOrder(
        order,
        estimate,
        p_value,
        len(each),
        _sentence(order, estimate, p_value, len(each)),
        ADVICE if order is Order.INVERTED else None,
    )


def _middle(resampled: Floats, ends: float) -> tuple[float, float]:
    """What leaves so much out at both ends; without ends where resamples without a correlation are not rare."""
    known = resampled[~np.isnan(resampled)]
    if len(known) < (1 - ends) * len(resampled):
        return -np.inf, np.inf
    low, high = np.quantile(known, [ends, 1 - ends])
    return float(low), float(high)


def _correlations(scores: Floats, truth: Floats) -> Floats:
    """Spearman's, row by row; not a number where a side is constant."""
    first, second = (_centred(side) for side in (scores, truth))
    scale = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    found: Floats = np.divide((first * second).sum(-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)
    return found


def _centred(values: Floats) -> Floats:
    found: Floats = stats.rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2
    return found


def _by_permutation(kept: Floats, truth: Floats, size: float, side: float, generator: np.random.Generator) -> float:
    """The share of orders of the truth that correlate at least as strongly to the side seen; all supernets at once."""
    ranks = _centred(kept)
    joint = (ranks / np.sqrt((ranks**2).sum(-1, keepdims=True))).mean(0)
    true = _centred(truth)
    orders = generator.permuted(np.tile(true, (_RESAMPLES - 1, 1)), axis=1)
    found = side * (orders @ joint) / np.sqrt(true @ true)
    return float(1 + (found >= size - 1e-12).sum()) / _RESAMPLES


def _sentence(order: Order, spearman: Estimate, p_value: float, supernets: int) -> str:
    whose = "one supernet" if supernets == 1 else f"mean of {supernets} supernets"
    figures = f"Spearman {spearman}, {whose} (p = {p_value:.2g} by permutation)"
    follows = ": architectures that score high are the worse ones" if order is Order.INVERTED else ""
    return f"{order.value}: {figures}{follows}"
