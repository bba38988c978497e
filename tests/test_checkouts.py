"""Real peers of the table of speed: found by name in a folder, and imported without a trace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
try:
    from benchmarks.checkouts import PEERS, checkouts, layers, real
finally:
    sys.path.pop(0)

NETWORK = """
import torch
from operations import FACTOR

class Network(torch.nn.Module):
    def __init__(self, channels, outputs, layers, criterion):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((channels, outputs), FACTOR))
        self.alphas = torch.zeros(layers).cuda().requires_grad_()

    def arch_parameters(self):
        return [self.alphas]

    def forward(self, x):
        return x @ self.weight * self.alphas.exp().sum()
"""


def test_checkouts_whose_modules_have_the_same_names_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, factor in (("darts/cnn", 1.0), ("PC-DARTS", 2.0)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model_search.py").write_text(NETWORK)
        (tmp_path / folder / "operations.py").write_text(f"FACTOR = {factor}")
    monkeypatch.setenv(PEERS, str(tmp_path))
    assert list(checkouts()) == ["darts", "PC-DARTS"]
    path, cuda = list(sys.path), torch.Tensor.cuda
    for name, factor in (("darts", 1.0), ("PC-DARTS", 2.0)):
        peer = real(name, 3, 2)[name]
        x, targets = torch.ones(4, 3), torch.arange(4)
        assert torch.allclose(peer.network(x, *peer.theta), torch.full((4, 10), 3 * factor * 2))
        peer.weight_step(x, targets)
        assert peer.theta[0].grad is not None  # which hangs in the graph, as in its script
    assert real("AutoDL-Projects", 3, 2) == {}
    assert (sys.path, torch.Tensor.cuda) == (path, cuda)
    assert not {"model_search", "operations"} & set(sys.modules)


CONFOPT = """
import torch
import wandb
from thop import profile

class Network(torch.nn.Module):
    def __init__(self, channels, outputs, layers, criterion):
        super().__init__()
        self.stem = torch.nn.Linear(channels, outputs)
        self.aux_skip = torch.nn.Linear(1, 1)
        self.alphas_normal = torch.nn.Parameter(torch.zeros(layers))
        self.alphas_reduce = torch.nn.Parameter(torch.zeros(layers))
        self.betas_normal = torch.nn.Parameter(torch.zeros(layers))
        self.arch = [self.alphas_normal, self.alphas_reduce]

    def arch_parameters(self):
        return self.arch

    def forward(self, x):
        assert profile(self) == (0, 0)
        return x, self.stem(x) * self.alphas_normal.exp().sum()
"""


def written(folder: Path, files: dict[str, str]) -> None:
    """A package: every folder on the way to a file is one."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for inner in folder.rglob("*"):
        if inner.is_dir() and not (inner / "__init__.py").exists():
            (inner / "__init__.py").touch()


def test_parameters_of_confopt_that_no_step_reaches_are_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "searchspace/__init__.py": "import what_is_not_installed",
        "searchspace/darts/core/model_search.py": CONFOPT,
    }
    written(tmp_path / "ConfigurableOptimizer/src/confopt", files)
    (tmp_path / "ConfigurableOptimizer/src/confopt/__init__.py").touch()
    monkeypatch.setenv(PEERS, str(tmp_path))
    peer = real("ConfigurableOptimizer", 3, 2)["ConfigurableOptimizer"]
    assert [tuple(p.shape) for p in peer.shared] == [(10, 3), (10,)]
    peer.weight_step(torch.ones(4, 3), torch.arange(4))
    assert [theta.grad is None for theta in peer.theta] == [False, True]
    assert not any(theta is p for theta in peer.theta for p in peer.network.parameters())
    assert not [name for name in sys.modules if name.startswith(("confopt", "thop", "wandb"))]


def test_layers_are_imported_without_what_their_packages_drag_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "utils/__init__.py": "from .my_dataloader import *\nFACTOR = 3",
        "utils/my_dataloader/__init__.py": "import what_is_not_installed",
        "imagenet_classification/elastic_nn/modules/dynamic_layers.py": (
            "from ofa.utils import FACTOR\nclass DynamicMBConvLayer: factor = FACTOR"
        ),
    }
    written(tmp_path / "once-for-all/ofa", files)
    (tmp_path / "once-for-all/ofa/__init__.py").touch()
    monkeypatch.setenv(PEERS, str(tmp_path))
    found = layers("once-for-all")
    assert found is not None
    assert found.DynamicMBConvLayer.factor == 3
    assert not [name for name in sys.modules if name.startswith("ofa")]
    assert not capsys.readouterr().out


def test_layers_that_are_not_there_are_skipped_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(PEERS, raising=False)
    assert layers("nni") is None
    assert not capsys.readouterr().out
    monkeypatch.setenv(PEERS, str(tmp_path))
    (tmp_path / "darts").mkdir()
    assert layers("nni") is None
    assert capsys.readouterr().out == f"  nni: skipped, PEERS={tmp_path} holds no checkout of that name\n"
    written(tmp_path / "nni", {"nni/mutable.py": "Categorical = list"})
    assert layers("nni") is None
    said = capsys.readouterr().out
    assert said.startswith(f"  nni: skipped, {tmp_path / 'nni'} does not hold its layers as expected: ")
    assert "frozen_context" in said
    assert not [name for name in sys.modules if name.startswith(("nni", "json_tricks"))]


def test_a_folder_without_a_search_network_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "darts").mkdir()
    monkeypatch.setenv(PEERS, str(tmp_path))
    with pytest.raises(SystemExit, match=r"darts does not hold its search network as expected: .*model_search"):
        real("darts", 3, 2)


def test_without_the_variable_there_are_none_and_an_empty_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PEERS, raising=False)
    assert checkouts() == {}
    monkeypatch.setenv(PEERS, str(tmp_path))
    with pytest.raises(SystemExit, match="holds no checkout of AutoDL-Projects, darts, PC-DARTS"):
        checkouts()
