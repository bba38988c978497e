"""A captured network makes the steps of the plain one, bit by bit; here with a stand-in for the graphs of a device."""

from __future__ import annotations

import copy
import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.cli import main
from sharewise.cli.running import _PLACE as _MAY_DIFFER
from sharewise.engine import SearchState, Unrolled, architecture_step, capture
from sharewise.engine import state as state_module
from sharewise.engine.capture import Captured, Passes, Recorded
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import Place, Search, Setting
from sharewise.run.configuration import SearchConfiguration, TrainConfiguration
from sharewise.run.finished import InFolder
from sharewise.run.identity import difference
from sharewise.run.place import WHERE
from sharewise.run.standalone import Standalone
from sharewise.space import sample
from sharewise.studies.judge import _Trained
from sharewise.studies.siblings import by_seed
from sharewise.supernet import discrete, frozen_statistics
from sharewise.testing import small_arguments
from sharewise.testing.small import MACRO, small_supernet

DATA = sw.data.digits().limited(96, seed=0)


def rerun(passes: Passes) -> Recorded:
    """Executes the passes again, and leaves what they give where the first ones left it, as a graph does.

    As there, a forward pass overwrites what a backward pass has left in memory of its own.
    """
    kept = passes.forward()
    places = [output.detach().clone().requires_grad_(output.requires_grad) for output in kept]
    gradients, again = passes.backward(kept), passes.backward(passes.forward())
    passing = [one for one, other in zip(gradients, again, strict=True) if one is not None and one is not other]
    alive: list[list[Tensor]] = []

    def forward() -> None:
        for gradient in passing:
            gradient.fill_(float("nan"))
        with torch.enable_grad():
            alive[:] = [passes.forward()]
        with torch.no_grad():
            for place, output in zip(places, alive[0], strict=True):
                place.copy_(output)

    def backward() -> None:
        for place, gradient in zip(gradients, passes.backward(alive.pop()), strict=True):
            if place is not None and gradient is not None and place is not gradient:
                place.copy_(gradient)

    return Recorded(places, gradients, forward, backward)


def prepared(method: str, space: Any = "nasbench201", **options: Any) -> SearchState:
    network = {"channels": 4, "cells": 1} if space == "nasbench201" else {}
    network |= options.pop("network", {})
    recipe = build(method, {**small_arguments(method), **options.pop("recipe", {})})
    setting = Setting(network, place=Place("cpu", "float64", **options))
    state = Search(sw.spaces.load(space), recipe, DATA, setting, gap_examples=0).prepare()
    state.supernet.train()
    return state


def captured(state: SearchState, often: int = 1) -> Captured:
    """Let the steps of a state replay."""
    network = Captured(state.supernet, often=often, record=rerun)
    vars(state)["network"] = network
    return network


def require_equal(one: SearchState, other: SearchState) -> None:
    for name, value in one.supernet.state_dict().items():
        assert torch.equal(other.supernet.state_dict()[name], value), name
    for name, parameter in one.distribution.named_parameters():
        assert torch.equal(dict(other.distribution.named_parameters())[name], parameter), name


CAPTURABLE = [name for name in sorted(METHODS) if not isinstance(build(name).level, Unrolled)]


@pytest.mark.sweep(5)
@pytest.mark.parametrize("method", CAPTURABLE)
def test_steps_have_the_bits_of_the_plain_ones(method: str) -> None:
    plain, replayed = prepared(method), prepared(method)
    network = captured(replayed)
    for _ in range(3):
        for state in (plain, replayed):
            state.recipe.level.step(state, architecture=True)
    require_equal(plain, replayed)
    assert network.patterns, "nothing was captured"


@pytest.mark.parametrize("method", ["darts", "gaea-erm", "sandwich"])
def test_gradients_of_micro_batches_add_up(method: str) -> None:
    """The second backward pass must not overwrite what the first one has left in the weights."""
    plain, replayed = (prepared(method, accumulate=2) for _ in range(2))
    captured(replayed)
    for _ in range(2):
        for state in (plain, replayed):
            state.recipe.level.step(state, architecture=True)
    require_equal(plain, replayed)


