"""Two groups of runs: tests, effect sizes with intervals, probability of superiority, power, and many comparisons.

The sign is always that of `a - b`. For regrets this means: negative where `a` is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from sharewise.appraisal.interval import Estimate, require_squares
from sharewise.errors import ConfigurationError, NonFiniteError

__all__ = [
    "GroupComparison",
    "Test",
    "achieved_power",
    "benjamini_hochberg",
    "cohens_d",
    "compare_groups",
    "hedges_g",
    "holm",
    "mann_whitney",
    "needed_size",
    "rank_superiority",
    "student_test",
    "superiority_of_effect",
    "welch_test",
]

Floats = NDArray[np.float64]
_FAR = 1e4
"""Beyond it the noncentral t is a scaled χ to seven digits, and its own computation soon has none."""
EXACT_PAIRS = 400
"""Up to so many pairs, and without ties, the distribution of Mann and Whitney's U is counted and not approximated."""


@dataclass(frozen=True)
class Test:
    """A test of no difference.

    Args:
        name: of the test.
        statistic: t, or U of the first group.
        freedom: degrees of freedom of t; `None` for U.
        p_value: two-sided; not a number where nothing varies.
        difference: mean of the first group less that of the second with the test's interval; `None` for U.
        n: sizes of both groups.
    """

    __test__ = False  # no test case, whatever pytest thinks of the name

    name: str
    statistic: float
    freedom: float | None
    p_value: float
    difference: Estimate | None
    n: tuple[int, int]


@dataclass(frozen=True)
class GroupComparison:
    """All that is worth saying about two groups.

    Args:
        n: sizes of both groups.
        means: of both.
        deviations: of both, n - 1 in the denominator.
        student: assumes that both vary alike.
        welch: does not.
        mann_whitney: of ranks.
        cohens_d: difference of the means in pooled standard deviations, with its interval.
        hedges_g: the same without the bias of small samples.
        smaller_by_effect: Φ(-d/√2), the probability that a run of `a` lies below one of `b` if both are normal and vary
            alike: for regrets, the probability that `a` wins.
        smaller_by_rank: the same from the data, ties counted half.
        power: of Student's test to find a true effect of the size found (an optimistic number: the effect found by
            chance counts as true).
        detectable_d: the smallest |d| that these sizes find with probability 0.8.
    """

    n: tuple[int, int]
    means: tuple[float, float]
    deviations: tuple[float, float]
    student: Test
    welch: Test
    mann_whitney: Test
    cohens_d: Estimate
    hedges_g: Estimate
    smaller_by_effect: Estimate
    smaller_by_rank: Estimate
    power: float
    detectable_d: float

    @property
    def apart(self) -> bool:
        """Whether Welch's interval of the difference of the means leaves out zero."""
        assert self.welch.difference is not None
        return 0 not in self.welch.difference

    @property
    def claimed(self) -> bool:
        """Whether a difference may be claimed: the means are apart, and ranks point the same way at the same level.

        A few runs may agree by luck, and then show less spread than there is: Welch's interval alone is far too narrow
        for regrets, which are skewed.
        """
        assert self.welch.difference is not None
        favoured = self.smaller_by_rank.value - 0.5
        confirmed = self.mann_whitney.p_value < 1 - self.welch.difference.confidence
        return self.apart and confirmed and favoured * self.welch.difference.value < 0


