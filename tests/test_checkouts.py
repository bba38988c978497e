"""Real peers of the table of speed: found by name in a folder, and imported without a trace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
try:
    from benchmarks.checkouts import PEERS, checkouts, real
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


def test_without_the_variable_there_are_none_and_an_empty_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PEERS, raising=False)
    assert checkouts() == {}
    monkeypatch.setenv(PEERS, str(tmp_path))
    with pytest.raises(SystemExit, match="holds no checkout of AutoDL-Projects, darts, PC-DARTS"):
        checkouts()
