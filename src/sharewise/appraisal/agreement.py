"""Rank agreement: does a supernet put architectures in the order in which training alone puts them?

A search needs order and not accuracy, so all that is measured here are ranks: over the whole sample (Spearman,
Kendall), with more weight on the best (weighted tau), and among the best alone (precision and regret at top k).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from sharewise.appraisal.interval import Estimate
from sharewise.errors import ConfigurationError, NonFiniteError

__all__ = [
    "FEWEST_ARCHITECTURES",
    "TOPS",
    "RankAgreement",
    "TopAgreement",
    "expected_top_value",
    "kendall",
    "paired",
    "rank_agreement",
    "spearman",
    "top_precision",
    "top_regret",
    "weighted_tau",
]

FEWEST_ARCHITECTURES = 3
"""With two architectures every correlation is 1 or -1."""
TOPS = (1, 10, 20)
"""The sizes of the final list for which *To Share or Not To Share* reports regrets."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TopAgreement:
    """What becomes of a search that trains the k architectures that the proxy ranks highest.

    Args:
        k: how many are trained.
        precision: the share of the true best k among the best k by proxy.
        chance: the precision of a proxy that knows nothing, k / n.
        regret: the best true value of the sample less the best one among the best k by proxy.
    """

    k: int
    precision: Estimate
    chance: float
    regret: Estimate


@dataclass(frozen=True)
class RankAgreement:
    """How well one supernet ranks one sample of architectures; intervals hold the expectation over such samples.

    Other seeds of the supernet are another matter: they are the unit of replication of `over_seeds`.

    Args:
        n: architectures.
        failed: whether the supernet gave every architecture the same score. Then there is no number at all.
        spearman: the correlation of ranks, tied values sharing their mean rank.
        kendall: tau-b, which allows for ties on either side.
        weighted_tau_by_truth: weighted tau, where swaps among the truly best weigh most.
        weighted_tau_by_proxy: weighted tau, where swaps among the best by proxy weigh most.
        top: precision and regret for each k.
        tied_proxy: architectures that share their score with another.
        tied_truth: architectures that share their true value with another.
        sentence: the finding in words.
    """

    n: int
    failed: bool
    spearman: Estimate | None
    kendall: Estimate | None
    weighted_tau_by_truth: Estimate | None
    weighted_tau_by_proxy: Estimate | None
    top: tuple[TopAgreement, ...]
    tied_proxy: int
    tied_truth: int
    sentence: str

    def at(self, k: int) -> TopAgreement | None:
        """Agreement among the best k; `None` for a failed supernet.

        Raises:
            ConfigurationError: when this k was not asked for.
        """
        if self.failed:
            return None
        for entry in self.top:
            if entry.k == k:
                return entry
        raise ConfigurationError(f"top {k} was not measured; measured: {', '.join(str(entry.k) for entry in self.top)}")


