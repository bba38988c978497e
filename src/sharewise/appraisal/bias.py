"""Bias of a supernet: which structural features does it rank higher, or lower, than they deserve?

Raw differences of ranks mislead. A noisy supernet pulls every rank towards the middle, and so seems to under-value
whatever makes architectures good. What counts as bias here is therefore measured *at equal truth*: what is left of the
proxy's ranks after all that the true ranks predict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sharewise.appraisal.agreement import paired
from sharewise.appraisal.interval import Estimate
from sharewise.errors import ConfigurationError, NonFiniteError

__all__ = ["BiasReport", "FeatureBias", "find_biases"]

Floats = NDArray[np.float64]
DEGREE = 3
"""Of the polynomial by which true ranks predict the ranks of the proxy; it bends with floors, ceilings and clusters."""


@dataclass(frozen=True)
class FeatureBias:
    """How a supernet treats one feature.

    Args:
        feature: its name.
        boolean: whether architectures have it or not, or else more or less of it.
        having: architectures that have it; of a number, all of them.
        shift: mean of (rank by proxy - rank by truth) of those that have it less that of those that do not, in shares
            of the sample: 0.1 stands for ten places of a hundred. Of a number: per standard deviation. Raw: a feature
            of good architectures has a negative one by noise alone.
        cohens_d: the same in pooled standard deviations of the rank differences; of a number, `None`.
        effect: correlation of the feature (a number: of its ranks) with the proxy's rank at equal truth, from -1 to 1;
            positive where the supernet over-values it.
        p_value: of no effect, by permutation.
        corrected: the same, corrected for the number of features (probability of a single false claim among all).
        found: whether the corrected p-value is below the level.
        sentence: the finding in words.
    """

    feature: str
    boolean: bool
    having: int
    shift: Estimate
    cohens_d: Estimate | None
    effect: Estimate
    p_value: float
    corrected: float
    found: bool
    sentence: str


@dataclass(frozen=True)
class BiasReport:
    """All features of one sample and one supernet.

    Args:
        biases: the strongest first.
        n: architectures.
        failed: whether the supernet gave every architecture the same score; then nothing was measured.
        constant: features that are the same in every architecture and tell nothing.
        level: below which a corrected p-value is a finding.
        sentence: the findings in words.
    """

    biases: tuple[FeatureBias, ...]
    n: int
    failed: bool
    constant: tuple[str, ...]
    level: float
    sentence: str


def find_biases(
    features: Mapping[str, ArrayLike],
    proxy: ArrayLike,
    truth: ArrayLike,
    *,
    generator: np.random.Generator,
    permutations: int = 2000,
    resamples: int = 1000,
    confidence: float = 0.95,
    level: float = 0.05,
) -> BiasReport:
    """Say which features a supernet over- or under-values.

    With r the ranks by proxy, t those by truth and z a feature, all scaled to unit variance, r and z are each regressed
    on 1, t, t², t³; the effect is the correlation of what is left. Its null distribution comes from permuting what is
    left of r and regressing it once more, the same permutation for all features, so that the largest |effect| of each
    permutation corrects for their number however they depend on each other.

    Args:
        features: by name, one value an architecture: booleans, or numbers.
        proxy: scores with shared weights, `(n,)`.
        truth: values after standalone training, in the same order.
        generator: of permutations and bootstrap.
        permutations: the smallest p-value is 1 / (permutations + 1).
        resamples: of the bootstrap over architectures, by which all intervals are made; 0 leaves intervals out.
        confidence: of the intervals.
        level: below which a corrected p-value is a finding.

    Returns:
        A record a feature, the strongest effect first.

    Raises:
        ConfigurationError: when lengths differ, there is no feature, or fewer than eight architectures.
        NonFiniteError: when a value is infinite or not a number.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth, residual, depth = rng.normal(size=200), rng.random(200) < 0.5, rng.integers(1, 6, 200)
        >>> proxy = truth + 1.0 * residual + rng.normal(size=200)
        >>> features = {"residual edge": residual, "depth": depth}
        >>> report = find_biases(features, proxy, truth, generator=rng, permutations=200, resamples=20)
        >>> [bias.feature for bias in report.biases if bias.found]
        ['residual edge']

    References:
        D. Freedman and D. Lane, *A nonstochastic interpretation of reported significance levels*, 1983 (permuting
        residuals); P. Westfall and S. Young, *Resampling-Based Multiple Testing*, 1993 (the largest statistic).
    """
    scores, values = paired(proxy, truth)
    n = len(scores)
    if n < 2 * (DEGREE + 1):
        raise ConfigurationError(
            f"biases at equal truth need at least {2 * (DEGREE + 1)} architectures, got {n}; a few hundred are better"
        )
    if not features:
        raise ConfigurationError("there is no feature to judge; give at least one array by its name")
    if permutations < 1 or resamples < 0 or not 0 < confidence < 1 or not 0 < level < 1:
        raise ConfigurationError(
            "permutations must be at least 1, resamples at least 0, confidence and level between 0 and 1; got "
            f"{permutations}, {resamples}, {confidence} and {level}"
        )
    columns, boolean, constant = _columns(features, n)
    if scores.min() == scores.max() or values.min() == values.max():
        side = "the supernet failed: it gives" if scores.min() == scores.max() else "training alone gives"
        sentence = f"{side} all {n} architectures the same value, so that no bias can be measured"
        return BiasReport((), n, scores.min() == scores.max(), constant, level, sentence)
    if not columns:
        return BiasReport((), n, False, constant, level, "every feature is the same in all architectures")
    names = list(columns)
    design = np.stack([columns[name] for name in names])
    kinds = np.array([boolean[name] for name in names])
    effects, left, rest = _effects(scores, values, design, kinds)
    # A permuted remainder leans on the truth again: without regressing it once more, its correlations were too small.
    shuffled = np.stack([left[generator.permutation(n)] for _ in range(permutations)])
    permuted = _residuals(_truth_basis(values), shuffled) @ rest.T
    exceeds = np.abs(permuted) >= np.abs(effects) - 1e-12
    p_values = (1 + exceeds.sum(axis=0)) / (permutations + 1)
    largest = np.abs(permuted).max(axis=1)
    corrected = (1 + (largest[:, None] >= np.abs(effects) - 1e-12).sum(axis=0)) / (permutations + 1)
    shifts, distances = _shifts(scores, values, design, kinds)
    drawn = np.full((resamples, 3, len(names)), np.nan)
    for row in drawn:
        picked = generator.integers(n, size=n)
        sample = scores[picked], values[picked], design[:, picked], kinds
        if np.ptp(sample[0]) and np.ptp(sample[1]):
            row[0] = _effects(*sample)[0]
            row[1:] = _shifts(*sample)
    found = []
    for place, name in enumerate(names):
        estimates = [
            _estimate(value, drawn[:, kind, place], n, confidence)
            for kind, value in enumerate((effects[place], shifts[place], distances[place]))
        ]
        having = int(design[place].sum()) if kinds[place] else n
        is_found = bool(corrected[place] < level)
        words = _sentence(name, bool(kinds[place]), estimates[0], estimates[1], float(corrected[place]), is_found)
        found.append(
            FeatureBias(
                name,
                bool(kinds[place]),
                having,
                estimates[1],
                estimates[2] if kinds[place] else None,
                estimates[0],
                float(p_values[place]),
                float(corrected[place]),
                is_found,
                words,
            )
        )
    found.sort(key=lambda bias: -abs(bias.effect.value))
    claims = [bias for bias in found if bias.found]
    many = f"{len(found)} feature{'' if len(found) == 1 else 's'}"
    if claims:
        listed = ", ".join(f"{'over' if b.effect.value > 0 else 'under'}-values {b.feature}" for b in claims)
        sentence = f"the supernet {listed} ({many} examined, n = {n})"
    else:
        sentence = f"no bias can be claimed among {many} (n = {n})"
    return BiasReport(tuple(found), n, False, constant, level, sentence)


def _columns(features: Mapping[str, ArrayLike], n: int) -> tuple[dict[str, Floats], dict[str, bool], tuple[str, ...]]:
    """Checked features that vary, which of them are boolean, and the names of those that do not vary."""
    columns, boolean, constant = {}, {}, []
    for name, given in features.items():
        array = np.asarray(given)
        if array.shape != (n,) or array.dtype.kind not in "biuf":
            raise ConfigurationError(
                f"feature {name!r} must have one number or boolean for each of {n} architectures, got shape "
                f"{array.shape} of {array.dtype}"
            )
        values = array.astype(np.float64)
        if not np.isfinite(values).all():
            raise NonFiniteError(f"feature {name!r} holds values that are not finite")
        if values.min() == values.max():
            constant.append(name)
            continue
        columns[name] = values
        boolean[name] = array.dtype.kind == "b"
    return columns, boolean, tuple(constant)


def _truth_basis(truth: Floats) -> Floats:
    """Orthonormal columns that span the polynomials of the true ranks."""
    n = len(truth)
    t = (stats.rankdata(truth) - (n + 1) / 2) / n
    basis, _ = np.linalg.qr(np.stack([t**power for power in range(DEGREE + 1)], axis=1))
    return np.asarray(basis)


def _residuals(design: Floats, sides: Floats) -> Floats:
    """What is left of each row of `sides` after least squares on the columns of an orthonormal design, scaled to 1."""
    left = sides - (sides @ design) @ design.T
    scale = np.linalg.norm(left, axis=-1, keepdims=True)
    safe = np.where(scale > 1e-9 * np.linalg.norm(sides, axis=-1, keepdims=True), scale, np.inf)
    return np.asarray(left / safe)


def _effects(
    proxy: Floats, truth: Floats, features: Floats, boolean: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Correlations at equal truth, what is left of the proxy's ranks, and what is left of the features."""
    n, design = len(proxy), _truth_basis(truth)
    ranked = np.where(boolean[:, None], features, stats.rankdata(features, axis=1))
    left = _residuals(design, stats.rankdata(proxy)[None] - (n + 1) / 2)[0]
    rest = _residuals(design, ranked - ranked.mean(axis=1, keepdims=True))
    return rest @ left, left, rest


