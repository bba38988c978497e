"""A run that has ended goes on to more epochs: to the bit after a kill, with schedules as stated, and says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.distribution import Constant, Cosine, CosineRestarts, Linear, Phase
from sharewise.engine import Extension, WeightOptimization, extended, stage_at
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import RunFolder, from_mapping
from sharewise.run.extending import wanted
from sharewise.run.place import Place, Setting
from sharewise.run.search import Search
from sharewise.testing import small_arguments

NETWORK = {"channels": 2, "cells": 1}
RECIPE = {"epochs": 2, "batch_size": 16}
VALUES: dict[str, Any] = {
    "space": "toy-tied-width",
    "method": "darts",
    "recipe": RECIPE,
    "gap_examples": 4,
    "train_examples": 64,
    "device": "cpu",
    "threads": 1,
    "checkpoint_every": 1,
}


class KilledError(Exception):
    pass


def search(out: Path, *, resume: bool = False, to: Extension | None = None, kill: int = 0, **changes: Any) -> Path:
    def listen(state: Any, event: Any) -> None:
        if kill and state.step == kill and type(event).__name__ == "Stepped":
            raise KilledError

    configuration = from_mapping("search", {**VALUES, **changes})
    configuration.execute(out, resume=resume, callbacks=[listen], extension=to)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return search(tmp_path_factory.mktemp("extending") / "RUN")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "RUN"))


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())  # type: ignore[no-any-return]


def rates(run: Path) -> list[float]:
    return [round(line["learning_rate"], 6) for line in lines(run) if line["event"] == "epoch"]


def weights(run: Path) -> dict[str, Any]:
    content = RunFolder(run).read_checkpoint()
    assert content is not None
    return {name: content["state"][name] for name in ("supernet", "distribution", "step", "epoch", "extensions")}


def assert_equal(first: Any, second: Any) -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    else:
        assert first == second


# ---------------------------------------------------------------------------------------------------------------------
# Schedules


def test_every_schedule_states_what_follows_its_end() -> None:
    def course(schedule: Any, epochs: int, *extensions: Extension) -> list[float]:
        return [round(extended(schedule, e, epochs, extensions), 4) for e in range(extensions[-1].epochs)]

    more = Extension(4, 0.1)
    assert course(Constant(0.3), 2, more) == [0.3] * 4
    assert course(Cosine(1.0), 2, more) == [1.0, 0.5, 0.1, 0.05]
    assert course(Cosine(1.0, 0.2), 2, more) == [1.0, 0.6, 0.2, 0.2], "never below where it ended"
    assert course(Cosine(1.0, 0.0, 2.0), 2, more) == [round(Cosine(1.0)(e, 4), 4) for e in range(4)], "laid out for 4"
    assert course(Cosine(1.0, 0.0, 1.5), 2, Extension(5, 0.1)) == [1.0, 0.75, 0.25, 0.1, 0.05], "ended after 3"
    assert course(Linear(1.0, 0.0), 2, Extension(5, 0.1)) == [1.0, 0.0, 0.1, 0.05, 0.0]
    assert course(CosineRestarts(1.0, cycles=2), 3, Extension(5, 0.2)) == [1.0, 1.0, 0.5, 0.2, 0.1]
    assert course(lambda epoch, epochs: epoch / epochs, 2, more) == [0.0, 0.5, 0.5, 0.5], "a function stays"
    twice = course(Cosine(1.0), 2, more, Extension(6, 0.4))
    assert twice == [1.0, 0.5, 0.1, 0.05, 0.4, 0.2], "a fraction of the first rate, not of the last"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_all_other_schedules_and_the_stage_of_every_method_stay_where_they_ended(method: str) -> None:
    """Temperatures, strengths, probabilities: no warm-up is repeated, and nothing that was annealed is heated again."""
    recipe = build(method, small_arguments(method))
    data = sw.data.digits()
    state = Search(
        sw.spaces.nasbench201(), recipe, data, Setting({**NETWORK, "channels": 4}, place=Place("cpu"), max_steps=1)
    ).prepare()
    epochs = recipe.epochs
    state.extensions, state.epoch = (Extension(epochs + 7),), epochs + 3
    for step in ("weights", "architecture"):
        phase = state.phase(step)  # type: ignore[arg-type]
        assert (phase.epoch, phase.epochs) == (epochs - 1, epochs)
        pieces = (recipe.distribution, recipe.level, recipe.selection, *recipe.penalties, *recipe.stages)
        settings = [bounded.setting for piece in pieces for bounded in piece.schedules.values()]
        last = Phase(step, epochs - 1, epochs)  # type: ignore[arg-type]
        assert [phase.value(setting) for setting in settings] == [last.value(setting) for setting in settings]
    assert stage_at(recipe.stages, *state.moment) == len(recipe.stages) - 1
    assert state.total_steps == 1, "max_steps bounds an extended run as well"


# ---------------------------------------------------------------------------------------------------------------------
# Runs


def test_an_extended_run_says_so_everywhere(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result(run)
    assert main(["search", "--resume", str(run), "--epochs", "4"]) == 0
    said = capsys.readouterr()
    after, (record,) = result(run), [line for line in lines(run) if line["event"] == "extended"]
    assert rates(run) == [0.025, 0.013, 0.0025, 0.00175]
    assert record["epoch"] == 2
    assert record["epochs"] == 4
    assert record["rate"] == 0.1
    assert record["architecture"] == before["architecture"]
    assert "not the same as 4 epochs from the start" in record["note"]
    assert after["extended"] == [record]
    assert after["ledger"]["search"]["seconds"] > before["ledger"]["search"]["seconds"]
    assert "not the same as 4 epochs" in (run / "report.html").read_text()
    assert "not the same as 4 epochs" in said.out
    assert main(["search", "--resume", str(run)]) == 0, "and it has ended again"
    assert result(run)["extended"] == [record]
    assert main(["evaluate", str(run)]) == 0


def test_an_extension_that_is_killed_anywhere_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    whole, cut = (Path(shutil.copytree(finished, tmp_path / name)) for name in ("whole", "cut"))
    more = Extension(4, 0.2)
    search(whole, resume=True, to=more)
    steps = RunFolder(finished).read_checkpoint()["state"]["step"]  # type: ignore[index]
    with pytest.raises(KilledError):
        search(cut, resume=True, to=more, kill=steps + 1)
    assert not (cut / "result.json").exists(), "a result of fewer epochs must not stand beside a run that goes on"
    with pytest.raises(KilledError):
        search(cut, resume=True, kill=steps + 3)  # no need to say again how far
    search(cut, resume=True, to=more)  # and no harm
    assert_equal(weights(whole), weights(cut))
    assert rates(whole) == rates(cut)
    assert [line["event"] for line in lines(whole)] == [line["event"] for line in lines(cut)]


def test_a_run_that_was_killed_before_its_extension_was_kept_is_as_it_was(run: Path, monkeypatch: Any) -> None:
    before = result(run)

    def killed(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", killed)
        with pytest.raises(KilledError):
            search(run, resume=True, to=Extension(4))
    assert result(run) == before
    search(run, resume=True)
    assert result(run)["architecture"] == before["architecture"]
    assert result(run)["extended"] == []
    search(run, resume=True, to=Extension(3))
    assert len(rates(run)) == 3


@pytest.mark.slow
def test_a_run_is_extended_twice(run: Path) -> None:
    search(run, resume=True, to=Extension(3, 0.5))
    search(run, resume=True, to=Extension(5, 0.1))
    assert rates(run) == [0.025, 0.013, 0.0125, 0.0025, 0.00175]
    assert [(record["epoch"], record["epochs"]) for record in result(run)["extended"]] == [(2, 3), (3, 5)]
    with pytest.raises(ConfigurationError, match="has 5 epochs, of which 5 are done; 4 would be fewer"):
        search(run, resume=True, to=Extension(4))


def test_constant_schedules_simply_go_on_as_if_the_run_had_been_longer(tmp_path: Path) -> None:
    """With nothing that depends on the number of epochs an extended run is the longer one, bit for bit."""

    def constant(epochs: int) -> sw.Recipe:
        from dataclasses import replace

        recipe = sw.methods.darts(batch_size=16, epochs=epochs)
        return replace(recipe, weights=WeightOptimization(Constant(0.01)))

    few = sw.data.load("digits", train_examples=64)
    options: dict[str, Any] = {"gap_examples": 0, "device": "cpu"}
    long = sw.search("toy-tied-width", constant(4), few, out=tmp_path / "long", **options)
    sw.search("toy-tied-width", constant(2), few, out=tmp_path / "RUN", **options)
    short = sw.search("toy-tied-width", constant(2), few, out=tmp_path / "RUN", resume=True, epochs=4, **options)
    assert_equal(long.supernet.state_dict(), short.supernet.state_dict())
    assert_equal(long.distribution.state_dict(), short.distribution.state_dict())
    (record,) = result(tmp_path / "RUN")["extended"]
    assert "goes on at 0.01" in record["note"]
    assert "not the same" not in record["note"]


def test_a_training_is_extended_and_its_test_examples_are_opened_again_visibly(tmp_path: Path) -> None:
    space = sw.spaces.toy_tied_width()
    words = ["--space", "toy-tied-width", "--architecture", str(space.architecture({"width": 8, "activation": "relu"}))]
    small = ["--train-examples", "64", "--batch-size", "32", "--epochs", "1", "--device", "cpu", "--drop-path", "0"]
    run = tmp_path / "RUN"
    assert main(["train", *words, *small, "--out", str(run)]) == 0
    assert main(["train", "--resume", str(run), "--epochs", "2", "--extension-rate", "0.5"]) == 0
    assert rates(run) == [0.025, 0.0125]
    assert len(result(run)["test_openings"]) == 2
    architecture = space.architecture({"width": 8, "activation": "relu"})
    few, options = sw.data.load("digits", train_examples=64), {"drop_path": 0.0, "batch_size": 32}
    with pytest.raises(ConfigurationError, match="has 2 epochs, of which 2 are done; 1 would be fewer"):
        sw.train(space, architecture, few, training=options, out=run, resume=True, epochs=1, device="cpu")
    sw.train(space, architecture, few, training=options, out=run, resume=True, epochs=3, device="cpu")
    assert rates(run) == [0.025, 0.0125, 0.0025]
    assert len(result(run)["test_openings"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "1"], "has 2 epochs, of which 2 are done; 1 would be fewer"),
        (["--epochs", "0"], "epochs"),
        (["--extension-rate", "0.2"], "--resume RUN --epochs N"),
        (["--epochs", "4", "--extension-rate", "0"], "in (0, 1], got 0"),
        (["--epochs", "4", "--seed", "3"], "seed was 0 and is now 3"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.name != ".lock"}
    assert main(["search", "--resume", str(run), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    changed = [name for name, content in before.items() if (run / name).read_bytes() != content]
    assert changed in ([], ["metrics.jsonl"]), "at most the selection, which a resume writes again"


def test_only_a_run_that_has_ended_is_extended(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        search(tmp_path / "RUN", kill=3)
    with pytest.raises(ConfigurationError, match="only a run that has ended is extended: finish it with --resume"):
        search(tmp_path / "RUN", resume=True, to=Extension(4))
    search(tmp_path / "limited", max_steps=3)
    with pytest.raises(ConfigurationError, match=r"may make 3 steps at most \(max_steps\)"):
        search(tmp_path / "limited", resume=True, to=Extension(4), max_steps=3)


@pytest.mark.slow
def test_a_run_whose_selection_trained_on_is_not_extended(tmp_path: Path) -> None:
    changes = {"space": "toy-two-inputs", "selection": "perturbation", "tuning_epochs": 1}
    run = search(tmp_path / "RUN", **changes)
    with pytest.raises(ConfigurationError, match="in the last 6 its selection trains on and settles θ"):
        search(run, resume=True, to=Extension(20), **changes)
    assert search(run, resume=True, to=Extension(2), **changes) == run, "the epochs that it began with"


def test_a_run_that_a_reaction_ended_is_not_extended(finished: Path) -> None:
    state = Search(
        sw.spaces.toy_tied_width(), build("r-darts", small_arguments("r-darts")), sw.data.digits(), Setting({})
    ).prepare()
    state.history.append({"event": "reaction", "epoch": 1, "stopped": True})
    with pytest.raises(ConfigurationError, match="a reaction ended it"):
        wanted(state, RunFolder(finished), Extension(9))
