"""How many threads a run computes with: chosen by the size of a step, kept with the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sharewise as sw
from sharewise.engine import Event, SearchResult, SearchState, Stepped
from sharewise.run import SearchConfiguration, threads
from sharewise.run.execute import Record
from sharewise.run.native import Native
from sharewise.run.place import NOWHERE
from sharewise.run.threads import on_threads, step_size, threads_of

NETWORK = {"channels": 4, "cells": 1}


def searched(seen: list[int] | None = None, **settings: Any) -> SearchResult:
    def look(state: SearchState, event: Event) -> None:
        if seen is not None and isinstance(event, Stepped):
            seen.append(torch.get_num_threads())

    data = sw.data.digits().limited(96, seed=0)
    settings = {"max_steps": 1, "gap_examples": 0, "device": "cpu", "callbacks": look} | settings
    method = settings.pop("method", "gaea-erm")
    return sw.search("nasbench201", method, data, network=NETWORK, **settings)


def test_a_small_step_takes_one_thread_and_the_run_says_so(tmp_path: Path) -> None:
    seen: list[int] = []
    with on_threads(2):
        searched(seen, out=tmp_path / "run")
        assert torch.get_num_threads() == 2, "the process has its own again"
    assert seen == [1]
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["threads"] == 1
    facts = json.loads((tmp_path / "run/environment.json").read_text())
    assert facts["threads"] == 1
    assert "multiply-accumulates" in facts["threads chosen"]
    assert facts["threads chosen"] in (tmp_path / "run/report.html").read_text()


def test_a_large_step_takes_what_torch_would(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    size = step_size(searched().state)
    monkeypatch.setattr(threads, "LARGE", size)
    with on_threads(2):
        searched(seen)
    searched(seen)
    monkeypatch.setattr(threads, "LARGE", size + 1)
    with on_threads(2):
        searched(seen)
    assert seen == [2, 1, 1]


def test_what_is_asked_for_wins_and_a_resume_keeps_it(tmp_path: Path) -> None:
    seen: list[int] = []
    once: dict[str, Any] = {"max_steps": None, "out": tmp_path / "run"}
    searched(seen, threads=2, epochs=1, **once)
    assert set(seen) == {2}
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["threads"] == 2
    seen.clear()
    searched(seen, resume=True, epochs=2, **once)
    assert set(seen) == {2}
    history = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert not [line for line in history if line["event"] == "moved"]


def test_the_default_has_the_bits_of_the_same_number_asked_for() -> None:
    with on_threads(2):
        chosen = searched(max_steps=3)
    asked = searched(max_steps=3, threads=1)
    for name, value in asked.state.supernet.state_dict().items():
        assert torch.equal(value, chosen.state.supernet.state_dict()[name]), name


def test_a_path_is_measured_by_the_largest_of_a_few_draws_and_draws_nothing_of_the_run() -> None:
    state = searched(method="spos").state
    before = {name: generator.get_state() for name, generator in state.generators.items()}
    size = step_size(state)
    assert size == step_size(state)
    most = max(state.costs.of(g) for g in (sw.supernet.discrete(state.supernet.relaxation.encode(a)) for a in _all()))
    assert 0 < size <= 3 * state.recipe.batch_size * most
    for name, generator in state.generators.items():
        assert torch.equal(before[name], generator.get_state())


def _all() -> list[Any]:
    return [sw.spaces.nasbench201().parse(f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|") for op in _OPERATIONS]


_OPERATIONS = ("nor_conv_3x3", "nor_conv_1x1")


def test_a_configuration_leaves_the_choice_to_the_run() -> None:
    assert SearchConfiguration().complete()["threads"] is None
    assert SearchConfiguration(threads=2).complete()["threads"] == 2


def test_other_devices_leave_torch_alone() -> None:
    state = searched().state

    class Elsewhere:
        device = torch.device("cuda")

    state.numerics = Elsewhere()  # type: ignore[assignment]
    with on_threads(2):
        assert threads_of(state, NOWHERE, None).count == 2
    record = Record({}, lambda result: {}, threads_of(state, NOWHERE, 3), Native(False, "asked for"))
    assert record.threads.count == 3
