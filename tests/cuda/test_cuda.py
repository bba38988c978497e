"""What holds on a CPU holds on a CUDA device: the same numbers, the same resumes, and no waiting inside a step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import sharewise as sw
from sharewise.cli import main
from sharewise.engine import SearchState, Unrolled, architecture_step, weight_step
from sharewise.engine.capture import Captured
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import Place, Search, Setting, build_supernet
from sharewise.run.standalone import Standalone
from sharewise.space import sample
from sharewise.spaces import SEARCHABLE, load
from sharewise.supernet import Supernet, discrete, extract, to_device
from sharewise.testing import randomise_norms, small_arguments
from sharewise.testing.small import MACRO, small_supernet

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]


@pytest.fixture(autouse=True)
def exact_arithmetic() -> Iterator[None]:
    """No TF32, no kernels chosen by timing, no atomics: bits can be compared."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before


def state_of(method: str, device: str, precision: str, **options: Any) -> SearchState:
    data = sw.data.digits().limited(128, seed=0)
    network = {"channels": 4, "cells": 1}
    recipe = build(method, small_arguments(method))
    setting = Setting(network, place=Place(device, precision, **options))
    return Search(sw.spaces.nasbench201(), recipe, data, setting, gap_examples=0).prepare()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_three_steps_equal_those_on_the_cpu(method: str) -> None:
    states = [state_of(method, device, "float64") for device in ("cpu", "cuda")]
    for state in states:
        state.supernet.train()
        for _ in range(3):
            state.recipe.level.step(state, architecture=True)
    for name, weight in states[0].supernet.state_dict().items():
        torch.testing.assert_close(states[1].supernet.state_dict()[name].cpu(), weight, rtol=1e-7, atol=1e-9)
    for name, row in states[0].distribution.probabilities().items():
        torch.testing.assert_close(states[1].distribution.probabilities()[name], row, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_step_waits_for_the_device(method: str) -> None:
    state = state_of(method, "cuda", "float32")
    state.supernet.train()
    state.recipe.level.step(state, architecture=True)  # workspaces and caches
    torch.cuda.set_sync_debug_mode("error")
    try:
        weight_step(state)
        # A distribution that is sampled lives on the host, which its gradient or reward must reach.
        if state.recipe.level.learns and not state.distribution.sampled:
            if "architecture" in state.recipe.level.roles:
                architecture_step(state)
            state.recipe.level.step(state, architecture=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("method", ["gdas", "gaea-erm", "spos", "drnas", "enas"])
def test_an_interrupted_search_resumes_to_the_bit(method: str, tmp_path: Path) -> None:
    def run(out: Path, steps: int, **options: Any) -> dict[str, Any]:
        data = sw.data.digits().limited(128, seed=0)
        recipe = build(method, small_arguments(method))
        sw.search(
            sw.spaces.nasbench201(),
            recipe,
            data,
            network={"channels": 2, "cells": 1},
            device="cuda",
            callbacks=[Interrupt(steps)],
            out=out,
            checkpoint_every=3,
            **options,
        )
        state: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
        return state

    whole = run(tmp_path / "whole", 1000)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", 5)
    resumed = run(tmp_path / "cut", 1000, resume=True)
    for part in ("supernet", "distribution"):
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), f"{part} {name}"


class Interrupt:
    """Stops a run after some steps, as a user with Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, state: SearchState, event: object) -> None:
        if state.step >= self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", SEARCHABLE)
def test_an_extracted_network_computes_what_the_supernet_does(name: str) -> None:
    if name in MACRO:
        supernet, inputs = small_supernet(name)
        _require_equal(supernet.double().cuda(), (inputs.double() if inputs.is_floating_point() else inputs).cuda())
        return
    space = load(name)
    if ":" in name:
        pytest.skip("a part of another space")
    if name == "darts-rnn":
        pytest.skip("it reads text")
    shape = (1, 28, 28) if "tangle" in name else (3, 32, 32)
    supernet = build_supernet(space, shape, outputs=10).double().cuda()
    generator = torch.Generator().manual_seed(0)
    _require_equal(supernet, torch.randn(4, *shape, generator=generator, dtype=torch.float64).cuda())


def _require_equal(supernet: Supernet, inputs: torch.Tensor) -> None:
    randomise_norms(supernet, torch.Generator().manual_seed(0))
    supernet.eval()
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = sample(supernet.space, rng)
        gates = to_device(discrete(supernet.relaxation.encode(architecture)), inputs.device, torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(
                supernet(inputs, gates), extract(supernet, architecture)(inputs), rtol=1e-10, atol=1e-10
            )


class Branches(nn.Module):
    """Concatenated branches, so that slices are not leading, and a row of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(1, 8, 5, padding=2)
        self.norm, self.mix = nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 16)) for _ in range(2))
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mix(self.norm(torch.cat([self.a(x), self.b(x)], 1)).relu()).mean((2, 3))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def elastic_state(method: str, device: str, **options: Any) -> SearchState:
    torch.manual_seed(0)
    choices = {"a": sw.width([4, 8]), "b": sw.kernel([3, 5]), "blocks.*": sw.depth([1, 2])}
    space = sw.elastic(Branches(), choices, example=torch.randn(2, 1, 8, 8)).space
    data = sw.data.digits().limited(128, seed=0)
    recipe = build(method, small_arguments(method))
    return Search(space, recipe, data, Setting(place=Place(device, "float64", **options)), gap_examples=0).prepare()


