"""Inverted ranks are found where they are, and claimed no more often than stated where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from sharewise.appraisal import Order, rank_order
from sharewise.errors import ConfigurationError


def supernets(rng: np.random.Generator, n: int, seeds: int, rho: float, heavy: bool) -> tuple[list, np.ndarray]:
    """Scores that share with the truth a correlation, and with each other a taste that is not the truth's.

    Heavy tails on both sides at once: uncorrelated, but far from independent.
    """
    truth, taste = rng.normal(size=n), rng.normal(size=n)
    common = rho * truth + np.sqrt(1 - rho**2) * taste
    scale = rng.lognormal(0, 1, n) if heavy else np.ones(n)
    return [(common + rng.normal(0, 0.3, n)) * scale for _ in range(seeds)], truth * scale


def inverted(n: int, seeds: int, rho: float, repeats: int, heavy: bool = False) -> float:
    rng = np.random.default_rng([n, seeds, int(100 + 100 * rho), heavy])
    found = [rank_order(*supernets(rng, n, seeds, rho, heavy), generator=rng).order for _ in range(repeats)]
    return float(np.mean([order is Order.INVERTED for order in found]))


@pytest.mark.parametrize("rho", [0.0, 0.15])
@pytest.mark.parametrize(("n", "seeds"), [(12, 1), pytest.param(30, 3, marks=pytest.mark.slow)])
def test_ranks_that_are_not_inverted_are_seldom_called_so(n: int, seeds: int, rho: float) -> None:
    """At most 0.025 of them, and 0.06 is beyond what chance makes of that in 150 appraisals."""
    assert inverted(n, seeds, rho, 150) <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("rho", [0.0, 0.1])
@pytest.mark.parametrize(("n", "seeds"), [(8, 2), (12, 1), (30, 3)])
def test_the_stated_rate_holds(n: int, seeds: int, rho: float, heavy: bool) -> None:
    """2.5 %, to within three standard errors of 500 appraisals; also where values are dependent without order."""
    assert inverted(n, seeds, rho, 500, heavy) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 500)


def test_true_inversions_are_found() -> None:
    assert inverted(60, 3, -0.6, 30) >= 0.9


def test_supernets_that_disagree_among_themselves_or_a_small_sample_leave_it_open() -> None:
    rng, truth = np.random.default_rng(0), np.arange(40.0)
    split = [-truth, -truth, truth]
    assert rank_order(split, truth, generator=rng).order is Order.OPEN
    few = rank_order([[3, 1, 2, 0], [3, 2, 1, 0]], [0, 1, 2, 3.5], generator=rng)
    assert few.order is Order.OPEN, "1 of 24 orders is the very opposite by chance"
    assert few.advice is None


def test_without_any_order_there_is_nothing_to_judge() -> None:
    with pytest.raises(ConfigurationError, match="there is no order to judge"):
        rank_order([np.ones(5)], np.arange(5.0), generator=np.random.default_rng(0))
