"""Bias of a supernet: which structural features does it rank higher, or lower, than they deserve?

Raw differences of ranks mislead. A noisy supernet pulls every rank towards the middle, and so seems to under-value
whatever makes architectures good. What counts as bias here is therefore measured *at equal truth*: what is left of the
proxy's ranks after all that the true ranks predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sharewise.appraisal.agreement import paired
from sharewise.appraisal.interval import Estimate
from sharewise.appraisal.truth_error import leaning, least_reliability, multiplier_p_values, normal_scores
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
        p_value: of no effect at equal measured truth, by permutation.
        corrected: the largest p-value of all tests that a claim must stand, each corrected for the number of features
            (probability of a single false claim among all).
        found: whether the corrected p-value is below the level.
        doubtful: whether the permutation alone would have claimed it: errors of the truth may explain it.
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
    doubtful: bool
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
        reliability: of the truth; `None` where it is not known.
        sentence: the findings in words.
    """

    biases: tuple[FeatureBias, ...]
    n: int
    failed: bool
    constant: tuple[str, ...]
    level: float
    reliability: float | None
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
    reliability: float | None = None,
) -> BiasReport:
    """Say which features a supernet over- or under-values.

    With r the ranks by proxy, t those by truth and z a feature, all scaled to unit variance, r and z are each regressed
    on 1, t, t², t³; the effect is the correlation of what is left. Its null distribution comes from permuting what is
    left of r and regressing it once more, the same permutation for all features, so that the largest |effect| of each
    permutation corrects for their number however they depend on each other.

    That alone would take errors of the truth for bias: where a feature makes architectures good and the truth is noisy
    (reliability 0.79), it claims a bias in half of all unbiased samples. So a claim must stand two more tests, which
    allow for the error and for noise whose size depends on the feature (see `leaning`), on values and on their normal
    scores. Where the reliability is not known, they are asked at the highest and the lowest that are possible.

    Args:
        features: by name, one value an architecture: booleans, or numbers.
        proxy: scores with shared weights, `(n,)`.
        truth: values after standalone training, in the same order.
        generator: of permutations and bootstrap.
        permutations: the smallest p-value is 1 / (permutations + 1).
        resamples: of the bootstrap over architectures, by which all intervals are made; 0 leaves intervals out.
        confidence: of the intervals.
        level: below which a corrected p-value is a finding.
        reliability: share of the variance of the truth that is not error, above 0 and at most 1; known from trainings
            that were repeated (`sharewise.appraisal.reliability`), 1 for an exact truth, `None` where nobody knows.

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
        >>> report = find_biases(features, proxy, truth, generator=rng, permutations=200, resamples=20, reliability=1.0)
        >>> [bias.feature for bias in report.biases if bias.found]
        ['residual edge']

    References:
        D. Freedman and D. Lane, *A nonstochastic interpretation of reported significance levels*, 1983 (permuting
        residuals); P. Westfall and S. Young, *Resampling-Based Multiple Testing*, 1993 (the largest statistic);
        W. Fuller, *Measurement Error Models*, 1987 (errors of the truth).
    """
    scores, values = paired(proxy, truth)
    n = len(scores)
    _check(n, features, permutations, resamples, confidence, level, reliability)
    columns, boolean, constant = _columns(features, n)
    report = partial(BiasReport, n=n, constant=constant, level=level, reliability=reliability)
    if scores.min() == scores.max() or values.min() == values.max():
        failed = bool(scores.min() == scores.max())
        side = "the supernet failed: it gives" if failed else "training alone gives"
        sentence = f"{side} all {n} architectures the same value, so that no bias can be measured"
        return report((), failed=failed, sentence=sentence)
    if not columns:
        return report((), failed=False, sentence="every feature is the same in all architectures")
    names = list(columns)
    design = np.stack([columns[name] for name in names])
    kinds = np.array([boolean[name] for name in names])
    sample = _Sample(scores, values, design, kinds)
    effects, p_values, corrected = _permuted(sample, generator, permutations)
    confirmed = _confirmed(sample, np.sign(effects), reliability, generator, permutations)
    estimates = _estimates(sample, effects, generator, resamples, confidence)
    found = []
    for place, name in enumerate(names):
        effect, shift, distance = (row[place] for row in estimates)
        p = float(max(corrected[place], confirmed[place]))
        doubtful = bool(corrected[place] < level <= p)
        found.append(
            FeatureBias(
                name,
                bool(kinds[place]),
                int(design[place].sum()) if kinds[place] else n,
                shift,
                distance if kinds[place] else None,
                effect,
                float(p_values[place]),
                p,
                p < level,
                doubtful,
                _sentence(name, bool(kinds[place]), effect, shift, p, p < level, doubtful),
            )
        )
    found.sort(key=lambda bias: -abs(bias.effect.value))
    return report(tuple(found), failed=False, sentence=_summary(found, n))


def _check(
    n: int,
    features: Mapping[str, ArrayLike],
    permutations: int,
    resamples: int,
    confidence: float,
    level: float,
    reliability: float | None,
) -> None:
    """Refuse what cannot be judged."""
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
    if reliability is not None and not 0 < reliability <= 1:
        raise ConfigurationError(f"the reliability of the truth lies above 0 and at most at 1, got {reliability}")


@dataclass(frozen=True)
class _Sample:
    """Scores and true values `(n,)`, features `(features, n)`, and which of these are boolean."""

    scores: Floats
    values: Floats
    design: Floats
    kinds: NDArray[np.bool_]