def _shifts(proxy: Floats, truth: Floats, features: Floats, boolean: NDArray[np.bool_]) -> Floats:
    """Raw differences of mean rank differences (or slopes), and the same in pooled standard deviations."""
    n = len(proxy)
    moved = (stats.rankdata(proxy) - stats.rankdata(truth)) / n
    centred = features - features.mean(axis=1, keepdims=True)
    squares = (centred**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may lack a feature: no number, and left out
        slopes = centred @ moved / squares
        left = moved - slopes[:, None] * centred
        left -= left.mean(axis=1, keepdims=True)
        spread = np.sqrt((left**2).sum(axis=1) / (n - 2))
        shifts = np.where(boolean, slopes, slopes * np.sqrt(squares / n))
        return np.stack([shifts, shifts / spread])


def _estimate(value: float, drawn: Floats, n: int, confidence: float) -> Estimate:
    kept = drawn[np.isfinite(drawn)]
    low, high = (-np.inf, np.inf)
    if len(kept):
        low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(value), float(low), float(high), n, confidence, "percentile bootstrap over architectures")


def _sentence(name: str, boolean: bool, effect: Estimate, shift: Estimate, corrected: float, found: bool) -> str:
    if not found:
        return f"no bias towards {name} can be claimed: effect {effect.value:.2f} (corrected p = {corrected:.2g})"
    direction = "over" if effect.value > 0 else "under"
    per = "" if boolean else " per standard deviation"
    return (
        f"the supernet {direction}-values {name}: effect {effect.value:.2f} at equal truth (corrected "
        f"p = {corrected:.2g}); raw difference of ranks {100 * shift.value:+.0f} % of the sample{per}"
    )
