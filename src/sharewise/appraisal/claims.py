"""Many comparisons at once: which of several contestants differ, with one correction for all that is said.

A claim needs two tests: of means, by t, and of ranks, by Mann and Whitney's U. What searches find is discrete,
so that a few seeds easily agree by luck and show less spread than there is; a t interval alone would then claim too
much. The larger of the two p-values counts, and Holm's correction holds over all comparisons together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sharewise.appraisal.groups import holm, mann_whitney, welch_test
from sharewise.appraisal.interval import Interval, difference_interval, mean_interval

__all__ = ["Claim", "Scale", "claims"]

Values = Mapping[str, float]
"""One value a seed, or a repeat, by its name."""


@final
@dataclass(frozen=True)
class Scale:
    """What is compared.

    Args:
        what: the quantity, for sentences.
        unit: of a difference.
        higher_is_better: which direction wins.
        paired: whether values of equal names belong together, such as those of one seed.
        level: of all claims together.
    """

    what: str = "test accuracy"
    unit: str = "points"
    higher_is_better: bool = True
    paired: bool = True
    level: float = 0.05


@final
@dataclass(frozen=True)
class Claim:
    """What may be said about two contestants.

    Args:
        names: of both.
        difference: mean of the first less that of the second, with its 95 % t interval; `None` where one is missing.
        p_means: of the t test; `None` where nothing varies, or there is one value.
        p_ranks: of Mann and Whitney's test.
        corrected: the larger of both after Holm's correction over all comparisons.
        better: the one that is claimed to be better; `None` where none is.
        sentence: in words no stronger than that.
    """

    names: tuple[str, str]
    difference: Interval | None
    p_means: float | None
    p_ranks: float | None
    corrected: float | None
    better: str | None
    sentence: str


def claims(families: Mapping[str, Mapping[str, Values]], scale: Scale) -> dict[str, list[Claim]]:
    """Compare all pairs of contestants within each family, and correct for all pairs of all families.

    Args:
        families: contestants by name, by a name of the family, such as a space and its data.
        scale: what is compared.

    Returns:
        The pairs of every family.

    Example:
        >>> a = {str(seed): 90 + seed for seed in range(6)}
        >>> b = {str(seed): 70.0 + 2 * seed for seed in range(6)}
        >>> found = claims({"all": {"a": a, "b": b}}, Scale())["all"][0]
        >>> found.better, found.corrected < 0.01
        ('a', True)
        >>> print(claims({"all": {"a": {"0": 91.0}, "b": {"0": 70.0}}}, Scale())["all"][0].sentence)
        cannot tell a and b apart: test accuracy of a is 21 points higher, but one seed shows no spread
    """
    pairs = {
        family: [_measured(one, other, values, scale) for one, other in itertools.combinations(values, 2)]
        for family, values in families.items()
    }
    every = [claim for claims_ in pairs.values() for claim in claims_]
    tested = [max(c.p_means, c.p_ranks) for c in every if c.p_means is not None and c.p_ranks is not None]
    corrected = iter(holm(tested).tolist())
    return {
        family: [
            claim if claim.p_means is None or claim.p_ranks is None else _settled(claim, next(corrected), scale, tested)
            for claim in found
        ]
        for family, found in pairs.items()
    }


def _measured(one: str, other: str, values: Mapping[str, Values], scale: Scale) -> Claim:
    """Difference and p-values before any correction."""
    first, second = _sides(values[one], values[other], scale.paired)
    unit = "seed" if scale.paired else "repeat"
    begin = f"cannot tell {one} and {other} apart: "
    nothing = Claim((one, other), None, None, None, None, None, "")
    if min(len(first), len(second)) == 0:
        return replace(nothing, sentence=f"{begin}there is no {unit} of which both have a result")
    interval = (
        mean_interval((first - second).tolist())
        if scale.paired
        else difference_interval(first.tolist(), second.tolist())
    )
    words = _gap(interval.mean, one, scale)
    if min(len(first), len(second)) == 1:
        return replace(nothing, difference=interval, sentence=f"{begin}{words}, but one {unit} shows no spread")
    means, ranks = _of_means(first, second, interval, scale.paired), mann_whitney(first, second).p_value
    if math.isnan(means) or math.isnan(ranks):
        reason = "nothing varies, so that chance cannot be judged"
        return replace(nothing, difference=interval, sentence=f"{begin}{words}, but {reason} ({_n(first, second)})")
    return replace(nothing, difference=interval, p_means=means, p_ranks=ranks)


def _sides(a: Values, b: Values, paired: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    common = [name for name in a if name in b]
    first, second = ([a[n] for n in common], [b[n] for n in common]) if paired else (list(a.values()), list(b.values()))
    return np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)


def _of_means(a: NDArray[np.float64], b: NDArray[np.float64], interval: Interval, paired: bool) -> float:
    if not paired:
        return welch_test(a, b).p_value
    if interval.half_width == 0:
        return math.nan
    error = float((a - b).std(ddof=1)) / math.sqrt(len(a))
    return float(2 * stats.t.sf(abs(interval.mean) / error, len(a) - 1))


def _settled(claim: Claim, corrected: float, scale: Scale, tested: Sequence[float]) -> Claim:
    """The sentence that the corrected p-value allows."""
    assert claim.difference is not None
    one, other = claim.names
    interval, unit = claim.difference, scale.unit
    rest = f"{100 * interval.confidence:g} % interval {interval.low:+.3g} to {interval.high:+.3g}, {_how(scale)}"
    rest += f"n = {interval.n}, p = {corrected:.2g} corrected for {len(tested)} comparison{'s' * (len(tested) > 1)}"
    first_wins = (interval.mean > 0) == scale.higher_is_better
    if corrected < scale.level and 0 not in interval:
        winner, loser = (one, other) if first_wins else (other, one)
        direction = "higher" if scale.higher_is_better else "lower"
        sentence = f"{winner} is better than {loser}: {scale.what} {abs(interval.mean):.3g} {unit} {direction} ({rest})"
        return replace(claim, corrected=corrected, better=winner, sentence=sentence)
    sentence = f"cannot tell {one} and {other} apart: {_gap(interval.mean, one, scale)} ({rest})"
    return replace(claim, corrected=corrected, sentence=sentence)


def _gap(mean: float, one: str, scale: Scale) -> str:
    if mean == 0:
        return f"{scale.what} is the same on average"
    return f"{scale.what} of {one} is {abs(mean):.3g} {scale.unit} {'higher' if mean > 0 else 'lower'}"


def _how(scale: Scale) -> str:
    return "paired by seed, " if scale.paired else ""


def _n(first: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    return f"n = {len(first)}" if len(first) == len(second) else f"n = {len(first)} and {len(second)}"
