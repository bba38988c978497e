"""How many supernets a claim needs: the power of the rule by which `sharing_verdict` claims, and of no other.

A verdict asks two tests at once, Welch's interval and Mann and Whitney's ranks. With few supernets beside many repeats
of a rival its power is far below that of Student's test, which takes the spread of the many for that of the few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from sharewise.appraisal.groups import EXACT_PAIRS, needed_size
from sharewise.errors import ConfigurationError

__all__ = ["MOST_SUPERNETS", "claim_powers", "needed_supernets"]

Floats = NDArray[np.float64]
MOST_SUPERNETS = 500
"""Beyond so many, the answer is that there are more than anybody trains."""
_REPEATS = 1000
"""Simulated verdicts: a power of 0.8 has a standard error of 0.013."""
_APART = 1e3
"""Between the rows of a simulation, in standard deviations."""


def needed_supernets(
    d: float, rivals: int, *, power: float = 0.8, confidence: float = 0.95, seed: int = 0
) -> int | None:
    """The fewest supernets with which a verdict claims an effect with the power asked for.

    Args:
        d: the true difference of the means in standard deviations, other than 0.
        rivals: repeats of the other search, at least 2.
        power: between 1 - confidence and 1.
        confidence: of the verdict.
        seed: of the simulation.

    Returns:
        The number, or `None` where `MOST_SUPERNETS` are too few.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> needed_supernets(2.0, 500), needed_supernets(0.01, 500)
        (5, None)
    """
    if not 1 - confidence < power < 1:
        raise ConfigurationError(f"the power must lie between {1 - confidence:g} and 1, got {power}")
    pooled = needed_size(d, power=power, alpha=1 - confidence, other=rivals)
    if pooled is None or pooled > MOST_SUPERNETS:
        return None  # Student's test has more power than the verdict
    for n, reached in claim_powers(d, rivals, confidence=confidence, seed=seed):
        if reached >= power:
            return n
    return None


def claim_powers(d: float, rivals: int, *, confidence: float = 0.95, seed: int = 0) -> Iterator[tuple[int, float]]:
    """The probability of a claim in the right direction for 2, 3, … supernets, by simulation.

    Regrets of both sides are drawn from normal distributions with the same spread, whose means differ by `d`; a claim
    is made as by `GroupComparison.claimed`. The sample of n + 1 supernets is that of n and one more, so that all sizes
    share one simulation.

    Args:
        d: the true difference of the means in standard deviations, finite and not 0.
        rivals: repeats of the other search, at least 2.
        confidence: of the verdict, between 0 and 1.
        seed: of the simulation.

    Yields:
        The number of supernets with the power reached, up to `MOST_SUPERNETS`.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> powers = dict(claim_powers(1.5, 100))
        >>> powers[3] < powers[6] < powers[12] <= 1
        True
    """
    if d == 0 or not math.isfinite(d) or rivals < 2 or not 0 < confidence < 1:
        raise ConfigurationError(
            "the power of a claim needs a finite effect other than 0, at least two repeats of the rival and a "
            f"confidence between 0 and 1; got d = {d}, {rivals} and {confidence}"
        )
    alpha, rng = 1 - confidence, np.random.default_rng([seed, 1])
    their_mean, their_part, shelved = _simulated(rivals, seed)
    shelf, before = _APART * np.arange(_REPEATS), rivals * np.arange(_REPEATS)
    total, squares, above = np.zeros(_REPEATS), np.zeros(_REPEATS), np.zeros(_REPEATS)
    for n in range(1, MOST_SUPERNETS + 1):
        new = abs(d) + rng.normal(size=_REPEATS)
        total, squares = total + new, squares + new**2
        above += np.clip(np.searchsorted(shelved, new + shelf) - before, 0, rivals)  # Mann and Whitney's U
        if n >= 2:
            part = (squares - total**2 / n) / (n - 1) / n
            spread = part + their_part
            freedom = spread**2 / (part**2 / (n - 1) + their_part**2 / (rivals - 1))
            apart = total / n - their_mean > special.stdtrit(freedom, 1 - alpha / 2) * np.sqrt(spread)
            yield n, float((apart & (above >= _critical_pairs(n, rivals, alpha))).mean())


@lru_cache(maxsize=4)
def _simulated(rivals: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Means of the rivals in every simulated verdict, variances of these means, and all rivals as one sorted array.

    Rows lie far apart in it, so that one search finds how many rivals lie below a supernet in each of them.
    """
    theirs = np.sort(np.random.default_rng([seed, 0]).normal(size=(_REPEATS, rivals)), axis=1)
    shelved = (theirs + _APART * np.arange(_REPEATS)[:, None]).ravel()
    return theirs.mean(axis=1), theirs.var(axis=1, ddof=1) / rivals, shelved


def _critical_pairs(n: int, m: int, alpha: float) -> float:
    """The smallest U above n·m/2 whose two-sided p lies below alpha; infinite where none does."""
    if n * m > EXACT_PAIRS:
        z = float(stats.norm.isf(alpha / 2))
        return n * m / 2 + 0.5 + z * math.sqrt(n * m * (n + m + 1) / 12)
    ways = np.ones(1)  # of U = 0, 1, …: the Gaussian binomial, Π over i of (1 - x^(m+i)) / (1 - x^i)
    for i in range(1, n + 1):
        factor = np.zeros(m + i + 1)
        factor[0], factor[-1] = 1, -1
        ways = np.convolve(ways, factor)
        for place in range(i, len(ways)):  # divided by 1 - x^i
            ways[place] += ways[place - i]
    ways = ways[: n * m + 1]
    tail = np.cumsum(ways[::-1])[::-1] / ways.sum()
    reached = np.flatnonzero(2 * tail < alpha)
    return float(reached[0]) if len(reached) else math.inf
