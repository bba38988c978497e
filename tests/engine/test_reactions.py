"""Reactions: R-DARTS goes back to the bit, says so, and a run in a folder that is killed goes on to the same end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from sharewise.alarm import EigenvalueRise, standing
from sharewise.cli import main
from sharewise.engine import (
    AdaptiveDecay,
    ByPerturbation,
    EarlyStop,
    EpochEnded,
    Event,
    OwnTeacher,
    Reacted,
    Reaction,
    SearchState,
    Stage,
    Started,
    Stepped,
    go_back,
    run,
    set_aside,
)
from sharewise.errors import ConfigurationError
from sharewise.methods import darts, r_darts
from sharewise.run import RunFolder, Search, Setting
from sharewise.testing import check_reaction
from sharewise.testing.compare import timeless

ALWAYS = EigenvalueRise(every=1, window=1, delta=1, factor=1e-3, start=0)
"""Goes back to the epoch before last after every epoch."""
SPACE, NETWORK = sw.spaces.toy_two_inputs(), {"width": 4}
SENSITIVE: dict[str, Any] = {
    "eigenvalue_interval": 1,
    "eigenvalue_window": 1,
    "eigenvalue_delta": 1,
    "eigenvalue_factor": 1e-3,
    "eigenvalue_start": 0,
    "eigenvalue_examples": 16,
}


def search(recipe: sw.Recipe, **options: Any) -> sw.SearchResult:
    data = sw.data.digits().limited(64, seed=0)
    return sw.search(SPACE, recipe, data, network=NETWORK, device="cpu", gap_examples=0, **options)


@pytest.mark.parametrize("reaction", [EarlyStop(ALWAYS, 16), AdaptiveDecay(ALWAYS, 16, most=2e-3)])
def test_contract(reaction: Any) -> None:
    check_reaction(reaction)


def test_early_stop_returns_what_the_search_was() -> None:
    """The architecture, w and θ of the epoch that it goes back to, and no step after that."""
    rule = EigenvalueRise(every=2, window=1, delta=1, factor=1e-3, start=2)
    recipe = replace(r_darts(epochs=9, batch_size=16), reactions=(EarlyStop(rule, 16),))
    seen: dict[int, dict[str, Any]] = {}

    def keep(state: SearchState, event: Event) -> None:
        if isinstance(event, EpochEnded):
            modules = {"w": state.supernet.state_dict(), "theta": state.distribution.state_dict()}
            seen[event.record["epoch"]] = {k: {n: v.clone() for n, v in m.items()} for k, m in modules.items()}

    result = search(recipe, callbacks=[keep])
    (record,) = [record for record in result.state.history if record["event"] == "back"]
    assert (record["epoch"], record["to"], record["stopped"]) == (4, 2, True)
    assert result.state.history[-1] is record
    assert max(seen) == 4
    assert str(result.architecture) == result.state.history[2]["architecture"]
    for name, module in (("w", result.supernet), ("theta", result.distribution)):
        assert all(torch.equal(value, seen[2][name][key]) for key, value in module.state_dict().items())
    assert set(result.state.aside) <= {2}


def test_adaptive_decay_rises_to_its_bound_and_then_lets_the_search_end() -> None:
    recipe = r_darts(epochs=4, batch_size=16, stop="adaptive", largest_weight_decay=0.0081, **SENSITIVE)
    result = search(recipe)
    decays = [record["weight_decay"] for record in result.state.history if record["event"] == "back"]
    assert decays == pytest.approx([9e-4, 27e-4, 81e-4])
    assert result.state.weight_optimizer.param_groups[0]["weight_decay"] == pytest.approx(81e-4)
    assert [record["epoch"] for record in standing(result.state.history)] == [0, 1, 2, 3]
    assert result.state.step == result.state.total_steps == 4 * result.state.steps_per_epoch


def test_a_search_that_never_goes_back_is_its_host() -> None:
    plain, watched = (
        search(sw.methods.darts_second_order(epochs=3, batch_size=16)),
        search(r_darts(epochs=3, batch_size=16)),
    )
    for mine, theirs in ((plain.supernet, watched.supernet), (plain.distribution, watched.distribution)):
        other = theirs.state_dict()
        assert all(torch.equal(value, other[name]) for name, value in mine.state_dict().items())


class KilledError(Exception):
    pass


def killer(when: Callable[[SearchState, Event], bool]) -> Callable[[SearchState, Event], None]:
    def listen(state: SearchState, event: Event) -> None:
        if when(state, event):
            raise KilledError

    return listen


def ends_the_second_epoch(state: SearchState, event: Event) -> bool:
    return isinstance(event, EpochEnded) and event.record["epoch"] == 1


@pytest.mark.sweep(2)
@pytest.mark.parametrize("stop", ["early", "adaptive"])
def test_a_killed_run_goes_on_to_the_same_bits(stop: str, tmp_path: Path) -> None:
    recipe = r_darts(epochs=4, batch_size=16, stop=stop, largest_weight_decay=0.0027, **SENSITIVE)
    whole = search(recipe, out=tmp_path / "whole", checkpoint_every=1)
    moments: dict[str, Callable[[SearchState, Event], bool]] = {
        "as an epoch ends": ends_the_second_epoch,
        "as it has gone back": lambda state, event: isinstance(event, Reacted),
    }
    if stop == "adaptive":
        moments["within the epoch after"] = lambda state, event: (
            isinstance(event, Stepped) and any(record["event"] == "back" for record in state.history)
        )
    for name, moment in moments.items():
        out = tmp_path / name
        with pytest.raises(KilledError):
            search(recipe, out=out, checkpoint_every=1, callbacks=[killer(moment)])
        resumed = search(recipe, out=out, resume=True, checkpoint_every=1)
        assert timeless(resumed.state.history) == timeless(whole.state.history), name
        assert resumed.architecture == whole.architecture
        for mine, theirs in ((whole.supernet, resumed.supernet), (whole.distribution, resumed.distribution)):
            other = theirs.state_dict()
            assert all(torch.equal(value, other[key]) for key, value in mine.state_dict().items()), name
        results = [json.loads((folder / "result.json").read_text()) for folder in (tmp_path / "whole", out)]
        assert results[0]["reactions"] == results[1]["reactions"] != []
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert timeless(lines[1 : 1 + len(whole.state.history)]) == timeless(whole.state.history)


def test_a_run_that_goes_on_elsewhere_still_answers(tmp_path: Path) -> None:
    """Killed as an epoch ends, before it answers; the history then says first that it moved."""
    recipe = r_darts(epochs=4, batch_size=16, **SENSITIVE)
    whole = search(recipe)
    with pytest.raises(KilledError):
        search(recipe, out=tmp_path / "RUN", callbacks=[killer(ends_the_second_epoch)])
    state = Search(SPACE, recipe, sw.data.digits().limited(64, seed=0), Setting(NETWORK), gap_examples=0).prepare()
    content = RunFolder(tmp_path / "RUN").read_checkpoint()
    assert content is not None
    state.load_state_dict(content["state"])
    state.history.append({"event": "moved", "note": "goes on elsewhere"})
    run(state)
    answers = [[line for line in each.history if line["event"] == "back"] for each in (whole.state, state)]
    assert answers[0] == answers[1] != []


def test_a_run_that_stopped_early_has_ended(tmp_path: Path) -> None:
    """Resumed, evaluated and reported it stays what it is."""
    recipe = r_darts(epochs=4, batch_size=16, **SENSITIVE)
    search(recipe, out=tmp_path / "RUN")
    before = {name: (tmp_path / "RUN" / name).read_bytes() for name in ("result.json", "metrics.jsonl")}
    steps: list[int] = []
    again = search(
        recipe,
        out=tmp_path / "RUN",
        resume=True,
        callbacks=[lambda state, event: steps.append(1) if isinstance(event, Stepped) else None],
    )
    assert not steps
    assert {name: (tmp_path / "RUN" / name).read_bytes() for name in before} == before
    assert again.state.history[-1]["stopped"]
    page = (tmp_path / "RUN" / "report.html").read_text()
    assert "The dominant eigenvalue rises: stopped, and went back to the end of epoch 1." in page


@dataclass
class Counting:
    """Warm-ups are entered again when a search goes back across their end."""

    stages: list[int]

    def __call__(self, state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped):
            self.stages.append(state.stage)
        if isinstance(event, Started):
            self.stages.clear()


def test_it_goes_back_across_the_end_of_a_warm_up() -> None:
    recipe = r_darts(epochs=4, batch_size=16, warm_up=0.5, stop="adaptive", largest_weight_decay=9e-4, **SENSITIVE)
    counting = Counting([])
    result = search(recipe, callbacks=[counting])
    assert [record["to"] for record in result.state.history if record["event"] == "back"] == [0]
    assert counting.stages == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert check_reaction(AdaptiveDecay(ALWAYS, 16, most=9e-4), darts(epochs=4, batch_size=16, warm_up=0.5)) is None


def test_what_cannot_go_back_is_refused() -> None:
    stages = (Stage(0.5), Stage(0.5, keep=2))
    with pytest.raises(ConfigurationError, match="not possible across a stage that prunes"):
        replace(darts(), stages=stages, reactions=(EarlyStop(),))
    with pytest.raises(ConfigurationError, match="which is 0 here"):
        r_darts(weight_decay=0.0, stop="adaptive")
    with pytest.raises(ConfigurationError, match="has no θ"):
        replace(sw.methods.spos(), reactions=(EarlyStop(),))
    with pytest.raises(ConfigurationError, match="unknown stop"):
        r_darts(stop="late")
    with pytest.raises(ConfigurationError, match="more than 1"):
        r_darts(stop="adaptive", decay_factor=1.0)
    with pytest.raises(ConfigurationError, match="independent decisions"):
        search(replace(sw.methods.enas(batch_size=16), reactions=(EarlyStop(),)))


def test_the_terminal_says_that_it_went_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--space", "toy-two-inputs", "--train-examples", "64", "--batch-size", "16", "--device", "cpu"]
    words += [word for name, value in SENSITIVE.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    line = ["search", "--method", "r-darts", "--stop", "early", "--epochs", "4", *words, "--out", str(tmp_path / "RUN")]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "went back to the end of epoch 1" in out
    assert "eigenvalue" in out


def test_a_second_rise_goes_back_to_the_earliest_epoch_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule asks for an epoch that was let go before the first time; eigenvalues are made up."""
    monkeypatch.setattr(
        "sharewise.engine.reaction.spectrum", lambda state, examples: {"eigenvalue": 0.1 if state.epoch < 8 else 1.0}
    )
    rule = EigenvalueRise(every=1, window=1, delta=4, factor=1.3, start=0)
    recipe = replace(darts(epochs=10, batch_size=16), reactions=(AdaptiveDecay(rule, 16),))
    result = search(recipe)
    back = [(record["epoch"], record["to"]) for record in result.state.history if record["event"] == "back"]
    assert back[:2] == [(8, 4), (8, 4)]
    assert result.state.step == result.state.total_steps


