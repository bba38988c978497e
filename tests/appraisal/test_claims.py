"""Claims over many comparisons: a planted difference is found, noise is not, and ranks must agree."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sharewise.appraisal import holm
from sharewise.appraisal.claims import Scale, claims


def drawn(rng: np.random.Generator, shifts: dict[str, float], n: int) -> dict[str, dict[str, float]]:
    seeds = rng.normal(0, 1, n)  # what a seed does to all arms alike
    return {
        name: {str(s): 90 + shift + seeds[s] + rng.normal(0, 0.3) for s in range(n)} for name, shift in shifts.items()
    }


def test_a_planted_difference_is_found_and_equal_arms_are_not() -> None:
    found = claims({"p": drawn(np.random.default_rng(0), {"a": 4.0, "b": 0.0, "c": 0.0}, 8)}, Scale())["p"]
    assert [claim.better for claim in found] == ["a", "a", None]
    assert found[0].sentence.startswith("a is better than b: test accuracy")
    assert "paired by seed, n = 8" in found[0].sentence
    assert found[2].sentence.startswith("cannot tell b and c apart")


def test_p_values_are_those_of_scipy_and_corrected_over_all_families() -> None:
    rng = np.random.default_rng(1)
    families = {name: drawn(rng, {"a": 1.0, "b": 0.0}, 7) for name in ("one", "two")}
    found = [claim for claims_ in claims(families, Scale()).values() for claim in claims_]
    larger = []
    for claim, family in zip(found, families.values(), strict=True):
        a, b = (list(family[name].values()) for name in "ab")
        assert claim.p_means == pytest.approx(stats.ttest_rel(a, b).pvalue)
        assert claim.p_ranks == pytest.approx(stats.mannwhitneyu(a, b, method="exact").pvalue)
        assert claim.difference is not None
        assert claim.difference.low == pytest.approx(stats.ttest_rel(a, b).confidence_interval().low)
        larger.append(max(claim.p_means, claim.p_ranks))
    assert [claim.corrected for claim in found] == pytest.approx(holm(larger).tolist())


def test_three_seeds_that_agree_by_luck_claim_nothing() -> None:
    values = {"a": {"0": 91.0, "1": 91.0, "2": 91.01}, "b": {"0": 90.0, "1": 90.0, "2": 90.0}}
    claim = claims({"p": values}, Scale())["p"][0]
    assert claim.p_means is not None
    assert claim.p_means < 1e-4
    assert claim.better is None


def test_what_does_not_vary_or_is_missing_is_said() -> None:
    same = {"a": {"0": 1.0, "1": 1.0}, "b": {"0": 1.0, "1": 1.0}, "c": {"5": 2.0}}
    found = claims({"p": same}, Scale("loss", "loss", higher_is_better=False))["p"]
    assert "nothing varies" in found[0].sentence
    assert "no seed of which both have a result" in found[1].sentence
    assert all(claim.corrected is None and claim.better is None for claim in found)


def test_lower_is_better_and_unpaired() -> None:
    rng = np.random.default_rng(2)
    values = {
        name: {str(i): float(v) for i, v in enumerate(rng.normal(mean, 0.1, n))}
        for name, mean, n in (("a", 1, 30), ("b", 2, 20))
    }
    claim = claims({"p": values}, Scale("regret", "points", higher_is_better=False, paired=False))["p"][0]
    assert claim.better == "a"
    assert "points lower" in claim.sentence
    assert "paired" not in claim.sentence


@pytest.mark.parametrize("n", [4, 6])
def test_noise_is_claimed_no_more_often_than_stated(n: int) -> None:
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(200):
        found = claims({"p": drawn(rng, dict.fromkeys("abc", 0.0), n)}, Scale())["p"]
        wrong += any(claim.better for claim in found)
    assert wrong <= 18  # 5 % of 200, and three standard deviations
