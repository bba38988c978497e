"""The alarm: a function of the history alone that speaks in time, with what it has, and says what it lacked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharewise.alarm import Alarm, EigenvalueRise, Reading, alarms, read_search_logs, readings, standing
from sharewise.errors import ConfigurationError


def collapsing(epochs: int = 12, **fixed: Any) -> list[Reading]:
    """Half of a cell are skips, and the held-out loss is a quarter above the training loss."""
    return [
        Reading(e, **{"skips": 0.5, "training_loss": 1.0, "held_out_loss": 1.25, "blind_loss": 2.3, **fixed})
        for e in range(epochs)
    ]


def kinds(found: Sequence[Alarm]) -> list[tuple[str, int]]:
    return [(alarm.kind, alarm.epoch) for alarm in found]


def test_a_collapse_needs_skips_and_five_epochs_of_overfitting() -> None:
    assert kinds(alarms(collapsing())) == [("collapse", 4)]
    assert not alarms(collapsing(skips=2 / 8))
    assert not alarms(collapsing(held_out_loss=1.09))
    read = collapsing()
    read[6] = replace(read[6], held_out_loss=1.0)  # a single sound epoch takes the window back
    assert kinds(alarms([replace(r, skips=0.0) if r.epoch < 5 else r for r in read])) == [("collapse", 5)]
    assert kinds(alarms([replace(r, skips=0.0) if r.epoch < 7 else r for r in read])) == [("collapse", 11)]


def test_a_missing_loss_is_passed_over_but_not_most_of_them() -> None:
    read = collapsing()
    gaps = [replace(r, held_out_loss=None) if r.epoch in (1, 3) else r for r in read]
    assert kinds(alarms(gaps)) == [("collapse", 4)]
    gaps = [replace(r, held_out_loss=None) if r.epoch in (1, 2, 3) else r for r in read]
    assert kinds(alarms(gaps)) == [("collapse", 6)]


def test_without_a_held_out_loss_it_counts_skips_and_says_what_it_lacked() -> None:
    read = collapsing(held_out_loss=None, skips=5 / 8)
    (alarm,) = alarms(read)
    assert (alarm.epoch, alarm.lacked) == (6, ("a held-out loss",))
    assert "62% of a cell" in alarm.sentence
    assert not alarms(collapsing(held_out_loss=None, skips=0.5))


def test_with_eigenvalues_alone_it_follows_the_rule_of_r_darts() -> None:
    flat = [Reading(e, eigenvalue=0.1 if e < 24 else 0.5) for e in range(0, 50, 2)]
    (alarm,) = alarms(flat)
    assert alarm.kind == "collapse"
    assert set(alarm.lacked) == {"the share of skip connections", "a held-out loss", "the training loss"}
    assert not alarms([replace(r, eigenvalue=0.1) for r in flat])


def test_a_search_that_learns_nothing_gets_another_word() -> None:
    read = collapsing(training_loss=2.29, held_out_loss=2.9)
    (alarm,) = alarms(read)
    assert (alarm.kind, alarm.epoch) == ("unlearned", 2)
    assert "2.290" in alarm.sentence
    late = [replace(r, training_loss=1.0) if r.epoch > 6 else r for r in read]
    assert kinds(alarms(late)) == [("unlearned", 2), ("collapse", 7)], "once it has learned it may collapse"
    assert not alarms([replace(r, blind_loss=None, skips=0.0) for r in read]), "nobody knows what guessing costs"


def test_a_few_steps_are_no_reason_to_say_that_nothing_is_learned() -> None:
    read = [replace(r, step=30 * (r.epoch + 1)) for r in collapsing(training_loss=2.3, held_out_loss=None)]
    assert kinds(alarms(read)) == [("unlearned", 3)]
    assert not alarms([replace(r, step=2 * (r.epoch + 1)) for r in read])


def test_an_alarm_knows_nothing_of_what_comes_later() -> None:
    """Whoever asks after every epoch hears the same as whoever asks at the end."""
    source = random.Random(0)

    def maybe(low: float, high: float) -> float | None:
        return source.uniform(low, high) if source.random() < 0.8 else None

    spoke = 0
    for _ in range(200):
        begin = source.randrange(6)  # a quantity that is measured from some epoch on, as after a warm-up
        read = [
            Reading(
                e,
                maybe(0.2, 0.9),
                maybe(0.9, 2.35),
                maybe(1.2, 2.4) if e >= begin else None,
                2.3 if source.random() < 0.9 else None,
                maybe(0.1, 0.4),
            )
            for e in range(20)
        ]
        heard = [a for n in range(1, 21) for a in alarms(read[:n]) if a.epoch == n - 1]
        assert heard == list(alarms(read))
        spoke += len(heard)
    assert spoke > 50


def test_it_reads_the_lines_of_a_run_and_forgives_what_is_odd() -> None:
    lines: list[dict[str, Any]] = [{"event": "start"}]
    lines += [
        {
            "event": "epoch",
            "epoch": e,
            "weights_loss": 1.0,
            "held_out_loss": 1.3,
            "skips": {"normal": 0.5, "reduce": 0.0},
        }
        for e in range(6)
    ]
    assert kinds(alarms(lines)) == [("collapse", 4)]
    lines[2] |= {"weights_loss": "torn", "held_out_loss": float("nan"), "skips": 7}
    assert kinds(alarms(lines)) == [("collapse", 4)]
    lines.append({"event": "back", "to": 2})
    assert [line["epoch"] for line in standing(lines)] == [0, 1, 2]
    assert not alarms(lines), "an epoch that was taken back raises no alarm"
    assert readings([]) == ()
    odd = [{"event": "epoch"}, {"event": "epoch", "epoch": "1"}, {"event": "back"}, {"event": ["epoch"], "epoch": 1}]
    assert alarms(odd) == ()


class _AuthorsRule:
    """The stop rule once more, written from the description of the authors' code: windows slide over a list."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.means: list[float] = []

    def __call__(self, epoch: int, value: float) -> int | None:
        self.values.append(value)
        if len(self.values) >= 3:
            self.means.append(float(np.mean(self.values[-5:])))
        to = epoch - 2 * 2 - 2 * 4
        if epoch < 49 and to >= 10 and self.means[-1] / self.means[-1 - 4] > 1.3:
            return to
        return None


