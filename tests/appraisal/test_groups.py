from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sharewise.appraisal import benjamini_hochberg, compare, compare_groups, holm, mean_interval
from sharewise.appraisal.groups import (
    achieved_power,
    cohens_d,
    hedges_g,
    mann_whitney,
    needed_size,
    rank_superiority,
    student_test,
    superiority_of_effect,
    welch_test,
)
from sharewise.errors import ConfigurationError, NonFiniteError

A = [0.31, 0.22, 0.28, 0.25, 0.45]
B = [0.5, 0.6, 0.4, 0.7, 0.55, 0.62, 0.3, 0.8]


@pytest.mark.parametrize(("test", "equal"), [(student_test, True), (welch_test, False)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_t_tests_are_scipys(test: object, equal: bool, confidence: float) -> None:
    found = test(A, B, confidence=confidence)  # type: ignore[operator]
    expected = stats.ttest_ind(A, B, equal_var=equal)
    ends = expected.confidence_interval(confidence)
    assert (found.statistic, found.p_value, found.freedom) == pytest.approx(
        (expected.statistic, expected.pvalue, expected.df)
    )
    assert (found.difference.low, found.difference.high) == pytest.approx((ends.low, ends.high))
    assert found.n == (5, 8)


def test_mann_whitney_is_exact_for_small_groups() -> None:
    found = mann_whitney(A, B)
    ours = sum(a > b for a in A for b in B)
    everything = A + B
    counts = []
    for chosen in itertools.combinations(range(13), 5):
        side = [everything[i] for i in chosen]
        rest = [everything[i] for i in range(13) if i not in chosen]
        counts.append(sum(a > b for a in side for b in rest))
    extreme = min(np.mean(np.array(counts) <= ours), np.mean(np.array(counts) >= ours))
    assert found.statistic == ours
    assert found.p_value == pytest.approx(2 * extreme)
    assert found.name.endswith("(exact)")


def test_mann_whitney_with_ties_and_large_groups_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 30), rng.integers(2, 12, 40)
    expected = stats.mannwhitneyu(a, b, method="asymptotic")
    assert mann_whitney(a, b).p_value == pytest.approx(expected.pvalue)
    assert math.isnan(mann_whitney([1, 1], [1, 1, 1]).p_value)


def test_cohens_d_and_its_interval() -> None:
    found = cohens_d(A, B)
    pooled = math.sqrt((4 * np.var(A, ddof=1) + 7 * np.var(B, ddof=1)) / 11)
    assert found.value == pytest.approx((np.mean(A) - np.mean(B)) / pooled)
    scale = math.sqrt(5 * 8 / 13)
    t = found.value * scale
    assert stats.nct.cdf(t, 11, found.low * scale) == pytest.approx(0.975, abs=1e-7)
    assert stats.nct.cdf(t, 11, found.high * scale) == pytest.approx(0.025, abs=1e-7)
    mirrored = cohens_d(B, A)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("distance", [1.0, 50.0])
def test_a_huge_effect_of_few_runs_has_an_interval(distance: float) -> None:
    found = cohens_d([distance, distance + 0.05], [0.0, 0.05])  # the far tail of t with 2 degrees of freedom
    assert stats.nct.cdf(found.value, 2, found.low) == pytest.approx(0.975, abs=1e-7)
    assert stats.nct.cdf(found.value, 2, found.high) == pytest.approx(0.025, abs=1e-7)


def test_the_interval_of_d_leaves_out_zero_when_the_test_does() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        a, b = rng.normal(0.6, 1, 9), rng.normal(0, 1, 12)
        assert (0 in cohens_d(a, b)) == (student_test(a, b).p_value >= 0.05)


def test_hedges_takes_the_bias_away() -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(0.8, 1, 4), rng.normal(0, 1, 5)) for _ in range(3000)]
    d = np.mean([cohens_of(a, b) for a, b in pairs])
    factor = hedges_g(*pairs[0]).value / cohens_d(*pairs[0]).value
    assert factor == pytest.approx(1 - 3 / (4 * 7 - 1), abs=0.005)  # the usual approximation
    assert d > 0.85
    assert factor * d == pytest.approx(0.8, abs=0.04)


def cohens_of(a: np.ndarray, b: np.ndarray) -> float:
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    return float((a.mean() - b.mean()) / math.sqrt(pooled))


def test_intervals_of_d_and_of_superiority_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    truth = float(stats.norm.cdf(0.7 / math.sqrt(2)))
    trials, effect, ranks = 300, 0, 0
    for _ in range(trials):
        a, b = rng.normal(0.7, 1, 8), rng.normal(0, 1, 12)
        effect += 0.7 in cohens_d(a, b)
        ranks += truth in rank_superiority(a, b)
    assert effect / trials == pytest.approx(0.95, abs=0.04)
    assert ranks / trials == pytest.approx(0.95, abs=0.04)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=7), st.lists(st.integers(0, 5), min_size=2, max_size=7))
def test_rank_superiority_counts_pairs(a: list[int], b: list[int]) -> None:
    found = rank_superiority(a, b)
    assert found.value == pytest.approx(np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b]))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low + rank_superiority(b, a).high == pytest.approx(1)


