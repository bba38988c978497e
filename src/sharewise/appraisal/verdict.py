"""Does sharing weights help here? One sentence that is only as strong as the interval allows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sharewise.appraisal.agreement import spearman
from sharewise.appraisal.claim_power import needed_supernets
from sharewise.appraisal.groups import GroupComparison, compare_groups
from sharewise.appraisal.rank_order import Order, RankOrder
from sharewise.errors import ConfigurationError, NonFiniteError

__all__ = ["Answer", "Association", "Verdict", "rank_association", "sharing_verdict", "with_order"]


class Answer(Enum):
    """What can be claimed about sharing weights."""

    HELPS = "sharing helps here"
    HURTS = "sharing hurts here"
    INVERTED = "ranks are inverted here"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """The answer, with all that it rests on.

    Args:
        answer: helps, hurts, or cannot tell by regrets; inverted where these cannot tell and the order of ranks can.
        sentence: the answer in words.
        comparison: of the regrets, guided less rival; `None` where a side has one value, which shows no spread.
        guided_n: supernets.
        rival_n: repeats of the rival.
        failed: supernets that failed and are left out.
        needed: supernets with which this verdict would claim an effect of the size seen with probability 0.8, beside as
            many repeats of the rival (see `needed_supernets`); `None` where the answer is known, no effect was seen, or
            no number suffices.
        order: of the ranks, where it was judged beside (see `with_order`).
    """

    answer: Answer
    sentence: str
    comparison: GroupComparison | None
    guided_n: int
    rival_n: int
    failed: int
    needed: int | None
    order: RankOrder | None = None


def sharing_verdict(
    guided: Sequence[float],
    rival: Sequence[float],
    *,
    what: str = "TOP-10 regret",
    against: str = "random search at equal cost",
    unit: str = "points",
    failed: int = 0,
    confidence: float = 0.95,
) -> Verdict:
    """Compare the regrets of searches guided by supernets with those of another search, and say what follows.

    Sharing helps, or hurts, where Welch's interval of the difference of the mean regrets leaves out 0 and Mann and
    Whitney's test of ranks finds the same (`GroupComparison.claimed`).

    Args:
        guided: regrets, one a supernet.
        rival: regrets of the other search at equal cost, one a repeat.
        what: name of the regret.
        against: name of the other search.
        unit: of regrets.
        failed: supernets that failed and have no regret.
        confidence: of the interval.

    Raises:
        ConfigurationError: when there is no rival, or the confidence is out of range.
        NonFiniteError: when a regret is infinite or not a number.

    Example:
        >>> verdict = sharing_verdict([0.31, 0.22, 0.28, 0.25], [0.5, 0.6, 0.4, 0.7, 0.5, 0.6, 0.3, 0.8])
        >>> print(verdict.sentence)
        sharing helps here: TOP-10 regret 0.285 points lower than random search at equal cost, d = -2.10, 95 % interval
        of the difference -0.422 to -0.148 (p = 0.0012, n = 4 supernets against 8)
        >>> sharing_verdict([0.31], [0.5, 0.6, 0.4, 0.7]).answer
        <Answer.CANNOT_TELL: 'cannot tell'>
    """
    ours, theirs = _checked(guided, "guided"), _checked(rival, "rival")
    if len(theirs) == 0:
        raise ConfigurationError(f"there is no regret of {against} to compare with; give at least two repeats")
    note = f"; {failed} failed and {'is' if failed == 1 else 'are'} left out" if failed else ""
    sizes = f"n = {len(ours)} supernet{'' if len(ours) == 1 else 's'} against {len(theirs)}{note}"
    comparison, needed, answer = None, None, Answer.CANNOT_TELL
    if min(len(ours), len(theirs)) < 2:
        words = f"{_too_few(ours, theirs, what, against, unit)} ({sizes})"
    else:
        comparison = compare_groups(ours, theirs, confidence=confidence)
        interval = comparison.welch.difference
        assert interval is not None
        if interval.low == interval.high:
            words = (
                f"{what} differs by {interval.value:.3g} {unit} from {against}, but neither side varies, so chance "
                f"cannot be judged ({sizes})"
            )
        else:
            if comparison.claimed:
                answer = Answer.HELPS if interval.value < 0 else Answer.HURTS
            elif not comparison.apart and interval.value:
                needed = needed_supernets(comparison.cohens_d.value, len(theirs), confidence=confidence)
                needed = needed if needed and needed > len(ours) else None
            words = _finding(comparison, what, against, unit, sizes) + _advice(comparison, needed)
    return Verdict(answer, f"{answer.value}: {words}", comparison, len(ours), len(theirs), failed, needed)


def with_order(verdict: Verdict, order: RankOrder) -> Verdict:
    """A verdict on regrets, beside what can be claimed about the order of the ranks.

    Whoever trains the k best by score cannot tell a supernet that knows nothing from one that knows the opposite unless
    k trainings are many; the ranks themselves can. An inversion is said whatever the regrets say.

    Args:
        verdict: on regrets.
        order: of the ranks of the same supernets.

    Example:
        >>> from sharewise.appraisal import rank_order
        >>> rng = np.random.default_rng(0)
        >>> order = rank_order([-np.arange(40.0)], np.arange(40.0), generator=rng)
        >>> unsure = sharing_verdict([0.31, 0.62], [0.5, 0.6, 0.4, 0.7])
        >>> with_order(unsure, order).answer
        <Answer.INVERTED: 'ranks are inverted here'>
    """
    if order.order is not Order.INVERTED:
        return replace(verdict, order=order)
    if verdict.answer is not Answer.CANNOT_TELL:
        return replace(verdict, sentence=f"{verdict.sentence}; {order.sentence}", order=order)
    words = f"{Answer.INVERTED.value}: {order.sentence.partition(': ')[2]}; by regret: {verdict.sentence}"
    return replace(verdict, answer=Answer.INVERTED, sentence=words, order=order)


def _checked(regrets: Sequence[float], name: str) -> np.ndarray:
    found = np.asarray(regrets, dtype=np.float64)
    if not np.isfinite(found).all():
        raise NonFiniteError(f"{name} holds a regret that is not finite; leave out failed supernets and count them")
    return found


def _too_few(ours: np.ndarray, theirs: np.ndarray, what: str, against: str, unit: str) -> str:
    """Why sides of which one has fewer than two values tell nothing."""
    if len(ours) == 0:
        return "every supernet failed"
    if len(ours) > 1:
        return f"one repeat of {against} shows no spread"
    share = float((theirs > ours[0]).mean() + 0.5 * (theirs == ours[0]).mean())
    return (
        f"{what} of one supernet is {ours[0]:.3g} {unit}, lower than {share:.0%} of {against}, but no interval "
        "over seeds exists; train more seeds"
    )


def _finding(comparison: GroupComparison, what: str, against: str, unit: str, sizes: str) -> str:
    """The difference with its interval, in words as strong as what is claimed."""
    interval = comparison.welch.difference
    assert interval is not None
    digits = max(0, 2 - math.floor(math.log10((interval.high - interval.low) / 2)))
    if comparison.claimed:
        word = "lower" if interval.value < 0 else "higher"
        size = f"{what} {abs(interval.value):.{digits}f} {unit} {word} than {against}"
    else:
        size = f"{what} differs by {interval.value:.{digits}f} {unit} from {against}"
    return (
        f"{size}, d = {comparison.cohens_d.value:.2f}, {100 * interval.confidence:g} % interval of the difference "
        f"{interval.low:.{digits}f} to {interval.high:.{digits}f} (p = {comparison.welch.p_value:.2g}, {sizes})"
    )


def _advice(comparison: GroupComparison, needed: int | None) -> str:
    """What would settle a question that is open."""
    if comparison.apart and not comparison.claimed:
        return (
            f", but ranks do not confirm it (Mann-Whitney p = {comparison.mann_whitney.p_value:.2g}); train more seeds"
        )
    return f"; about {needed} supernets would tell an effect of this size" if needed else ""


@dataclass(frozen=True)
class Association:
    """Do two properties of several spaces (or variants) go together?

    Args:
        rho: Spearman's correlation of the two.
        p_value: of none; over all orders where n is at most 8, else from Student's t.
        p_value_t: from Student's t, which is what is usually printed, and rough for few points.
        n: points.
        sentence: the finding in words.
    """

    rho: float
    p_value: float
    p_value_t: float
    n: int
    sentence: str


def rank_association(
    first: ArrayLike, second: ArrayLike, *, names: tuple[str, str], level: float = 0.05
) -> Association:
    """Spearman's correlation of two properties over a handful of spaces, such as size and agreement of ranks.

    Args:
        first: one value a space.
        second: likewise, in the same order.
        names: of both properties.
        level: below which p-value a claim is made.

    Example:
        >>> size = [10467, 90782, 201441, 120933, 423624, 342604, 81020]
        >>> level = [0.64, 0.59, 0.60, 0.68, 0.56, 0.46, 0.71]
        >>> print(rank_association(size, level, names=("size of the space", "agreement")).sentence)
        no link of size of the space and agreement can be claimed: Spearman -0.71 over n = 7 (p = 0.088 over all orders;
        0.071 by Student's t)
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigurationError(
            f"a link of {names[0]} and {names[1]} needs finite values of the same three or more spaces; got shapes "
            f"{x.shape} and {y.shape}"
        )
    n, rho = len(x), spearman(x, y)
    if math.isnan(rho):
        raise ConfigurationError(f"{names[0]} or {names[1]} is the same everywhere: there is nothing to link")
    by_t = float(stats.spearmanr(x, y).pvalue)
    p_value = _over_all_orders(x, y) if n <= 8 else by_t
    how = f"p = {p_value:.2g} over all orders; {by_t:.2g} by Student's t" if n <= 8 else f"p = {by_t:.2g}"
    claim = (
        f"no link of {names[0]} and {names[1]} can be claimed"
        if p_value >= level
        else f"{names[1]} {'rises' if rho > 0 else 'falls'} with {names[0]}"
    )
    return Association(rho, p_value, by_t, n, f"{claim}: Spearman {rho:.2f} over n = {n} ({how})")


def _over_all_orders(x: np.ndarray, y: np.ndarray) -> float:
    """The share of all orders of one side whose correlation is as far from 0."""
    ranks = [stats.rankdata(side) - (len(side) + 1) / 2 for side in (x, y)]
    sums = np.array(list(itertools.permutations(ranks[1]))) @ ranks[0]
    return float((np.abs(sums) >= abs(ranks[0] @ ranks[1]) - 1e-9).mean())
