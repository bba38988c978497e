from __future__ import annotations

import numpy as np
import pytest

from sharewise.appraisal import Answer, sharing_verdict
from sharewise.appraisal.claim_power import _critical_pairs, claim_powers, needed_supernets
from sharewise.appraisal.groups import compare_groups, mann_whitney, needed_size
from sharewise.errors import ConfigurationError


def power(d: float, n: int, rivals: int, verdicts: int = 300) -> float:
    """How often verdicts on fresh data claim what is true."""
    rng = np.random.default_rng(99)
    return float(
        np.mean([compare_groups(rng.normal(0, 1, n), rng.normal(d, 1, rivals)).claimed for _ in range(verdicts)])
    )


def test_a_verdict_claims_by_that_rule() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        ours, theirs = rng.normal(0, 1, 4), rng.normal(2, 1, 30)
        claimed = sharing_verdict(ours.tolist(), theirs.tolist()).answer is not Answer.CANNOT_TELL
        assert claimed == compare_groups(ours, theirs).claimed


@pytest.mark.parametrize(("d", "rivals"), [(2.0, 100), (1.5, 100), (1.5, 20), (1.0, 100)])
def test_the_number_has_the_power_that_it_promises(d: float, rivals: int) -> None:
    needed = needed_supernets(d, rivals)
    assert needed is not None
    assert 0.72 <= power(d, needed, rivals) <= 0.95  # 0.8, with three standard errors, and the step of one supernet


def test_a_pooled_test_would_promise_too_much() -> None:
    for d in (1.0, 1.5, 2.0):
        pooled, needed = needed_size(d, other=500), needed_supernets(d, 500)
        assert pooled is not None
        assert needed is not None
        assert pooled < needed


@pytest.mark.slow
def test_powers_are_those_of_verdicts() -> None:
    powers = dict(claim_powers(-1.2, 30))
    for n in (2, 4, 9):
        assert powers[n] == pytest.approx(power(1.2, n, 30), abs=0.09)
    assert list(powers) == list(range(2, 501))


def test_the_border_of_ranks_is_the_one_of_the_test() -> None:
    for n, m in ((4, 8), (3, 20), (5, 80), (8, 8), (20, 20), (4, 200), (30, 100)):
        border = _critical_pairs(n, m, 0.05)
        for pairs, below in ((int(np.ceil(border)), True), (int(np.ceil(border)) - 1, False)):
            places = [min(m, max(0, pairs - m * i)) for i in range(n)]
            first = [place + 0.5 + 0.001 * i for i, place in enumerate(places)]
            found = mann_whitney(first, np.arange(1, m + 1))
            assert found.statistic == pairs
            assert (found.p_value < 0.05) == below
    assert _critical_pairs(2, 3, 0.05) == np.inf, "two and three runs have ten orders"


def test_what_no_number_of_supernets_would_tell() -> None:
    assert needed_supernets(1.5, 3) is None
    assert needed_supernets(0.001, 500) is None


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="effect other than 0"):
        next(claim_powers(0.0, 10))
    with pytest.raises(ConfigurationError, match="at least two repeats"):
        next(claim_powers(1.0, 1))
    with pytest.raises(ConfigurationError, match="power must lie"):
        needed_supernets(1.0, 10, power=0.01)
