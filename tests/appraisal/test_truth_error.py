from __future__ import annotations

import numpy as np
import pytest

from sharewise.appraisal import BiasReport, find_biases, reliability
from sharewise.errors import ConfigurationError

WORLDS = ("independent", "explaining", "moving the noise", "explaining and moving the noise")


def unbiased(world: str, seed: int, *, n: int, share: float, known: bool, bias: float = 0.0) -> BiasReport:
    """A supernet that scores true quality and noise; a feature may explain quality, or move the noise."""
    rng = np.random.default_rng(seed)
    residual, depth = rng.random(n) < 0.4, rng.integers(1, 7, n)
    quality = rng.normal(size=n)
    if "explaining" in world:
        quality = 1.5 * residual + 0.6 * quality
    truth = quality + quality.std() * np.sqrt(1 / share - 1) * rng.normal(size=n)
    noise = np.where(residual, 2.0, 0.5) if "noise" in world else 1.0
    proxy = quality + bias * residual + noise * rng.normal(size=n)
    features = {"residual": residual, "depth": depth, "size": np.exp(depth + rng.normal(size=n))}
    rate = share if known else None
    return find_biases(features, proxy, truth, generator=rng, permutations=99, resamples=0, reliability=rate)


def claims(world: str, trials: int, **settings: object) -> float:
    reports = [unbiased(world, seed, **settings) for seed in range(trials)]  # type: ignore[arg-type]
    return float(np.mean([any(bias.found for bias in report.biases) for report in reports]))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("world", WORLDS)
def test_noisy_truth_is_no_bias(world: str, known: bool) -> None:
    assert claims(world, 80, n=150, share=0.79, known=known) <= 0.115  # 0.05, with 2.7 standard errors of 80 trials


_LONG = [pytest.param(n, marks=pytest.mark.long) for n in (12, 30, 300)]


@pytest.mark.parametrize("n", [pytest.param(150, marks=pytest.mark.slow), *_LONG])
@pytest.mark.parametrize("share", [1.0, 0.79])
@pytest.mark.parametrize("world", WORLDS)
def test_the_rate_of_false_claims(world: str, share: float, n: int) -> None:
    rate = claims(world, 300, n=n, share=share, known=True)
    print(f"{world}, reliability {share}, n = {n}: {rate:.3f}")
    assert rate <= 0.09  # 0.05, with three standard errors of 300 trials


def test_what_error_would_explain_is_said_to_be_open() -> None:
    report = unbiased("explaining", 1, n=300, share=0.79, known=True)
    residual = next(bias for bias in report.biases if bias.feature == "residual")
    assert (residual.found, residual.doubtful) == (False, True)
    assert residual.sentence.startswith("errors of the truth may explain what the supernet seems to make of residual")
    assert "errors of the truth may explain what it seems to make of residual" in report.sentence
    assert report.reliability == 0.79


def test_a_bias_is_found_in_spite_of_noisy_truth() -> None:
    for known in (True, False):
        found = [unbiased("independent", seed, n=150, share=0.79, known=known, bias=1.5) for seed in range(10)]
        assert sum(bias.found for report in found for bias in report.biases if bias.feature == "residual") >= 9
    under = [unbiased("explaining", seed, n=150, share=0.79, known=True, bias=-1.5) for seed in range(10)]
    assert sum(b.found and b.effect.value < 0 for report in under for b in report.biases) >= 7


def test_reliability_is_that_of_the_means() -> None:
    rng = np.random.default_rng(0)
    quality = rng.normal(size=4000)
    repeats = quality[:, None] + rng.normal(size=(4000, 3))
    assert reliability(repeats) == pytest.approx(1 / (1 + 1 / 3), abs=0.02)
    repeats[:2000, 2] = np.nan  # two trainings each
    repeats[:100, 1:] = np.nan  # one each: these say nothing
    spread = repeats[100:2000, :2].mean(axis=1)
    assert 0.65 < reliability(repeats) < 0.76
    assert np.corrcoef(spread, quality[100:2000])[0, 1] ** 2 == pytest.approx(1 / 1.5, abs=0.05)


def test_bad_repeats_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one row an architecture"):
        reliability([1.0, 2.0])
    with pytest.raises(ConfigurationError, match="at least 3 architectures"):
        reliability([[1.0, np.nan], [2.0, 2.1]])
    with pytest.raises(ConfigurationError, match="same mean"):
        reliability([[1.0, 1.0]] * 4)
    rng, values = np.random.default_rng(0), np.arange(20.0)
    with pytest.raises(ConfigurationError, match="reliability of the truth"):
        find_biases({"x": values}, values, values, generator=rng, reliability=0.0)
