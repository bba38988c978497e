"""Ctrl-C and SIGTERM: the running step ends, its checkpoint is written, and one line says how to go on."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.engine import EpochEnded, Event, SearchState, Stepped
from sharewise.interruption import Interrupted, Interruption, interruptible
from sharewise.run.checkpoint import read_checkpoint

WORDS = ["search", "--channels", "2", "--cells", "1", "--threads", "1", "--gap-examples", "0"]
WORDS += ["--train-examples", "128", "--batch-size", "16", "--device", "cpu"]


def search(out: Path | None, *, method: str = "spos", callbacks: Any = (), **options: Any) -> Any:
    data = sw.data.digits().limited(128, seed=0)
    recipe = sw.methods.METHODS[method](epochs=2, batch_size=16)
    settings = {"device": "cpu", "gap_examples": 0} | options
    return sw.search(sw.spaces.toy_tied_width(), recipe, data, out=out, callbacks=callbacks, **settings)


def signalled(number: int, at: Any, times: int = 1) -> Any:
    def listen(state: SearchState, event: Event) -> None:
        if at(state, event):
            for _ in range(times):
                os.kill(os.getpid(), number)
                time.sleep(0)  # Python hands a signal over between two instructions

    return listen


def in_step(step: int) -> Any:
    return lambda state, event: isinstance(event, Stepped) and state.step == step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return search(tmp_path_factory.mktemp("signals") / "RUN")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 3, 4, 7, 8])
def test_a_signal_keeps_the_running_step_and_a_resume_ends_with_the_same_bits(
    number: int, step: int, whole: Any, tmp_path: Path
) -> None:
    out, steps = tmp_path / "RUN", whole.state.total_steps
    with pytest.raises(Interrupted) as caught:
        search(out, callbacks=[signalled(number, in_step(step))])
    content = read_checkpoint(out / "checkpoint.pt")
    assert content is not None
    kept = content["state"]["step"]
    # The signal comes after this step was offered to the folder: the next one is kept, or the end of the epoch.
    assert kept in (step, step + 1)
    assert caught.value.number == number
    message = str(caught.value)
    assert f"at step {kept} of {steps}" in message
    assert f"out={str(out)!r}, resume=True" in message
    resumed = search(out, resume=True)
    assert resumed.architecture == whole.architecture
    for name, value in whole.state.supernet.state_dict().items():
        assert torch.equal(resumed.state.supernet.state_dict()[name], value), name


def test_a_second_signal_ends_at_once_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    seen: list[int] = []

    def count(state: SearchState, event: Event) -> None:
        seen.append(state.step)

    with pytest.raises(Interrupted, match="where the last checkpoint stands"):
        search(tmp_path / "RUN", callbacks=[count, signalled(signal.SIGINT, in_step(3), times=2)])
    content = read_checkpoint(tmp_path / "RUN" / "checkpoint.pt")
    assert content is not None
    assert content["state"]["step"] == 0
    assert seen[-1] == 3


def test_a_signal_in_the_selection_ends_at_once(whole: Any, tmp_path: Path) -> None:
    def last(state: SearchState, event: Event) -> bool:
        return isinstance(event, EpochEnded) and state.step >= state.total_steps

    with pytest.raises(Interrupted):
        search(tmp_path / "RUN", callbacks=[signalled(signal.SIGTERM, last)])
    assert not (tmp_path / "RUN" / "result.json").exists()
    assert search(tmp_path / "RUN", resume=True).architecture == whole.architecture


def test_handlers_are_given_back_and_a_search_without_a_folder_keeps_those_of_its_caller(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted):
        search(tmp_path / "RUN", callbacks=[signalled(signal.SIGINT, in_step(3))])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with pytest.raises(KeyboardInterrupt) as caught:
        search(None, callbacks=[signalled(signal.SIGINT, in_step(3))])
    assert not isinstance(caught.value, Interrupted)


def test_ignored_signals_stay_ignored_and_other_threads_hear_none(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        search(tmp_path / "RUN", callbacks=[signalled(signal.SIGINT, in_step(3))])
    finally:
        signal.signal(signal.SIGINT, before)
    heard: list[Any] = []

    def elsewhere() -> None:
        with interruptible(Interruption(tmp_path, "")):
            heard.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert heard == [before]


@pytest.mark.sweep(2)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_line_says_the_exact_command_and_that_command_goes_on(
    number: int, code: int, tmp_path: Path
) -> None:
    out = tmp_path / "a run"
    words = [sys.executable, "-m", "sharewise", *WORDS, "--epochs", "400", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    for _ in range(1200):
        time.sleep(0.05)
        with contextlib.suppress(OSError):
            if '"epoch"' in (out / "metrics.jsonl").read_text():
                break
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in error
    told = error.strip().splitlines()
    assert len(told) == 1
    assert str(out) in told[0]
    command = shlex.split(told[0].partition("Go on with: ")[2])
    assert command == ["sharewise", "search", "--resume", str(out)]
    content = read_checkpoint(out / "checkpoint.pt")
    assert content is not None
    step = content["state"]["step"]
    assert f"at step {step} of " in told[0]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line) for line in lines)


def test_a_search_of_the_command_line_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "RUN"
    from sharewise.run import from_mapping

    values = {"network": {"channels": 2, "cells": 1}, "recipe": {"epochs": 2, "batch_size": 16}, "device": "cpu"}
    configuration = from_mapping("search", {**values, "train_examples": 128, "gap_examples": 0, "threads": 1})
    with pytest.raises(Interrupted, match="Go on with: sharewise search --resume"):
        configuration.execute(out, callbacks=[signalled(signal.SIGTERM, in_step(3))])
    assert main(["search", "--resume", str(out)]) == 0
    assert (out / "result.json").exists()


PLAN = """
methods: [rs-ws]
spaces: [toy-tied-width]
seeds: [0, 1]
data: [{data: digits, train_examples: 64}]
budget: {steps: 4000}
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_an_interrupted_study_names_its_own_command_and_its_runs_have_checkpoints(jobs: str, tmp_path: Path) -> None:
    """Not the command of the run that was being done; and only the parent is told, as by a scheduler."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    words = ["study", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "a study"), "--jobs", jobs]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sharewise", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    for _ in range(1200):
        time.sleep(0.05)
        if any('"epoch"' in path.read_text() for path in (tmp_path / "a study").glob("runs/*/metrics.jsonl")):
            break
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    told = [line for line in error.splitlines() if line.startswith("interrupted")]
    assert len(told) == 1
    assert "Traceback" not in error
    assert shlex.split(told[0].partition("Go on with: ")[2]) == ["sharewise", *words]
    checkpoints = list((tmp_path / "a study").glob("runs/*/checkpoint.pt"))
    assert checkpoints
    for checkpoint in checkpoints:
        content = read_checkpoint(checkpoint)
        assert content is not None
        assert content["state"]["step"] > 0