@pytest.mark.sweep(4)
@pytest.mark.parametrize("name", sorted(MACRO))
def test_passes_of_macro_spaces_have_the_bits_of_the_plain_ones(name: str) -> None:
    """While a graph of an earlier pass is still held by somebody."""
    supernet, inputs = small_supernet(name)
    first, found = copy.deepcopy(supernet.state_dict()), []
    for network in (supernet, Captured(supernet, often=1, record=rerun)):
        supernet.load_state_dict(first)
        torch.manual_seed(0)
        optimizer = torch.optim.SGD(supernet.parameters(), lr=0.01)
        for seed in (0, 1, 0):
            gates = discrete(supernet.relaxation.encode(sample(supernet.space, np.random.default_rng(seed))))
            optimizer.zero_grad()
            outputs = network(inputs, gates)
            (outputs[0] if isinstance(outputs, tuple) else outputs).square().mean().backward()
            optimizer.step()
        found.append(copy.deepcopy(supernet.state_dict()))
    for key, value in found[0].items():
        assert torch.equal(found[1][key], value), key


def test_a_search_has_two_patterns_and_an_entangled_one_too() -> None:
    for method, space in (("darts", "nasbench201"), ("tanglenas-drnas", "toy-tied-width")):
        state = prepared(method, space)
        network = captured(state)
        for _ in range(3):
            state.recipe.level.step(state, architecture=True)
        assert network.patterns == 2, "weights, and gates alone"


def test_a_drawn_pattern_is_captured_when_it_comes_again_and_few_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MOST", 2)
    state = prepared("spos")
    network = captured(state, often=3)
    space = state.supernet.space
    found = [discrete(state.supernet.relaxation.encode(sample(space, np.random.default_rng(i)))) for i in range(3)]
    inputs = state.next_batch("weights").inputs
    for gates, count in zip([found[0]] * 3 + [found[1]] * 3, [0, 0, 1, 1, 1, 2], strict=True):
        network(inputs, gates).sum().backward()
        assert network.patterns == count
    for _ in range(6):
        network(inputs, found[2]).sum().backward()
    assert network.patterns == 2, "one gave way to what came twice as often"
    for gates in found:
        state.supernet.zero_grad()
        with frozen_statistics(state.supernet):
            torch.testing.assert_close(network(inputs, gates), state.supernet(inputs, gates), rtol=0, atol=0)


def linear(record: Any = rerun) -> tuple[Captured, nn.Linear]:
    layer = nn.Linear(2, 2).double()
    supernet = Standalone(layer)
    return Captured(supernet, often=1, record=record), layer


def test_a_pass_whose_backward_pass_has_not_come_is_left_alone() -> None:
    network, layer = linear()
    x, y = torch.randn(2, 3, 2, dtype=torch.float64)
    (network(x, {}) * network(y, {})).sum().backward()
    found = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    (layer(x) * layer(y)).sum().backward()
    for one, parameter in zip(found, layer.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)


def test_a_pass_that_was_dropped_stands_in_nobody_s_way() -> None:
    network, _ = linear()
    x = torch.randn(3, 2, dtype=torch.float64)
    dropped = network(x, {})
    assert network._busy
    del dropped
    gc.collect()
    assert not network._busy
    network(x, {}).sum().backward()
    assert not network._busy


def test_what_a_step_keeps_is_not_overwritten_by_the_next() -> None:
    network, _ = linear()
    x = torch.randn(3, 2, dtype=torch.float64)
    first = network(x, {})
    before = first.detach().clone()
    first.sum().backward()
    network(2 * x, {}).sum().backward()
    assert torch.equal(first, before)


def test_a_captured_pass_is_differentiated_once() -> None:
    network, layer = linear()
    loss = network(torch.ones(1, 2, dtype=torch.float64), {}).square().sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        loss.backward()
    assert layer.weight.grad is not None


