"""The supernet of whole NAS-Bench-101 cells: widths, first filters, one kernel, sampling, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import sharewise as sw
from sharewise.cost import SupernetCost, cost
from sharewise.distribution import Phase, Proportional, Uniform
from sharewise.engine import weight_step
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.run import Place, Search, Setting, build_supernet
from sharewise.space import Architecture, Probabilities, Relaxation, sample
from sharewise.spaces import load
from sharewise.spaces.nasbench101 import SUBSPACES, cell_of, subspace
from sharewise.spaces.nasbench101.cell import OPERATIONS
from sharewise.spaces.nasbench101.network import Cell as PlainCell
from sharewise.spaces.nasbench101.relaxation import EDGE_DECISIONS, placed, representatives
from sharewise.spaces.nasbench101.supernet import NasBench101Supernet, SharedCell, SlicedConvolution, wiring
from sharewise.supernet import Gate, RecalibratedStatistics, discrete, extract, recalibrate
from sharewise.testing import check_method, check_relaxation

A4 = subspace("A_4")


def supernet_of(name: str, **network: Any) -> NasBench101Supernet:
    supernet = build_supernet(load(name), (3, 8, 8), 4, network={"channels": 10, "cells": 1, **network})
    assert isinstance(supernet, NasBench101Supernet)
    return supernet


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def encoded(relaxation: Relaxation, architecture: Architecture) -> np.ndarray:
    encoding = relaxation.encode(architecture)
    return np.concatenate([encoding[d.name] for d in relaxation.decisions])


# ---------------------------------------------------------------------------------------------------------------------
# Relaxation


@pytest.mark.parametrize("name", SUBSPACES)
def test_cells_are_encoded_and_every_projection_is_legal(name: str) -> None:
    check_relaxation(subspace(name), samples=12 if name == "A_4" else 2)


def test_projection_is_the_nearest_encoding_by_brute_force() -> None:
    relaxation, rng = A4.relaxation, np.random.default_rng(0)
    points = np.array([encoded(relaxation, A4.listing.at(row)) for row in range(len(A4.listing))])
    for _ in range(5):
        probabilities: Probabilities = {d.name: rng.random(d.size).tolist() for d in relaxation.decisions}
        p = np.concatenate([np.array(probabilities[d.name]) for d in relaxation.decisions])
        distances = ((points - p) ** 2).sum(axis=1)
        found = A4.listing.index(relaxation.project(probabilities))
        assert distances[found] == pytest.approx(distances.min(), rel=1e-12)


def test_encodings_are_injective_and_the_output_is_always_the_last_vertex() -> None:
    relaxation = A4.relaxation
    points = {tuple(encoded(relaxation, A4.listing.at(row))) for row in range(0, len(A4.listing), 3)}
    assert len(points) == len(range(0, len(A4.listing), 3))
    a = load("nasbench101").parse("conv3x3-bn-relu~0|output~0,1")
    on = {name for name in EDGE_DECISIONS if load("nasbench101").relaxation.encode(a)[name] == (1.0,)}
    assert on == {"edge_0_1", "edge_0_output", "edge_1_output"}


def test_edges_cannot_be_excluded() -> None:
    relaxation = A4.relaxation
    encoding = relaxation.encode(A4.listing.at(5))
    with pytest.raises(ConfigurationError, match="no cell left once"):
        relaxation.project(encoding, ("edge",))
    with pytest.raises(ConfigurationError, match="no cell left once"):
        relaxation.project(encoding, OPERATIONS)


def test_representatives_follow_the_listing() -> None:
    for space in (A4, A4.without(("maxpool3x3",))):
        codes = representatives(space)
        for row in (0, 1, len(codes) // 2, len(codes) - 1):
            assert cell_of(space.listing.at(row)).code == codes[row]


# ---------------------------------------------------------------------------------------------------------------------
# Sharing


@pytest.mark.parametrize("name", ["nasbench101", "nasbench101:A_3"])
def test_wiring_and_widths_are_those_of_the_plain_cell(name: str) -> None:
    space, rng = load(name), np.random.default_rng(0)
    for _ in range(60):
        a = sample(space, rng)
        cell, found = cell_of(a), wiring(discrete(space.relaxation.encode(a)))
        assert found.inner == tuple(range(1, cell.vertices - 1))
        matrix = cell.matrix
        sources = [tuple(s for s in range(t) if matrix[s][t]) for t in range(1, cell.vertices)]
        assert list(found.sources) == sources
        for channels in (5, 13, 16):
            assert list(found.widths(channels)) == cell.channels(7, channels)[1:-1]
        assert placed(cell).bit_count() == cell.edges.bit_count()


@pytest.mark.parametrize(
    ("name", "widths"),
    [("A_1", (10, 20, 40)), ("A_2", (5, 10, 20)), ("A_3", (4, 7, 14)), ("A_4", (3, 5, 10)), ("RES", (10, 20, 40))],
)
def test_vertices_are_as_wide_as_the_space_needs(name: str, widths: tuple[int, int, int]) -> None:
    cells = [module for module in supernet_of(f"nasbench101:{name}").modules() if isinstance(module, SharedCell)]
    assert tuple(cell.width for cell in cells) == widths
    for cell, width, before, after in zip(cells, widths, (10, 10, 20), (10, 20, 40), strict=True):
        for operations in cell.operations:
            shapes = [tuple(layer.weight.shape) for layer in operations.values()]  # type: ignore[operator, union-attr]
            assert shapes == [(width, width, 3, 3), (width, width, 1, 1)]
        projections = [tuple(layer.weight.shape) for layer in cell.projections]  # type: ignore[arg-type]
        assert projections == [*[(width, before, 1, 1)] * 5, (after, before, 1, 1)]


def test_a_cell_uses_its_first_filters_and_nothing_else() -> None:
    supernet = supernet_of("nasbench101").train()
    a = supernet.space.parse("conv1x1-bn-relu~0|conv3x3-bn-relu~0|maxpool3x3~2|output~0,1,3")
    gates = discrete(supernet.relaxation.encode(a))
    supernet(images(), gates).square().mean().backward()
    cell = next(module for module in supernet.modules() if isinstance(module, SharedCell))
    # Channels 10 are shared by vertices 1 and 3; vertex 2 is as wide as vertex 3.
    used = {
        "operations.0.conv1x1-bn-relu": (5, 5),
        "operations.1.conv3x3-bn-relu": (5, 5),
        "projections.0": (5, 10),
        "projections.1": (5, 10),
        "projections.5": (10, 10),
    }
    for name, layer in cell.named_modules():
        if not isinstance(layer, SlicedConvolution):
            continue
        if name not in used:
            assert all(p.grad is None for p in layer.parameters()), name
            assert int(layer.norm.num_batches_tracked or 0) == 0  # type: ignore[arg-type]
            assert not bool(layer.norm.running_mean.any())  # type: ignore[union-attr]
            continue
        rows, columns = used[name]
        gradient = layer.weight.grad
        assert gradient is not None
        assert bool((gradient[:rows, :columns].flatten(1) != 0).any(dim=1).all()), name
        assert not bool(gradient[rows:].any())
        assert not bool(gradient[:, columns:].any())
        assert bool((layer.norm.running_mean[:rows] != 0).all())  # type: ignore[index]
        assert not bool(layer.norm.running_mean[rows:].any())  # type: ignore[index]
    assert sum(p.grad is not None for p in cell.parameters()) == 3 * len(used)


def test_only_what_a_cell_needs_is_executed() -> None:
    supernet = supernet_of("nasbench101:A_2").eval()
    calls: list[nn.Module] = []
    for module in supernet.modules():
        if isinstance(module, SlicedConvolution | nn.MaxPool2d):
            module.register_forward_pre_hook(lambda layer, _: calls.append(layer))
    rng = np.random.default_rng(0)
    for _ in range(10):
        a = sample(supernet.space, rng)
        calls.clear()
        with torch.no_grad():
            supernet(images(), discrete(supernet.relaxation.encode(a)))
        cell = cell_of(a)
        reads = sum(cell.matrix[0])
        convolutions = sum(o < 2 for o in cell.operations)
        pools = sum(o == 2 for o in cell.operations)
        assert sum(isinstance(layer, SlicedConvolution) for layer in calls) == 3 * (reads + convolutions)
        assert sum(isinstance(layer, nn.MaxPool2d) for layer in calls) == 3 * pools + 2


def test_a_single_kernel_serves_both_convolutions() -> None:
    supernet = supernet_of("nasbench101:A_1", single_kernel=True)
    assert sum(p.numel() for p in supernet.parameters()) < sum(
        p.numel() for p in supernet_of("nasbench101:A_1").parameters()
    )
    small, large = (supernet.space.parse(f"conv{k}-bn-relu~0|output~1") for k in ("1x1", "3x3"))
    for module in supernet.modules():
        if isinstance(module, SlicedConvolution) and module.weight.shape[-1] == 3:
            with torch.no_grad():  # without its ring the kernel is its centre tap
                module.weight *= torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    x = images()
    supernet.eval()
    with torch.no_grad():
        one, three = (supernet(x, discrete(supernet.relaxation.encode(a))) for a in (small, large))
        torch.testing.assert_close(one, three)
        plain = extract(supernet, small)
    layer = next(module for module in plain.modules() if isinstance(module, PlainCell))
    shared = next(module for module in supernet.modules() if isinstance(module, SharedCell))
    kernel = shared.operations[0]["conv3x3-bn-relu"].weight  # type: ignore[index]
    assert torch.equal(layer.operations[0][0].weight, kernel[:, :, 1:2, 1:2])  # type: ignore[index]
    supernet.train()(x, discrete(supernet.relaxation.encode(small))).square().mean().backward()
    ring = kernel.grad.clone()
    assert bool(ring[:, :, 1, 1].any())
    ring[:, :, 1, 1] = 0
    assert not bool(ring.any())


def test_gates_that_are_not_one_scale_edges_and_mix_operations() -> None:
    supernet = supernet_of("nasbench101:A_1").double().eval()
    a = supernet.space.parse("conv3x3-bn-relu~0|conv1x1-bn-relu~0,1|output~2")
    generator = torch.Generator().manual_seed(0)
    encoding = discrete(supernet.relaxation.encode(a), dtype=torch.float64)
    names = [name for name, gate in encoding.items() if gate.active]
    x = images().double()

    def loss(*weights: Tensor) -> Tensor:
        active = tuple(range(3))
        gates = dict(encoding) | {
            name: Gate(w, active if len(w) == 3 else (0,)) for name, w in zip(names, weights, strict=True)
        }
        return supernet(x, gates).square().mean()

    weights = [torch.rand(len(encoding[name].weights), generator=generator, dtype=torch.float64) for name in names]
    leaves = [w.requires_grad_() for w in weights]
    gradients = torch.autograd.grad(loss(*leaves), leaves)
    assert all(bool(g.any()) for g in gradients)
    for place, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        step = 1e-6
        for index in range(len(leaf)):
            values = []
            for sign in (1, -1):
                moved = [w.detach().clone() for w in leaves]
                moved[place][index] += sign * step
                values.append(float(loss(*moved).detach()))
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient[index]), rel=1e-4, abs=1e-9)


def test_recalibration_is_the_true_average_and_that_of_the_plain_network() -> None:
    supernet = supernet_of("nasbench101:A_3")
    a = sample(supernet.space, np.random.default_rng(3))
    gates = discrete(supernet.relaxation.encode(a))
    batches = [images(6)[2 * i : 2 * i + 2] + i for i in range(3)]
    plain = extract(supernet, a)
    untouched = copy.deepcopy(supernet.state_dict())
    with torch.no_grad(), RecalibratedStatistics(3).applied(supernet, lambda x: supernet(x, gates), batches):
        shared = supernet(images(), gates)
        found = extract(supernet, a).state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in supernet.state_dict().items())
    recalibrate(plain, plain, batches)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(images()), shared)
        stem = [supernet.stem[0](batch) for batch in batches]
    mean = torch.stack([z.mean(dim=(0, 2, 3)) for z in stem]).mean(dim=0)
    torch.testing.assert_close(found["stem.1.running_mean"], mean)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("name", ["nasbench101", "nasbench101:A_2"])
def test_the_cost_in_closed_form_is_that_of_the_plain_network(name: str) -> None:
    supernet, rng = (
        build_supernet(load(name), (3, 9, 7), 5, network={"channels": 11, "cells": 2}),
        np.random.default_rng(1),
    )
    costs = SupernetCost(supernet, (3, 9, 7))
    for _ in range(15):
        a = sample(supernet.space, rng)
        expected = cost(supernet.plain(a), (3, 9, 7)).multiply_accumulates
        assert costs.of(discrete(supernet.relaxation.encode(a))) == expected


def test_a_cell_of_another_sub_space_is_refused() -> None:
    supernet = supernet_of("nasbench101:A_4")
    a = load("nasbench101").parse("conv3x3-bn-relu~0|output~1")
    gates = discrete(load("nasbench101").relaxation.encode(a))
    with pytest.raises(ConfigurationError, match="serves a sub-space that the cell does not belong to"):
        supernet(images(), gates)
    with pytest.raises(ConfigurationError, match="lead from its input to no output"):
        supernet(images(), {name: Gate(gate.weights, ()) for name, gate in gates.items()})
    with pytest.raises(ConfigurationError, match=r"up to 4 vertices .* share 3 channels"):
        supernet_of("nasbench101:A_4", channels=3)


# ---------------------------------------------------------------------------------------------------------------------
# Sampling and methods


def test_whole_cells_are_drawn_uniformly_or_in_proportion_to_parameters() -> None:
    space, draws, bins = A4, 20_000, 20
    sizes = space.listing.parameters()
    assert sizes is not None
    row = 1234
    assert sizes[row] == cell_of(space.listing.at(row)).parameters()
    for blueprint, weights in ((Uniform(), np.ones(len(sizes))), (Proportional(), sizes.astype(float))):
        distribution = blueprint.build(space.relaxation, torch.Generator())
        rng = np.random.default_rng(0)
        rows = np.array([space.listing.index(distribution.pick(rng)) for _ in range(draws)])  # type: ignore[attr-defined]
        order = np.argsort(sizes, kind="stable")
        rank = np.empty(len(order), dtype=int)
        rank[order] = np.arange(len(order)) * bins // len(order)
        expected = np.bincount(rank, weights=weights) / weights.sum() * draws
        assert stats.chisquare(np.bincount(rank[rows], minlength=bins), expected).pvalue > 1e-3


def test_proportional_sampling_respects_excluded_operations() -> None:
    distribution = Proportional().build(A4.relaxation, torch.Generator(), ("maxpool3x3", "conv1x1-bn-relu"))
    [gates] = distribution.draw(torch.Generator().manual_seed(0), Phase("weights"))
    assert {gate.active for name, gate in gates.items() if name.startswith("operation")} <= {(0,), ()}


def test_average_of_three_cells_is_the_mean_of_their_gradients() -> None:
    options = {"batch_size": 8, "paths": 3, "learning_rate": 1.0, "weight_decay": 0.0}
    data = sw.data.digits().limited(64, seed=0)
    state = Search(A4, build("spos", options), data, Setting({"channels": 5, "cells": 1}, place=Place("cpu"))).prepare()
    before = copy.deepcopy(state.supernet).train()
    batches, paths = [], []
    stream, draw = state.next_batch, state.distribution.draw
    state.next_batch = lambda role: batches.append(stream(role)) or batches[-1]  # type: ignore[method-assign, func-returns-value]
    state.distribution.draw = lambda g, p: paths.append(draw(g, p)) or paths[-1]  # type: ignore[method-assign, func-returns-value]
    weight_step(state)
    assert len(paths[0]) == 3
    losses = [state.loss(before(batches[0].inputs, gates), batches[0].targets) for gates in paths[0]]
    (sum(losses) / 3).backward()  # type: ignore[union-attr]
    pairs = zip(before.parameters(), state.supernet.parameters(), strict=True)
    norm = torch.sqrt(sum(((a.grad**2).sum() for a, _ in pairs if a.grad is not None), torch.zeros(())))
    scale = min(1.0, 5.0 / float(norm))
    for expected, actual in zip(before.parameters(), state.supernet.parameters(), strict=True):
        assert (expected.grad is None) == (actual.grad is None)
        if expected.grad is not None:
            torch.testing.assert_close(actual.grad, expected.grad * scale, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"sampling": "proportional", "optimizer": "rmsprop", "learning_rate": 0.1}])
def test_method_contract(options: dict[str, Any]) -> None:
    data = sw.data.digits().limited(64, seed=0)
    check_method(build("spos", options), A4, data, network={"channels": 4, "cells": 1})


@pytest.mark.parametrize("method", ["darts", "gaea-erm", "enas", "fairnas", "darts-second-order"])
def test_methods_that_treat_decisions_one_by_one_are_refused(method: str) -> None:
    data = sw.data.digits().limited(64, seed=0)
    with pytest.raises(ConfigurationError, match=r"searched by whole architectures.* spos .*or rs-ws"):
        Search(A4, build(method), data, Setting({"channels": 4, "cells": 1}, place=Place("cpu"))).prepare()


def test_path_dropout_is_refused() -> None:
    data = sw.data.digits().limited(64, seed=0)
    setting = Setting({"channels": 4, "cells": 1}, place=Place("cpu"))
    search = Search(A4, build("spos", {"path_dropout": 0.1}), data, setting)
    with pytest.raises(ConfigurationError, match="no such decision"):
        search.prepare()
