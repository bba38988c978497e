"""Memory is foreseen from shapes, and a search says what it needs before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sharewise.cli import main
from sharewise.cost import training_memory

NETWORKS = {
    "convolutions": (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5)),
        (3, 8, 8),
    ),
    "transformer": (nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), (6, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_foreseen_activations_are_those_that_autograd_keeps(name: str) -> None:
    network, shape = NETWORKS[name]
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(torch.zeros(4, *shape))
    foreseen = training_memory(network, shape, 4, optimizer_states=2)
    spare = 1.0 if name == "convolutions" else 1.3  # a fused attention keeps no matrix of weights
    assert sum(kept.values()) <= foreseen.activations <= spare * sum(kept.values())
    numbers = sum(p.numel() for p in network.parameters())
    assert (foreseen.gradients, foreseen.optimizer) == (4 * numbers, 8 * numbers)
    assert foreseen.total > foreseen.activations + 16 * numbers - 1
    assert training_memory(network, shape, 8).activations == pytest.approx(2 * foreseen.activations, rel=0.05)


def test_a_dry_run_says_what_a_search_needs_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "search --method spos --space toy-tied-width --epochs 3 --train-examples 64 --batch-size 16 --device cpu"
    arguments = [*words.split(), "--candidates", "7", "--threads", "1"]
    assert main([*arguments, "--dry-run", "--json", "--out", "run"]) == 0
    foreseen = json.loads(capsys.readouterr().out)
    assert not list(tmp_path.iterdir())
    assert main([*arguments, "--out", "run", "--json"]) == 0
    ledger = json.loads(capsys.readouterr().out)["ledger"]
    assert foreseen["steps"] == ledger["weights"]["steps"]
    charged = sum(part["multiply_accumulates"] for part in ledger.values())
    assert sum(foreseen["multiply_accumulates"].values()) == pytest.approx(charged, rel=0.4)
    assert foreseen["passes"]["training"] == foreseen["steps"]
    assert set(foreseen["seconds"]) == {"training", "measurement", "selection"}
    assert foreseen["peak_bytes"] > 2**20
    assert main([*arguments, "--dry-run"]) == 0
    assert "peak memory" in capsys.readouterr().out


@pytest.mark.parametrize("method", [pytest.param("enas", marks=pytest.mark.slow), "darts"])
def test_passes_are_foreseen_also_where_an_epoch_ends_in_more(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"search --method {method} --space toy-two-inputs --epochs 3 --train-examples 96 --batch-size 16"
    arguments = [*words.split(), "--device", "cpu", "--threads", "1", "--json"]
    assert main([*arguments, "--dry-run"]) == 0
    foreseen = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    ledger = json.loads(capsys.readouterr().out)["ledger"]
    spent = sum(ledger[part]["multiply_accumulates"] for part in ("weights", "architecture"))
    assert foreseen["multiply_accumulates"]["training"] == pytest.approx(spent, rel=0.15)
