"""Regret at equal cost: searches that are guided by supernets beside searches that have none.

A guided search pays for its supernet and for scoring before it trains anything; the searches beside it may spend as
much. A claim must survive both sources of chance: other supernets (`sharing_verdict` over seeds) and other samples of
architectures (bootstrap), since all supernets guide through the same sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sharewise.appraisal import (
    Answer,
    Estimate,
    GuidedSearch,
    Verdict,
    guided_search,
    mean_interval,
    random_searches,
    regret_curve,
    sharing_verdict,
    to_plain,
    worth_in_trainings,
)
from sharewise.studies.truth import Truth

__all__ = ["RANDOM", "Resampled", "generator", "random_best", "regrets"]

Floats = NDArray[np.float64]
Columns = Mapping[str, Mapping[str, Floats]]
RANDOM = "random search"
_CHECKPOINTS = 30


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers that depend on nothing but a seed and what they are for."""
    return np.random.default_rng([seed, *purpose.encode()])


def random_best(signal: Floats, test: Floats, m: int) -> Floats:
    """The test value that random search without replacement hands over after m trainings, in expectation.

    The j-th smallest signal of n is the best of m drawn with probability C(j-1, m-1) / C(n, m).

    Args:
        signal: what a training shows, `(…, n)`.
        test: what the choice is judged by, in the same order.
        m: from 1 to n.

    Returns:
        `(…)`.

    Example:
        >>> values = np.array([3.0, 6.0, 9.0])
        >>> [float(random_best(values, values, m)) for m in (1, 2, 3)]
        [6.0, 8.0, 9.0]
    """
    n = signal.shape[-1]
    judged = np.take_along_axis(test, np.argsort(signal, axis=-1, kind="stable"), axis=-1)
    places = np.arange(m, n + 1)
    chances = np.exp(_log_binomial(places - 1, m - 1) - _log_binomial(np.array(n), m))
    found: Floats = judged[..., m - 1 :] @ (chances / chances.sum())
    return found


def _log_binomial(n: NDArray[np.intp], k: int) -> Floats:
    found: Floats = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return found


@final
class Resampled:
    """The same searches on other samples: architectures drawn with replacement, scores and truth kept together.

    Args:
        truth: about the sample.
        columns: scores of each supernet.
        resamples: how many samples.
        rng: draws them, and breaks ties.
    """

    def __init__(self, truth: Truth, columns: Sequence[Floats], resamples: int, rng: np.random.Generator) -> None:
        n = len(truth.architectures)
        picks = rng.integers(n, size=(resamples, n))
        self._signal, self._test = truth.signal[picks], truth.test[picks]
        self._orders = [np.lexsort((rng.random(picks.shape), -column[picks]), axis=-1) for column in columns]

    def guided(self, k: int) -> Floats:
        """The mean test value over the supernets after k trainings, `(resamples,)`."""
        found = []
        for order in self._orders:
            top = order[:, :k]
            chosen = np.take_along_axis(self._signal, top, axis=1).argmax(axis=1)
            place = np.take_along_axis(top, chosen[:, None], axis=1)
            found.append(np.take_along_axis(self._test, place, axis=1)[:, 0])
        return np.asarray(np.mean(found, axis=0))

    def random(self, m: int) -> Floats:
        """What random search hands over after m trainings of the sample, in expectation, `(resamples,)`."""
        return random_best(self._signal, self._test, m)


@dataclass(frozen=True)
class _Setting:
    """What all comparisons of one variant share."""

    truth: Truth
    searches: Mapping[str, GuidedSearch]
    failed: int
    resampled: Resampled | None