def compare_groups(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> GroupComparison:
    """Compare two groups of independent runs in every way that is usual, so that no way is chosen after the fact.

    Args:
        a: values of one group, `(n,)`, at least two.
        b: of the other, at least two.
        confidence: of all intervals; 1 - confidence is the level of the tests for `power`.

    Raises:
        ConfigurationError: when a group has fewer than two values, or the confidence is out of range.
        NonFiniteError: when a value is infinite or not a number.

    Example:
        >>> found = compare_groups([1.0, 1.2, 1.1, 0.9], [1.5, 1.4, 1.9, 1.6])
        >>> print(found.welch.difference)
        -0.55 [-0.88, -0.22] (95 % interval, Welch's t, n = 8)
        >>> round(found.mann_whitney.p_value, 4), round(found.smaller_by_rank.value, 2)
        (0.0286, 1.0)
    """
    first, second = _group(a, "a"), _group(b, "b")
    n = len(first), len(second)
    effect = cohens_d(first, second, confidence=confidence)
    known = not math.isnan(effect.value)
    alpha = 1 - confidence
    return GroupComparison(
        n,
        (float(first.mean()), float(second.mean())),
        (_deviation(first), _deviation(second)),
        student_test(first, second, confidence=confidence),
        welch_test(first, second, confidence=confidence),
        mann_whitney(first, second),
        effect,
        hedges_g(first, second, confidence=confidence),
        superiority_of_effect(effect, smaller=True),
        rank_superiority(second, first, confidence=confidence),
        achieved_power(effect.value, *n, alpha=alpha) if known else math.nan,
        _detectable(n, 0.8, alpha),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Tests


def student_test(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Test:
    """Student's t-test of independent groups, which assumes that both vary alike: t = (ā - b̄) / (s·√(1/n + 1/m)).

    Example:
        >>> round(student_test([1, 2, 3], [2, 3, 4]).p_value, 3)
        0.288
    """
    first, second = _group(a, "a"), _group(b, "b")
    freedom = len(first) + len(second) - 2
    error = _pooled(first, second) * math.sqrt(1 / len(first) + 1 / len(second))
    return _t_test("Student's t", first, second, error, freedom, confidence)


def welch_test(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Test:
    """Welch's t-test of independent groups, which lets each vary in its own way.

    Example:
        >>> round(welch_test([1, 2, 3], [2, 3, 9]).p_value, 3)
        0.347
    """
    first, second = _group(a, "a"), _group(b, "b")
    parts = [_deviation(side) ** 2 / len(side) for side in (first, second)]
    error = math.sqrt(sum(parts))
    freedom = 0.0
    if error > 0:
        shares = [part / sum(parts) for part in parts]
        freedom = 1 / sum(s**2 / (len(side) - 1) for s, side in zip(shares, (first, second), strict=True))
    return _t_test("Welch's t", first, second, error, freedom, confidence)


def mann_whitney(a: ArrayLike, b: ArrayLike) -> Test:
    """Mann and Whitney's test of ranks: exact for small groups without ties, else normal with the correction for ties.

    Example:
        >>> round(mann_whitney([1, 2, 3], [4, 5, 6]).p_value, 3)  # 2 of the 20 orders are as extreme
        0.1
    """
    first, second = _group(a, "a"), _group(b, "b")
    n = len(first), len(second)
    both = np.concatenate([first, second])
    if both.min() == both.max():
        return Test("Mann-Whitney U", n[0] * n[1] / 2, None, math.nan, None, n)
    exact = n[0] * n[1] <= EXACT_PAIRS and len(np.unique(both)) == len(both)
    found = stats.mannwhitneyu(first, second, alternative="two-sided", method="exact" if exact else "asymptotic")
    name = f"Mann-Whitney U ({'exact' if exact else 'normal approximation'})"
    return Test(name, float(found.statistic), None, float(found.pvalue), None, n)


# ---------------------------------------------------------------------------------------------------------------------
# Effect sizes


def cohens_d(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The difference of the means in pooled standard deviations, with the exact interval of the noncentral t.

    d·√(nm/(n+m)) is a noncentral t whose centre is δ·√(nm/(n+m)); the ends of the interval are the δ for which the
    value found is just not too extreme.

    Example:
        >>> print(cohens_d([1.0, 1.2, 1.1, 0.9], [1.5, 1.4, 1.9, 1.6]))
        -3.1 [-5.2, -0.8] (95 % interval, noncentral t, n = 8)

    References:
        J. Cohen, *Statistical Power Analysis for the Behavioral Sciences*, 1988; G. Cumming and S. Finch, *A primer on
        the understanding, use, and calculation of confidence intervals based on central and noncentral
        distributions*, 2001.
    """
    first, second = _group(a, "a"), _group(b, "b")
    _check_confidence(confidence)
    n = len(first) + len(second)
    spread = _pooled(first, second)
    how = "noncentral t"
    if spread == 0:
        return Estimate(math.nan, -math.inf, math.inf, n, confidence, how)
    value = float(first.mean() - second.mean()) / spread
    scale = math.sqrt(len(first) * len(second) / n)
    low, high = _noncentral_ends(value * scale, n - 2, confidence)
    return Estimate(value, low / scale, high / scale, n, confidence, how)


def hedges_g(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Cohen's d times Γ(ν/2) / (√(ν/2) Γ((ν-1)/2)) with ν = n + m - 2, which takes the bias of small samples away.

    Example:
        >>> round(hedges_g([1.0, 1.2, 1.1, 0.9], [1.5, 1.4, 1.9, 1.6]).value, 3)
        -2.685
    """
    effect = cohens_d(a, b, confidence=confidence)
    half = (effect.n - 2) / 2
    factor = math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)
    ends = factor * effect.low, factor * effect.high
    return Estimate(factor * effect.value, *ends, effect.n, confidence, "noncentral t, Hedges' correction")


def superiority_of_effect(effect: Estimate, *, smaller: bool = False) -> Estimate:
    """Φ(d/√2): how often a run of the first group lies above one of the second, if both are normal and vary alike.

    Args:
        effect: Cohen's d with its interval.
        smaller: ask for below instead of above.

    Example:
        >>> d = Estimate(-1.16, -1.5, -0.8, 530, 0.95, "noncentral t")
        >>> round(superiority_of_effect(d, smaller=True).value, 2)  # the text of the paper says 0.89
        0.79
    """
    ends = [float(stats.norm.cdf(d / math.sqrt(2))) for d in (effect.value, effect.low, effect.high)]
    if smaller:
        ends = [1 - ends[0], 1 - ends[2], 1 - ends[1]]
    return Estimate(ends[0], ends[1], ends[2], effect.n, effect.confidence, f"from d, {effect.how}")


def rank_superiority(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The share of pairs in which the value of `a` is the larger, ties counted half, with a score interval.

    Example:
        >>> print(rank_superiority([3, 5, 7, 9], [1, 2, 4, 6]))
        0.81 [0.40, 0.96] (95 % interval, Newcombe's score interval, n = 8)

    References:
        R. Newcombe, *Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2*,
        Statistics in Medicine 25, 2006 (method 5).
    """
    first, second = _group(a, "a"), _group(b, "b")
    _check_confidence(confidence)
    n, m = len(first), len(second)
    ranks = stats.rankdata(np.concatenate([first, second]))
    found = float(ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    z = float(stats.norm.ppf((1 + confidence) / 2))

    def excess(theta: float) -> float:
        half = (n + m) / 2 - 1
        variance = theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (n * m)
        return abs(found - theta) - z * math.sqrt(variance)

    # At the ends of the unit interval the variance is 0, so the excess has a root on either side of what was found.
    low = 0.0 if found == 0 else float(optimize.brentq(excess, 0.0, found))
    high = 1.0 if found == 1 else float(optimize.brentq(excess, found, 1.0))
    return Estimate(found, low, high, n + m, confidence, "Newcombe's score interval")


# ---------------------------------------------------------------------------------------------------------------------
# Power


def achieved_power(d: float, n: int, m: int, *, alpha: float = 0.05) -> float:
    """The probability that Student's two-sided test finds a true effect.

    Args:
        d: the true difference of the means in standard deviations.
        n: runs of one group.
        m: of the other.
        alpha: level of the test.

    Example:
        >>> round(achieved_power(0.5, 64, 64), 3)  # the textbook's case
        0.801
        >>> round(achieved_power(0.5, 30, 500), 2)  # the protocol of To Share or Not To Share
        0.76
    """
    if min(n, m) < 1 or n + m < 3 or not 0 < alpha < 1 or not math.isfinite(d):
        raise ConfigurationError(
            f"power needs a finite effect, at least one run in each group and three in all, and a level between 0 and "
            f"1; got d = {d}, n = {n}, m = {m}, alpha = {alpha}"
        )
    freedom = n + m - 2
    centre = abs(d) * math.sqrt(n * m / (n + m))
    border = float(stats.t.ppf(1 - alpha / 2, freedom))
    upper = 1 - float(special.nctdtr(freedom, centre, border))
    lower = float(special.nctdtr(freedom, centre, -border))
    return min(1.0, upper + (0.0 if math.isnan(lower) else lower))  # too far in the tail to be computed, or to matter


def needed_size(d: float, *, power: float = 0.8, alpha: float = 0.05, other: int | None = None) -> int | None:
    """The fewest runs of a group for which Student's test finds an effect with the power asked for.

    Args:
        d: the true difference of the means in standard deviations.
        power: between alpha and 1.
        alpha: level of the test.
        other: runs of the other group, where it is given; `None` for two groups of equal size.

    Returns:
        Runs of the (or each) group; `None` where no number suffices, as the other group is too small.

    Raises:
        ConfigurationError: when the effect is 0 or a number is out of range.

    Example:
        >>> needed_size(0.5), needed_size(0.5, other=500), needed_size(0.2, other=10)
        (64, 34, None)
    """
    if d == 0 or not math.isfinite(d) or not 0 < alpha < power < 1:
        raise ConfigurationError(
            f"needed runs are asked for an effect other than 0 and 0 < alpha < power < 1; got d = {d}, "
            f"alpha = {alpha}, power = {power}"
        )

    def enough(n: int) -> bool:
        return achieved_power(d, n, n if other is None else other, alpha=alpha) >= power

    least = 2 if other is None or other < 2 else 1
    most = 1 << 24
    high = least
    while not enough(high):
        high *= 2
        if high > most:
            return None
    low = max(least - 1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


# ---------------------------------------------------------------------------------------------------------------------
# Many comparisons


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values so that the probability of a single false claim among all is at most the level.

    The i-th smallest of m becomes max over j ≤ i of (m - j + 1)·p_j, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]), 1)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Adjust p-values so that of all claims at a level, that share is expected to be false.

    The i-th smallest of m becomes min over j ≥ i of m·p_j / j, at most 1.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.04, 0.04]
    """
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(len(p) / np.arange(len(p), 0, -1) * p[order]), 1)
    return adjusted


# ---------------------------------------------------------------------------------------------------------------------
# Pieces


def _group(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ConfigurationError(
            f"{name} has shape {array.shape}; a comparison of groups needs at least two values on each side, since one "
            "value shows no spread"
        )
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise NonFiniteError(f"{name}[{at}] is {array[at]}; leave failed runs out on purpose, not by averaging them")
    require_squares(array, name)
    return array


def _p_values(values: ArrayLike) -> Floats:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ConfigurationError(f"p-values lie between 0 and 1, got {p.tolist()}")
    return p


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence is {confidence}; give a share between 0 and 1, such as 0.95")


def _deviation(array: Floats) -> float:
    """The sample deviation, exactly 0 for equal values despite rounding."""
    return 0.0 if array.min() == array.max() else float(array.std(ddof=1))


def _pooled(a: Floats, b: Floats) -> float:
    squares = sum((len(side) - 1) * _deviation(side) ** 2 for side in (a, b))
    return math.sqrt(squares / (len(a) + len(b) - 2))


def _t_test(name: str, a: Floats, b: Floats, error: float, freedom: float, confidence: float) -> Test:
    _check_confidence(confidence)
    n = len(a), len(b)
    mean = float(a.mean() - b.mean())
    if error == 0:
        return Test(name, math.nan, freedom, math.nan, Estimate(mean, mean, mean, sum(n), confidence, name), n)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    difference = Estimate(mean, mean - half, mean + half, sum(n), confidence, name)
    return Test(name, mean / error, freedom, float(2 * stats.t.sf(abs(mean) / error, freedom)), difference, n)


def _noncentral_ends(t: float, freedom: float, confidence: float) -> tuple[float, float]:
    """The centres of the noncentral t for which the value found lies at the upper and at the lower quantile."""
    if t < 0:  # the mirror image, since the far tail of negative values is where implementations lose digits
        low, high = _noncentral_ends(-t, freedom, confidence)
        return -high, -low
    if t > _FAR:  # the normal part is lost in rounding: t = centre / √(χ²/ν), whose quantiles are those of χ²
        tail = (1 - confidence) / 2
        low, high = (t * math.sqrt(float(stats.chi2.ppf(q, freedom)) / freedom) for q in (tail, 1 - tail))
        return low, high

    def root(share: float) -> float:
        def excess(centre: float) -> float:
            chance = float(special.nctdtr(freedom, centre, t))
            # In a tail too far to be computed it is as good as certain on which side of t the centre lies.
            return (float(centre < t) if math.isnan(chance) else chance) - share

        reach = 1.0
        low, high = t - reach, t + reach
        while excess(low) < 0:
            reach *= 2
            low = t - reach
        reach = 1.0
        while excess(high) > 0:
            reach *= 2
            high = t + reach
        return float(optimize.brentq(excess, low, high, xtol=1e-10))

    return root((1 + confidence) / 2), root((1 - confidence) / 2)


def _detectable(n: tuple[int, int], power: float, alpha: float) -> float:
    def lack(d: float) -> float:
        return power - achieved_power(d, *n, alpha=alpha)

    high = 1.0
    while lack(high) > 0:
        high *= 2
    find: Callable[..., float] = optimize.brentq
    return float(find(lack, 0.0, high, xtol=1e-6))
