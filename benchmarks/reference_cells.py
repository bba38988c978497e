"""Comparisons with authors' code that have partial channels: PC-DARTS, GAEA-PC-DARTS and progressive DrNAS.

Part of `benchmarks/fidelity_reference.py`, which drives them and says where the checkouts come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from benchmarks import fidelity_reference as reference
from sharewise.data import Batch
from sharewise.engine import SearchState
from sharewise.engine.surgery import operate

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

        def before(batch: Batch) -> None:
            architect.set_model_alphas()
            architect.set_model_edge_weights()

        return reference.Theirs(side, laid, step, gradients, before_weights=before)

    with reference.sources(gaea / "cnn", stubs=("tensorboard",)):
        row = reference.Row(
            "gaea-pc-darts on the cells of DARTS against gaea_release: its EDARTS architect and network"
        )
        return reference.follow(row, "gaea-pc-darts", theirs, space="darts", network=NETWORK)


def remaining(reference_alpha: Tensor, method: str, mask: Tensor | None, tau: float | None = None) -> Tensor:
    """Their samples, after pruning from the Dirichlet of the options that remain, as the product draws them."""
    if mask is None:
        samples = [torch.distributions.Dirichlet(nn.functional.elu(row) + 1).rsample() for row in reference_alpha]
        return torch.stack(samples)
    columns = mask.nonzero()[:, 1].view(len(mask), -1)
    kept = nn.functional.elu(reference_alpha.gather(1, columns)) + 1
    return torch.zeros_like(reference_alpha).scatter(1, columns, torch.distributions.Dirichlet(kept).rsample())


@contextmanager
def copying(rows: Iterator[Tensor]) -> Iterator[None]:
    """Within the block their random channels are those that the product has drawn."""
    real = torch.randint
    torch.randint = lambda *arguments, **settings: next(rows)  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.randint = real


def channels_drawn(side: reference.Reference, seed: int, before: int, after: int) -> Iterator[Tensor]:
    """The new channels of every convolution, inputs first as they ask for them; the product draws outputs first."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in side.pairs.items():
        if ".operations." in name:
            more = len(value) * before // after - len(value)
            rows, columns = (torch.randint(len(value), (more,), generator=generator) for _ in range(2))
            yield columns
            yield rows


def widened(side: reference.Reference, seed: int) -> None:
    """Their pruning, widening and optimiser, from K = 4 to K = 2."""
    network, old = side.network, side.optimizer
    drawn = list(channels_drawn(side, seed, 4, 2))
    network.pruning(3)
    with copying(iter(drawn)):
        network.wider(2)
    own = dict(network.named_parameters())
    side.pairs = {name: own[reference.position(name, reference.OPTIONS)] for name in side.pairs}
    settings = {"momentum": 0.9, "weight_decay": 3e-4}
    fresh = torch.optim.SGD([*side.pairs.values(), *side.rest], old.param_groups[0]["lr"], **settings)
    # Their code finds old state by the id of a parameter, which an old torch took for its key.
    by_id = {"state": {id(parameter): state for parameter, state in old.state.items()}}
    known = SimpleNamespace(state=old.state, state_dict=lambda: by_id)
    side.optimizer = import_module("net2wider").configure_optimizer(known, fresh)


def compare_progressive(drnas: Path) -> reference.Row:
    """Three whole steps at K = 4 with five operations, then three at K = 2 with three."""
    row = reference.Row("drnas, progressive, against DrNAS: its architect, pruning, widening and partial channels")
    stages = {"keep": (3,), "parts": (4, 2)}
    network = {"channels": WIDTH, "cells": 1}
    with reference.sources(drnas / "201-space", drnas, stubs=STUBS):
        module = import_module("search_model")
        module.process_step_matrix = remaining

        def theirs(state: SearchState) -> reference.Theirs:
            their = module.TinyNetwork(
                WIDTH, 1, 4, 10, nn.functional.cross_entropy, list(reference.OPTIONS), k=4, species="dirichlet"
            )
            side, gradients = reference.Reference(state, their), []
            settings = SimpleNamespace(
                momentum=0.9, weight_decay=3e-4, arch_learning_rate=3e-4, reg_type="l2", reg_scale=1e-3
            )
            architect, theta = import_module("architect").Architect(their, settings), their._arch_parameters
            architect.optimizer.register_step_pre_hook(lambda *_: gradients.append(theta.grad + 1e-3 * theta.detach()))

            def step(train: Batch, valid: Batch) -> None:
                architect.step(*train, *valid, side.rate, side.optimizer, False)

            return reference.Theirs(side, theta, step, gradients, noise=reference.reseeded)

        def enter(state: SearchState, side: reference.Theirs) -> None:
            state.stage = 1
            record: dict[str, object] = {}
            operate(state, state.recipe.stages[1].surgeries, record)
            widened(side.reference, int(str(record["copies"])))

        return reference.follow(row, "drnas", theirs, network=network, enter=enter, **stages)


COMPARISONS: tuple[tuple[tuple[str, ...], Callable[..., reference.Row]], ...] = (
    (("pcdarts",), compare_pc_darts),
    (("gaea",), compare_gaea_pc_darts),
    (("drnas",), compare_progressive),
)
