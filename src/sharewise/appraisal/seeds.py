"""Over seeds: several supernets of one kind are the unit of replication, and a failed one is never averaged away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sharewise.appraisal.interval import Interval, mean_interval
from sharewise.errors import ConfigurationError

__all__ = ["OverSeeds", "normal_interval", "over_seeds"]


@dataclass(frozen=True)
class OverSeeds:
    """A statistic of several supernets: mean, two intervals, and who was left out.

    Args:
        interval: Student's t interval of the mean; infinite for one seed; `None` if every supernet failed.
        normal: 1.96 · σ / √n around the mean, σ with n in its denominator: the interval of *To Share or Not To Share*,
            too narrow for five seeds; `None` if every supernet failed.
        n: supernets that the mean rests on.
        values: by name of the seed; `None` for a failed one.
        failed: names of the failed ones.
        sentence: all of it in words.
    """

    interval: Interval | None
    normal: Interval | None
    n: int
    values: Mapping[str, float | None]
    failed: tuple[str, ...]
    sentence: str


def over_seeds(
    values: Mapping[str, float | None] | Sequence[float | None],
    *,
    statistic: str = "Spearman correlation",
    confidence: float = 0.95,
) -> OverSeeds:
    """Put together one statistic of several supernets that differ in nothing but the seed.

    Args:
        values: one a supernet, by the name of its seed or in the order of seeds 0, 1, …; `None` for one that failed.
        statistic: its name, for the sentence.
        confidence: of the t interval and of the normal one (1.96 stands for 0.95).

    Returns:
        Mean and intervals of those that did not fail, and the names of those that did.

    Raises:
        ConfigurationError: when there is no supernet, or the confidence is out of range.
        NonFiniteError: when a value is infinite or not a number; a failed supernet is `None`.

    Example:
        >>> found = over_seeds([0.61, 0.64, None, 0.66])
        >>> print(found.sentence)
        Spearman correlation 0.637 ± 0.063 (95 % t interval, n = 3 supernets); 1 of 4 failed and is left out: seed 2
        >>> over_seeds([0.61]).sentence
        'Spearman correlation 0.610 of one supernet: no interval over seeds exists; train more seeds'
    """
    named = dict(values) if isinstance(values, Mapping) else {str(seed): value for seed, value in enumerate(values)}
    if not named:
        raise ConfigurationError("there is no supernet to judge; give at least one value, or None for a failed one")
    kept = [value for value in named.values() if value is not None]
    failed = tuple(str(name) for name, value in named.items() if value is None)
    if not kept:
        sentence = f"all {len(named)} supernets failed (seed {', '.join(failed)}): there is no {statistic}"
        return OverSeeds(None, None, 0, named, failed, sentence)
    interval = mean_interval(kept, confidence)
    left_out = ""
    if failed:
        verb = "is" if len(failed) == 1 else "are"
        left_out = f"; {len(failed)} of {len(named)} failed and {verb} left out: seed {', '.join(failed)}"
    if len(kept) == 1:
        sentence = (
            f"{statistic} {kept[0]:.3f} of one supernet: no interval over seeds exists; train more seeds{left_out}"
        )
    else:
        sentence = (
            f"{statistic} {interval.mean:.3f} ± {interval.half_width:.3f} ({100 * confidence:g} % t interval, "
            f"n = {len(kept)} supernets){left_out}"
        )
    return OverSeeds(interval, normal_interval(kept, confidence), len(kept), named, failed, sentence)


def normal_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean ± z · σ / √n with σ over n, as in the tables of *To Share or Not To Share*; z is 1.96 for 0.95.

    It is here to be compared with printed numbers. For five values it covers the truth about 84 times in 100 only.

    Args:
        values: at least one.
        confidence: between 0 and 1.

    Example:
        >>> round(normal_interval([0.5, 0.6, 0.7]).half_width, 4)
        0.0924
    """
    t = mean_interval(values, confidence)  # checks the values
    z = 1.96 if confidence == 0.95 else float(stats.norm.ppf((1 + confidence) / 2))
    half = z * float(np.std(values)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Interval(t.mean, t.mean - half, t.mean + half, len(values), confidence)