@pytest.mark.parametrize("method", ["spos", "gaea-erm", "tanglenas-drnas"])
def test_a_model_of_ones_own_is_searched_as_on_the_cpu(method: str) -> None:
    states = [elastic_state(method, device) for device in ("cpu", "cuda")]
    for state in states:
        state.supernet.train()
        for _ in range(3):
            state.recipe.level.step(state, architecture=True)
    for name, weight in states[0].supernet.state_dict().items():
        torch.testing.assert_close(states[1].supernet.state_dict()[name].cpu(), weight, rtol=1e-7, atol=1e-9)
    supernet = states[1].supernet.eval()
    inputs = torch.randn(4, 1, 8, 8, dtype=torch.float64, device="cuda")
    for architecture in (sample(supernet.space, np.random.default_rng(seed)) for seed in range(4)):
        gates = to_device(discrete(supernet.relaxation.encode(architecture)), inputs.device, torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(
                supernet(inputs, gates), extract(supernet, architecture)(inputs), rtol=1e-10, atol=1e-10
            )


def test_no_forward_of_a_model_of_ones_own_waits_for_the_device() -> None:
    state = elastic_state("gaea-erm", "cuda")
    state.supernet.train()
    state.recipe.level.step(state, architecture=True)  # workspaces and caches
    torch.cuda.set_sync_debug_mode("error")
    try:
        state.recipe.level.step(state, architecture=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("method", ["darts", "spos", "gaea-erm"])
def test_the_command_line_searches_in_mixed_precision(method: str, tmp_path: Path) -> None:
    words = ["--data", "digits", "--channels", "4", "--cells", "1", "--train-examples", "256", "--epochs", "1"]
    out = str(tmp_path / "RUN")
    assert (
        main(["search", "--method", method, *words, "--device", "cuda", "--precision", "bfloat16", "--out", out]) == 0
    )
    assert main(["report", out]) == 0


@pytest.mark.parametrize("method", ["darts", "sdarts", "darts-second-order", "pc-darts", "fair-darts"])
def test_three_steps_on_the_cell_of_darts_equal_those_on_the_cpu(method: str) -> None:
    states = []
    for device in ("cpu", "cuda"):
        setting = Setting({"channels": 4, "layers": 3}, place=Place(device, "float64"))
        data, recipe = sw.data.digits().limited(128, seed=0), build(method, small_arguments(method))
        states.append(Search(load("darts"), recipe, data, setting, gap_examples=0).prepare())
        states[-1].supernet.train()
        for _ in range(3):
            states[-1].recipe.level.step(states[-1], architecture=True)
    for name, weight in states[0].supernet.state_dict().items():
        torch.testing.assert_close(states[1].supernet.state_dict()[name].cpu(), weight, rtol=1e-6, atol=1e-8)
    for name, row in states[0].distribution.probabilities().items():
        torch.testing.assert_close(states[1].distribution.probabilities()[name], row, rtol=1e-6, atol=1e-8)


class Recomputed(nn.Module):
    """Two blocks, of which the backward pass, in a thread of the device, computes again what it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)) for _ in range(2))
        self.again = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.again else block(x)
        return x


def test_what_a_thread_of_the_device_computes_again_sees_the_gates_of_its_forward_pass() -> None:
    torch.manual_seed(0)
    supernet = (
        sw.elastic(Recomputed(), {"blocks.*.0": sw.width([8, 16, 32])}, example=torch.zeros(2, 16)).double().cuda()
    )
    x, found = torch.randn(4, 16, dtype=torch.float64, device="cuda"), []
    for again in (False, True):
        supernet.model.again = again
        supernet.zero_grad()
        generator = torch.Generator().manual_seed(1)
        with supernet.sample(generator):
            loss = supernet(x).square().sum()
            with supernet.sample(generator):
                loss = loss + supernet(x).square().sum()
        loss.backward()
        found.append({name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-12, atol=1e-12)


CAPTURABLE = [name for name in sorted(METHODS) if not isinstance(build(name).level, Unrolled)]


@pytest.mark.parametrize("method", CAPTURABLE)
def test_captured_steps_have_the_bits_of_the_plain_ones(method: str) -> None:
    """Also in half precision, whose casts are part of a graph."""
    for precision in ("float64", "bfloat16"):
        plain, captured = (state_of(method, "cuda", precision, capture=flag) for flag in (False, True))
        if isinstance(captured.network, Captured) and not captured.distribution.constant:
            vars(captured)["network"] = Captured(captured.supernet, often=1)
        for _ in range(3):
            for state in (plain, captured):
                state.supernet.train()
                state.recipe.level.step(state, architecture=True)
        require_equal_states(plain, captured)
        assert isinstance(captured.network, Captured)
        assert captured.network.patterns


def require_equal_states(one: SearchState, other: SearchState) -> None:
    for name, weight in one.supernet.state_dict().items():
        assert torch.equal(other.supernet.state_dict()[name], weight), name
    for name, parameter in one.distribution.named_parameters():
        assert torch.equal(dict(other.distribution.named_parameters())[name], parameter), name


@pytest.mark.parametrize("method", ["darts", "gaea-erm", "sandwich"])
def test_captured_micro_batches_add_up(method: str) -> None:
    plain, captured = (state_of(method, "cuda", "float64", accumulate=2, capture=flag) for flag in (False, True))
    for _ in range(3):
        for state in (plain, captured):
            state.supernet.train()
            state.recipe.level.step(state, architecture=True)
    require_equal_states(plain, captured)


@pytest.mark.parametrize("name", sorted(MACRO))
def test_captured_steps_of_macro_spaces_have_the_bits_of_the_plain_ones(name: str) -> None:
    supernet, inputs = small_supernet(name)
    supernet = supernet.double().cuda()  # whose attention has the same bits in every run
    inputs, found = (inputs.double() if inputs.is_floating_point() else inputs).cuda(), []
    first = {key: value.clone() for key, value in supernet.state_dict().items()}
    for network in (supernet, Captured(supernet, often=1)):
        supernet.load_state_dict(first)
        torch.manual_seed(0)
        optimizer = torch.optim.SGD(supernet.parameters(), lr=0.01)
        for seed in (0, 1, 0):
            architecture = sample(supernet.space, np.random.default_rng(seed))
            gates = to_device(discrete(supernet.relaxation.encode(architecture)), inputs.device, torch.float64)
            optimizer.zero_grad()
            outputs = network(inputs, gates)
            (outputs[0] if isinstance(outputs, tuple) else outputs).square().mean().backward()
            optimizer.step()
        found.append({key: value.clone() for key, value in supernet.state_dict().items()})
    for key, value in found[0].items():
        assert torch.equal(found[1][key], value), key


@pytest.mark.parametrize("name", ["language-model", "hw-gpt-bench:S", "vision-transformer-tiny"])
def test_attention_with_any_number_of_heads_runs_in_any_precision(name: str) -> None:
    supernet, inputs = small_supernet(name)
    supernet, inputs = supernet.cuda(), inputs.cuda()
    for half in (False, True):
        for seed in range(12):
            architecture = sample(supernet.space, np.random.default_rng(seed))
            gates = to_device(discrete(supernet.relaxation.encode(architecture)), inputs.device, torch.float32)
            with torch.autocast("cuda", torch.bfloat16, enabled=half):
                outputs = supernet(inputs, gates)
            outputs.float().square().mean().backward()


@pytest.mark.parametrize("method", ["spos", "gaea-erm", "tanglenas-drnas"])
def test_captured_steps_of_a_model_of_ones_own_have_the_bits_of_the_plain_ones(method: str) -> None:
    plain, captured = (elastic_state(method, "cuda", capture=flag) for flag in (False, True))
    for _ in range(6):
        for state in (plain, captured):
            state.supernet.train()
            state.recipe.level.step(state, architecture=True)
    require_equal_states(plain, captured)


def test_a_captured_search_resumes_to_the_bit_and_goes_on_plain(tmp_path: Path) -> None:
    def run(out: Path, steps: int, **options: Any) -> dict[str, Any]:
        data, recipe = sw.data.digits().limited(128, seed=0), build("gaea-erm", small_arguments("gaea-erm"))
        network = {"channels": 2, "cells": 1}
        options = {"checkpoint_every": 3, "callbacks": [Interrupt(steps)], **options}
        sw.search(sw.spaces.nasbench201(), recipe, data, network=network, device="cuda", out=out, **options)
        state: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
        return state

    plain, whole = run(tmp_path / "plain", 1000), run(tmp_path / "whole", 1000, capture=True)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", 5, capture=True)
    resumed = run(tmp_path / "cut", 1000, resume=True)
    for part in ("supernet", "distribution"):
        for name, value in whole[part].items():
            assert torch.equal(value, resumed[part][name]), f"{part} {name}"
            assert torch.equal(value, plain[part][name]), f"{part} {name}"


def test_a_training_and_the_command_line_replay_graphs(tmp_path: Path) -> None:
    words = ["search", "--method", "darts", "--data", "digits", "--channels", "4", "--cells", "1", "--train-examples"]
    words += ["256", "--epochs", "1", "--device", "cuda", "--capture", "--out", str(tmp_path / "search")]
    assert main(words) == 0
    words = ["train", "--from-search", str(tmp_path / "search"), "--epochs", "2", "--device", "cuda"]
    for name, more in (("plain", []), ("captured", ["--capture"])):
        assert main([*words, *more, "--out", str(tmp_path / name)]) == 0
    states = [torch.load(tmp_path / n / "checkpoint.pt", weights_only=True)["state"] for n in ("plain", "captured")]
    for name, value in states[0]["supernet"].items():
        assert torch.equal(states[1]["supernet"][name], value), name


class Looking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.layer(x if float(x.sum()) > 0 else -x)


def test_recomputed_cells_cannot_be_captured_and_the_device_goes_on() -> None:
    network = {"channels": 4, "cells": 1, "recompute": True}
    setting, data = Setting(network, place=Place("cuda", capture=True)), sw.data.digits().limited(128, seed=0)
    state = Search(load("nasbench201"), build("darts", small_arguments("darts")), data, setting).prepare()
    with pytest.raises(ConfigurationError, match=r"\(recompute\), .*; leave capture out"):
        state.recipe.level.step(state, architecture=True)
    torch.ones(2, device="cuda").sum().item()


def test_a_network_that_waits_for_values_cannot_be_captured_and_the_device_goes_on() -> None:
    network = Standalone(Looking().cuda())
    with pytest.raises(ConfigurationError, match=r"cannot be captured as a CUDA graph: .*; leave capture out"):
        Captured(network, often=1)(torch.ones(2, 1, 8, 8, device="cuda"), {})
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    network(torch.ones(2, 1, 8, 8, device="cuda"), {}).sum().backward()
    torch.cuda.synchronize()
