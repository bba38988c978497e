"""Comparisons with authors' code on the cells of DARTS, and those with partial channels on NAS-Bench-201.

Part of `benchmarks/fidelity_reference.py`, which drives them and says where the checkouts come from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import fidelity_reference as reference
from benchmarks.fidelity import cells
from sharewise.data import Batch
from sharewise.engine import SearchState
from sharewise.engine.surgery import operate
from sharewise.spaces.darts.fair import wide_cells_of

LAYERS, WIDTH = 3, 8
NETWORK = {"channels": WIDTH, "layers": LAYERS}
KINDS = ("normal", "reduce")
DERIVATIONS = 100
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


@dataclass
class Stacked:
    """Their architecture parameters of normal and reduction cell as the rows of the product's θ.

    Args:
        parts: `(14, operations)` each.
    """

    parts: Sequence[Tensor]

    def detach(self) -> Tensor:
        """θ as they have it."""
        return torch.cat([part.detach() for part in self.parts])

    def copy_(self, theta: Tensor) -> None:
        """θ into their parameters."""
        with torch.no_grad():
            for part, rows in zip(self.parts, theta.split(len(cells.EDGES)), strict=True):
                part.copy_(rows)

    def descended(self, optimizer: torch.optim.Optimizer, decay: float) -> list[Tensor]:
        """The gradients of their steps to come, decay included, as they are made."""
        found: list[Tensor] = []
        optimizer.register_step_pre_hook(
            lambda *_: found.append(torch.cat([part.grad + decay * part.detach() for part in self.parts]))  # type: ignore[operator]
        )
        return found


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


def copied(generator: torch.Generator, before: int, after: int) -> Callable[[int], Tensor]:
    """The new channels of a layer, in the order in which the product draws them."""
    return lambda size: torch.randint(size, (size * before // after - size,), generator=generator)


def channels_drawn(side: reference.Reference, seed: int, before: int, after: int) -> Iterator[Tensor]:
    """Of NAS-Bench-201: of every convolution, inputs first as they ask for them; the product draws outputs first."""
    draw = copied(torch.Generator().manual_seed(seed), before, after)
    for name, value in side.pairs.items():
        if ".operations." in name:
            rows, columns = draw(len(value)), draw(len(value))
            yield columns
            yield rows


def channels_of_cells(side: reference.Reference, seed: int, before: int, after: int) -> Iterator[Tensor]:
    """Of the cells of DARTS: also of the norms behind poolings, whose statistics nothing reads."""
    draw = copied(torch.Generator().manual_seed(seed), before, after)
    for number, reduction in enumerate(cells.KINDS):
        width = len(side.pairs[f"cells.{number}.preprocess1.1.weight"]) // before
        for source, _ in cells.EDGES:
            for option in cells.OPTIONS[1:]:
                if option == "skip_connect":
                    for _ in range(2 if reduction and source < 2 else 0):
                        rows, columns = draw(width // 2), draw(width)
                        yield columns
                        yield rows
                else:  # kernels per channel and 1×1 convolutions, twice where they are separable
                    for _ in range({"max": 1, "avg": 1, "sep": 4, "dil": 2}[option[:3]]):
                        yield draw(width)


Drawn = Callable[[reference.Reference, int, int, int], Iterator[Tensor]]


def widened(
    side: reference.Reference, seed: int, keep: int, before: int, after: int, drawn: Drawn, state: SearchState
) -> None:
    """Their pruning, widening and optimiser, from K = `before` to `after`."""
    network, old = side.network, side.optimizer
    channels = list(drawn(side, seed, before, after))
    network.pruning(keep)  # type: ignore[operator]
    with copying(iter(channels)):
        network.wider(after)  # type: ignore[operator]
    side.pairs = named_again(side.pairs, state, network)
    settings = {"momentum": 0.9, "weight_decay": 3e-4}
    fresh = torch.optim.SGD([*side.pairs.values(), *side.rest], old.param_groups[0]["lr"], **settings)
    # Their code finds old state by the id of a parameter, which an old torch took for its key.
    by_id = {"state": {id(parameter): state for parameter, state in old.state.items()}}
    known = SimpleNamespace(state=old.state, state_dict=lambda: by_id)
    with redirect_stdout(StringIO()):
        side.optimizer = import_module("net2wider").configure_optimizer(known, fresh)


def named_again(old: Mapping[str, nn.Parameter], state: SearchState, network: nn.Module) -> dict[str, nn.Parameter]:
    """Their weights by the product's names once they have new ones."""
    if any(name.startswith("stages.") for name in old):
        own = dict(network.named_parameters())
        return {name: own[reference.position(name, reference.OPTIONS)] for name in old}
    return in_order(state, network)


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
            widened(side.reference, int(str(record["copies"])), 3, 4, 2, channels_drawn, state)

        return reference.follow(row, "drnas", theirs, network=network, enter=enter, **stages)


