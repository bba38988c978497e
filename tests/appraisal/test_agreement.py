from __future__ import annotations

import csv
import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sharewise.appraisal import rank_agreement
from sharewise.appraisal.agreement import (
    expected_top_value,
    kendall,
    spearman,
    top_precision,
    top_regret,
    weighted_tau,
)
from sharewise.errors import ConfigurationError, NonFiniteError

tied_pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=4, max_size=9).filter(
    lambda rows: all(len(set(side)) > 1 for side in zip(*rows, strict=True))
)


def sides(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(rows, dtype=float)
    return table[:, 0], table[:, 1]


@given(tied_pairs)
def test_correlations_are_scipys_with_ties(rows: list[tuple[int, int]]) -> None:
    proxy, truth = sides(rows)
    assert spearman(proxy, truth) == pytest.approx(stats.spearmanr(proxy, truth).statistic)
    assert kendall(proxy, truth) == pytest.approx(stats.kendalltau(proxy, truth).statistic)
    both = weighted_tau(proxy, truth), weighted_tau(truth, proxy)
    assert np.mean(both) == pytest.approx(stats.weightedtau(proxy, truth).statistic)


@given(tied_pairs)
def test_kendall_is_its_definition(rows: list[tuple[int, int]]) -> None:
    proxy, truth = sides(rows)
    pairs = list(itertools.combinations(range(len(proxy)), 2))
    signs = [(np.sign(proxy[i] - proxy[j]), np.sign(truth[i] - truth[j])) for i, j in pairs]
    difference = sum(a * b for a, b in signs)
    untied = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    assert kendall(proxy, truth) == pytest.approx(difference / math.sqrt(untied[0] * untied[1]))


def test_weighted_tau_is_its_definition_and_looks_at_the_ranked_side() -> None:
    truth, proxy = np.array([6.0, 5, 4, 3, 2, 1]), np.array([5.0, 6, 2, 4, 3, 1])

    def by_hand(ranked: np.ndarray) -> float:
        rank = stats.rankdata(-ranked)
        total = agreement = 0.0
        for i, j in itertools.combinations(range(6), 2):
            weight = 1 / rank[i] + 1 / rank[j]
            total += weight
            agreement += weight * np.sign((truth[i] - truth[j]) * (proxy[i] - proxy[j]))
        return agreement / total

    assert weighted_tau(proxy, truth) == pytest.approx(by_hand(truth))
    assert weighted_tau(truth, proxy) == pytest.approx(by_hand(proxy))
    assert by_hand(truth) != pytest.approx(by_hand(proxy), abs=1e-3)


@given(tied_pairs, st.integers(1, 4))
def test_the_top_is_the_mean_over_all_ways_to_break_ties(rows: list[tuple[int, int]], k: int) -> None:
    proxy, truth = sides(rows)

    def lists(values: np.ndarray) -> list[frozenset[int]]:
        """Every set of k that some order of the tied could put first, once for each choice."""
        border = np.sort(values)[::-1][k - 1]
        above = [i for i, v in enumerate(values) if v > border]
        tied = [i for i, v in enumerate(values) if v == border]
        return [frozenset(above + list(taken)) for taken in itertools.combinations(tied, k - len(above))]

    chosen = lists(proxy)
    precision = np.mean([len(a & b) / k for a in chosen for b in lists(truth)])
    assert top_precision(proxy, truth, k) == pytest.approx(precision)
    best = np.mean([max(truth[list(a)]) for a in chosen])
    assert expected_top_value(proxy, truth, k) == pytest.approx(best)
    assert top_regret(proxy, truth, k) == pytest.approx(truth.max() - best)


def test_a_perfect_proxy_an_opposed_one_and_the_whole_list() -> None:
    truth = np.arange(30.0)
    found = rank_agreement(truth**3, truth, generator=np.random.default_rng(0), resamples=50, tops=[1, 5, 30])
    assert found.spearman is not None
    assert (found.spearman.value, found.spearman.low, found.spearman.high) == pytest.approx((1, 1, 1))
    assert [(t.precision.value, t.regret.value) for t in found.top] == [(1, 0), (1, 0), (1, 0)]
    opposed = rank_agreement(-truth, truth, generator=np.random.default_rng(0), resamples=0)
    assert opposed.sentence.startswith("no agreement of ranks can be claimed")  # without resamples, no interval
    assert opposed.at(10).regret.value == 20  # type: ignore[union-attr]
    assert opposed.at(10).chance == pytest.approx(1 / 3)  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match="top 7 was not measured; measured: 1, 10, 20"):
        opposed.at(7)


def test_the_same_generator_gives_the_same_intervals() -> None:
    rng = np.random.default_rng(3)
    proxy, truth = rng.normal(size=(2, 40))
    one, two = (rank_agreement(proxy, truth, generator=np.random.default_rng(9), resamples=60) for _ in range(2))
    assert one == two
    assert one.sentence.startswith("no agreement of ranks can be claimed")


def test_a_failed_supernet_gives_no_number() -> None:
    found = rank_agreement([0.1014] * 12, np.arange(12), generator=np.random.default_rng(0))
    assert found.failed
    assert (found.spearman, found.kendall, found.weighted_tau_by_truth, found.top) == (None, None, None, ())
    assert (found.tied_proxy, found.tied_truth) == (12, 0)
    assert "failed" in found.sentence
    assert found.at(10) is None


def test_many_ties_are_said() -> None:
    proxy = np.repeat([1.0, 2.0, 3.0], 10)
    found = rank_agreement(proxy, np.arange(30), generator=np.random.default_rng(0), resamples=20)
    assert found.tied_proxy == 30
    assert "30 of 30 scores are tied" in found.sentence


