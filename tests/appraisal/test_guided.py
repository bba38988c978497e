from __future__ import annotations

import numpy as np
import pytest

from sharewise.appraisal import guided_search, random_searches, worth_in_trainings
from sharewise.errors import ConfigurationError, NonFiniteError


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_incumbent_is_chosen_by_the_signal_and_judged_by_the_test() -> None:
    proxy, signal, test = [4, 3, 2, 1], [0.5, 0.9, 0.8, 0.95], [70.0, 60.0, 90.0, 80.0]
    found = guided_search(
        proxy, test, signal=signal, best=100.0, upfront=2.0, costs=[1, 2, 3, 4], generator=generator()
    )
    assert found.order.tolist() == [0, 1, 2, 3]
    assert found.regrets.tolist() == [30, 40, 40, 20]  # the third tests better, but its signal is not the best
    assert found.spent.tolist() == [3, 5, 8, 12]
    assert found.top(2) == (40, 5)
    assert np.array_equal(found.at([2.9, 3, 7.9, 50]), [np.nan, 30, 40, 20], equal_nan=True)
    assert guided_search(proxy, test, generator=generator()).regrets.tolist() == [20, 20, 0, 0]


def test_ties_are_broken_at_random() -> None:
    firsts = {
        int(guided_search([1, 1, 1, 0], [1, 2, 3, 4], generator=np.random.default_rng(seed)).order[0])
        for seed in range(30)
    }
    assert firsts == {0, 1, 2}
    assert guided_search([1, 1, 1, 0], [1, 2, 3, 4], generator=generator()).random_ties == 3


def test_bad_searches_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="guides no search"):
        guided_search([1, 1, 1], [1, 2, 3], generator=generator())
    with pytest.raises(ConfigurationError, match="same architectures"):
        guided_search([1, 2, 3], [1, 2, 3], signal=[1, 2], generator=generator())
    with pytest.raises(NonFiniteError):
        guided_search([1, 2, np.nan], [1, 2, 3], generator=generator())
    with pytest.raises(ConfigurationError, match="costs"):
        guided_search([1, 2, 3], [1, 2, 3], costs=-1, generator=generator())
    with pytest.raises(ConfigurationError, match="TOP-4 needs 4"):
        guided_search([1, 2, 3], [1, 2, 3], generator=generator()).top(4)
    with pytest.raises(ConfigurationError, match="pool of 3"):
        random_searches([1, 2, 3], [1, 2, 3], 4, repeats=2, generator=generator())


def test_random_search_has_its_exact_mean() -> None:
    values = np.arange(10.0)
    found = random_searches(values, values, 10, repeats=2000, generator=generator())
    # The largest of m numbers out of 0 … 9, drawn without replacement, is m·11 / (m + 1) - 1 in expectation.
    expected = [9 - (m * 11 / (m + 1) - 1) for m in range(1, 11)]
    assert found.mean(axis=0) == pytest.approx(expected, abs=0.15)
    assert (np.diff(found, axis=1) <= 0).all()


def test_a_guided_search_is_worth_what_random_search_needs() -> None:
    curve = [4.0, 2.0, 2.5, 1.0]  # by signal and test the mean may rise: only what was reached counts
    assert worth_in_trainings(5.0, curve) == 1
    assert worth_in_trainings(3.0, curve) == 1.5
    assert worth_in_trainings(2.0, curve) == 2
    assert worth_in_trainings(1.5, curve) == 3.5
    assert worth_in_trainings(0.5, curve) is None


def test_a_proxy_that_knows_nothing_is_random_search() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(size=60)
    guided = [guided_search(rng.normal(size=60), truth, generator=rng).regrets[:20] for _ in range(600)]
    random = random_searches(truth, truth, 20, repeats=600, generator=rng)
    assert np.mean(guided, axis=0) == pytest.approx(random.mean(axis=0), abs=0.2)
