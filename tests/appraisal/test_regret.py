from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sharewise.appraisal.pareto import pareto_front
from sharewise.appraisal.regret import at_checkpoints, differences, incumbents, median_ranks, regret_curve
from sharewise.errors import ConfigurationError

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12)


@given(PAIRS)
def test_incumbents_are_the_first_best_of_each_prefix(pairs: list[tuple[int, int]]) -> None:
    found = incumbents([float(v) for v, _ in pairs], [float(e) for _, e in pairs])
    for last in range(len(pairs)):
        prefix = [(epochs, value) for value, epochs in pairs[: last + 1]]
        assert found[last] == prefix.index(max(prefix))


def test_a_signal_that_is_no_number_is_refused() -> None:
    assert incumbents([-math.inf, 0.1]).tolist() == [0, 1]
    with pytest.raises(ConfigurationError, match="not a number"):
        incumbents([0.1, math.nan])
    with pytest.raises(ConfigurationError, match="differ in shape"):
        incumbents([0.1], [1, 2])


def test_checkpoints_count_what_was_complete() -> None:
    assert at_checkpoints([], [], [1.0, 2.0]).tolist() == pytest.approx([math.nan, math.nan], nan_ok=True)
    assert at_checkpoints([1, 3], [7, 8], [1, 2.999, 3]).tolist() == [7, 7, 8]


def test_a_curve_by_hand() -> None:
    curve = regret_curve([[1.0, 0.0], [3.0, 1.0], [2.0, math.nan], [4.0, 1.0]], [10, 20])
    assert curve.mean == (2.5, None)
    assert curve.median == (2.5, None)
    half = 3.182446305 * math.sqrt(5 / 3) / 2  # t of 3 degrees of freedom, deviation √(5/3), n = 4
    assert curve.mean_interval[0] == pytest.approx((2.5 - half, 2.5 + half))
    assert curve.mean_interval[1] is None
    assert curve.median_interval == (None, None)  # no interval of order statistics has 95 % at n = 4
    assert curve.to_json()["mean"] == [2.5, None]
    assert regret_curve([[1.0]], [1]).mean_interval == (None,)


@pytest.mark.parametrize("n", [6, 7, 20, 101])
def test_the_interval_of_the_median_covers_it(n: int) -> None:
    """The exact coverage of order statistics, and no narrower pair has it."""
    low, high = median_ranks(n)
    coverage = stats.binom.cdf(high, n, 0.5) - stats.binom.cdf(low, n, 0.5)
    assert coverage >= 0.95
    assert stats.binom.cdf(high - 1, n, 0.5) - stats.binom.cdf(low + 1, n, 0.5) < 0.95


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(1500, 60))
    curves = [regret_curve(sample[:, None], [1]) for sample in samples]
    means = [c.mean_interval[0] is not None and c.mean_interval[0][0] <= 1 <= c.mean_interval[0][1] for c in curves]
    medians = [
        c.median_interval[0] is not None and c.median_interval[0][0] <= math.log(2) <= c.median_interval[0][1]
        for c in curves
    ]
    assert 0.91 < np.mean(means) < 0.97
    assert 0.94 < np.mean(medians) < 0.99


def test_differences_are_welchs_at_each_checkpoint() -> None:
    a, b = np.array([[3.0, 1.0], [3.2, 1.0], [3.4, 1.0]]), np.array([[2.0, math.nan], [2.1, 1.0], [2.2, 1.0]])
    first, second = differences(a, b, [1, 2])
    assert first is not None
    assert second is None
    expected = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).confidence_interval()
    assert (first.low, first.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("regrets", [[], [[1.0, 2.0]], [1.0]])
def test_wrong_shapes_are_refused(regrets: list[object]) -> None:
    with pytest.raises(ConfigurationError):
        regret_curve(regrets, [1])
    with pytest.raises(ConfigurationError):
        regret_curve([[1.0]], [1], confidence=1.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=15))
def test_the_pareto_front_against_its_definition(points: list[tuple[int, int, int]]) -> None:
    def dominates(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and a != b

    expected = [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)]
    assert pareto_front(points).tolist() == expected
    assert list(itertools.chain(expected)) == sorted(expected)
