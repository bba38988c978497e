from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from sharewise.appraisal import over_seeds, rank_agreement, to_plain
from sharewise.appraisal.seeds import normal_interval
from sharewise.errors import ConfigurationError, NonFiniteError

VALUES = [0.61, 0.64, 0.66, 0.58, 0.70]


def test_both_intervals_are_their_formulas() -> None:
    found = over_seeds(VALUES)
    assert found.interval is not None
    assert found.normal is not None
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx(expected)
    deviation = math.sqrt(sum((v - np.mean(VALUES)) ** 2 for v in VALUES) / 5)
    assert found.normal.half_width == pytest.approx(1.96 * deviation / math.sqrt(5))
    assert (found.n, found.failed) == (5, ())
    z = float(stats.norm.ppf(0.95))
    assert normal_interval(VALUES, 0.9).half_width == pytest.approx(z * deviation / math.sqrt(5))


def test_failed_seeds_are_named_and_left_out() -> None:
    found = over_seeds({"0": 0.6, "3": None, "7": 0.7})
    assert (found.n, found.failed) == (2, ("3",))
    assert found.interval is not None
    assert found.interval.mean == pytest.approx(0.65)
    assert "1 of 3 failed and is left out: seed 3" in found.sentence


def test_one_seed_has_no_interval_and_says_so() -> None:
    found = over_seeds([0.6])
    assert found.interval is not None
    assert found.interval.high == math.inf
    assert "no interval over seeds exists" in found.sentence


def test_all_failed() -> None:
    found = over_seeds([None, None])
    assert (found.interval, found.normal, found.n, found.failed) == (None, None, 0, ("0", "1"))
    assert found.sentence.startswith("all 2 supernets failed")


def test_bad_seeds_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no supernet"):
        over_seeds([])
    with pytest.raises(NonFiniteError):
        over_seeds([0.5, math.nan])


def test_the_normal_interval_covers_five_seeds_as_seldom_as_its_page_says() -> None:
    draws = np.random.default_rng(0).normal(size=(3000, 5))
    hits = sum(0 in normal_interval(row.tolist()) for row in draws)
    assert hits / 3000 == pytest.approx(0.84, abs=0.03)


def test_records_become_json() -> None:
    rng = np.random.default_rng(0)
    proxy, truth = rng.normal(size=(2, 25))
    record = rank_agreement(proxy, truth, generator=rng, resamples=0)
    plain = json.loads(json.dumps(to_plain({"a": record, "b": (np.float64(1.0), np.arange(2), None)}), allow_nan=False))
    assert plain["a"]["spearman"]["value"] == record.spearman.value  # type: ignore[union-attr]
    assert plain["a"]["spearman"]["low"] is None
    assert plain["a"]["top"][1]["k"] == 10
    assert plain["b"] == [1.0, [0, 1], None]