def test_superiority_of_the_papers_effects() -> None:
    shown = {}
    for d in (-0.39, -0.52, -1.16):
        effect = cohens_d([0.0, 1.0], [0.0, 1.0])
        shown[d] = superiority_of_effect(type(effect)(d, d, d, 530, 0.95, "printed"), smaller=True).value
    # The paper's text says 61 %, 65 % and, for the last one, 89 %.
    assert [round(value, 2) for value in shown.values()] == [0.61, 0.64, 0.79]


def test_power_is_that_of_simulated_tests() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.8, 1, (4000, 7)), rng.normal(0, 1, (4000, 20))
    share = (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert achieved_power(0.8, 7, 20) == pytest.approx(share, abs=0.02)
    assert achieved_power(0.0, 7, 20) == pytest.approx(0.05)
    assert achieved_power(50.0, 7, 20) == pytest.approx(1)
    # Cohen's tables and the G*Power manual: 64 a group for d = 0.5, 26 for 0.8, 394 for 0.2.
    assert [needed_size(d) for d in (0.2, 0.5, 0.8)] == [394, 64, 26]


def test_power_is_that_of_statsmodels() -> None:
    power = pytest.importorskip("statsmodels.stats.power", reason="statsmodels is not installed").TTestIndPower()
    assert achieved_power(0.5, 30, 500) == pytest.approx(power.power(0.5, 30, 0.05, ratio=500 / 30))


@pytest.mark.parametrize(("d", "other", "power"), [(0.5, None, 0.8), (-0.3, 500, 0.8), (1.5, 9, 0.9), (4.0, 30, 0.8)])
def test_the_needed_size_is_the_first_that_suffices(d: float, other: int | None, power: float) -> None:
    n = needed_size(d, power=power, other=other)
    assert n is not None
    assert achieved_power(d, n, n if other is None else other) >= power
    if n > 1:
        assert (other is None and n == 2) or achieved_power(d, n - 1, n - 1 if other is None else other) < power


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrections_are_their_definitions(p: list[float]) -> None:
    m, order = len(p), sorted(range(len(p)), key=lambda i: p[i])
    stepped = holm(p)
    for place, index in enumerate(order):
        expected = max((m - j) * p[order[j]] for j in range(place + 1))
        assert stepped[index] == pytest.approx(min(1, expected))
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_holm_claims_falsely_as_seldom_as_it_says() -> None:
    p = np.random.default_rng(4).random((4000, 6))
    assert np.mean([holm(row).min() < 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)


def test_the_comparison_holds_all_of_it() -> None:
    found = compare_groups(A, B)
    assert found.student == student_test(A, B)
    assert found.welch == welch_test(A, B)
    assert found.means == pytest.approx((np.mean(A), np.mean(B)))
    assert found.smaller_by_rank.value == pytest.approx(np.mean([a < b for a in A for b in B]))
    assert found.smaller_by_effect.value == pytest.approx(stats.norm.cdf(-found.cohens_d.value / math.sqrt(2)))
    assert found.smaller_by_effect.low < found.smaller_by_effect.value < found.smaller_by_effect.high
    assert achieved_power(found.detectable_d, 5, 8) == pytest.approx(0.8, abs=1e-4)
    still = compare_groups([1.0, 1.0], [2.0, 2.0])
    assert math.isnan(still.cohens_d.value)
    assert math.isnan(still.power)


def test_bad_groups_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least two values"):
        compare_groups([1.0], B)
    with pytest.raises(NonFiniteError, match=r"b\[1\] is nan"):
        compare_groups(A, [1.0, math.nan])
    with pytest.raises(ConfigurationError, match="confidence is 95"):
        compare_groups(A, B, confidence=95)
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        holm([0.5, 1.2])
    with pytest.raises(ConfigurationError, match="other than 0"):
        needed_size(0)
    with pytest.raises(ConfigurationError, match="finite effect"):
        achieved_power(0.5, 0, 5)


def test_values_whose_squares_are_no_numbers_are_refused() -> None:
    with pytest.raises(NonFiniteError, match=r"a\[1\] is 1e\+300, beyond 1e\+150"):
        compare_groups([1.0, 1e300, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(NonFiniteError, match="diverged"):
        compare([1.0, -1e300], [1.0, 2.0])
    with pytest.raises(NonFiniteError, match="diverged"):
        mean_interval([1e200, 1.0])


@pytest.mark.parametrize("gap", [1e5, 1e9, 1e15])
def test_effects_far_beyond_chance_keep_an_interval_that_holds_them(gap: float) -> None:
    found = compare_groups([gap, gap + 1, gap + 2], [0.0, 1.0, 2.0]).cohens_d
    near = compare_groups([5e3, 5e3 + 1, 5e3 + 2], [0.0, 1.0, 2.0]).cohens_d
    assert found.low < found.value < found.high
    assert found.low / found.value == pytest.approx(near.low / near.value, rel=1e-4)
    assert found.high / found.value == pytest.approx(near.high / near.value, rel=1e-4)