def regrets(
    truth: Truth,
    scores: Columns,
    upfront: Mapping[str, Mapping[str, float]],
    sound: Mapping[str, Sequence[str]],
    tops: Sequence[int],
    main: tuple[str, int],
    *,
    seed: int,
    repeats: int,
    resamples: int,
) -> tuple[dict[str, Any], Verdict]:
    """Searches guided by each supernet, beside others at equal cost and with equally many trainings.

    Args:
        truth: about the sample.
        scores: finite, by variant and seed.
        upfront: what a search pays before its first training, by variant and seed.
        sound: seeds whose supernets did not fail, by variant.
        tops: how many architectures the guided searches train.
        main: variant and number of trainings of the verdict.
        seed: of all random numbers.
        repeats: of the searches beside.
        resamples: of the bootstrap.

    Returns:
        Plain values, and the verdict.
    """
    n = len(truth.architectures)
    costs = np.ones(n) if truth.costs is None else truth.costs
    settings = {
        variant: _setting(truth, scores[variant], upfront[variant], names, costs, seed, resamples)
        for variant, names in sound.items()
    }
    prices = {
        (variant, k): float(np.mean([search.top(k)[1] for search in setting.searches.values()]))
        for variant, setting in settings.items()
        for k in tops
        if setting.searches
    }
    chance = random_searches(
        truth.signal, truth.test, n, repeats=repeats, generator=generator(seed, "chance"), best=truth.best
    )
    beside = _beside(truth, prices, float(costs.mean()), repeats, seed)
    found = {
        (variant, k): _compared_row(setting, k, chance, beside, prices.get((variant, k)))
        for variant, setting in settings.items()
        for k in tops
    }
    document = {
        "unit": None if truth.costs is None else "mean trainings of the sample (passes × multiply-accumulates)",
        "scale": None if truth.costs is None else beside.scale,
        "best": truth.best,
        "rivals": list(beside.rivals),
        "variants": {variant: [found[variant, k][0] for k in tops] for variant in settings},
        "curves": _curves(beside.checkpoints, beside.rivals, settings) if beside.rivals else None,
    }
    return document, found[main][1]


def _setting(
    truth: Truth,
    scores: Mapping[str, Floats],
    upfront: Mapping[str, float],
    names: Sequence[str],
    costs: Floats,
    seed: int,
    resamples: int,
) -> _Setting:
    """The searches that the sound supernets of one variant guide."""
    searches = {
        name: guided_search(
            scores[name],
            truth.test,
            signal=truth.signal,
            best=truth.best,
            upfront=0.0 if truth.costs is None else upfront[name],
            costs=costs,
            generator=generator(seed, "ties"),
        )
        for name in names
    }
    columns = [scores[name] for name in names]
    resampled = Resampled(truth, columns, resamples, generator(seed, "samples")) if names else None
    return _Setting(truth, searches, len(scores) - len(names), resampled)


@dataclass(frozen=True)
class _Beside:
    """Searches without a supernet: their regrets at costs, and the mean training in which costs are shown."""

    rivals: Mapping[str, Floats]
    checkpoints: list[float]
    scale: float


def _beside(truth: Truth, prices: Mapping[tuple[str, int], float], scale: float, repeats: int, seed: int) -> _Beside:
    if truth.rivals is None or not prices:
        return _Beside({}, [], scale)
    checkpoints = sorted({*np.geomspace(scale / 2, max(prices.values()), _CHECKPOINTS).tolist(), *prices.values()})
    return _Beside(truth.rivals(checkpoints, repeats, seed), checkpoints, scale)


def _compared_row(
    setting: _Setting, k: int, chance: Floats, beside: _Beside, price: float | None
) -> tuple[dict[str, Any], Verdict]:
    """TOP-k beside random trainings, and where costs are known beside every other search at equal cost."""
    row, verdict = _row(setting, k, chance)
    if not beside.rivals or price is None:
        return row, verdict
    row |= {"cost": price, "cost_shown": price / beside.scale, "at_equal_cost": {}}
    for name, table in beside.rivals.items():
        column = table[:, beside.checkpoints.index(price)]
        record, row["at_equal_cost"][name] = _at_equal_cost(setting, k, name, column, price)
        verdict = record if name == RANDOM else verdict
    return row, verdict


def _row(setting: _Setting, k: int, chance: Floats) -> tuple[dict[str, Any], Verdict]:
    """TOP-k, beside k random trainings of the sample."""
    ours = {name: search.top(k)[0] for name, search in setting.searches.items()}
    row: dict[str, Any] = {"k": k, "regret": ours, "n": len(ours), "failed": setting.failed}
    if ours:
        mean = float(np.mean(list(ours.values())))
        row |= {"mean": mean, "interval": to_plain(mean_interval(list(ours.values())))}
        row["worth_in_random_trainings"] = worth_in_trainings(mean, chance.mean(axis=0))
    resampled = setting.resampled
    verdict, plain = _compared(
        setting,
        k,
        chance[:, k - 1],
        f"{k} random training{'' if k == 1 else 's'} of the sample, the supernet's own cost left aside",
        None if resampled is None else resampled.random(k) - resampled.guided(k),
    )
    return {**row, "with_equally_many_trainings": plain}, verdict


