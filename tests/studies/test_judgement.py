"""A planted truth is found, nothing is found in noise, and no claim is stronger than both sources of chance allow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from sharewise.errors import ConfigurationError
from sharewise.space import Choice, Space
from sharewise.studies.equal_cost import Resampled, random_best
from sharewise.studies.judgement import Judgement, Supernets, judge, tops_of
from sharewise.studies.trainings import Trained
from sharewise.studies.truth import Truth, draw, truth_of_trainings

SPACE = Space("toy", tuple(Choice(f"c{i}", tuple(range(6))) for i in range(4)))
Floats = NDArray[np.float64]


def pool(n: int, seed: int = 0, macs: int = 1000) -> Truth:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.8, 0.05, n)
    trained = [Trained(float(value), macs, 1.0) for value in values]
    return truth_of_trainings(draw(SPACE, n, rng), trained, metric="accuracy", epochs=3)


def judged(
    truth: Truth, columns: Mapping[str, Floats], upfront: float = 0.0, features: Mapping[str, NDArray] | None = None
) -> Judgement:
    supernets = Supernets({"running": columns}, {"running": dict.fromkeys(columns, upfront)})
    return judge(truth, supernets, features or {}, repeats=200, resamples=60)


def noisy(truth: Truth, scale: float, seeds: int) -> dict[str, Floats]:
    rng = np.random.default_rng(1)
    return {str(s): truth.test + rng.normal(0, scale, len(truth.test)) for s in range(seeds)}


def test_a_faithful_supernet_that_costs_nothing_helps() -> None:
    truth = pool(120)
    found = judged(truth, noisy(truth, 0.5, 4))
    assert found.verdict.answer.value == "sharing helps here"
    assert found.top == 10
    assert "over other samples of 120 architectures" in found.verdict.sentence
    for row in found.document["regret"]["variants"]["running"]:
        samples = row["with_equally_many_trainings"]["over_samples"]
        assert samples["low"] < samples["value"] < 0  # guided less random, as the verdict says it
        assert samples["high"] < 0
    assert found.agreement["running"]["spearman"].n == 4
    assert json.loads(json.dumps(found.document, allow_nan=False)) == found.document


def test_a_supernet_that_knows_nothing_gives_no_claim() -> None:
    truth = pool(120)
    rng = np.random.default_rng(2)
    found = judged(truth, {str(seed): rng.normal(size=120) for seed in range(4)})
    assert found.verdict.answer.value == "cannot tell"


def test_an_adverse_supernet_hurts() -> None:
    truth = pool(120)
    found = judged(truth, {name: -column for name, column in noisy(truth, 0.5, 4).items()})
    assert found.verdict.answer.value == "sharing hurts here"


def test_a_price_beyond_the_pool_is_no_comparison() -> None:
    truth = pool(40)
    found = judged(truth, noisy(truth, 0.1, 3), upfront=50_000.0)
    assert found.verdict.answer.value == "cannot tell"
    assert "would pay for 60 random trainings, and this sample has 40" in found.verdict.sentence


def test_a_small_sample_allows_no_claim_however_alike_the_supernets_are() -> None:
    """Three equal supernets vary in nothing: an interval over seeds alone would be as narrow as one likes."""
    truth = pool(12)
    column = truth.test + np.random.default_rng(3).normal(0, 3, 12)
    column[truth.test.argmax()] = column.max() + 1
    found = judged(truth, {"0": column, "1": column + 0.01, "2": column + 0.02})
    assert found.verdict.answer.value == "cannot tell"
    assert "appraise more architectures" in found.verdict.sentence
    assert [row["half_width"] for row in found.document["larger_samples"]] == [0.2, 0.1, 0.05]
    wanted = [row["architectures"] for row in found.document["larger_samples"]]
    assert wanted == sorted(wanted)
    assert found.document["larger_samples"][0]["seconds_of_one_core"] == wanted[0] * 1.0


def test_one_seed_is_allowed_and_said() -> None:
    truth = pool(60)
    found = judged(truth, noisy(truth, 0.1, 1))
    assert found.verdict.answer.value == "cannot tell"
    assert "no interval over seeds exists" in found.verdict.sentence
    assert any(note.startswith("one seed only") for note in found.document["notes"])


def test_failed_supernets_are_left_out_visibly() -> None:
    truth = pool(60)
    columns = {**noisy(truth, 0.1, 3), "9": np.full(60, 0.1), "8": np.full(60, np.nan)}
    found = judged(truth, columns)
    assert found.agreement["running"]["spearman"].failed == ("9", "8")
    assert found.verdict.failed == 2
    assert "2 failed" in found.verdict.sentence
    assert any("60 of 60 running scores of seed 8 are no numbers" in note for note in found.document["notes"])
    everything = judged(truth, {"0": np.zeros(60), "1": np.ones(60)})
    assert "every supernet failed" in everything.verdict.sentence


def test_overflowing_scores_rank_last() -> None:
    truth = pool(40)
    columns = noisy(truth, 0.0, 2)
    columns["0"][truth.test.argmin()] = np.nan
    assert judged(truth, columns).document["agreement"]["running"]["by_seed"]["0"]["spearman"]["value"] == 1.0


def test_a_planted_bias_is_named() -> None:
    truth, rng = pool(120), np.random.default_rng(4)
    residual = rng.random(120) < 0.5
    columns = {name: column + 6.0 * residual for name, column in noisy(truth, 2.0, 3).items()}
    features = {"residual edge": residual, "depth": rng.integers(1, 5, 120), "constant": np.ones(120)}
    found = judged(truth, columns, features=features)
    assert [bias.feature for bias in found.bias["running"].biases if bias.found] == ["residual edge"]
    assert found.bias["running"].constant == ("constant",)


def test_supernets_with_other_samples_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="different sizes"):
        Supernets({"running": {"0": np.zeros(4), "1": np.zeros(5)}}, {"running": {"0": 0.0, "1": 0.0}})
    truth = pool(10)
    with pytest.raises(ConfigurationError, match="another number"):
        judged(truth, {"0": np.arange(9.0)})


def test_diverged_trainings_are_left_out() -> None:
    rng = np.random.default_rng(0)
    trained = [Trained(0.5, 10, 1.0), Trained(float("nan"), 0, 0.0), Trained(0.6, 10, 1.0), Trained(0.7, 10, 1.0)]
    architectures = draw(SPACE, 4, rng)
    truth = truth_of_trainings(architectures, trained, metric="accuracy", epochs=1)
    assert truth.architectures == (architectures[0], *architectures[2:])
    assert "1 of 4 trainings diverged" in truth.notes[0]
    with pytest.raises(ConfigurationError, match="at least 3 architectures, got 2"):
        truth_of_trainings(architectures[:3], trained[:3], metric="accuracy", epochs=1)


def test_random_search_on_a_pool_is_the_expectation_over_all_orders() -> None:
    rng = np.random.default_rng(5)
    signal, test = rng.normal(size=6), rng.normal(size=6)
    for m in range(1, 7):
        brute = np.mean([test[list(c)][signal[list(c)].argmax()] for c in itertools.combinations(range(6), m)])
        assert float(random_best(signal, test, m)) == pytest.approx(brute)


def test_a_resampled_search_does_what_the_search_does() -> None:
    truth = pool(15)
    column = np.random.default_rng(6).normal(size=15)
    drawn = Resampled(truth, [column], 50, np.random.default_rng(7))
    picks = np.random.default_rng(7).integers(15, size=(50, 15))
    for k in (1, 4):
        for found, pick in zip(drawn.guided(k), picks, strict=True):
            best = np.sort(column[pick])[-k]
            inside = truth.test[pick[column[pick] >= best]]
            assert found <= inside.max() + 1e-12
            if len(inside) == k:  # no tie of equal architectures at the border
                assert found == inside.max()


def test_random_search_of_a_pool_pays_for_its_trainings() -> None:
    truth = pool(8)
    assert truth.rivals is not None
    found = truth.rivals([500.0, 1000.0, 3999.0, 8000.0], 300, 0)["random search"]
    assert np.isnan(found[:, 0]).all()
    assert found[:, 1].mean() == pytest.approx(truth.test.max() - truth.test.mean(), abs=0.8)
    assert found[:, 2].mean() == pytest.approx(truth.best - float(random_best(truth.test, truth.test, 3)), abs=0.5)
    assert (found[:, 3] == 0).all()


@pytest.mark.parametrize("n", [3, 7, 12, 40, 300])
def test_final_lists_fit_the_sample(n: int) -> None:
    tops = tops_of(n)
    assert tops[0] == 1
    assert list(tops) == sorted(set(tops))
    assert max(tops) <= n / 2


def test_inverted_ranks_are_said_where_regrets_cannot_tell() -> None:
    """The ten best by score hold one good architecture by luck, so that regrets see nothing; the ranks do."""
    truth = pool(120)
    columns = {name: -0.6 * column for name, column in noisy(truth, 0.05, 4).items()}
    for column in columns.values():
        column[truth.test.argmax()] = 1.0
    found = judged(truth, columns)
    verdict = found.document["verdict"]
    assert found.verdict.answer.value == verdict["answer"] == "ranks are inverted here"
    assert verdict["sentence"].startswith("ranks are inverted here: Spearman -0.")
    assert verdict["order"]["order"] == "ranks are inverted"
    assert "--recalibrate" in verdict["order"]["advice"]
    assert json.loads(json.dumps(found.document, allow_nan=False)) == found.document


def test_sharing_that_hurts_says_that_ranks_are_inverted_too() -> None:
    truth = pool(120)
    found = judged(truth, {name: -column for name, column in noisy(truth, 0.05, 4).items()})
    assert found.verdict.answer.value == "sharing hurts here"
    assert "; ranks are inverted: Spearman -0." in found.verdict.sentence
