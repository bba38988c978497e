"""How often intervals of what only the best decide hold the expectation: ours, and the percentile bootstrap's.

``python -m benchmarks best_of_sample`` prints the figures in `docs/appraisal.md`, by simulation from normal and from
skewed true values (accuracies below a ceiling), for samples of 300 and the best 1 and 10 by proxy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sharewise.appraisal import rank_agreement
from sharewise.appraisal.agreement import top_precision, top_regret

Floats = NDArray[np.float64]


def drawn(kind: str, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Proxy and truth of one sample."""
    if kind == "normal":
        truth = rng.normal(size=n)
        return 0.6 * truth + 0.8 * rng.normal(size=n), truth
    truth = -rng.gamma(1.2, 1.5, size=n)
    return truth + 1.5 * rng.normal(size=n), truth


def coverage(kind: str, n: int, k: int, samples: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Shares of samples that hold the expectation: regret and precision, of the bootstrap and of ours."""
    statistics = top_regret, top_precision
    many = [drawn(kind, n, rng) for _ in range(3000)]
    expected = [np.mean([statistic(proxy, truth, k) for proxy, truth in many]) for statistic in statistics]
    hits = np.zeros((samples, 4))
    for row in hits:
        proxy, truth = drawn(kind, n, rng)
        picked = [rng.integers(n, size=n) for _ in range(resamples)]
        for place, statistic in enumerate(statistics):
            low, high = np.quantile([statistic(proxy[i], truth[i], k) for i in picked], [0.025, 0.975])
            row[place] = low <= expected[place] <= high
        found = rank_agreement(proxy, truth, generator=rng, tops=[k], resamples=resamples).at(k)
        assert found is not None
        row[2:] = expected[0] in found.regret, expected[1] in found.precision
    return np.asarray(hits.mean(axis=0))


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks best_of_sample", description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=150)
    options = parser.parse_args(list(words))
    rng = np.random.default_rng(0)
    print(f"{options.samples} samples of 300 each; share whose 95 % interval holds the expectation")
    print("truth    k    bootstrap: regret  precision    ours: regret  precision")
    for kind in ("normal", "skewed"):
        for k in (1, 10):
            found = coverage(kind, 300, k, options.samples, options.resamples, rng)
            print(f"{kind:<8} {k:<4} {found[0]:>17.2f} {found[1]:>10.2f} {found[2]:>15.2f} {found[3]:>10.2f}")
    return 0