def _at_equal_cost(
    setting: _Setting, k: int, name: str, theirs: Floats, price: float
) -> tuple[Verdict, dict[str, Any]]:
    truth, ours = setting.truth, len(setting.searches)
    n = len(truth.architectures)
    assert truth.costs is not None
    assert setting.resampled is not None
    affordable = price / float(truth.costs.mean())
    idle = int((~np.isfinite(theirs)).sum())
    reason = None
    if truth.pool and affordable >= n:
        reason = (
            f"what the supernet and {k} training{'' if k == 1 else 's'} cost would pay for {affordable:.0f} random "
            f"trainings, and this sample has {n}; to compare at equal cost, train more than {affordable:.0f} "
            "architectures"
        )
    elif idle:  # those that complete a training have drawn a cheap architecture, which is no fair sample
        reason = f"for the cost of TOP-{k}, {idle} of {len(theirs)} repeats of {name} complete no training"
    if reason is not None:
        sentence = f"{Answer.CANNOT_TELL.value}: {reason} (n = {ours} supernet{'' if ours == 1 else 's'})"
        verdict = Verdict(Answer.CANNOT_TELL, sentence, None, ours, len(theirs), setting.failed, None)
        return verdict, {**to_plain(verdict), "mean": None, "without_result": idle}
    guided = setting.resampled.guided(k)
    # Searches on a table see more than the sample, and their mean is the same whatever sample was drawn.
    others = setting.resampled.random(max(1, int(affordable))) if truth.pool else truth.best - float(theirs.mean())
    verdict, plain = _compared(setting, k, theirs, f"{name} at equal cost", others - guided)
    return verdict, {**plain, "mean": float(theirs.mean()), "without_result": 0}


def _compared(
    setting: _Setting, k: int, theirs: Floats, against: str, drawn: Floats | None
) -> tuple[Verdict, dict[str, Any]]:
    """A verdict over the seeds that also holds over other samples of architectures, or else is none."""
    truth = setting.truth
    ours = [search.top(k)[0] for search in setting.searches.values()]
    verdict = sharing_verdict(
        ours, theirs.tolist(), what=f"TOP-{k} regret", against=against, unit=truth.unit, failed=setting.failed
    )
    if drawn is None:
        return verdict, {**to_plain(verdict), "over_samples": None}
    low, high = np.quantile(drawn, [0.025, 0.975])
    value, n = float(np.mean(ours) - theirs.mean()), len(truth.architectures)
    estimate = Estimate(value, float(low), float(high), n, 0.95, "percentile bootstrap over architectures")
    span = f"over other samples of {n} architectures it would lie between {low:.2f} and {high:.2f}"
    if verdict.answer is Answer.CANNOT_TELL:
        sentence = verdict.sentence if verdict.comparison is None else f"{verdict.sentence}; {span}"
        verdict = replace(verdict, sentence=sentence)
    elif low <= 0 <= high:
        claim = verdict.sentence.partition(": ")[2]
        sentence = f"{Answer.CANNOT_TELL.value}: {claim}, but {span}; appraise more architectures"
        verdict = replace(verdict, answer=Answer.CANNOT_TELL, sentence=sentence)
    else:
        verdict = replace(verdict, sentence=f"{verdict.sentence}; {span}")
    return verdict, {**to_plain(verdict), "over_samples": to_plain(estimate)}


def _curves(checkpoints: list[float], rivals: Mapping[str, Floats], settings: Mapping[str, _Setting]) -> dict[str, Any]:
    """Mean regret against cost with t intervals."""
    named: dict[str, Floats] = {
        f"supernet, {variant}": np.stack([search.at(checkpoints) for search in setting.searches.values()])
        for variant, setting in settings.items()
        if setting.searches
    }
    curves = {name: regret_curve(table, checkpoints) for name, table in {**named, **rivals}.items()}
    return {
        "checkpoints": checkpoints,
        "searches": {
            name: {"n": curve.n, "mean": list(curve.mean), "mean_interval": to_plain(curve.mean_interval)}
            for name, curve in curves.items()
        },
    }