def compare_progressive_cells(drnas: Path, anchor: str) -> reference.Row:
    """Three whole steps at K = 6 with seven operations; with the L2 anchor then three at K = 4 with four.

    Their KL anchor counts what was pruned, so that it is compared before.
    """
    words = "pruning, widening and partial channels" if anchor == "l2" else "partial channels, K = 6"
    row = reference.Row(f"drnas, anchor {anchor}, on the cells of DARTS against DrNAS: its architect, {words}")
    stages = {"keep": (4,), "parts": (6, 4)} if anchor == "l2" else {"parts": (6,)}
    with reference.sources(drnas / "DARTS-space", drnas, stubs=STUBS):
        module = import_module("model_search")
        module.process_step_matrix = remaining
        assert tuple(import_module("genotypes").PRIMITIVES) == cells.OPTIONS[1:]

        def theirs(state: SearchState) -> reference.Theirs:
            loss = nn.functional.cross_entropy
            network = module.Network(24, 10, LAYERS, loss, k=6, reg_type=anchor, reg_scale=1e-3)
            side = reference.Reference(state, network, pairs=in_order(state, network))
            settings = SimpleNamespace(
                momentum=0.9, weight_decay=3e-4, arch_learning_rate=3e-4, reg_type=anchor, reg_scale=1e-3
            )
            architect, theta = (
                import_module("architect").Architect(network, settings),
                Stacked(network.arch_parameters()),
            )
            gradients = theta.descended(architect.optimizer, 1e-3 if anchor == "l2" else 0.0)

            def step(train: Batch, valid: Batch) -> None:
                architect.step(*train, *valid, side.rate, side.optimizer, False)

            return reference.Theirs(side, theta, step, gradients, noise=reference.reseeded)

        def enter(state: SearchState, side: reference.Theirs) -> None:
            state.stage = 1
            record: dict[str, object] = {}
            operate(state, state.recipe.stages[1].surgeries, record)
            widened(side.reference, int(str(record["copies"])), 4, 6, 4, channels_of_cells, state)

        return reference.follow(
            row,
            "drnas",
            theirs,
            space="darts",
            network={"channels": 24, "layers": LAYERS},
            enter=enter if anchor == "l2" else None,
            exclude=("none",),
            anchor=anchor,
            **stages,
        )


def compare_fair_cells(fair: Path) -> reference.Row:
    """Three whole steps, then what their rule keeps of the σ(α) that these have come to, and of random ones."""
    row = reference.Row(
        "fair-darts on the cells of DARTS against FairDARTS: its network, architect, loss and derivation"
    )
    stubs = (*STUBS, "auto_augment")
    with reference.sources(fair / "fairdarts", stubs=stubs):
        sys.modules["auto_augment"].CIFAR10Policy = None  # type: ignore[attr-defined]
        module, parse = import_module("model_search"), import_module("utils").parse

        def theirs(state: SearchState) -> reference.Theirs:
            loss = import_module("separate_loss").ConvSeparateLoss(weight=10.0)
            network = module.Network(WIDTH, 10, LAYERS, loss)
            side = reference.Reference(state, network, pairs=in_order(state, network))
            settings = SimpleNamespace(
                momentum=0.9, weight_decay=3e-4, arch_learning_rate=3e-3, arch_weight_decay=1e-3, arch_lr_gamma=0.9
            )
            architect, theta = (
                import_module("architect").Architect(network, settings),
                Stacked(network.arch_parameters()),
            )
            gradients = theta.descended(architect.optimizer, 1e-3)
            return reference.Theirs(side, theta, lambda train, valid: architect.step(*valid), gradients)

        reference.follow(row, "fair-darts", theirs, space="darts:fair", network=NETWORK)
        state, generator, equal, whole = prepared_fair(), torch.Generator().manual_seed(2), 0, 0
        for _ in range(DERIVATIONS):
            with torch.no_grad():
                state.distribution.theta.copy_(torch.randn(28, 7, generator=generator, dtype=torch.float64) + 0.2)
            sigma = state.distribution.theta.detach().sigmoid().split(len(cells.EDGES))
            kept = {
                k: parse(part.numpy(), list(cells.OPTIONS[1:]), 0.85, "threshold_sparse", 4)
                for k, part in zip(KINDS, sigma, strict=True)
            }
            mine = wide_cells_of(state.recipe.selection.select(state).architecture)
            if all(kept.values()):  # where a cell has no operation at all, the product takes the rule of DARTS
                whole += 1
                equal += all(sorted(kept[kind]) == sorted(mine[kind]) for kind in KINDS)
        row.aside.append(f"{equal} of {whole} derivations are equal, {DERIVATIONS - whole} leave a cell empty")
        if equal < whole:
            row.differences["output"] = float("inf")
        return row


def prepared_fair() -> SearchState:
    return reference.prepared("fair-darts", space="darts:fair", network=NETWORK)


