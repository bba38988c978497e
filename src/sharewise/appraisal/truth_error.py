"""Errors of the truth: what training alone measures is itself measured with noise, and noise looks like bias.

A supernet that orders architectures by their true quality seems to over-value whatever makes them good, as soon as the
values that it is compared with are noisy: the feature then says something about quality that the noisy value does not.
The share of the variance that is not noise, the *reliability*, corrects for it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sharewise.errors import ConfigurationError

__all__ = ["leaning", "least_reliability", "multiplier_p_values", "normal_scores", "reliability"]

Floats = NDArray[np.float64]


def reliability(repeats: ArrayLike) -> float:
    """The share of the variance of means over repeated trainings that is due to the architectures.

    ρ = 1 - (s² / k) / v, with s² the variance of single trainings within an architecture, averaged over all, k
    trainings each, and v the variance of the means.

    Args:
        repeats: values of k trainings of every architecture, `(n, k)`, k at least 2; rows with fewer known values than
            two (not a number elsewhere) say nothing and are left out, others count with their own k.

    Returns:
        From 0 to 1.

    Raises:
        ConfigurationError: when fewer than three architectures have two values, or the means do not vary.

    Example:
        >>> round(reliability([[1.0, 1.2], [2.0, 1.8], [3.0, 3.2], [4.0, 3.8]]), 3)
        0.994

    References:
        W. Fuller, *Measurement Error Models*, 1987, section 1.2 (reliability ratio).
    """
    values = np.asarray(repeats, dtype=np.float64)
    if values.ndim != 2:
        raise ConfigurationError(f"repeated trainings are one row an architecture, got shape {values.shape}")
    values = values[np.isfinite(values).sum(axis=1) >= 2]
    if len(values) < 3:
        raise ConfigurationError(
            f"a reliability needs at least 3 architectures that were trained twice, got {len(values)}"
        )
    counts = np.isfinite(values).sum(axis=1)
    spread = float(np.nanmean(values, axis=1).var(ddof=1))
    if spread == 0:
        raise ConfigurationError("all architectures have the same mean: there is nothing that could be reliable")
    noise = float((np.nanvar(values, axis=1, ddof=1) / counts).mean())
    return min(1.0, max(0.0, 1 - noise / spread))


def normal_scores(values: ArrayLike) -> Floats:
    """Ranks as the quantiles of a normal distribution: Φ⁻¹((rank - ½) / n)."""
    ranks = stats.rankdata(values)
    return np.asarray(stats.norm.ppf((ranks - 0.5) / len(ranks)))


def least_reliability(proxy: Floats, truth: Floats) -> float:
    """The lowest reliability that the data allow: corr(proxy, truth)² ≤ ρ, as no proxy knows the noise of the truth."""
    return float(np.corrcoef(proxy, truth)[0, 1]) ** 2


def leaning(proxy: Floats, truth: Floats, features: Floats, share: float) -> tuple[Floats, Floats]:
    """How far a proxy leans towards features at equal *true* quality, and what each architecture contributes.

    With r, t, z proxy, truth and feature of unit variance and ρ the reliability of t,

        c = corr(r, z) - corr(r, t) · corr(z, t) / ρ,

    which is 0 where r is a linear function of true quality and of noise that has nothing to do with z. The error is not
    assumed to be as large for every architecture: contributions are those of the estimator's influence function.

    Args:
        proxy: `(n,)`.
        truth: `(n,)`.
        features: `(features, n)`.
        share: ρ; below what the data allow, that is taken (`least_reliability`).

    Returns:
        c divided by its standard error, `(features,)`, and contributions in the same unit, `(features, n)`.
    """
    n = len(proxy)
    r, t = _standard(proxy), _standard(truth)
    z = _standard(features)
    rho = max(share, least_reliability(proxy, truth))
    rt, zt, rz = float(r @ t) / n, z @ t / n, z @ r / n
    c = rz - rt * zt / rho
    influence = r * z - (r * t) * zt[:, None] / rho - rt * (z * t) / rho + (rt * zt / rho)[:, None] * t**2
    influence -= c[:, None] * (r**2 + z**2) / 2
    influence -= influence.mean(axis=1, keepdims=True)
    error = np.sqrt((influence**2).sum(axis=1) / max(1, n - 4) / n)
    error = np.where(error > 0, error, math.inf)
    return c / error, influence / (n * error[:, None])


def multiplier_p_values(statistic: Floats, contributions: Floats, generator: np.random.Generator, draws: int) -> Floats:
    """P-values of no leaning, corrected for the number of features: the largest |statistic| under random signs.

    Args:
        statistic: `(features,)`.
        contributions: `(features, n)`, whose sum under random signs has the statistic's distribution without leaning.
        generator: of the signs.
        draws: how many; the smallest p-value is 1 / (draws + 1).

    References:
        V. Chernozhukov, D. Chetverikov and K. Kato, *Gaussian approximations and multiplier bootstrap for maxima of
        sums of high-dimensional random vectors*, Annals of Statistics 41, 2013.
    """
    signs = generator.choice(np.array([-1.0, 1.0]), size=(draws, contributions.shape[1]))
    largest = np.abs(signs @ contributions.T).max(axis=1)
    return np.asarray((1 + (largest[:, None] >= np.abs(statistic) - 1e-12).sum(axis=0)) / (draws + 1))


def _standard(values: Floats) -> Floats:
    centred = values - values.mean(axis=-1, keepdims=True)
    scale = centred.std(axis=-1, keepdims=True)
    return np.asarray(centred / np.where(scale > 0, scale, 1.0))
