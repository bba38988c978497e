from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sharewise.appraisal import Interval, compare, difference_interval, mean_interval
from sharewise.errors import ConfigurationError, NonFiniteError

FOUND = [0.951, 0.962, 0.957, 0.949, 0.966]
RANDOM = [0.90, 0.93, 0.95, 0.91, 0.94, 0.89, 0.96, 0.92]


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_mean_interval_is_scipys(confidence: float) -> None:
    interval = mean_interval(FOUND, confidence)
    expected = stats.ttest_1samp(FOUND, 0.0).confidence_interval(confidence)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.mean == pytest.approx(np.mean(FOUND))
    assert (interval.n, interval.confidence) == (5, confidence)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_difference_interval_is_welchs(confidence: float) -> None:
    interval = difference_interval(FOUND, RANDOM, confidence)
    expected = stats.ttest_ind(FOUND, RANDOM, equal_var=False).confidence_interval(confidence)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.n == 13


def test_comparison_numbers_are_scipys() -> None:
    verdict = compare(FOUND, RANDOM)
    assert verdict.p_value == pytest.approx(stats.ttest_ind(FOUND, RANDOM, equal_var=False).pvalue)
    pooled = math.sqrt((4 * np.var(FOUND, ddof=1) + 7 * np.var(RANDOM, ddof=1)) / 11)
    assert verdict.cohens_d == pytest.approx((np.mean(FOUND) - np.mean(RANDOM)) / pooled)
    assert (verdict.found_n, verdict.random_n, verdict.beats) == (5, 8, 7)
    assert verdict.difference == verdict.interval.mean
    assert verdict.prediction is None


def test_one_side_without_variance_follows_scipy() -> None:
    verdict = compare([0.75] * 3, RANDOM)
    expected = stats.ttest_ind([0.75, 0.75, 0.75 + 1e-9], RANDOM, equal_var=False)
    assert verdict.p_value == pytest.approx(expected.pvalue)
    assert verdict.interval.low == pytest.approx(expected.confidence_interval().low)


def test_the_single_found_value_is_tested_as_one_more_draw() -> None:
    verdict = compare([0.99], RANDOM)
    expected = stats.ttest_ind([0.99], RANDOM)  # the pooled test with one value is the test of a new draw
    assert verdict.p_value == pytest.approx(expected.pvalue)
    assert verdict.prediction is not None
    half = stats.t.ppf(0.975, 7) * np.std(RANDOM, ddof=1) * math.sqrt(1 + 1 / 8)
    assert verdict.prediction.high == pytest.approx(np.mean(RANDOM) + half)
    assert (0.99 in verdict.prediction) == (verdict.p_value >= 0.05)
    assert verdict.interval.high == math.inf


@pytest.mark.parametrize("size", [2, 5])
def test_mean_intervals_cover_the_truth_as_often_as_they_say(size: int) -> None:
    draws = np.random.default_rng(7).normal(3.0, 2.0, (2000, size))
    hits = sum(3.0 in mean_interval(list(row), 0.9) for row in draws)
    assert hits / 2000 == pytest.approx(0.9, abs=0.025)


def test_difference_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(11)
    pairs = [(random.normal(1.0, 0.2, 5), random.normal(0.0, 1.0, 10)) for _ in range(2000)]
    hits = sum(1.0 in difference_interval(list(a), list(b)) for a, b in pairs)
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_a_claim_for_one_value_is_false_as_seldom_as_it_says() -> None:
    draws = np.random.default_rng(3).normal(0.9, 0.01, (2000, 11))
    claims = sum(not compare([row[0]], list(row[1:])).sentence.startswith("no difference") for row in draws)
    assert claims / 2000 == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(97.2, 96.8, 97.6, 5, 0.95), "97.2 ± 0.4 (95 % interval, n = 5)"),
        (Interval(0.9712, 0.9588, 0.9836, 3, 0.99), "0.971 ± 0.012 (99 % interval, n = 3)"),
        (Interval(1234.0, 1034.0, 1434.0, 3, 0.999), "1234 ± 200 (99.9 % interval, n = 3)"),
        (Interval(1.0, 1.0, 1.0, 3, 0.95), "1 ± 0 (no spread, n = 3)"),
        (Interval(97.25, -math.inf, math.inf, 1, 0.95), "97.25 (n = 1: too few values for an interval)"),
    ],
)
def test_intervals_print_only_the_digits_they_earn(interval: Interval, text: str) -> None:
    assert str(interval) == text


def test_one_value_gives_an_infinite_interval() -> None:
    interval = mean_interval([0.5])
    assert (interval.low, interval.high, interval.n) == (-math.inf, math.inf, 1)


def test_equal_values_give_no_width_despite_rounding() -> None:
    assert mean_interval([0.1, 0.1, 0.1]).half_width == pytest.approx(0.0, abs=0.0)


@pytest.mark.parametrize(
    ("found", "random", "higher_is_better", "start"),
    [
        (FOUND, RANDOM, True, "better by 0.03"),
        (FOUND, RANDOM, False, "worse by 0.03"),
        (RANDOM, FOUND, False, "better by 0.03"),
        (FOUND, FOUND, True, "no difference can be claimed: accuracy differs by 0.000"),
        ([0.5] * 3, [0.5] * 3, True, "no difference can be claimed: every accuracy value is the same"),
        ([0.1] * 3, [0.1] * 4, True, "no difference can be claimed: every accuracy value is the same"),
        ([0.6] * 3, [0.5] * 3, True, "no difference can be claimed: accuracy is better by 0.1, but"),
        (FOUND, [0.5], True, "no difference can be claimed: one random accuracy value"),
        ([0.6], [0.5], True, "no difference can be claimed: one found accuracy, 0.6, beats 1 of 1 random"),
        (
            [0.6],
            [0.5] * 4,
            True,
            "no difference can be claimed: one found accuracy, 0.6, beats 4 of 4 random",
        ),
        ([0.95], RANDOM, True, "no difference can be claimed: one found accuracy, 0.95, beats 6 of 8 random"),
        (
            [1.05],
            RANDOM,
            True,
            "better than a random draw would be by chance: one found accuracy, 1.05, beats 8 of 8",
        ),
        (
            [0.5],
            RANDOM,
            True,
            "worse than a random draw would be by chance: one found accuracy, 0.5, beats 0 of 8",
        ),
        (
            [0.5],
            RANDOM,
            False,
            "better than a random draw would be by chance: one found accuracy, 0.5, beats 8 of 8",
        ),
    ],
)
def test_the_words_are_as_strong_as_the_interval(
    found: list[float], random: list[float], higher_is_better: bool, start: str
) -> None:
    assert compare(found, random, higher_is_better=higher_is_better).sentence.startswith(start)


def test_a_claim_and_an_interval_without_zero_go_together() -> None:
    random = np.random.default_rng(5)
    for shift in np.linspace(-0.2, 0.2, 41):
        verdict = compare(list(random.normal(shift, 0.05, 4)), list(random.normal(0, 0.1, 6)))
        assert verdict.sentence.startswith("no difference") == (0 in verdict.interval) == (verdict.p_value > 0.05)


def test_nothing_to_average_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="values is empty"):
        mean_interval([])
    with pytest.raises(ConfigurationError, match="random is empty"):
        compare([1.0], [])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_failed_run_is_not_averaged(value: float) -> None:
    with pytest.raises(NonFiniteError, match=r"a\[1\]"):
        difference_interval([1.0, value], [1.0])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ConfigurationError, match="give a share"):
        mean_interval([1.0, 2.0], confidence)