def _permuted(sample: _Sample, generator: np.random.Generator, permutations: int) -> tuple[Floats, Floats, Floats]:
    """Effects at equal measured truth, with p-values by permutation, single and corrected for their number."""
    effects, left, rest = _effects(sample)
    # A permuted remainder leans on the truth again: without regressing it once more, its correlations were too small.
    shuffled = np.stack([left[generator.permutation(len(left))] for _ in range(permutations)])
    permuted = _residuals(_truth_basis(sample.values), shuffled) @ rest.T
    p_values = (1 + (np.abs(permuted) >= np.abs(effects) - 1e-12).sum(axis=0)) / (permutations + 1)
    largest = np.abs(permuted).max(axis=1)
    corrected = (1 + (largest[:, None] >= np.abs(effects) - 1e-12).sum(axis=0)) / (permutations + 1)
    return effects, p_values, corrected


def _confirmed(
    sample: _Sample, signs: Floats, reliability: float | None, generator: np.random.Generator, draws: int
) -> Floats:
    """The largest corrected p-value over all ways to allow for errors of the truth; 1 where a sign disagrees.

    Values and their normal scores take turns, since neither need be linear in quality; where the reliability is not
    known, so do the highest and the lowest that are possible.
    """
    ranked = np.where(sample.kinds[:, None], sample.design, stats.rankdata(sample.design, axis=1))
    worst = np.zeros(len(signs))
    scales = (sample.scores, sample.values), (normal_scores(sample.scores), normal_scores(sample.values))
    for r, t in scales:
        for share in (1.0, least_reliability(r, t)) if reliability is None else (reliability,):
            statistic, contributions = leaning(r, t, ranked, share)
            p = multiplier_p_values(statistic, contributions, generator, draws)
            worst = np.maximum(worst, np.where(np.sign(statistic) == signs, p, 1.0))
    return worst


def _estimates(
    sample: _Sample, effects: Floats, generator: np.random.Generator, resamples: int, confidence: float
) -> list[list[Estimate]]:
    """Effects, raw shifts and the same in deviations, each with its bootstrap interval, a list of features each."""
    n = len(sample.scores)
    drawn = np.full((resamples, 3, len(effects)), np.nan)
    for row in drawn:
        picked = generator.integers(n, size=n)
        again = _Sample(sample.scores[picked], sample.values[picked], sample.design[:, picked], sample.kinds)
        if np.ptp(again.scores) and np.ptp(again.values):
            row[0] = _effects(again)[0]
            row[1:] = _shifts(again)
    measured = [effects, *_shifts(sample)]
    return [
        [_estimate(value, drawn[:, kind, place], n, confidence) for place, value in enumerate(row)]
        for kind, row in enumerate(measured)
    ]


def _summary(found: Sequence[FeatureBias], n: int) -> str:
    """All findings in one sentence."""
    many = f"{len(found)} feature{'' if len(found) == 1 else 's'}"
    claims = [bias for bias in found if bias.found]
    open_ones = [bias.feature for bias in found if bias.doubtful]
    rest = f"; errors of the truth may explain what it seems to make of {', '.join(open_ones)}" if open_ones else ""
    if claims:
        listed = ", ".join(f"{'over' if b.effect.value > 0 else 'under'}-values {b.feature}" for b in claims)
        return f"the supernet {listed} ({many} examined, n = {n}){rest}"
    return f"no bias can be claimed among {many} (n = {n}){rest}"


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


def _effects(sample: _Sample) -> tuple[Floats, Floats, Floats]:
    """Correlations at equal truth, what is left of the proxy's ranks, and what is left of the features."""
    n, design = len(sample.scores), _truth_basis(sample.values)
    ranked = np.where(sample.kinds[:, None], sample.design, stats.rankdata(sample.design, axis=1))
    left = _residuals(design, stats.rankdata(sample.scores)[None] - (n + 1) / 2)[0]
    rest = _residuals(design, ranked - ranked.mean(axis=1, keepdims=True))
    return rest @ left, left, rest


def _shifts(sample: _Sample) -> Floats:
    """Raw differences of mean rank differences (or slopes), and the same in pooled standard deviations."""
    n = len(sample.scores)
    moved = (stats.rankdata(sample.scores) - stats.rankdata(sample.values)) / n
    centred = sample.design - sample.design.mean(axis=1, keepdims=True)
    squares = (centred**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may lack a feature: no number, and left out
        slopes = centred @ moved / squares
        left = moved - slopes[:, None] * centred
        left -= left.mean(axis=1, keepdims=True)
        spread = np.sqrt((left**2).sum(axis=1) / (n - 2))
        shifts = np.where(sample.kinds, slopes, slopes * np.sqrt(squares / n))
        return np.stack([shifts, shifts / spread])


def _estimate(value: float, drawn: Floats, n: int, confidence: float) -> Estimate:
    kept = drawn[np.isfinite(drawn)]
    low, high = (-np.inf, np.inf)
    if len(kept):
        low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(value), float(low), float(high), n, confidence, "percentile bootstrap over architectures")


def _sentence(
    name: str, boolean: bool, effect: Estimate, shift: Estimate, corrected: float, found: bool, doubtful: bool
) -> str:
    if doubtful:
        return (
            f"errors of the truth may explain what the supernet seems to make of {name}: effect {effect.value:.2f} at "
            f"equal measured truth (corrected p = {corrected:.2g})"
        )
    if not found:
        return f"no bias towards {name} can be claimed: effect {effect.value:.2f} (corrected p = {corrected:.2g})"
    direction = "over" if effect.value > 0 else "under"
    per = "" if boolean else " per standard deviation"
    return (
        f"the supernet {direction}-values {name}: effect {effect.value:.2f} at equal truth (corrected "
        f"p = {corrected:.2g}); raw difference of ranks {100 * shift.value:+.0f} % of the sample{per}"
    )
