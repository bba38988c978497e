"""Comparisons with authors' code that have partial channels: PC-DARTS, GAEA-PC-DARTS and progressive DrNAS.

Part of `benchmarks/fidelity_reference.py`, which drives them and says where the checkouts come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmarks import fidelity_reference as reference
from sharewise.data import Batch
from sharewise.engine import SearchState

LAYERS, WIDTH = 3, 8
NETWORK = {"channels": WIDTH, "layers": LAYERS}
KINDS = ("normal", "reduce")
STUBS = ("torchvision", "torchvision.transforms", "torchvision.datasets")


def in_order(state: SearchState, network: nn.Module) -> dict[str, nn.Parameter]:
    """Their weights by the product's names: both networks hold them in the same order."""
    theirs = [value for name, value in network.named_parameters() if "arch_parameters" not in name]
    mine = list(state.supernet.named_parameters())
    assert [p.shape for _, p in mine] == [p.shape for p in theirs]
    return {name: value for (name, _), value in zip(mine, theirs, strict=True)}


@dataclass
class Laid:
    """Their architecture parameters in the rows of the product's θ: 28 edges, then the inputs of four nodes a kind.

    Args:
        operations: of normal and reduction cell, `(14, 8)` each.
        edges: likewise, `(14,)` each.
    """

    operations: Sequence[Tensor]
    edges: Sequence[Tensor]

    def read(self, values: Sequence[Tensor]) -> Tensor:
        """Values that have the shapes of operations and edges, as one matrix."""
        matrix = torch.zeros(36, 8)
        matrix[:14], matrix[14:28] = values[0], values[1]
        for kind in range(2):
            start = 0
            for node in range(4):
                matrix[28 + 4 * kind + node, : node + 2] = values[2 + kind][start : start + node + 2]
                start += node + 2
        return matrix

    def write(self, theta: Tensor) -> None:
        """θ into their parameters."""
        with torch.no_grad():
            for kind in range(2):
                self.operations[kind].copy_(theta[14 * kind : 14 * kind + 14])
                rows = [theta[28 + 4 * kind + node, : node + 2] for node in range(4)]
                self.edges[kind].copy_(torch.cat(rows))

    def detach(self) -> Tensor:
        """θ as they have it."""
        return self.read([value.detach() for value in (*self.operations, *self.edges)])

    def copy_(self, theta: Tensor) -> None:
        """As `write`: what the driver calls."""
        self.write(theta)


def compare_pc_darts(pcdarts: Path) -> reference.Row:
    def theirs(state: SearchState) -> reference.Theirs:
        module = import_module("model_search")
        network = module.Network(WIDTH, 10, LAYERS, nn.functional.cross_entropy)
        side, gradients = reference.Reference(state, network, pairs=in_order(state, network)), []
        settings = SimpleNamespace(momentum=0.9, weight_decay=3e-4, arch_learning_rate=6e-4, arch_weight_decay=1e-3)
        architect, parameters = import_module("architect").Architect(network, settings), network.arch_parameters()
        laid = Laid(parameters[:2], parameters[2:])
        architect.optimizer.register_step_pre_hook(
            lambda *_: gradients.append(laid.read([p.grad + 1e-3 * p.detach() for p in parameters]))
        )

        def step(train: Batch, valid: Batch) -> None:
            architect.step(*train, *valid, side.rate, side.optimizer, False)

        return reference.Theirs(side, laid, step, gradients)

    with reference.sources(pcdarts, stubs=STUBS):
        row = reference.Row("pc-darts on the cells of DARTS against PC-DARTS: its network and architect")
        return reference.follow(row, "pc-darts", theirs, space="darts", network=NETWORK, warm_up=0.0)


def compare_gaea_pc_darts(gaea: Path) -> reference.Row:
    def theirs(state: SearchState) -> reference.Theirs:
        module = import_module("search_spaces.pc_darts.model_search")
        network = module.PCDARTSNetwork(WIDTH, 10, 4, LAYERS, nn.functional.cross_entropy, "pcdarts")
        network._loss = lambda x, y: nn.functional.cross_entropy(network(x)[0], y)
        side = reference.Reference(state, network, pairs=in_order(state, network))
        search = {"learn_edges": True, "trace_norm": 8, "arch_learning_rate": 0.1, "edge_learning_rate": 0.1}
        search |= {"arch_grad_clip": None, "adapt_lr": False, "arch_weight_decay": 0.0, "gd": False}
        settings = SimpleNamespace(search=SimpleNamespace(**search))
        architect = import_module("architect.architect_edarts").ArchitectEDARTS(network, settings, reference.silent())
        parameters = [*(architect.alphas[kind] for kind in KINDS), *(architect.edges[kind] for kind in KINDS)]
        laid, seen, gradients = Laid(parameters[:2], parameters[2:]), {}, []
        for index, parameter in enumerate(parameters):
            parameter.register_hook(lambda gradient, index=index: seen.__setitem__(index, gradient.clone()))

        def step(train: Batch, valid: Batch) -> None:
            architect.step(*train, *valid, side.rate)
            gradients.append(laid.read([seen[index] for index in range(4)]))

        def before() -> None:
            architect.set_model_alphas()
            architect.set_model_edge_weights()

        return reference.Theirs(side, laid, step, gradients, before_weights=before)

    with reference.sources(gaea / "cnn", stubs=("tensorboard",)):
        row = reference.Row(
            "gaea-pc-darts on the cells of DARTS against gaea_release: its EDARTS architect and network"
        )
        return reference.follow(row, "gaea-pc-darts", theirs, space="darts", network=NETWORK)