def stops(rule: Callable[[int, float], int | None], series: Sequence[tuple[int, float]]) -> tuple[int, int] | None:
    return next(((epoch, to) for epoch, value in series if (to := rule(epoch, value)) is not None), None)


def ours(series: Sequence[tuple[int, float]]) -> tuple[int, int] | None:
    rule = EigenvalueRise()
    heard = ((series[i][0], rule.goes_back_to(series[: i + 1])) for i in range(len(series)) if rule.due(series[i][0]))
    return next(((epoch, to) for epoch, to in heard if to is not None), None)


def test_the_rule_of_r_darts_on_random_series() -> None:
    source = np.random.default_rng(0)
    stopped = 0
    for _ in range(300):
        values = np.exp(source.normal(0, 0.4, 26) + np.linspace(0, source.uniform(0, 1.5), 26))
        series = list(zip([*range(0, 50, 2), 49], values.tolist(), strict=True))
        assert ours(series) == stops(_AuthorsRule(), series)
        stopped += ours(series) is not None
    assert 100 < stopped < 300


def test_the_rule_of_r_darts_on_the_recorded_series(shared_data: Path) -> None:
    path = shared_data / "robust_darts" / "search_logs.jsonl.gz"
    if not path.exists():
        pytest.skip("the recorded searches are not there")
    found = []
    for log in read_search_logs(path):
        series = [(r.epoch, r.eigenvalue) for r in log.readings if r.eigenvalue is not None]
        if series:
            assert len(series) == 26
            assert ours(series) == stops(_AuthorsRule(), series)
            found.append(ours(series))
    assert (len(found), sum(stop is not None for stop in found)) == (45, 27)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"window": 0}, {"delta": 0}, {"factor": 0.0}, {"start": -1}])
def test_a_rule_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="eigenvalue rule"):
        EigenvalueRise(**wrong)