@pytest.mark.parametrize(
    ("proxy", "truth", "kind", "words"),
    [
        ([1, 2], [1, 2], ConfigurationError, "at least 3"),
        ([1, 2, 3], [1, 2], ConfigurationError, "same architectures"),
        ([[1, 2, 3]], [[1, 2, 3]], ConfigurationError, "same architectures"),
        ([1, 2, math.nan], [1, 2, 3], NonFiniteError, r"proxy\[2\] is nan"),
        ([1, 2, 3], [1, math.inf, 3], NonFiniteError, r"truth\[1\] is inf"),
        ([1, 2, 3], [5, 5, 5], ConfigurationError, "no true order"),
    ],
)
def test_bad_samples_are_refused(proxy: list, truth: list, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        rank_agreement(proxy, truth, generator=np.random.default_rng(0))


@pytest.mark.parametrize("setting", [{"tops": [0]}, {"tops": [4]}, {"resamples": -1}, {"confidence": 1.0}])
def test_bad_settings_are_refused(setting: dict) -> None:
    with pytest.raises(ConfigurationError):
        rank_agreement([1, 2, 3], [1, 2, 3], generator=np.random.default_rng(0), **setting)


def coverage(n: int, trials: int, resamples: int) -> dict[str, float]:
    """How often intervals hold the value of the whole population, for a bivariate normal with correlation 0.6."""
    rng = np.random.default_rng(0)
    rho = 0.6
    truths = {"spearman": 6 / math.pi * math.asin(rho / 2), "kendall": 2 / math.pi * math.asin(rho)}
    hits = dict.fromkeys(truths, 0)
    for _ in range(trials):
        truth = rng.normal(size=n)
        proxy = rho * truth + math.sqrt(1 - rho**2) * rng.normal(size=n)
        found = rank_agreement(proxy, truth, generator=rng, resamples=resamples, tops=[])
        for name in truths:
            hits[name] += truths[name] in getattr(found, name)
    return {name: count / trials for name, count in hits.items()}


@pytest.mark.slow
def test_bootstrap_intervals_cover_roughly_as_often_as_they_say() -> None:
    found = coverage(n=40, trials=50, resamples=40)
    assert all(share >= 0.84 for share in found.values()), found


@pytest.mark.long
@pytest.mark.parametrize("n", [30, 100, 300])
def test_bootstrap_intervals_cover_as_often_as_they_say(n: int) -> None:
    found = coverage(n=n, trials=300, resamples=300)
    assert found["spearman"] == pytest.approx(0.95, abs=0.03), found
    assert found["kendall"] == pytest.approx(0.95, abs=0.03), found


def best_of_k_coverage(truth: np.ndarray, noise: float, *, n: int, k: int, trials: int) -> tuple[float, float]:
    """How often the intervals of regret and precision at top k hold the expectations over samples of a population."""
    rng = np.random.default_rng(11)
    proxy = truth + noise * truth.std() * rng.normal(size=len(truth))
    drawn = [rng.choice(len(truth), n, replace=False) for _ in range(1000)]
    regret = float(np.mean([top_regret(proxy[i], truth[i], k) for i in drawn]))
    precision = float(np.mean([top_precision(proxy[i], truth[i], k) for i in drawn]))
    hits = []
    for _ in range(trials):
        picked = rng.choice(len(truth), n, replace=False)
        found = rank_agreement(proxy[picked], truth[picked], generator=rng, tops=[k], resamples=60).at(k)
        assert found is not None
        hits.append((regret in found.regret, precision in found.precision))
    return float(np.mean([hit[0] for hit in hits])), float(np.mean([hit[1] for hit in hits]))


@pytest.mark.slow
@pytest.mark.sweep(2)
@pytest.mark.parametrize("k", [1, 10])
def test_intervals_of_the_best_hold_the_expectation(k: int) -> None:
    truth = -np.random.default_rng(0).gamma(1.2, 1.5, 15_000)  # accuracies crowd below a ceiling
    regret, precision = best_of_k_coverage(truth, 1.0, n=60, k=k, trials=40)
    assert regret >= 0.81  # 0.92, less 2.6 standard errors of 40 trials
    assert precision >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("k", "noise"), [(1, 1.5), (10, 0.5)])
def test_intervals_of_the_best_hold_the_expectation_on_nasbench201(shared_data: Path, k: int, noise: float) -> None:
    with gzip.open(shared_data / "nasbench201" / "nasbench201.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    truth = np.array([float(row["cifar10_test_200"]) for row in rows])
    regret, precision = best_of_k_coverage(truth, noise, n=300, k=k, trials=100)
    print(f"k = {k}, noise {noise}: regret {regret:.3f}, precision {precision:.3f}")
    assert regret >= 0.85
    assert precision >= 0.93


@pytest.mark.parametrize("different", [1, 2, 4, 20])
def test_an_interval_holds_its_own_estimate(different: int) -> None:
    """Scores that are nearly all the same leave out of many resamples what makes them differ."""
    proxy, truth = np.zeros(40), np.arange(40.0)
    proxy[3 : 3 + different] = 1
    found = rank_agreement(proxy, truth, generator=np.random.default_rng(0), resamples=300)
    for estimate in (found.spearman, found.kendall, found.weighted_tau_by_truth, found.weighted_tau_by_proxy):
        assert estimate is not None
        assert estimate.value in estimate
    assert found.spearman is not None
    assert math.isinf(found.spearman.high) == (different < 4)
    assert ("no agreement of ranks can be claimed" in found.sentence) == (different < 4)
