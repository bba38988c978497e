from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sharewise.appraisal import BiasReport, find_biases
from sharewise.errors import ConfigurationError, NonFiniteError


def study(
    seed: int, *, n: int = 150, bias: float = 0.0, noise: float = 1.0, resamples: int = 0, permutations: int = 200
) -> BiasReport:
    """A world where a residual edge makes architectures better, and a supernet that may like it on top of that."""
    rng = np.random.default_rng(seed)
    residual = rng.random(n) < 0.4
    depth = rng.integers(1, 7, n)
    truth = 1.0 * residual + rng.normal(size=n)
    proxy = truth + bias * residual + noise * rng.normal(size=n)
    features = {
        "residual edge": residual,
        "depth": depth,
        "parameters": np.exp(depth + rng.normal(size=n)),
        "max-pooling on the first node": rng.random(n) < 0.3,
        "vertices": np.full(n, 7),
    }
    return find_biases(
        features, proxy, truth, generator=rng, permutations=permutations, resamples=resamples, reliability=1.0
    )


def test_a_planted_bias_is_found_and_nothing_else() -> None:
    report = study(1, bias=1.5, resamples=200, permutations=1000)
    best = report.biases[0]
    assert (best.feature, best.boolean, best.found) == ("residual edge", True, True)
    assert best.effect.low > 0
    assert best.shift.low > 0
    assert best.corrected == pytest.approx(1 / 1001)
    assert [bias.feature for bias in report.biases if bias.found] == ["residual edge"]
    assert report.sentence == "the supernet over-values residual edge (4 features examined, n = 150)"
    assert report.constant == ("vertices",)
    under = study(1, bias=-2.5).biases[0]
    assert (under.feature, under.found, under.effect.value < 0) == ("residual edge", True, True)
    assert under.sentence.startswith("the supernet under-values residual edge")


def test_a_numeric_bias_is_found() -> None:
    rng = np.random.default_rng(2)
    depth, truth = rng.integers(1, 7, 150), rng.normal(size=150)
    report = find_biases({"depth": depth}, truth - 0.5 * depth, truth, generator=rng, permutations=500, resamples=50)
    best = report.biases[0]
    assert (best.boolean, best.having, best.found, best.cohens_d) == (False, 150, True, None)
    assert best.effect.value < -0.5
    assert best.shift.high < 0


def test_noise_alone_is_no_bias_though_raw_ranks_say_so() -> None:
    """A noisy supernet pulls good architectures down, and with them what makes them good: that is no bias."""
    report = study(3, n=600, noise=2.0, resamples=100)
    residual = next(bias for bias in report.biases if bias.feature == "residual edge")
    assert residual.shift.high < 0
    assert not residual.found


@pytest.mark.parametrize("n", [10, 80])  # few architectures leave little once the truth is regressed out
def test_null_data_give_a_finding_as_seldom_as_the_level_says(n: int) -> None:
    false = [any(bias.found for bias in study(seed, n=n, permutations=99).biases) for seed in range(200)]
    assert np.mean(false) <= 0.09  # 0.05, with 2.6 standard errors of 200 trials


@pytest.mark.slow
def test_the_family_wise_rate_of_null_data() -> None:
    false = [any(bias.found for bias in study(seed, n=100, permutations=199).biases) for seed in range(2000)]
    assert np.mean(false) <= 0.065


def test_the_effect_is_a_partial_correlation() -> None:
    rng = np.random.default_rng(4)
    n = 40
    truth, proxy, feature = rng.normal(size=(3, n))
    report = find_biases({"x": feature}, proxy, truth, generator=rng, permutations=10, resamples=0)
    design = np.vander(stats.rankdata(truth), 4)
    left = [
        side - design @ np.linalg.lstsq(design, side, rcond=None)[0]
        for side in (stats.rankdata(proxy), stats.rankdata(feature))
    ]
    assert report.biases[0].effect.value == pytest.approx(stats.pearsonr(*left).statistic, abs=1e-6)
    assert report.biases[0].effect.high == math.inf


def test_the_shift_of_a_boolean_is_a_difference_of_means() -> None:
    rng = np.random.default_rng(5)
    proxy, truth = rng.normal(size=(2, 50))
    has = rng.random(50) < 0.5
    bias = find_biases({"x": has}, proxy, truth, generator=rng, permutations=10, resamples=0).biases[0]
    moved = (stats.rankdata(proxy) - stats.rankdata(truth)) / 50
    assert bias.shift.value == pytest.approx(moved[has].mean() - moved[~has].mean())
    pooled = math.sqrt((moved[has].var() * has.sum() + moved[~has].var() * (~has).sum()) / 48)
    assert bias.cohens_d is not None
    assert bias.cohens_d.value == pytest.approx(bias.shift.value / pooled)


def test_the_effect_is_blind_to_a_feature_that_the_truth_determines() -> None:
    truth = np.arange(40.0)
    rng = np.random.default_rng(6)
    report = find_biases({"x": truth}, rng.normal(size=40), truth, generator=rng, permutations=50, resamples=0)
    assert report.biases[0].effect.value == 0
    assert not report.biases[0].found


def test_failed_supernets_and_constant_features() -> None:
    truth = np.arange(20.0)
    rng = np.random.default_rng(0)
    failed = find_biases({"x": truth > 5}, np.ones(20), truth, generator=rng)
    assert failed.failed
    assert failed.biases == ()
    assert "failed" in failed.sentence
    nothing = find_biases({"x": np.ones(20, dtype=bool)}, truth, truth, generator=rng)
    assert (nothing.biases, nothing.constant) == ((), ("x",))


def test_bad_features_are_refused() -> None:
    truth, rng = np.arange(20.0), np.random.default_rng(0)
    with pytest.raises(ConfigurationError, match="feature 'x' must have one number"):
        find_biases({"x": [1, 2]}, truth, truth, generator=rng)
    with pytest.raises(ConfigurationError, match="feature 'x'"):
        find_biases({"x": ["a"] * 20}, truth, truth, generator=rng)
    with pytest.raises(NonFiniteError, match="feature 'x'"):
        find_biases({"x": [np.nan] * 20}, truth, truth, generator=rng)
    with pytest.raises(ConfigurationError, match="no feature"):
        find_biases({}, truth, truth, generator=rng)
    with pytest.raises(ConfigurationError, match="at least 8"):
        find_biases({"x": [1, 2, 3]}, [1, 2, 3], [1, 2, 3], generator=rng)
    with pytest.raises(ConfigurationError, match="permutations"):
        find_biases({"x": truth}, truth, truth, generator=rng, permutations=0)
