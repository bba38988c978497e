"""Programs of torch.export and ONNX: they compute what the network computes, or nothing is written."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import ConfigurationError, SharewiseError
from sharewise.space import sample
from sharewise.supernet import export, extract
from sharewise.testing.small import MACRO, small_supernet


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.cat([self.a(x), self.b(x)], 1)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    supernet = sw.elastic(Net(), {"a": sw.width([2, 4])}, example=torch.randn(2, 1, 8, 8))
    return extract(supernet, supernet.smallest).eval()


def test_a_program_of_torch_export_equals_the_network(network: nn.Module, tmp_path: Path) -> None:
    export(network, tmp_path, format="torch-export", example=torch.randn(2, 1, 8, 8), description={"who": "me"})
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["batch"] == "any"
    assert manifest["who"] == "me"
    network = copy.deepcopy(network).train().to(memory_format=torch.channels_last)  # as searches leave them
    export(network, tmp_path, format="torch-export", example=torch.randn(2, 1, 8, 8), description={"who": "me"})
    assert network.training
    network.eval()
    program = torch.export.load(tmp_path / "model.pt2").module()
    for n in (1, 5):
        x = torch.randn(n, 1, 8, 8)
        torch.testing.assert_close(program(x), network(x))


def test_weights_that_are_shared_stand_under_both_names(tmp_path: Path) -> None:
    """The decoder of a recurrent cell is its embedding."""
    supernet = sw.build_supernet("darts-rnn", (4,), 11, network={"width": 3})
    cell, tokens = extract(supernet, "DARTS_V2").eval(), torch.randint(11, (3, 4))
    export(cell, tmp_path, format="source")
    state = load_file(tmp_path / "weights.safetensors")
    assert torch.equal(state["frame.decoder.weight"], state["frame.embedding.weight"])
    again = type(cell)(**cell.configuration).eval()
    again.load_state_dict(state)
    assert torch.equal(again(tokens), cell(tokens))


def test_an_onnx_file_equals_the_network(network: nn.Module, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the optional packages of ONNX are not installed")
    pytest.importorskip("onnxscript", reason="the optional packages of ONNX are not installed")
    export(network, tmp_path, format="onnx", example=torch.randn(2, 1, 8, 8))
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(3, 1, 8, 8)
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), network(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.sweep(9)
@pytest.mark.parametrize("form", ["torch-export", "onnx"])
@pytest.mark.parametrize("name", sorted(MACRO))
def test_networks_of_every_macro_space_are_exported(name: str, form: str, tmp_path: Path) -> None:
    supernet, inputs = small_supernet(name)
    network = extract(supernet, sample(supernet.space, np.random.default_rng(1))).eval()
    expected = network(inputs)
    if form == "torch-export":
        export(network, tmp_path, format="torch-export", example=inputs)
        output = torch.export.load(tmp_path / "model.pt2").module()(inputs)
    else:
        runtime = pytest.importorskip("onnxruntime", reason="the optional packages of ONNX are not installed")
        pytest.importorskip("onnxscript", reason="the optional packages of ONNX are not installed")
        export(network, tmp_path, format="onnx", example=inputs)
        session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
        output = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0])
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


def test_a_missing_package_is_named(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigurationError, match="pip install onnx onnxruntime onnxscript"):
        export(network, tmp_path / "new", format="onnx", example=torch.randn(2, 1, 8, 8))
    assert not list(tmp_path.iterdir())


def test_a_program_that_computes_something_else_is_not_written(tmp_path: Path) -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + (1.0 if torch.compiler.is_exporting() else 0.0)

    with pytest.raises(SharewiseError, match="differs from the network"):
        export(Moody(), tmp_path, format="torch-export", example=torch.randn(2, 2))
    assert not list(tmp_path.iterdir())


def test_a_batch_size_in_the_code_is_said(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.view(2, 2))

    export(Two(), tmp_path, format="torch-export", example=torch.randn(2, 2))
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["batch"] == 2


def test_clashes_are_refused(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown format 'onx'; did you mean 'onnx'"):
        export(network, tmp_path, format="onx")
    with pytest.raises(ConfigurationError, match="at least two examples"):
        export(network, tmp_path, format="torch-export")
    with pytest.raises(ConfigurationError, match=r"call network\.float"):
        export(nn.Linear(2, 2).bfloat16(), tmp_path, format="torch-export", example=torch.randn(2, 2))


def test_a_run_is_exported_as_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, folder = str(tmp_path / "run"), tmp_path / "program"
    words = ["--space", "toy-tied-width", "--method", "gaea-erm", "--data", "digits", "--max-steps", "2"]
    assert main(["search", *words, "--out", run]) == 0
    assert main(["export", run, "--format", "torch-export", "--out", str(folder)]) == 0
    assert "outputs equal those of the network up to" in capsys.readouterr().out
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == "torch-export"
    assert manifest["space"] == "toy-tied-width"
    assert torch.export.load(folder / "model.pt2").module()(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert main(["export", run, "--format", "source", "--out", str(tmp_path / "source"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "source"


class Masked(nn.Module):
    """Leaves minus infinity where a mask is."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.linear(inputs)
        return outputs.masked_fill(torch.arange(8) > 4, float("-inf"))


@pytest.mark.parametrize("format_", ["torch-export", "onnx"])
def test_outputs_that_a_mask_made_infinite_are_compared(format_: str, tmp_path: Path) -> None:
    if format_ == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    export(Masked(), tmp_path, format=format_, example=torch.randn(3, 8))
    assert json.loads((tmp_path / "manifest.json").read_text())["difference"] < 1e-5


class Undecided(nn.Module):
    """Chooses by the sum of its inputs, which torch cannot export."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if float(inputs.sum()) > 0 else -inputs


def test_a_refusal_is_one_line_without_the_log_of_torch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"Undecided cannot be exported: torch.export says: [^\n]*$"):
        export(Undecided(), tmp_path, format="torch-export", example=torch.randn(3, 8))
    assert capfd.readouterr() == ("", "")