def compare_pt_cells(pt: Path) -> reference.Row:
    """All 34 choices of options and edges on a supernet after some steps, without training in between."""
    row = reference.Row("darts-pt on the cells of DARTS against darts-pt: options and edges of its projection")
    state = reference.prepared("darts-pt", space="darts", network={"channels": 4, "layers": LAYERS}, tuning_epochs=0)
    for _ in range(reference.ROUNDS):
        state.recipe.level.step(state, architecture=True)
    selection, outputs = state.recipe.selection, []
    hook = state.supernet.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    rows = {decision.name: row for row, decision in enumerate(state.distribution.relaxation.decisions)}
    settled: dict[str, int | None] = {}
    order: list[int] = []
    generator = state.fresh_generator("selection")
    for _ in range(len(cells.EDGES) + len(cells.JOINS)):
        found = selection.round(state, settled, generator)[0]  # type: ignore[attr-defined]
        settled |= found
        for kind in KINDS:
            name, option = next((n, o) for n, o in found.items() if n.startswith(kind))
            order.append(int(name[-1]) - 3 if option is None else rows[name] % len(cells.EDGES))
    hook.remove()
    known: dict[bytes, tuple[float, float]] = {}

    def judged(queue: Any, model: Any, log: bool, weights_dict: Any = None, **_: Any) -> tuple[float, float]:
        """They judge what is left of a node again after each edge that they drop; nothing has changed for it."""
        if not weights_dict:
            return 0.0, 0.0
        whole = [weights_dict.get(kind, model.get_projected_weights(kind)) for kind in KINDS]
        key = torch.cat(whole).numpy().tobytes()
        if key not in known:
            scores = [(model(x, weights_dict=weights_dict), y) for x, y in queue]
            hits = sum(float((s.argmax(-1) == y).sum()) for s, y in scores)
            known[key] = hits / sum(len(y) for _, y in scores), 0.0
        return known[key]

    with reference.sources(pt, stubs=(*STUBS, "nas_201_api")):
        sys.modules["nas_201_api"].NASBench201API = None  # type: ignore[attr-defined]
        for word in ("VisionDataset", "utils"):
            setattr(sys.modules["torchvision.datasets"], word, object)
        settings = SimpleNamespace(learning_rate=0.025, momentum=0.9, weight_decay=3e-4, learning_rate_min=1e-3)
        settings.proj_intv, settings.fast, settings.edge_decision, settings.dev_resume_epoch = 1, True, "random", -1
        settings.proj_crit_normal = settings.proj_crit_reduce = "acc"
        settings.dev_save_checkpoint_dir = ""
        primitives = {
            f"primitives_{kind}": [list(cells.OPTIONS[1:])] * len(cells.EDGES) for kind in ("normal", "reduct")
        }
        module, loss = import_module("sota.cnn.model_search_darts_proj"), nn.functional.cross_entropy
        network = module.DartsNetworkProj(4, 10, LAYERS, loss, primitives, settings)
        side = reference.Reference(state, network, pairs=in_order(state, network))
        Stacked(network.arch_parameters()).copy_(state.distribution.theta[:, 1:])
        projection, choice = import_module("sota.cnn.projection"), reference.projection_order(order)
        projection.ig_utils.save_checkpoint = lambda *arguments, **settings: None
        projection.ig_utils.count_parameters_in_Compact = lambda model: 0.0
        queue = [(batch.inputs, batch.targets) for batch in state.evaluation_batches("selection")]
        architect = SimpleNamespace(optimizer=torch.optim.Adam(network.arch_parameters()))
        projection.np.random.choice, kept = choice, projection.np.random.choice
        try:
            with torch.no_grad():
                projection.pt_project([], queue, network, architect, None, 0, settings, judged, None, None)
        finally:
            projection.np.random.choice = kept
            del nn.Module.PRIMITIVES  # which their network has set for all modules
    for mine, other in zip(outputs, side.outputs, strict=True):
        row.note("output", mine, other)
    equal = 0
    for name, row_number in rows.items():
        weights = network.get_projected_weights(KINDS[row_number // 14])[row_number % 14]
        theirs = int(weights.argmax()) + 1 if weights.any() else None
        equal += theirs == settled[name]
    row.aside.append(f"{equal} of {len(rows)} edges have the same option, or none")
    if equal < len(rows):
        row.differences["output"] = float("inf")
    return row


COMPARISONS: tuple[tuple[tuple[str, ...], Callable[..., reference.Row]], ...] = (
    (("pcdarts",), compare_pc_darts),
    (("gaea",), compare_gaea_pc_darts),
    (("drnas",), compare_progressive),
    (("drnas",), lambda drnas: compare_progressive_cells(drnas, "l2")),
    (("drnas",), lambda drnas: compare_progressive_cells(drnas, "kl")),
    (("fair",), compare_fair_cells),
    (("pt",), compare_pt_cells),
)
