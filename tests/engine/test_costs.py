"""The price of a step equals the price of the network that is executed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sharewise.cost import Cost, SupernetCost, cost, latency
from sharewise.data import digits
from sharewise.engine import Joint, Reward, Sandwich, Summed, Unrolled, numerics, prepare, run, stream
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import build_supernet
from sharewise.space import sample
from sharewise.spaces import load
from sharewise.supernet import Gate, Gates, MixedOperation, SlicedConv2d, Supernet, discrete, extract
from sharewise.testing import planted_space, small_arguments

NETWORKS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("nasbench201", (3, 16, 16), {"channels": 4, "cells": 2}),
    ("nasbench201", (1, 9, 9), {"channels": 4, "cells": 1, "fused": False, "affine": True}),
    ("toy-tied-width", (6,), {}),
    ("conv-macro", (3, 12, 12), {"divisor": 8}),
    ("nasbench201", (3, 8, 8), {"channels": 2, "cells": 1, "sharing": "entangled"}),
    ("toy-two-inputs", (2, 3), {"width": 5}),
    ("planted", (8,), {}),
]

DISJOINT = ("nasbench201", "toy-two-inputs", "planted")


def make(name: str, shape: tuple[int, ...], network: dict[str, Any]) -> Supernet:
    return build_supernet(planted_space() if name == "planted" else load(name), shape, 3, network=network)


@pytest.mark.parametrize(("name", "shape", "network"), NETWORKS)
def test_one_hot_gates_cost_what_the_extracted_network_costs(
    name: str, shape: tuple[int, ...], network: dict[str, Any]
) -> None:
    supernet = make(name, shape, network)
    costs, rng = SupernetCost(supernet, shape), np.random.default_rng(0)
    for _ in range(12):
        a = sample(supernet.space, rng)
        gates = discrete(supernet.relaxation.encode(a))
        assert costs.of(gates) == cost(extract(supernet, a), shape).multiply_accumulates
    assert all(not p.is_meta for p in supernet.parameters())


def everything(supernet: Supernet, rng: np.random.Generator | None = None) -> dict[str, Gate]:
    gates = {}
    for d in supernet.relaxation.decisions:
        active = range(d.size)
        if rng is not None:
            active = sorted(rng.choice(d.size, size=int(rng.integers(1, d.size + 1)), replace=False).tolist())
        gates[d.name] = Gate(torch.full((d.size,), 1 / d.size), tuple(active))
    return gates


@pytest.mark.parametrize(
    ("name", "shape", "network"), [n for n in NETWORKS if n[0] in DISJOINT and "sharing" not in n[2]]
)
def test_disjoint_mixtures_cost_the_sum_of_their_options(
    name: str, shape: tuple[int, ...], network: dict[str, Any]
) -> None:
    supernet = make(name, shape, network)
    costs, rng = SupernetCost(supernet, shape), np.random.default_rng(0)
    nothing: Gates = {d.name: Gate(torch.zeros(d.size), ()) for d in supernet.relaxation.decisions}
    base = costs.of(nothing)
    price = {
        (d.name, i): costs.of({**nothing, d.name: Gate(torch.ones(d.size), (i,))}) - base
        for d in supernet.relaxation.decisions
        for i in range(d.size)
    }
    assert min(price.values()) >= 0
    assert max(price.values()) > 0
    for _ in range(8):
        gates = everything(supernet, rng)
        assert costs.of(gates) == base + sum(price[n, i] for n, gate in gates.items() for i in gate.active)


@pytest.mark.parametrize(("name", "shape", "network"), NETWORKS)
def test_mixtures_cost_what_their_layers_really_compute(
    name: str, shape: tuple[int, ...], network: dict[str, Any]
) -> None:
    """Independent count: shapes of weights and outputs that pass by in a real forward pass."""
    supernet = make(name, shape, network).eval()
    costs, rng = SupernetCost(supernet, shape), np.random.default_rng(1)
    counted = 0

    def convolution(layer: nn.Conv2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        counted += output[0].numel() * layer.weight[0].numel()

    def sliced(layer: SlicedConv2d, inputs: tuple[torch.Tensor, Gates], output: torch.Tensor) -> None:
        nonlocal counted
        counted += output[0].numel() * inputs[0].shape[1] * layer.kernel.size(inputs[1]) ** 2

    def linear(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        counted += output.shape[-1] * (inputs[0].shape[-1] + (layer.bias is not None))

    for module in supernet.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(convolution)
        elif isinstance(module, SlicedConv2d):
            module.register_forward_hook(sliced)
        elif type(module).__name__ in ("Linear", "SlicedLinear"):
            module.register_forward_hook(linear)
    for gates in [everything(supernet), *(everything(supernet, rng) for _ in range(5))]:
        counted = 0
        with torch.no_grad():
            supernet(torch.zeros(1, *shape), gates)
        assert costs.of(gates) == counted


@pytest.mark.sweep(3)
@pytest.mark.parametrize("method", [name for name in METHODS if not build(name).reactions])  # which measure as well
def test_a_search_is_charged_for_what_it_executes(method: str) -> None:
    recipe = build(method, small_arguments(method, batch_size=8))
    dataset = digits().limited(48, seed=0)
    supernet = build_supernet(load("nasbench201"), dataset.input_shape, 10, network={"channels": 2, "cells": 1})
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu"))
    costs = SupernetCost(supernet, dataset.input_shape)
    spent = {"weights": 0, "architecture": 0, "selection": 0, "attention": 0, "teacher": 0}
    forwards = 0

    def note(module: nn.Module, arguments: tuple[torch.Tensor, Gates]) -> None:
        nonlocal forwards
        inputs, gates = arguments
        differentiable = any(gate.weights.requires_grad for gate in gates.values())
        match recipe.level:
            case Summed() if module is not supernet:  # its copy, which took this hook along
                part, passes = "teacher", 1
            case Sandwich() if not torch.is_grad_enabled() and state.step < state.total_steps:
                part, passes = "attention", 1
            case _ if not torch.is_grad_enabled():
                rewarding = isinstance(recipe.level, Reward) and state.step < state.total_steps
                part, passes = ("architecture" if rewarding else "selection"), 1
            case Joint():
                part, passes = "weights", 3
            case Unrolled() if differentiable:  # the batch of the weights, whose gradient is differentiated, is first
                part, passes = "architecture", (7, 3)[forwards % 2]
                forwards += 1
            case _:
                part, passes = ("architecture", 2) if differentiable else ("weights", 3)
        spent[part] += passes * len(inputs) * costs.of(gates)

    supernet.register_forward_pre_hook(note)
    run(state)
    entries = {part: entry.multiply_accumulates for part, entry in state.ledger.entries.items() if part in spent}
    assert entries == {part: value for part, value in spent.items() if part in entries or value}
    assert spent["weights"] > 0
    steps = 1 if recipe.distribution.staged else state.total_steps  # whose stages draw different numbers of paths
    assert state.ledger.entries["weights"].examples % (steps * 8) == 0
    assert state.ledger.entries["search"].seconds > 0


def test_cost_of_layers() -> None:
    assert cost(nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 4, 4)) == Cost(216, 8 * 16 * 27, 8 * 16)
    assert cost(nn.Conv2d(4, 8, 3, groups=2, bias=False), (4, 5, 5)).multiply_accumulates == 8 * 9 * 18
    assert cost(nn.Linear(3, 2, bias=False), (7, 3)).multiply_accumulates == 7 * 6
    assert cost(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), (5,), integers=True).multiply_accumulates == 50
    network = nn.Linear(3, 2)
    network.bias.requires_grad_(False)
    assert cost(network, (3,)).parameters == 6
    assert network.training


def test_latency_is_measured() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    measured = latency(network, (3,), repeats=5, batch_size=2)
    assert 0 < measured["minimum_seconds"] <= measured["median_seconds"] <= measured["maximum_seconds"]
    assert network.training
    with pytest.raises(ConfigurationError, match="repeats"):
        latency(network, (3,), repeats=0)


def test_the_price_list_is_found_for_every_mixture() -> None:
    supernet = make(*NETWORKS[0])
    assert sum(isinstance(m, MixedOperation) for m in supernet.modules()) == 6 * 3 * 2


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(
    "network", [{}, {"sharing": "entangled"}, {"partial": 2}, {"edge_weights": True}], ids=lambda n: str([*n][:1])
)
def test_the_closed_form_of_nasbench201_is_what_a_trace_counts(network: dict[str, Any], side: int) -> None:
    """Of a mixture, of any options, and where nothing is active."""
    shape, rng = (3, side, side), np.random.default_rng(0)
    supernet = make("nasbench201", shape, {"channels": 4, "cells": 2, **network})
    costs, decisions = SupernetCost(supernet, shape), supernet.relaxation.decisions
    some = {d.name: tuple(np.flatnonzero(rng.random(d.size) < 0.5).tolist()) for d in decisions}
    everything = {d.name: tuple(range(d.size)) for d in decisions}
    for active in (everything, some, dict.fromkeys(everything, (0,))):
        gates = {d.name: Gate(torch.ones(d.size), active[d.name]) for d in decisions}
        traced = sum(costs._traced(tuple(active[d.name] for d in decisions)).values())
        assert supernet.multiply_accumulates(gates) == costs.of(gates) == traced
