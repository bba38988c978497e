"""The size of a sample beside simulation, and the errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sharewise.appraisal.sample_size import correlation_half_width, needed_architectures
from sharewise.errors import ConfigurationError


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_the_half_width_is_that_of_simulated_correlations(rho: float) -> None:
    rng, n = np.random.default_rng(0), 100
    # Pearson correlation of a bivariate normal whose Spearman correlation is rho.
    r = 2 * np.sin(np.pi * rho / 6)
    x = rng.normal(size=(1500, n))
    y = r * x + np.sqrt(1 - r**2) * rng.normal(size=(1500, n))
    found = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    low, high = np.quantile(found, [0.025, 0.975])
    assert correlation_half_width(rho, n) == pytest.approx((high - low) / 2, rel=0.12)


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.3, 0.99])
@pytest.mark.parametrize("half_width", [0.02, 0.1, 0.4])
def test_the_needed_size_is_the_smallest(rho: float, half_width: float) -> None:
    n = needed_architectures(rho, half_width)
    assert correlation_half_width(rho, n) <= half_width
    assert n == 4 or correlation_half_width(rho, n - 1) > half_width


def test_numbers_out_of_range_are_refused() -> None:
    for bad in ((1.0, 10, 0.95), (0.5, 3, 0.95), (0.5, 10, 1.0)):
        with pytest.raises(ConfigurationError):
            correlation_half_width(*bad)
    with pytest.raises(ConfigurationError, match="half width"):
        needed_architectures(0.5, 0.0)
