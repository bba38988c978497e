"""A compiled network makes the steps of the plain one, where every step executes the same options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.cli import main
from sharewise.engine import Event, SearchState, Stepped, compilation
from sharewise.engine.compilation import Compiled, no_compiler
from sharewise.errors import ConfigurationError, SharewiseWarning
from sharewise.run.standalone import Standalone

DATA = sw.data.digits().limited(80, seed=0)
FAST = {"backend": "aot_eager"}
"""Writes programs down and differentiates them as the compiler would, and executes them by torch's own kernels."""


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "HOW", FAST)


def searched(method: str, compiled: bool, space: str = "toy-tied-width", **arguments: Any) -> sw.SearchResult:
    recipe = sw.methods.build(method, {"batch_size": 16, **arguments.pop("recipe", {})})
    arguments = {"max_steps": 3, "precision": "float64", "gap_examples": 0, **arguments}
    return sw.search(space, recipe, DATA, device="cpu", compile=compiled, **arguments)


def numbers(result: sw.SearchResult) -> dict[str, Tensor]:
    state = result.state
    theta = {f"θ {name}": p.detach() for name, p in state.distribution.named_parameters()}
    return {**state.supernet.state_dict(), **theta}


def assert_close(one: sw.SearchResult, other: sw.SearchResult, tolerance: float = 1e-10) -> None:
    assert list(numbers(one)) == list(numbers(other))
    for name, value in numbers(one).items():
        torch.testing.assert_close(numbers(other)[name], value, rtol=tolerance, atol=tolerance, msg=name)


class CutError(Exception):
    pass


def end_at(step: int) -> Any:
    def callback(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped) and state.step == step:
            raise CutError

    return callback


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("method", ["gaea-erm", *(pytest.param(m, marks=pytest.mark.slow) for m in ("drnas", "snas"))])
def test_steps_are_those_of_the_plain_network(method: str) -> None:
    plain, compiled = (searched(method, flag) for flag in (False, True))
    assert_close(plain, compiled)
    assert isinstance(compiled.state.network, Compiled)
    assert compiled.architecture == plain.architecture
    ledgers = [result.state.ledger.entries["weights"] for result in (plain, compiled)]
    assert ledgers[0].multiply_accumulates == ledgers[1].multiply_accumulates


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_micro_batches_and_masked_options_are_programs_of_their_own() -> None:
    recipe = {"epochs": 2, "batch_size": 40, "keep": (2,)}
    plain, compiled = (searched("drnas", flag, recipe=recipe, max_steps=None, accumulate=3) for flag in (False, True))
    assert_close(plain, compiled)
    programs = compiled.state.network._programs  # type: ignore[attr-defined]
    assert len(programs) >= 4, "micro-batches of 13 and 14 examples, with all options and with two"


@pytest.mark.usefixtures("traced")
def test_a_training_is_compiled_and_stays_a_plain_network(tmp_path: Path) -> None:
    space = sw.spaces.toy_tied_width()
    architecture = space.architecture({"width": 8, "activation": "relu"})
    plain, compiled = (
        sw.train(space, architecture, DATA, training={"batch_size": 16}, max_steps=3, precision="float64", device="cpu",
                 compile=flag, out=tmp_path / str(flag))
        for flag in (False, True)
    )  # fmt: skip
    states = [result.network.state_dict() for result in (plain, compiled)]
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-10, atol=1e-10)
    assert plain.test == pytest.approx(compiled.test)
    assert type(compiled.network) is type(plain.network)


@pytest.mark.usefixtures("traced")
def test_a_resumed_run_has_the_bits_of_one_that_was_left_alone(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"max_steps": 8, "checkpoint_every": 2, "precision": "float32"}
    whole = searched("gaea-erm", True, out=tmp_path / "whole", **arguments)
    with pytest.raises(CutError):
        searched("gaea-erm", True, out=tmp_path / "cut", callbacks=end_at(3), **arguments)
    cut = searched("gaea-erm", True, out=tmp_path / "cut", resume=True, **arguments)
    assert_close(whole, cut, tolerance=0)
    assert not [line for line in cut.state.history if line.get("event") == "moved"]


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_a_run_may_go_on_plain_and_says_so(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"max_steps": 4, "checkpoint_every": 1, "out": tmp_path / "run"}
    with pytest.raises(CutError):
        searched("gaea-erm", True, callbacks=end_at(2), **arguments)
    with pytest.warns(SharewiseWarning, match="compile False instead of True"):
        found = searched("gaea-erm", False, resume=True, **arguments)
    [moved] = [line for line in found.state.history if line.get("event") == "moved"]
    assert moved["changed"] == {"compile": [True, False]}


