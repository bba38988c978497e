"""The one-shot network of NAS-Bench-1Shot1 against its equations, written out once more, and what it becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.distribution import Expectation, Factored, SoftmaxLogits
from sharewise.distribution.phase import Phase
from sharewise.errors import ConfigurationError
from sharewise.space import sample
from sharewise.spaces import load
from sharewise.spaces.nasbench1shot1 import DESIGNS
from sharewise.spaces.nasbench1shot1.supernet import NasBench1Shot1Options, SharedCell
from sharewise.supernet import Gate, Gates, Supernet
from sharewise.testing.supernet_contract import randomise_norms

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")


def normalised(x: Tensor, norm: nn.Module) -> Tensor:
    """By the statistics of the batch."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    y = (x - mean) / (variance + norm.eps).sqrt()  # type: ignore[operator]
    if norm.weight is None:
        return y
    return y * norm.weight[None, :, None, None] + norm.bias[None, :, None, None]  # type: ignore[index]


def convolved(x: Tensor, layers: Any) -> Tensor:
    return normalised(F.conv2d(x, layers[0].weight, padding=layers[0].padding), layers[1]).relu()


def cell_by_equations(cell: Any, x: Tensor, gates: Gates, blocks: int) -> Tensor:
    values: list[Tensor] = []
    for block in range(1, blocks + 1):
        weights = gates[f"block_{block}_inputs"].weights if f"block_{block}_inputs" in gates else torch.ones(block)
        total = weights[0] * convolved(x, cell.edges[f"0_{block}"].edge)
        for source, value in enumerate(values, start=1):
            total = total + weights[source] * value
        chosen, operations = gates[f"block_{block}_operation"].weights, cell.edges[f"block_{block}"].operations
        results = [convolved(total, operations[name]) for name in OPERATIONS[:2]]
        results.append(F.max_pool2d(total, 3, stride=1, padding=1))
        values.append(sum(w * result for w, result in zip(chosen, results, strict=True)))  # type: ignore[arg-type]
    output = gates["output_inputs"].weights
    joined = torch.cat([w * value for w, value in zip(output[1:], values, strict=True)], dim=1)
    return output[0] * convolved(x, cell.skip.edge) + joined


def network_by_equations(net: Any, x: Tensor, gates: Gates, blocks: int) -> Tensor:
    x = convolved(x, net.stem)
    for place, stack in enumerate(net.stacks):
        if place:
            x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 2, stride=2)
        for cell in stack:
            x = cell_by_equations(cell, x, gates, blocks) if isinstance(cell, SharedCell) else x
    x = normalised(F.conv2d(x.relu(), net.after[1].weight), net.after[2]).mean((2, 3))
    return x @ net.classifier.weight.T + net.classifier.bias


def case(name: str, **options: Any) -> tuple[Supernet, Tensor, dict[str, Tensor]]:
    network = {"channels": 2, "cells": 1, **options}
    supernet = sw.build_supernet(load(f"nasbench1shot1:{name}"), (3, 9, 9), 4, network=network).double().train()
    generator = torch.Generator().manual_seed(0)
    randomise_norms(supernet, generator)
    x = torch.randn(3, 3, 9, 9, generator=generator, dtype=torch.float64)
    theta = {
        d.name: torch.randn(d.size, generator=generator, dtype=torch.float64).requires_grad_()
        for d in supernet.relaxation.decisions
    }
    return supernet, x, theta


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", DESIGNS)
def test_the_search_network_equals_its_equations(name: str, fused: bool) -> None:
    supernet, x, theta = case(name, fused=fused)
    gates = {d: Gate(row.softmax(-1), tuple(range(len(row)))) for d, row in theta.items()}
    leaves = [*theta.values(), *supernet.parameters()]
    found = supernet(x, gates)
    expected = network_by_equations(supernet, x, gates, DESIGNS[name].blocks)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    direction = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape)
    slopes = [
        torch.autograd.grad((outputs * direction).sum(), leaves, retain_graph=True) for outputs in (found, expected)
    ]
    for first, second in zip(*slopes, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-10)


def test_it_has_the_parameters_of_the_published_network() -> None:
    """Counted in the authors' code at 16 channels and nine cells, with postprocessing and classifier."""
    counts = {}
    for name in DESIGNS:
        with torch.device("meta"):
            supernet = sw.build_supernet(load(f"nasbench1shot1:{name}"), (3, 32, 32), 10)
        counts[name] = sum(p.numel() for p in supernet.parameters())
    assert counts == {"1": 1_101_402, "2": 1_101_402, "3": 1_509_594}


def test_a_stage_ends_with_the_padded_pooling_of_the_authors() -> None:
    supernet, _, _ = case("1")
    sizes: list[int] = []
    for stack in supernet.stacks:  # type: ignore[union-attr]
        stack[-1].register_forward_hook(lambda layer, arguments, output: sizes.append(output.shape[-1]))
    supernet.eval()(
        torch.zeros(2, 3, 32, 32, dtype=torch.float64),
        {d.name: Gate(torch.ones(d.size), tuple(range(d.size)), unit=True) for d in supernet.relaxation.decisions},
    )
    assert sizes == [32, 17, 9]


def test_a_cell_is_also_a_network_of_nasbench101() -> None:
    space = load("nasbench1shot1:2")
    architecture = sample(space, np.random.default_rng(0))
    whole = load("nasbench101").own(architecture)
    network = sw.build_network(whole, "nasbench101", (3, 8, 8), 10, network={"channels": 8, "cells": 1})
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_options_are_checked() -> None:
    for wrong in ({"channels": 0}, {"cells": 0}, {"norm_momentum": 0.0}, {"norm_momentum": 1.5}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            NasBench1Shot1Options(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DESIGNS)
def test_a_planted_cell_is_found_through_the_gates_of_one_cell(name: str) -> None:
    """The cell's own output is the target, with weights shared evenly among its inputs, as a mixture can reach."""
    supernet, _, _ = case(name, channels=4)
    relaxation, rng = supernet.relaxation, np.random.default_rng(101)
    planted = sample(supernet.space, rng)
    while planted["vertices"] < 6:  # type: ignore[operator]
        planted = sample(supernet.space, rng)
    cell = supernet.stacks[0][0]  # type: ignore[index]
    x = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    encoded = {d: torch.tensor(row, dtype=torch.float64) for d, row in relaxation.encode(planted).items()}
    even = {d: row / row.sum() if row.any() else row + 1 / len(row) for d, row in encoded.items()}
    with torch.no_grad():
        target = cell(x, {d: Gate(row, tuple(range(len(row)))) for d, row in even.items()})
    generator = torch.Generator().manual_seed(1)
    distribution = Factored(relaxation, SoftmaxLogits(0.2), Expectation(), generator).double()
    optimizer = distribution.optimizer()
    for _ in range(200):
        [gates] = distribution.draw(generator, Phase("architecture"))
        optimizer.zero_grad()
        torch.autograd.backward((cell(x, gates) - target).square().mean())
        optimizer.step()
    found = relaxation.project({d: row.tolist() for d, row in distribution.probabilities().items()})
    assert found == planted
