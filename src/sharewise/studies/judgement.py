"""Judgement: from scores and truth to a verdict with the evidence behind it, as plain values.

Two sources of chance are kept apart: other architectures (bootstrap over the sample, for one supernet) and other
supernets (t intervals over seeds). A verdict rests on the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sharewise.appraisal import (
    BiasReport,
    OverSeeds,
    RankAgreement,
    Verdict,
    find_biases,
    mean_interval,
    over_seeds,
    rank_agreement,
    rank_order,
    to_plain,
    with_order,
)
from sharewise.appraisal.agreement import TOPS
from sharewise.appraisal.sample_size import needed_architectures
from sharewise.errors import ConfigurationError
from sharewise.studies.equal_cost import generator, regrets
from sharewise.studies.truth import Truth

__all__ = ["Judgement", "Supernets", "judge", "tops_of"]

Floats = NDArray[np.float64]
_FEWEST_FOR_BIAS = 8
_HALF_WIDTHS = (0.2, 0.1, 0.05)


@final
@dataclass(frozen=True, eq=False)
class Supernets:
    """What several supernets that differ in nothing but the seed say about one sample.

    Args:
        scores: by variant of scoring and by seed, `(n,)`; higher is better, not a number where a network overflows.
        upfront: what a search pays before its first training, by variant and seed: training the supernet, and scoring
            the sample; in passes × multiply-accumulates.
    """

    scores: Mapping[str, Mapping[str, Floats]]
    upfront: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        lengths = {len(column) for seeds in self.scores.values() for column in seeds.values()}
        if len(lengths) > 1:
            raise ConfigurationError(
                f"supernets scored samples of different sizes ({', '.join(map(str, sorted(lengths)))}); score the same "
                "architectures with all of them"
            )

    @property
    def seeds(self) -> tuple[str, ...]:
        """Names of the seeds."""
        return tuple(next(iter(self.scores.values())))


@final
@dataclass(frozen=True, eq=False)
class Judgement:
    """A verdict and all that it rests on.

    Args:
        verdict: on the main variant and list length.
        document: the evidence as plain values.
        agreement: over the seeds, by variant and statistic.
        bias: by variant.
        top: the list length of the verdict.
        variant: of the verdict.
    """

    verdict: Verdict
    document: dict[str, Any]
    agreement: Mapping[str, Mapping[str, OverSeeds]]
    bias: Mapping[str, BiasReport]
    top: int
    variant: str


def tops_of(n: int) -> tuple[int, ...]:
    """How long the final lists are: 1, 10 and 20 as published where the sample is twice as large, else a quarter.

    Example:
        >>> tops_of(300), tops_of(12), tops_of(3)
        ((1, 10, 20), (1, 3), (1,))
    """
    tops = [k for k in TOPS if 2 * k <= n] or [1]
    return tuple(tops if 10 in tops else sorted({*tops, max(1, n // 4)}))


def judge(
    truth: Truth,
    supernets: Supernets,
    features: Mapping[str, NDArray[Any]],
    *,
    seed: int = 0,
    repeats: int = 500,
    resamples: int = 1000,
) -> Judgement:
    """Rank agreement, bias, regret at equal cost, and what follows.

    Args:
        truth: about the sample.
        supernets: their scores of the same architectures, in the same order.
        features: of the architectures by name.
        seed: of bootstrap, permutations, ties and the searches beside.
        repeats: of each of these searches.
        resamples: of the bootstrap.

    Raises:
        ConfigurationError: when shapes do not fit.
    """
    n = len(truth.architectures)
    scores, overflown = _ranked(supernets.scores)
    if any(len(column) != n for seeds in scores.values() for column in seeds.values()):
        raise ConfigurationError(f"there are true values of {n} architectures, and scores of another number")
    notes = [*truth.notes, *overflown]
    if len(supernets.seeds) == 1:
        notes.append(
            "one seed only: intervals say what other architectures would give with this supernet, and nothing about "
            "other supernets. Train siblings with --seeds"
        )
    tops = tops_of(n)
    found = _agreements(truth, scores, tops, seed, resamples)
    agreement = {variant: _over_seeds(seeds, tops) for variant, seeds in found.items()}
    bias = {
        variant: _bias(features, seeds, found[variant], truth, seed, resamples) for variant, seeds in scores.items()
    }
    variant, top = _main_variant(scores), max(k for k in tops if k <= 10)
    sound = {v: [name for name in seeds if not found[v][name].failed] for v, seeds in scores.items()}
    regret, verdict = regrets(
        truth, scores, supernets.upfront, sound, tops, (variant, top), seed=seed, repeats=repeats, resamples=resamples
    )
    verdict = _ordered(verdict, [scores[variant][name] for name in sound[variant]], truth, seed)
    document = {
        "verdict": {**to_plain(verdict), "top": top, "variant": variant},
        "n": n,
        "seeds": list(supernets.seeds),
        "variants": list(scores),
        "tops": list(tops),
        "truth": {
            "source": truth.source,
            "label": truth.label,
            "unit": truth.unit,
            "best": truth.best,
            "best_of_sample": float(truth.test.max()),
            "reliability": truth.reliability,
        },
        "agreement": {
            variant: {"over_seeds": to_plain(agreement[variant]), "by_seed": to_plain(found[variant])}
            for variant in scores
        },
        "recalibration": _difference(found),
        "bias": {name: to_plain(report) for name, report in bias.items() if report is not None},
        "regret": regret,
        "larger_samples": _larger(truth, agreement[variant]["spearman"]),
        "notes": notes,
    }
    return Judgement(verdict, document, agreement, {name: b for name, b in bias.items() if b is not None}, top, variant)


def _ordered(verdict: Verdict, sound: Sequence[Floats], truth: Truth, seed: int) -> Verdict:
    """The verdict with what can be said about the order of ranks; nothing where every supernet failed."""
    if not sound:
        return verdict
    return with_order(verdict, rank_order(sound, truth.test, generator=generator(seed, "order")))


def _agreements(
    truth: Truth, scores: Mapping[str, Mapping[str, Floats]], tops: Sequence[int], seed: int, resamples: int
) -> dict[str, dict[str, RankAgreement]]:
    """Of every supernet with the truth, by variant and seed."""
    return {
        variant: {
            name: rank_agreement(
                column, truth.test, generator=generator(seed, "bootstrap"), tops=tops, resamples=resamples
            )
            for name, column in seeds.items()
        }
        for variant, seeds in scores.items()
    }


def _ranked(scores: Mapping[str, Mapping[str, Floats]]) -> tuple[dict[str, dict[str, Floats]], list[str]]:
    """Scores that are no numbers become the worst of all: the search would never have trained these."""
    found: dict[str, dict[str, Floats]] = {}
    notes = []
    for variant, seeds in scores.items():
        found[variant] = {}
        for name, given in seeds.items():
            column, known = np.array(given, dtype=np.float64), np.isfinite(given)
            if not known.all():
                notes.append(
                    f"{int((~known).sum())} of {len(column)} {variant} scores of seed {name} are no numbers, since the "
                    "network overflows; they rank last"
                )
                column[~known] = column[known].min() - 1 if known.any() else 0.0
            found[variant][name] = column
    return found, notes


def _main_variant(scores: Mapping[str, object]) -> str:
    """The last but fine-tuning, which no search of thousands can afford."""
    cheap = [variant for variant in scores if variant != "fine-tuned"]
    return cheap[-1]


def _over_seeds(found: Mapping[str, RankAgreement], tops: Sequence[int]) -> dict[str, OverSeeds]:
    """Every statistic over the seeds, failed supernets left out visibly."""
    named: dict[str, tuple[str, dict[str, float | None]]] = {}
    for key, title in (
        ("spearman", "Spearman correlation"),
        ("kendall", "Kendall's tau-b"),
        ("weighted_tau_by_truth", "weighted tau by truth"),
        ("weighted_tau_by_proxy", "weighted tau by proxy"),
    ):
        values = {seed: None if (e := getattr(a, key)) is None else e.value for seed, a in found.items()}
        named[key] = title, values
    for k in tops:
        entries = {seed: agreement.at(k) for seed, agreement in found.items()}
        named[f"precision_at_{k}"] = (
            f"precision at top {k}",
            {seed: None if e is None else e.precision.value for seed, e in entries.items()},
        )
        named[f"regret_at_{k}"] = (
            f"regret at top {k} within the sample",
            {seed: None if e is None else e.regret.value for seed, e in entries.items()},
        )
    return {key: over_seeds(values, statistic=title) for key, (title, values) in named.items()}


def _difference(found: Mapping[str, Mapping[str, RankAgreement]]) -> dict[str, Any] | None:
    """Spearman with recalibrated statistics less Spearman with the running ones, seed by seed."""
    if not {"running", "recalibrated"} <= set(found):
        return None
    pairs = {
        seed: after.spearman.value - before.spearman.value
        for seed, before in found["running"].items()
        if (after := found["recalibrated"][seed]).spearman is not None and before.spearman is not None
    }
    if not pairs:
        return {"sentence": "every supernet failed with or without recalibration: there is no difference", "n": 0}
    interval = mean_interval(list(pairs.values()))
    if interval.n == 1:
        words = f"recalibration changes Spearman by {interval.mean:+.3f} (one seed: no interval over seeds exists)"
    else:
        verb = (
            "raises" if interval.low > 0 else "lowers" if interval.high < 0 else "has no effect that can be claimed on"
        )
        words = (
            f"recalibration {verb} Spearman: {interval.mean:+.3f}, 95 % interval {interval.low:+.3f} to "
            f"{interval.high:+.3f} (paired, n = {interval.n} supernets)"
        )
    return {"by_seed": pairs, "interval": to_plain(interval), "n": interval.n, "sentence": words}


def _bias(
    features: Mapping[str, NDArray[Any]],
    seeds: Mapping[str, Floats],
    found: Mapping[str, RankAgreement],
    truth: Truth,
    seed: int,
    resamples: int,
) -> BiasReport | None:
    """Of the mean rank over the supernets that did not fail."""
    sound = [stats.rankdata(column) for name, column in seeds.items() if not found[name].failed]
    if len(truth.architectures) < _FEWEST_FOR_BIAS or not sound or not features:
        return None
    return find_biases(
        features,
        np.mean(sound, axis=0),
        truth.test,
        generator=generator(seed, "bias"),
        resamples=resamples,
        reliability=truth.reliability,
    )


def _larger(truth: Truth, spearman: OverSeeds) -> list[dict[str, Any]] | None:
    """What narrower intervals of the correlation would cost; for samples that are trained here."""
    if truth.seconds is None or truth.costs is None or spearman.interval is None:
        return None
    rho = float(np.clip(spearman.interval.mean, -0.99, 0.99))
    rows = []
    for half_width in _HALF_WIDTHS:
        count = needed_architectures(rho, half_width)
        rows.append(
            {
                "half_width": half_width,
                "architectures": count,
                "multiply_accumulates": count * float(truth.costs.mean()),
                "seconds_of_one_core": count * float(truth.seconds.mean()),
            }
        )
    return rows