def test_without_gradients_nothing_is_captured() -> None:
    network, layer = linear()
    x = torch.randn(3, 2, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(network(x, {}), layer(x))
    assert network.patterns == 0


def test_random_numbers_and_statistics_go_on_as_if_nothing_had_been_captured() -> None:
    plain, replayed = (nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).double() for _ in range(2))
    network = Captured(Standalone(replayed), often=1, record=warmed)
    x, found = torch.randn(8, 4, dtype=torch.float64), []
    for run in (plain, lambda inputs: network(inputs, {})):
        torch.manual_seed(0)
        found.append([run(x).detach() for _ in range(3)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, replayed.state_dict()[name]), name


def warmed(passes: Passes) -> Recorded:
    """As on a device, after passes that leave traces."""
    passes.backward(passes.forward())
    return rerun(passes)


def test_more_than_tensors_is_refused_in_one_line_and_nothing_is_a_tensor_too() -> None:
    texts = Standalone(Words("words"))
    with pytest.raises(ConfigurationError, match=r"more than tensors, such as a str, .*; leave capture out"):
        Captured(texts, often=1, record=rerun)(torch.ones(1, 2), {})
    nothing = Standalone(Words(None))
    first, second = Captured(nothing, often=1, record=rerun)(torch.ones(1, 2), {})
    assert second is None
    first.sum().backward()


class Words(nn.Module):
    def __init__(self, words: str | None) -> None:
        super().__init__()
        self.layer, self.words = nn.Linear(2, 2), words

    def forward(self, x: Tensor) -> Any:
        return self.layer(x), self.words


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = (nn.Linear(2, 2).double() for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.other(x)


def test_weights_that_a_loss_leaves_out_have_no_gradient_as_ever() -> None:
    """A gradient of zeros would let weight decay and momentum move them."""
    heads = TwoHeads()
    network = Captured(Standalone(heads), often=1, record=rerun)
    x = torch.ones(1, 2, dtype=torch.float64)
    network(x, {})[0].sum().backward()
    assert heads.one.weight.grad is not None
    assert heads.other.weight.grad is None
    network(x, {})[1].sum().backward()
    assert heads.other.weight.grad is not None


class Assigning(nn.Module):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        y: Tensor = self.layer(x - self.mean)
        return y


def test_a_network_that_replaces_its_buffers_is_refused_and_left_as_it_was() -> None:
    supernet = Standalone(Assigning())
    before = dict(supernet.named_buffers())
    with pytest.raises(ConfigurationError, match=r"assigns its buffer 'network.mean'.*\(copy_\), or leave capture out"):
        Captured(supernet, often=1, record=rerun)(torch.ones(3, 2), {})
    for name, buffer in supernet.named_buffers():
        assert buffer is before[name]
        assert not buffer.any()


def captures(patterns: int, steps: int, seed: int = 0) -> int:
    """How often patterns are captured that are all drawn alike often."""
    network, count = linear()[0], 0
    for key in np.random.default_rng(seed).integers(patterns, size=steps).tolist():
        if network._held(key) and key not in network._programs:
            count += 1
            network._programs[key] = None  # type: ignore[assignment]
        assert network.patterns <= capture.MOST
    return count


@pytest.mark.parametrize("patterns", [17, 32, 64, 625, 15625])
def test_patterns_that_come_alike_often_do_not_drive_each_other_out(patterns: int) -> None:
    """A capture takes about five steps."""
    network = captures(patterns, 60000)
    assert network <= 4 * capture.MOST


def test_what_comes_often_later_takes_the_place_of_what_came_often_before() -> None:
    network, _ = linear()
    for key in [k for k in range(capture.MOST) for _ in range(5)]:
        if network._held(key):
            network._programs.setdefault(key, None)  # type: ignore[arg-type]
    assert [network._held("late") for _ in range(10)] == [False] * 9 + [True]


@pytest.fixture
def stood_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole runs replay on a CPU."""
    monkeypatch.setattr(capture, "cuda_graphs", lambda device: rerun)
    monkeypatch.setattr(state_module, "require_capturable", lambda state: None)


@pytest.mark.usefixtures("stood_in")
@pytest.mark.parametrize("method", ["drnas", "sandwich", "pc-darts"])
def test_whole_searches_find_the_same(method: str, tmp_path: Path) -> None:
    """With prunings and widenings between stages, evaluations and selections."""
    arguments = small_arguments(method) | ({"parts": (4, 2), "keep": (3,)} if method == "drnas" else {})
    found = [
        sw.search("nasbench201", build(method, arguments), DATA, network={"channels": 4, "cells": 1}, device="cpu",
                  precision="float64", capture=flag, out=tmp_path / str(flag))
        for flag in (False, True)
    ]  # fmt: skip
    require_equal(found[0].state, found[1].state)
    assert found[0].architecture == found[1].architecture
    assert isinstance(found[1].state.network, Captured)


@pytest.mark.usefixtures("stood_in")
def test_who_looks_at_a_captured_run_needs_no_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "RUN"
    words = ["--method", "darts", "--channels", "4", "--cells", "1", "--train-examples", "64", "--epochs", "1"]
    assert main(["search", *words, "--device", "cpu", "--capture", "--out", str(out)]) == 0
    monkeypatch.undo()
    assert main(["export", str(out), "--out", str(tmp_path / "EXPORT")]) == 0
    assert main(["evaluate", str(out), "--device", "cpu"]) == 0
    words = ["train", "--from-search", str(out), "--start", "inherited", "--max-steps", "1", "--device", "cpu"]
    assert main([*words, "--teacher", str(out), "--out", str(tmp_path / "TRAINED")]) == 0


def test_a_study_s_trainings_keep_the_names_that_they_had_before_there_were_programs() -> None:
    judge = object.__new__(_Trained)
    object.__setattr__(judge, "folder", Path())
    before = TrainConfiguration(space="toy-tied-width", architecture="8-relu", recipe={"epochs": 1})
    assert judge._home(before).name == "c2286bc2b09331b3"
    assert judge._home(dataclasses.replace(before, capture=True)) != judge._home(before)
    plain = SearchConfiguration(space="toy-tied-width", method="darts")
    assert tuple(name for name in WHERE if name != "shard") == _MAY_DIFFER
    found = difference({**plain.complete(), "capture": True}, plain.complete(), edited=False)
    assert found is None, "a captured run may go on plain"


@pytest.mark.usefixtures("stood_in")
def test_a_captured_run_has_siblings_that_are_not(tmp_path: Path) -> None:
    words = ["search", "--space", "toy-tied-width", "--method", "darts", "--train-examples", "64", "--max-steps", "2"]
    for seed, more in (("0", []), ("1", ["--capture"])):
        run = [*words, "--seed", seed, *more, "--device", "cpu", "--out", str(tmp_path / seed)]
        assert main(run) == 0
    assert list(by_seed([InFolder(tmp_path / seed) for seed in "01"])) == ["0", "1"]


@pytest.mark.parametrize("method", ["darts-second-order", "r-darts"])
def test_second_order_is_refused(method: str) -> None:
    with pytest.raises(ConfigurationError, match=r"differentiates twice.*leave capture out, or use level Alternating"):
        prepared(method, capture=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_a_processor_has_no_graphs_to_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "capture replays steps as CUDA graphs, and this run computes on cpu; leave capture out"
    with pytest.raises(ConfigurationError, match=words):
        sw.search("toy-tied-width", "darts", DATA, max_steps=1, capture=True)
    space = sw.spaces.toy_tied_width()
    with pytest.raises(ConfigurationError, match=words):
        sw.train(space, {"width": 8, "activation": "relu"}, DATA, max_steps=1, capture=True)
    command = ["search", "--space", "toy-tied-width", "--method", "darts", "--max-steps", "1"]
    assert main([*command, "--capture", "--out", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--capture", "--dry-run"]) == 2
    assert "captured steps are not foreseen" in capsys.readouterr().err


def test_dropped_paths_are_refused() -> None:
    architecture = "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"
    training = {"batch_size": 16, "drop_path": 0.1}
    with pytest.raises(ConfigurationError, match=r"drop_path.*leave capture out"):
        sw.train("nasbench201", architecture, DATA, training=training, max_steps=1, device="cpu", capture=True)


def test_cells_that_are_recomputed_are_refused() -> None:
    state = prepared("darts", network={"recompute": True})
    captured(state)
    with pytest.raises(
        ConfigurationError, match=r"computed a second time \(recompute\), .*; leave capture out, or that"
    ):
        state.recipe.level.step(state, architecture=True)


def test_gradients_of_gates_alone_leave_weights_alone() -> None:
    """For gates alone no gradient of a weight is computed."""
    state = prepared("darts")
    seen: list[int] = []

    def counting(passes: Passes) -> Recorded:
        recorded = rerun(passes)
        seen.append(len(recorded.gradients))
        return recorded

    vars(state)["network"] = Captured(state.supernet, often=1, record=counting)
    architecture_step(state)
    assert seen == [len(state.supernet.relaxation.decisions)]