def rank_agreement(
    proxy: ArrayLike,
    truth: ArrayLike,
    *,
    generator: np.random.Generator,
    tops: Sequence[int] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> RankAgreement:
    """Measure how a supernet's scores rank architectures beside their true values.

    Intervals are meant to hold the expectation of a statistic over samples of this size. Those of correlations are of
    the percentile bootstrap: architectures are drawn with replacement, pairs kept, and every statistic is computed
    anew. An architecture drawn twice ties with itself, and ties are kept.

    The best of a sample is no smooth function of it, and the bootstrap alone is too narrow there (docs/appraisal.md has
    figures). So the interval of a regret spans those of the bootstrap and of samples of half the size drawn without
    replacement, and that of a precision is Clopper and Pearson's for k trials, which errs on the wide side.

    Args:
        proxy: scores with shared weights, `(n,)`; higher is better.
        truth: values after standalone training, in the same order; higher is better.
        generator: of the bootstrap.
        tops: sizes of the final list, each from 1 to n; by default those of 1, 10 and 20 that are below n.
        resamples: of the bootstrap; 0 leaves intervals out (their ends are infinite).
        confidence: coverage asked for, between 0 and 1.

    Returns:
        All statistics; none but the number of architectures where the supernet failed.

    Raises:
        ConfigurationError: when lengths differ, there are fewer than three architectures, or all true values are the
            same; or when a number is out of range.
        NonFiniteError: when a value is infinite or not a number.

    Example:
        >>> truth = np.linspace(0.8, 0.9, 40)
        >>> proxy = truth + np.random.default_rng(1).normal(0, 0.02, 40)
        >>> found = rank_agreement(proxy, truth, generator=np.random.default_rng(0), resamples=100)
        >>> print(found.spearman)
        0.85 [0.70, 0.93] (95 % interval, percentile bootstrap over architectures, n = 40)
        >>> rank_agreement([0.1] * 40, truth, generator=np.random.default_rng(0)).sentence
        'the supernet failed: it gives all 40 architectures the score 0.1, so that there is no ranking to judge'

    References:
        B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, chapter 13 (percentile intervals);
        S. Vigna, *A Weighted Correlation Index for Rankings with Ties*, WWW 2015 (weighted tau); C. Clopper and
        E. Pearson, Biometrika 26, 1934; D. Politis and J. Romano, Annals of Statistics 22, 1994 (subsamples).
    """
    scores, values = paired(proxy, truth)
    n = len(scores)
    sizes = [k for k in TOPS if k < n] if tops is None else list(tops)
    for k in sizes:
        if not 1 <= k <= n:
            raise ConfigurationError(f"top {k} of {n} architectures does not exist; give sizes from 1 to {n}")
    if resamples < 0 or not 0 < confidence < 1:
        raise ConfigurationError(
            f"resamples must be at least 0 and confidence between 0 and 1, got {resamples} and {confidence}"
        )
    if values.min() == values.max():
        raise ConfigurationError(
            f"all {n} true values are {values[0]:.6g}: there is no true order that scores could agree with; "
            "take architectures that differ, or a longer training"
        )
    ties = _tied(scores), _tied(values)
    if scores.min() == scores.max():
        sentence = (
            f"the supernet failed: it gives all {n} architectures the score {scores[0]:.4g}, so that there is no "
            "ranking to judge"
        )
        return RankAgreement(n, True, None, None, None, None, (), *ties, sentence)
    statistics: list[Callable[[Floats, Floats], float]] = [spearman, kendall, _tau_by_truth, _tau_by_proxy]
    regrets: list[Callable[[Floats, Floats], float]] = [partial(top_regret, k=k) for k in sizes]
    found = _bootstrapped([*statistics, *regrets], scores, values, generator, resamples, confidence)
    top = tuple(
        TopAgreement(k, _precision(scores, values, k, confidence), k / n, regret)
        for k, regret in zip(
            sizes,
            _widened(found[4:], sizes, scores, values, generator, resamples, confidence),
            strict=True,
        )
    )
    whole, kendalls, by_truth, by_proxy = found[:4]
    sentence = _sentence(whole, ties[0], n)
    return RankAgreement(n, False, whole, kendalls, by_truth, by_proxy, top, *ties, sentence)


def spearman(proxy: ArrayLike, truth: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, where tied values share their mean rank.

    Returns:
        From -1 to 1; not a number where one side is constant.

    Example:
        >>> spearman([1, 2, 3, 4], [10, 30, 20, 40])
        0.8
    """
    first, second = (stats.rankdata(side) - (np.size(side) + 1) / 2 for side in (proxy, truth))
    scale = float(first @ first) * float(second @ second)
    return float(first @ second) / scale**0.5 if scale > 0 else float("nan")


def kendall(proxy: ArrayLike, truth: ArrayLike) -> float:
    """Kendall's tau-b: (concordant - discordant) / √((pairs untied in one) · (pairs untied in the other)).

    Example:
        >>> kendall([1, 2, 3, 3], [1, 3, 2, 4])
        0.547...
    """
    return float(stats.kendalltau(proxy, truth, method="asymptotic").statistic)


def weighted_tau(other: ArrayLike, ranked: ArrayLike) -> float:
    """Kendall's tau with hyperbolic weights: a swap of the architectures of ranks r and s weighs 1/r + 1/s.

    Which of two rankings gives the ranks matters; the mean over both directions is what `scipy.stats.weightedtau`
    returns by default.

    Args:
        other: one value an architecture, `(n,)`.
        ranked: what ranks are taken from, the highest first; ties in it are broken by `other`.

    Example:
        >>> round(weighted_tau([4, 3, 1, 2], [4, 3, 2, 1]), 3)  # a swap among the worst weighs little
        0.813
    """
    first, second = np.asarray(other, dtype=np.float64), np.asarray(ranked, dtype=np.float64)
    order = np.lexsort((first, second))[::-1]
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return float(stats.weightedtau(first, second, rank=rank).statistic)


def top_precision(proxy: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The share of the truly best k among the best k by proxy.

    Where ties straddle the border of either list, the expectation over random breaking of ties.

    Example:
        >>> top_precision([5, 4, 3, 2, 1], [9, 1, 7, 8, 2], 2)
        0.5
    """
    return float(_membership(proxy, k) @ _membership(truth, k)) / k


def top_regret(proxy: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The best true value of all less the best among the best k by proxy, in expectation where scores tie.

    Example:
        >>> top_regret([5, 4, 3, 2, 1], [6, 7, 5, 9, 2], 2)
        2.0
    """
    values = np.asarray(truth, dtype=np.float64)
    return float(values.max()) - expected_top_value(proxy, values, k)


def expected_top_value(proxy: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The best true value among the best k by proxy, in expectation over random breaking of ties.

    Of t tied at the border, m are taken. The j-th smallest of them is the best of those taken with probability
    C(j-1, m-1) / C(t, m).

    Example:
        >>> expected_top_value([1, 1, 1], [3.0, 6.0, 9.0], 1)
        6.0
    """
    scores, values = np.asarray(proxy, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    border = np.partition(scores, len(scores) - k)[len(scores) - k]
    above, tied = values[scores > border], np.sort(values[scores == border])
    best = above.max() if len(above) else -np.inf
    taken = k - len(above)
    if taken == len(tied):
        return float(max(best, tied[-1]))
    places = np.arange(taken, len(tied) + 1)
    chances = np.exp(_log_binomial(places - 1, taken - 1) - _log_binomial(np.array(len(tied)), taken))
    return float(np.maximum(best, tied[taken - 1 :]) @ chances / chances.sum())


def paired(proxy: ArrayLike, truth: ArrayLike) -> tuple[Floats, Floats]:
    """Scores and true values of the same architectures, checked.

    Raises:
        ConfigurationError: when lengths differ or there are fewer than three architectures.
        NonFiniteError: when a value is infinite or not a number.
    """
    scores, values = np.asarray(proxy, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if scores.ndim != 1 or values.ndim != 1 or len(scores) != len(values):
        raise ConfigurationError(
            f"proxy and truth must be of the same architectures, one value each; got shapes {scores.shape} and "
            f"{values.shape}"
        )
    if len(scores) < FEWEST_ARCHITECTURES:
        raise ConfigurationError(
            f"a rank correlation of {len(scores)} architectures says nothing; give at least {FEWEST_ARCHITECTURES}, "
            "and a few dozen for an interval worth having"
        )
    for name, array in (("proxy", scores), ("truth", values)):
        bad = np.flatnonzero(~np.isfinite(array))
        if len(bad):
            raise NonFiniteError(
                f"{name}[{bad[0]}] is {array[bad[0]]} ({len(bad)} of {len(array)} are not finite); leave architectures "
                "without a value out of both lists"
            )
    return scores, values


def _tau_by_truth(proxy: Floats, truth: Floats) -> float:
    return weighted_tau(proxy, truth)


def _tau_by_proxy(proxy: Floats, truth: Floats) -> float:
    return weighted_tau(truth, proxy)


def _log_binomial(n: NDArray[np.intp], k: int) -> Floats:
    found: Floats = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return found


def _membership(values: ArrayLike, k: int) -> Floats:
    """The probability of being among the best k when ties are broken at random."""
    array = np.asarray(values, dtype=np.float64)
    border = np.partition(array, len(array) - k)[len(array) - k]
    above, tied = array > border, array == border
    share: Floats = above + tied * ((k - above.sum()) / tied.sum())
    return share


def _tied(values: Floats) -> int:
    _, counts = np.unique(values, return_counts=True)
    return int(counts[counts > 1].sum())


def _bootstrapped(
    statistics: Sequence[Callable[[Floats, Floats], float]],
    proxy: Floats,
    truth: Floats,
    generator: np.random.Generator,
    resamples: int,
    confidence: float,
) -> list[Estimate]:
    """Every statistic with its percentile interval; all of them share the resamples.

    Resamples in which one side is constant have no statistic. Where these are not rare, as with scores of which all but
    one are the same, no interval exists: those that are left would all lean to one side.
    """
    n = len(proxy)
    drawn = np.full((resamples, len(statistics)), np.nan)
    for row in drawn:
        picked = generator.integers(n, size=n)
        scores, values = proxy[picked], truth[picked]
        if scores.min() < scores.max() and values.min() < values.max():  # else no correlation exists in this resample
            row[:] = [statistic(scores, values) for statistic in statistics]
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    kept = drawn[~np.isnan(drawn).any(axis=1)]
    enough = len(kept) > 0 and len(kept) >= (1 - ends[0]) * resamples
    low, high = np.quantile(kept, ends, axis=0) if enough else np.full((2, len(statistics)), [[-np.inf], [np.inf]])
    how = "percentile bootstrap over architectures"
    return [
        Estimate(statistic(proxy, truth), float(a), float(b), n, confidence, how)
        for statistic, a, b in zip(statistics, low, high, strict=True)
    ]


def _precision(proxy: Floats, truth: Floats, k: int, confidence: float) -> Estimate:
    """Precision at top k with Clopper and Pearson's interval for k trials."""
    found, tail = top_precision(proxy, truth, k), (1 - confidence) / 2
    hits = found * k
    low = float(stats.beta.ppf(tail, hits, k - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, k - hits)) if hits < k else 1.0
    return Estimate(found, low, high, len(proxy), confidence, f"Clopper and Pearson's for {k} trials")


def _widened(
    regrets: Sequence[Estimate],
    sizes: Sequence[int],
    proxy: Floats,
    truth: Floats,
    generator: np.random.Generator,
    resamples: int,
    confidence: float,
) -> list[Estimate]:
    """Regrets whose intervals span that of the bootstrap and that of samples of half the size without replacement."""
    half = len(proxy) // 2
    drawn = np.full((resamples, len(sizes)), np.nan)
    for row in drawn:
        picked = generator.choice(len(proxy), half, replace=False)
        row[:] = [top_regret(proxy[picked], truth[picked], min(k, half)) for k in sizes]
    if not resamples:
        return list(regrets)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    how = "bootstrap and half samples of architectures"
    return [
        replace(found, low=min(found.low, float(a)), high=max(found.high, float(b)), how=how)
        for found, a, b in zip(regrets, low, high, strict=True)
    ]


def _sentence(correlation: Estimate, tied: int, n: int) -> str:
    ties = f"; {tied} of {n} scores are tied" if tied > n / 10 else ""
    if 0 in correlation:
        return f"no agreement of ranks can be claimed: Spearman {correlation}{ties}"
    direction = "agree" if correlation.value > 0 else "are opposed"
    return f"the supernet's ranks and the true ones {direction}: Spearman {correlation}{ties}"