@pytest.mark.parametrize(
    ("method", "recipe", "words"),
    [
        ("spos", {}, "executes other options in every step.*such as darts, gaea-erm and drnas"),
        ("gdas", {}, "executes other options in every step"),
        ("proxylessnas", {}, "executes other options in every step"),
        ("enas", {}, "executes other options in every step"),
        ("sandwich", {}, "executes other options in every step"),
        ("darts-second-order", {}, "differentiates twice.*use level Alternating"),
    ],
)
def test_what_changes_from_step_to_step_is_refused_in_one_line(method: str, recipe: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        searched(method, True, recipe=recipe)
    assert "\n" not in str(caught.value)
    assert "leave compile" in str(caught.value)


def test_dropped_paths_are_refused() -> None:
    space = sw.spaces.load("nasbench201")
    architecture = "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"
    training = {"batch_size": 16, "drop_path": 0.1}
    with pytest.raises(ConfigurationError, match="drop_path"):
        sw.train(space, architecture, DATA, training=training, max_steps=1, device="cpu", compile=True)


def test_a_machine_without_a_compiler_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compilation, "no_compiler", lambda: "no working C++ compiler found")
    with pytest.raises(ConfigurationError, match="needs a C\\+\\+ compiler such as g\\+\\+"):
        searched("gaea-erm", True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Looking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.usefixtures("traced")
def test_a_network_that_looks_at_values_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"is no program of its inputs: .*; leave compile out") as caught:
        Compiled(Standalone(Looking()))(torch.ones(2), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("message", ["backend='inductor' raised:\nNo such file: g++\n\nmore", "No such file: g++"])
def test_what_the_compiler_says_is_one_line(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(program: nn.Module, **how: Any) -> Any:
        def call(*arguments: Any) -> Any:
            raise RuntimeError(message)

        return call

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(ConfigurationError, match=r"cannot be compiled here: No such file: g\+\+; leave compile out$"):
        Compiled(Standalone(nn.Linear(2, 2)))(torch.ones(1, 2), {})


def test_a_backward_pass_that_cannot_be_compiled_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch import config

    if not hasattr(config, "force_non_lazy_backward_lowering"):
        pytest.skip("this torch compiles a backward pass when it is made")

    def failing(*given: Any) -> Any:
        raise RuntimeError("cannot write it")

    backend = aot_autograd(fw_compiler=lambda graph, inputs: graph.forward, bw_compiler=failing)
    monkeypatch.setattr(compilation, "HOW", {"backend": backend})
    with pytest.raises(ConfigurationError, match=r"cannot be compiled here: .*; leave compile out$"):
        Compiled(Standalone(nn.Linear(2, 2)))(torch.ones(1, 2), {})


@pytest.mark.usefixtures("traced")
def test_dropout_drops_what_it_would() -> None:
    supernet = Standalone(nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5)))
    x, outputs = torch.ones(2, 4), []
    compiled = Compiled(supernet)
    compiled(x, {})
    for network in (supernet, compiled):
        torch.manual_seed(0)
        outputs.append(torch.stack([network(x, {}) for _ in range(2)]))
    assert torch.equal(*outputs)


@pytest.mark.usefixtures("traced")
def test_statistics_are_counted_once_and_frozen_where_they_should_be() -> None:
    supernet = Standalone(nn.Sequential(nn.BatchNorm1d(3)))
    compiled, norm = Compiled(supernet), supernet.network[0]  # type: ignore[index]
    x = torch.randn(8, 3)
    for _ in range(2):
        compiled(x, {})
    assert int(norm.num_batches_tracked) == 2
    before = norm.running_mean.clone()
    with sw.supernet.frozen_statistics(supernet):
        compiled(2 * x, {})
    assert torch.equal(norm.running_mean, before)
    supernet.eval()
    torch.testing.assert_close(compiled(x, {}), supernet(x, {}))


@pytest.mark.usefixtures("traced")
def test_the_command_line_compiles_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--space", "toy-tied-width", "--method", "gaea-erm", "--data", "digits"]
    words += ["--train-examples", "64", "--max-steps", "2", "--device", "cpu", "--gap-examples", "0"]
    assert main([*words, "--compile", "--out", str(tmp_path / "run"), "--json"]) == 0
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert checkpoint["place"]["compile"] is True
    assert "compile" not in checkpoint["fingerprint"]
    assert json.loads(capsys.readouterr().out)["architecture"]
    assert main([*words, "--compile", "--dry-run"]) == 2
    assert "compiled steps are not foreseen" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own code
@pytest.mark.slow
@pytest.mark.skipif(no_compiler() is not None, reason="needs a C++ compiler")
@pytest.mark.parametrize(
    ("space", "network"),
    [
        ("toy-tied-width", {}),
        pytest.param("nasbench201", {"channels": 2, "cells": 1}, marks=pytest.mark.long),  # minutes of compiling
    ],
)
def test_the_compiler_makes_the_steps_of_the_plain_network(space: str, network: Any, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"space": space, "network": network, "max_steps": 4}
    plain = searched("darts", False, **arguments)
    whole = searched("darts", True, **arguments)
    assert_close(plain, whole)
    with pytest.raises(CutError):
        searched("darts", True, out=tmp_path / "cut", callbacks=end_at(2), checkpoint_every=1, **arguments)
    cut = searched("darts", True, out=tmp_path / "cut", resume=True, checkpoint_every=1, **arguments)
    assert_close(whole, cut, tolerance=0)