def test_a_selection_that_settles_decisions_has_no_way_back() -> None:
    recipe = replace(darts(epochs=2, batch_size=16), reactions=(EarlyStop(ALWAYS, 16),), selection=ByPerturbation(1))
    with pytest.raises(ConfigurationError, match="not possible across a stage that prunes or changes weights"):
        search(recipe)


@dataclass(frozen=True)
class Return(Reaction):
    """Goes back once to the end of the first epoch, after an epoch of the second stage."""

    def observe(self, state: SearchState, record: Mapping[str, Any]) -> Mapping[str, Any]:
        if state.epoch == 0:
            set_aside(state, most=1)
        return {}

    def decide(self, state: SearchState) -> Mapping[str, Any] | None:
        answered = any(record["event"] == "back" for record in state.history)
        due = not answered and state.history[-1]["epoch"] == 2
        return {"to": 0, "note": "once more"} if due else None

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        go_back(state, record["to"])


@pytest.mark.parametrize("first", [(), (OwnTeacher(0.25, 2.0),)], ids=["before any teacher", "with an earlier teacher"])
def test_a_teacher_of_the_search_itself_goes_back_with_it(first: tuple[OwnTeacher, ...]) -> None:
    """The second stage makes its teacher anew; until then it is that of the moment that the search went back to."""
    stages = (Stage(0.5, operations=first), Stage(0.5, operations=(OwnTeacher(0.5),)))
    recipe = replace(darts(epochs=4, batch_size=16), stages=stages)
    taught: list[tuple[int, float | None]] = []

    def listen(state: SearchState, event: Event) -> None:
        if isinstance(event, EpochEnded):
            taught.append((event.record["epoch"], None if state.teacher is None else state.teacher.weight))

    search(replace(recipe, reactions=(Return(),)), callbacks=[listen])
    early = first[0].weight if first else None
    assert taught == [(0, early), (1, early), (2, 0.5), (1, early), (2, 0.5), (3, 0.5)]
    check_reaction(Return(), recipe)
