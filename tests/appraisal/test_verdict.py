from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sharewise.appraisal import Answer, rank_association, sharing_verdict
from sharewise.appraisal.claim_power import needed_supernets
from sharewise.appraisal.groups import welch_test
from sharewise.errors import ConfigurationError, NonFiniteError

RIVAL = [0.5, 0.6, 0.4, 0.7, 0.5, 0.6, 0.3, 0.8]


def test_the_answer_follows_the_interval() -> None:
    helps = sharing_verdict([0.31, 0.22, 0.28, 0.25], RIVAL)
    hurts = sharing_verdict([1.31, 1.22, 1.28, 1.25], RIVAL, unit="%")
    unsure = sharing_verdict([0.31, 0.72, 0.28, 0.65], RIVAL)
    assert [v.answer for v in (helps, hurts, unsure)] == [Answer.HELPS, Answer.HURTS, Answer.CANNOT_TELL]
    assert "points lower than random search at equal cost" in helps.sentence
    assert "% higher than" in hurts.sentence
    assert unsure.sentence.startswith("cannot tell: TOP-10 regret differs by")
    interval = welch_test([0.31, 0.22, 0.28, 0.25], RIVAL).difference
    assert interval is not None
    assert f"{interval.low:.3f} to {interval.high:.3f}" in helps.sentence
    assert (helps.needed, unsure.needed) == (None, None)  # eight repeats of the rival are too few for this effect
    many = sharing_verdict([0.31, 0.72, 0.28, 0.65], RIVAL * 10)
    assert many.needed == needed_supernets(many.comparison.cohens_d.value, 80)  # type: ignore[union-attr]
    assert f"about {many.needed} supernets would tell" in many.sentence


@pytest.mark.slow
def test_a_claim_is_false_as_seldom_as_it_says() -> None:
    rng = np.random.default_rng(0)
    claims = [
        sharing_verdict(rng.normal(1, 1, 5).tolist(), rng.normal(1, 1, 40).tolist()).answer is not Answer.CANNOT_TELL
        for _ in range(150)
    ]
    assert np.mean(claims) == pytest.approx(0.05, abs=0.045)


def test_two_supernets_that_agree_by_luck_give_no_claim() -> None:
    rival = np.random.default_rng(0).exponential(1, 500).tolist()
    verdict = sharing_verdict([0.5, 0.5], rival)
    assert verdict.comparison is not None
    assert verdict.comparison.welch.p_value < 1e-10
    assert verdict.answer is Answer.CANNOT_TELL
    assert "but ranks do not confirm it (Mann-Whitney p = " in verdict.sentence
    assert verdict.needed is None
    assert sharing_verdict([0.001, 0.002], rival).answer is Answer.HELPS


@pytest.mark.slow
def test_skewed_regrets_of_few_supernets_seldom_give_a_false_claim() -> None:
    rng = np.random.default_rng(1)
    rival = rng.lognormal(0, 1.5, 500).tolist()
    claims = [
        sharing_verdict(rng.lognormal(0, 1.5, 3).tolist(), rival).answer is not Answer.CANNOT_TELL for _ in range(150)
    ]
    assert np.mean(claims) <= 0.09


def test_one_supernet_is_allowed_and_says_what_is_missing() -> None:
    verdict = sharing_verdict([0.45], RIVAL)
    assert verdict.answer is Answer.CANNOT_TELL
    assert verdict.comparison is None
    assert "lower than 75% of random search at equal cost" in verdict.sentence
    assert "no interval over seeds exists" in verdict.sentence
    assert "n = 1 supernet against 8" in verdict.sentence


def test_failed_supernets_are_said() -> None:
    assert "1 failed and is left out" in sharing_verdict([0.3, 0.2], RIVAL, failed=1).sentence
    nobody = sharing_verdict([], RIVAL, failed=3)
    assert nobody.sentence == (
        "cannot tell: every supernet failed (n = 0 supernets against 8; 3 failed and are left out)"
    )


def test_nothing_varies() -> None:
    verdict = sharing_verdict([0.3, 0.3], [0.5, 0.5])
    assert verdict.answer is Answer.CANNOT_TELL
    assert "chance cannot be judged" in verdict.sentence
    assert "one repeat" in sharing_verdict([0.3, 0.3], [0.5]).sentence


def test_bad_regrets_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="guided"):
        sharing_verdict([math.nan, 1.0], RIVAL)
    with pytest.raises(ConfigurationError, match="no regret of random search"):
        sharing_verdict([0.1, 0.2], [])


def test_the_p_value_counts_all_orders() -> None:
    x, y = [1, 2, 3, 4, 5], [2, 1, 4, 5, 5]
    found = rank_association(x, y, names=("a", "b"))
    rho = stats.spearmanr(x, y).statistic
    orders = [abs(stats.spearmanr(x, order).statistic) >= abs(rho) - 1e-9 for order in itertools.permutations(y)]
    assert found.rho == pytest.approx(rho)
    assert found.p_value == pytest.approx(np.mean(orders))
    assert found.p_value_t == pytest.approx(stats.spearmanr(x, y).pvalue)
    assert rank_association(range(9), range(9), names=("a", "b")).sentence.startswith("b rises with a")


def test_the_paper_s_link_of_size_and_correlation() -> None:
    sizes = [10467, 90782, 201441, 120933, 423624, 342604, 81020]
    found = rank_association(sizes, [0.64, 0.59, 0.60, 0.68, 0.56, 0.46, 0.71], names=("size", "correlation"))
    assert round(found.rho, 2) == -0.71
    assert round(found.p_value_t, 2) == 0.07
    assert found.sentence.startswith("no link of size and correlation can be claimed")


def test_bad_links_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="three or more"):
        rank_association([1, 2], [1, 2], names=("a", "b"))
    with pytest.raises(ConfigurationError, match="nothing to link"):
        rank_association([1, 1, 1], [1, 2, 3], names=("a", "b"))
