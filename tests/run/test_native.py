"""Whether a run takes compiled kernels: chosen by a measurement, kept with the run."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from benchmarks.search_step import images

import sharewise as sw
from sharewise.cli import main
from sharewise.engine import Event, SearchResult, SearchState, Stepped
from sharewise.errors import ConfigurationError
from sharewise.run import native
from sharewise.run.finished import Finished, InFolder, InMemory
from sharewise.run.place import NOWHERE, Keep
from sharewise.run.threads import Threads, on_threads
from sharewise.space import sample
from sharewise.studies.scoring import Score, Scoring, score
from sharewise.supernet.native import enabled
from sharewise.supernet.native import library as kept
from sharewise.supernet.own_forms import by_kernels

pytestmark = pytest.mark.usefixtures("compiler", "kernel_cache")


def searched(seen: list[bool] | None = None, space: str = "darts:S2", **settings: Any) -> SearchResult:
    def look(state: SearchState, event: Event) -> None:
        if seen is not None and isinstance(event, Stepped):
            seen.append(enabled())

    data = sw.data.digits().limited(96, seed=0)
    network = {"channels": 4, "layers": 3} if space.startswith("darts") else {"channels": 4, "cells": 1}
    settings = {"max_steps": 1, "gap_examples": 0, "device": "cpu", "callbacks": look, "threads": 1} | settings
    return sw.search(space, "darts", data, **{"network": network, **settings})


def stored(folder: Path) -> tuple[bool, dict[str, Any]]:
    return yaml.safe_load((folder / "config.yaml").read_text())["native"], json.loads(
        (folder / "environment.json").read_text()
    )


def test_small_steps_do_without_and_the_run_says_so(tmp_path: Path) -> None:
    seen: list[bool] = []
    searched(seen, out=tmp_path / "run")
    assert seen == [False]
    chosen, facts = stored(tmp_path / "run")
    assert chosen is facts["native"] is False
    assert "multiply-accumulates" in facts["native chosen"]
    assert facts["native chosen"] in (tmp_path / "run/report.html").read_text()


@pytest.mark.parametrize(
    ("depthwise", "norm", "taken"),
    [
        ((0.2, 1), (0.2, 1), True),
        ((0.95, 1), (0.95, 1), False),
        ((0.5, 1), (0.4, 0.4), True),
        ((0.5, 1), (4, 4), False),
    ],
    ids=["all are faster", "none is", "what is faster takes longer", "what is not takes longer"],
)
def test_large_steps_take_what_is_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, depthwise: tuple[float, float], norm: tuple[float, float], taken: bool
) -> None:
    monkeypatch.setattr(native, "WORTH", 1)
    seconds = {DEPTHWISE: depthwise, POINTWISE: norm, NORM: norm}
    monkeypatch.setattr(native, "measured", lambda kind, channels: native.Seconds(*seconds[kind.words]))
    seen: list[bool] = []
    searched(seen)
    assert seen == [taken]
    assert not enabled()


def test_nothing_is_measured_where_nothing_is_to_be_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "WORTH", 1)
    monkeypatch.setattr(native, "measured", lambda *given: pytest.fail("measured"))
    unknown = {"space": "toy-tied-width", "network": {}}
    for settings in (unknown, {"threads": 2}, {"precision": "float64"}, {"native": False}):
        seen: list[bool] = []
        searched(seen, **settings)
        assert seen == [False]


def test_a_layer_with_a_form_of_its_own_keeps_it() -> None:
    layers = [torch.nn.Conv2d(16, 16, 3, padding=1, bias=False) for _ in range(2)]
    own = layers[0].forward = lambda x: x  # type: ignore[method-assign, assignment]
    with by_kernels(torch.nn.Sequential(*layers)):
        assert layers[0].forward is own
        assert "forward" in vars(layers[1])
    assert layers[0].forward is own
    assert "forward" not in vars(layers[1])


def test_no_compiler_is_no_error_unless_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "WORTH", 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    kept.library.cache_clear()
    searched(out=tmp_path / "run")
    assert "need a C compiler" in stored(tmp_path / "run")[1]["native chosen"]
    with pytest.raises(ConfigurationError, match="need a C compiler"):
        searched(native=True)
    kept.library.cache_clear()


@pytest.mark.parametrize("kind", native.KINDS, ids=lambda kind: kind.words)
@pytest.mark.parametrize("channels", [16, 64])
def test_a_measurement(kind: native.Kind, channels: int) -> None:
    with torch.no_grad():
        assert 0 < native.measured(kind, channels).ratio < 2


def test_what_is_measured_has_the_channels_of_a_layer_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, int] = {}
    monkeypatch.setattr(native, "WORTH", 1)

    def measured(kind: native.Kind, channels: int) -> native.Seconds:
        asked[kind.words] = channels
        return native.Seconds(1, 2)

    monkeypatch.setattr(native, "measured", measured)
    searched(space="nasbench201", network={"channels": 16, "cells": 1})
    assert asked == {POINTWISE: 32, SMALL: 32, NORM: 32, AVERAGE: 16}


DEPTHWISE, POINTWISE, SMALL, NORM, AVERAGE, TOKENS = (kind.words for kind in native.KINDS)
STAGE: dict[str, Any] = {"channels": 16, "cells": 1}
TRANSFORMER = "vision-transformer-tiny:embedding=16,32:layers=1:heads=1,2:mlp_ratio=1"
GRADIENTS = {
    DEPTHWISE: "depthwise_gradient",
    POINTWISE: "convolution_gradient",
    SMALL: "convolution_gradient",
    NORM: "norm_gradient",
    AVERAGE: "average_by_kernel",
    TOKENS: "layer_norm_gradient",
}


@pytest.mark.parametrize(
    ("space", "network", "method", "kinds"),
    [
        ("darts:S2", {"channels": 4, "layers": 3}, "darts", [DEPTHWISE, POINTWISE, NORM]),
        ("darts", {"channels": 16, "layers": 3}, "gdas", [DEPTHWISE, POINTWISE, NORM, AVERAGE]),
        ("toy-separable-cell", {"channels": 16}, "darts", [DEPTHWISE, POINTWISE, NORM]),
        ("nasbench201", STAGE, "darts", [POINTWISE, SMALL, NORM, AVERAGE]),
        ("nasbench201", {**STAGE, "recompute": True}, "darts", [POINTWISE, SMALL, NORM, AVERAGE]),
        ("nasbench201", {**STAGE, "sharing": "entangled"}, "darts", [POINTWISE, SMALL, NORM, AVERAGE]),
        ("nasbench1shot1:1", {"channels": 16}, "darts", [POINTWISE, SMALL, NORM]),
        ("nats_size", {}, "spos", [POINTWISE, SMALL, NORM]),
        (TRANSFORMER, {"patch_size": 8}, "tanglenas-drnas", [TOKENS]),
        pytest.param("nasbench_macro", {}, "darts", [DEPTHWISE, POINTWISE, NORM], marks=pytest.mark.slow),
        pytest.param("proxylessnas", {}, "darts", [DEPTHWISE, POINTWISE, NORM], marks=pytest.mark.slow),
        pytest.param("mobilenetv3", {}, "spos", [DEPTHWISE, POINTWISE, NORM], marks=pytest.mark.slow),
        pytest.param("ofa-resnet50", {}, "sandwich", [SMALL, NORM], marks=pytest.mark.slow),
    ],
)
def test_what_is_measured_is_what_is_trained_by_them(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kernel_calls: list[str],
    space: str,
    network: dict[str, Any],
    method: str,
    kinds: list[str],
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(native, "WORTH", 1)
    monkeypatch.setattr(native, "measured", lambda kind, channels: asked.append(kind.words) or native.Seconds(1, 2))
    settings = {
        "gap_examples": 0,
        "device": "cpu",
        "threads": 1,
        "out": tmp_path / "run",
        "callbacks": _cut_after(1),
    }
    with pytest.raises(CutError):
        sw.search(space, method, images(64), network=network, **settings)
    assert asked == kinds
    assert {GRADIENTS[words] for words in kinds} <= set(kernel_calls)
    told = [f"training {words} takes 0.50 times as long as by torch here" for words in kinds]
    told += ["one of each 0.50 times"] * (len(kinds) > 1)
    assert stored(tmp_path / "run")[1]["native chosen"] == "; ".join(told)


@pytest.mark.parametrize(("space", "network"), [("darts", {"layers": 3}), ("nasbench201", {"cells": 1})])
def test_plain_networks_are_trained_by_them(kernel_calls: list[str], space: str, network: dict[str, Any]) -> None:
    architecture = sample(sw.spaces.load(space), np.random.default_rng(1))
    data = sw.data.digits().limited(96, seed=0)
    options = {"network": {"channels": 16, **network}, "max_steps": 1, "threads": 1, "device": "cpu"}
    for on in (False, True):
        assert not kernel_calls
        sw.train(space, architecture, data, native=on, **options)  # type: ignore[arg-type]
    assert {*GRADIENTS.values()} & {*kernel_calls}


def test_compiled_programs_have_kernels_of_their_own(tmp_path: Path) -> None:
    state = searched(native=True, out=tmp_path).state
    compiled = dataclasses.replace(state.numerics, compile=True)
    threads = Threads(1, "asked for")
    monkeyed = SimpleNamespace(numerics=compiled, supernet=state.supernet)
    with pytest.raises(ConfigurationError, match="leave --compile or --native out"):
        native.native_of(monkeyed, NOWHERE, True, threads)  # type: ignore[arg-type]
    begun = native.native_of(monkeyed, Keep(tmp_path, resume=True), None, threads)  # type: ignore[arg-type]
    assert not begun.on


def test_a_resume_keeps_the_choice_and_its_bits(tmp_path: Path) -> None:
    alone = searched(native=True, max_steps=3, out=tmp_path / "alone")
    with pytest.raises(CutError):
        searched(native=True, max_steps=3, out=tmp_path / "cut", checkpoint_every=1, callbacks=_cut_after(2))
    seen: list[bool] = []

    def look(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped):
            seen.append(enabled())

    again = searched(max_steps=3, out=tmp_path / "cut", resume=True, callbacks=look)
    assert set(seen) == {True}
    for one, other in zip(alone.state.supernet.parameters(), again.state.supernet.parameters(), strict=True):
        assert one.equal(other)
    assert not [event for event in again.state.history if event["event"] == "moved"]


class CutError(Exception):
    """The run is cut off."""


def _cut_after(steps: int) -> Callable[[SearchState, Event], None]:
    def cut(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped) and state.step == steps:
            raise CutError

    return cut


def test_going_on_otherwise_is_said(tmp_path: Path) -> None:
    with pytest.raises(CutError):
        searched(native=True, max_steps=3, out=tmp_path, checkpoint_every=1, callbacks=_cut_after(2))
    with pytest.warns(sw.errors.SharewiseWarning, match="native False instead of True"):
        again = searched(native=False, max_steps=3, out=tmp_path, resume=True)
    assert [event["changed"] for event in again.state.history if event["event"] == "moved"] == [
        {"native": [True, False]}
    ]


def test_the_command_line_has_a_word_for_it(tmp_path: Path) -> None:
    words = ["search", "--space", "darts:S2", "--method", "darts", "--channels", "4", "--layers", "3"]
    words += ["--train-examples", "96", "--gap-examples", "0", "--device", "cpu", "--threads", "1", "--max-steps", "1"]
    for word, taken in (("--native", True), ("--no-native", False)):
        assert main([*words, word, "--out", str(tmp_path / word)]) == 0
        chosen, facts = stored(tmp_path / word)
        assert chosen is facts["native"] is taken
        assert facts["native chosen"] == "asked for"


def searched_in(folder: Path, word: str) -> Finished:
    """A search by the command line."""
    words = ["search", "--space", "nasbench201", "--method", "spos", "--channels", "16", "--cells", "1"]
    words += ["--train-examples", "96", "--max-steps", "1", "--candidates", "1", "--device", "cpu", "--threads", "1"]
    assert main([*words, word, "--out", str(folder)]) == 0
    return InFolder(folder, "cpu")


def scored(source: Finished) -> list[Score]:
    space = sw.spaces.nasbench201()
    with on_threads(1):
        return score(source, [sample(space, np.random.default_rng(0))], Scoring(recalibrate=1, examples=32))


def test_a_supernet_is_scored_as_it_was_trained(tmp_path: Path, kernel_calls: list[str]) -> None:
    for word, kernels in (("--native", {"convolution_by_kernel", "norm_by_kernel"}), ("--no-native", set())):
        source = searched_in(tmp_path / word, word)
        kernel_calls.clear()
        found = scored(source)
        assert kernels <= set(kernel_calls)
        assert bool(kernels) == bool(kernel_calls)
        assert scored(InMemory(source.open(), {"channels": 16, "cells": 1})) == found


def test_a_run_of_another_machine_is_scored_without_a_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel_calls: list[str]
) -> None:
    source = searched_in(tmp_path / "run", "--native")
    kernel_calls.clear()
    monkeypatch.setattr(sys.modules["sharewise.engine.numerics"], "can_be_compiled", lambda: False)
    assert set(scored(source)[0].values) == {"running", "recalibrated"}
    assert not kernel_calls
