"""Conv-macro and the toy separable cell: their size, their networks, and what a mixture computes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sharewise.errors import ConfigurationError
from sharewise.run import build_network, build_supernet
from sharewise.space import Space, sample
from sharewise.spaces import load
from sharewise.spaces.conv_macro.space import CHANNELS, KERNELS
from sharewise.spaces.toy_separable_cell.space import OPERATIONS
from sharewise.supernet import Gate, Gates, Supernet, discrete, extract
from sharewise.testing import check_relaxation, check_space, randomise_norms

ENTANGLED: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("conv-macro", (3, 12, 12), {"divisor": 4, "dropout": 0.0}),
    ("toy-separable-cell", (1, 8, 8), {"channels": 4, "affine": True, "dropout": 0.0}),
    ("nasbench201", (3, 8, 8), {"channels": 4, "cells": 1, "affine": True, "sharing": "entangled"}),
]


@pytest.mark.parametrize(("name", "size"), [("conv-macro", 6561), ("toy-separable-cell", 4096)])
def test_contracts_of_the_values(name: str, size: int) -> None:
    assert load(name).size == size
    check_space(load(name), enumerate_up_to=10)
    check_relaxation(load(name), samples=10)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [("dil_conv_3x3", 176_938), ("dil_conv_5x5", 183_082), ("sep_conv_3x3", 198_826), ("sep_conv_5x5", 211_114)],
)
def test_published_sizes_of_the_toy_cell(operation: str, parameters: int) -> None:
    space = load("toy-separable-cell")
    a = space.architecture({choice.name: operation for choice in space.choices})
    network = build_network(a, space, (1, 28, 28), 10)
    assert sum(p.numel() for p in network.parameters()) == parameters
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def parameters_by_hand(channels: list[int], kernels: list[int]) -> int:
    """Every convolution and linear layer has a bias."""
    total = sum(b * (a * k * k + 1) for a, b, k in zip([3, *channels], [*channels, 256], [*kernels, 7], strict=True))
    sizes = [6 * 6 * 256, 256, 128, 64, 10]
    return total + sum(b * (a + 1) for a, b in pairwise(sizes))


def test_conv_macro_is_the_network_of_the_paper() -> None:
    space, rng = load("conv-macro"), np.random.default_rng(0)
    for _ in range(4):
        a = sample(space, rng)
        channels = [int(str(a[f"channels_{i}"])) for i in range(1, 5)]
        kernels = [int(str(a[f"kernel_{i}"])) for i in range(1, 5)]
        with torch.device("meta"):
            network = build_network(a, space, (3, 32, 32), 10)
            assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
        assert sum(p.numel() for p in network.parameters()) == parameters_by_hand(channels, kernels)
    assert [c[-1] for c in CHANNELS] == [32, 64, 128, 256]
    assert KERNELS == (3, 5, 7)


def test_the_largest_architecture_is_the_whole_supernet() -> None:
    space = load("conv-macro")
    largest = space.architecture({c.name: c.options[-1] for c in space.choices})
    supernet = build_supernet(space, (3, 32, 32), 10)
    network = build_network(largest, space, (3, 32, 32), 10)
    assert sum(p.numel() for p in supernet.parameters()) == sum(p.numel() for p in network.parameters())


def entangled(name: str, shape: tuple[int, ...], network: dict[str, Any]) -> tuple[Supernet, Tensor]:
    generator = torch.Generator().manual_seed(0)
    supernet = build_supernet(load(name), shape, 3, network=network).double().eval()
    randomise_norms(supernet, generator)
    return supernet, torch.randn(3, *shape, generator=generator, dtype=torch.float64)


def dense(space: Space, gates: Gates) -> dict[str, Gate]:
    """The same weights with every option active."""
    return {d.name: Gate(gates[d.name].weights, tuple(range(d.size))) for d in space.relaxation.decisions}


@pytest.mark.parametrize(("name", "shape", "network"), ENTANGLED, ids=[row[0] for row in ENTANGLED])
def test_continuity_dense_execution_with_one_hot_weights_is_the_slice(
    name: str, shape: tuple[int, ...], network: dict[str, Any]
) -> None:
    supernet, x = entangled(name, shape, network)
    rng = np.random.default_rng(0)
    for _ in range(4):
        a = sample(supernet.space, rng)
        gates = discrete(supernet.relaxation.encode(a), dtype=torch.float64)
        with torch.no_grad():
            expected = extract(supernet, a)(x)
            torch.testing.assert_close(supernet(x, dense(supernet.space, gates)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "shape", "network"), ENTANGLED[:2], ids=[row[0] for row in ENTANGLED[:2]])
def test_a_slice_in_training_drops_what_the_plain_network_drops(
    name: str, shape: tuple[int, ...], network: dict[str, Any]
) -> None:
    supernet, x = entangled(name, shape, {**network, "dropout": 0.5})
    a = sample(supernet.space, np.random.default_rng(0))
    plain, outputs = extract(supernet, a), []
    for run in (lambda: plain.train()(x), lambda: supernet.train()(x, discrete(supernet.relaxation.encode(a)))):
        torch.manual_seed(0)
        outputs.append(run())
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], plain.eval()(x))


def test_the_published_form_of_a_cell_is_not_continuous() -> None:
    """A group without weight still adds the shift of its norm: why the mass is not decoration."""
    name, shape, network = ENTANGLED[2]
    supernet, x = entangled(name, shape, {**network, "published": True})
    a = supernet.space.parse("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    gates = discrete(supernet.relaxation.encode(a), dtype=torch.float64)
    with torch.no_grad():
        difference = (supernet(x, dense(supernet.space, gates)) - supernet(x, gates)).abs().max()
    assert float(difference) > 1e-3


@pytest.mark.parametrize(("name", "shape", "network"), ENTANGLED, ids=[row[0] for row in ENTANGLED])
def test_the_published_form_differs_under_a_mixture(name: str, shape: tuple[int, ...], network: dict[str, Any]) -> None:
    torch.manual_seed(0)
    corrected, x = entangled(name, shape, network)
    published = build_supernet(load(name), shape, 3, network={**network, "published": True}).double().eval()
    published.load_state_dict(corrected.state_dict())
    decisions = corrected.relaxation.decisions
    third = {d.name: torch.full((d.size,), 1 / d.size, dtype=torch.float64) for d in decisions}
    gates = {d.name: Gate(third[d.name], tuple(range(d.size))) for d in decisions}
    with torch.no_grad():
        difference = (corrected(x, gates) - published(x, gates)).abs().max()
    assert float(difference) > 1e-6


@pytest.mark.parametrize("published", [False, True])
def test_a_shared_dimension_is_scaled_once_and_twice_in_the_published_form(published: bool) -> None:
    """Under a mixture conv-macro equals a network whose activations are scaled by hand, where they are written."""
    name, shape, network = ENTANGLED[0]
    supernet, x = entangled(name, shape, {**network, "published": published})
    space = supernet.space
    gates = {}
    for d in supernet.relaxation.decisions:
        weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
        gates[d.name] = Gate(
            weights if d.name.startswith("channels") else torch.eye(3, dtype=torch.float64)[2], (0, 1, 2)
        )
    largest = space.architecture({c.name: c.options[-1] for c in space.choices})
    plain: Any = extract(supernet, largest)
    with torch.no_grad():
        y = x
        for layer, convolution in enumerate(plain.convolutions):
            y = torch.relu(convolution(y))
            width = y.shape[1]
            s = torch.cat([torch.full((width // 4,), v, dtype=torch.float64) for v in (1.0, 0.8, 0.5, 0.5)])
            y = y * s[:, None, None] ** (2 if published else 1)
            if layer in (1, 2):
                y = torch.nn.functional.max_pool2d(y, 2)
        expected = plain.classifier(plain.closing(y))
        torch.testing.assert_close(supernet(x, gates), expected, rtol=1e-12, atol=1e-12)


def test_the_mass_of_entangled_operations_against_others_is_kept() -> None:
    """Halving both convolutions of an edge halves what they add; in the published form it hardly changes anything."""
    outputs = {}
    for published in (False, True):
        torch.manual_seed(0)
        options = {"channels": 4, "cells": 1, "sharing": "entangled", "published": published}
        supernet = build_supernet(load("nasbench201"), (3, 8, 8), 3, network=options).double()
        cell: Any = supernet.stages[0][0]  # type: ignore[index, union-attr]
        x = torch.randn(4, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        for mass in (1.0, 0.5):
            weights = torch.zeros(5, dtype=torch.float64)
            weights[2] = weights[3] = mass / 2
            active = (2, 3)
            names = [str(o) for o in supernet.relaxation.decisions[0].options]
            assert names[2:4] == ["nor_conv_1x1", "nor_conv_3x3"]
            with torch.no_grad():
                edge = cell.edges["edge_0_1"]
                outputs[published, mass] = edge(x, {"edge_0_1": Gate(weights, active)})
    torch.testing.assert_close(outputs[False, 0.5], outputs[False, 1.0] / 2, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(outputs[True, 0.5], outputs[True, 1.0], rtol=1e-2, atol=1e-2)


def test_options_are_checked() -> None:
    for name, shape, network, word in (
        ("conv-macro", (3, 32, 32), {"divisor": 3}, "divisor must be 1, 2, 4 or 8"),
        ("conv-macro", (3, 8, 8), {}, "at least 12"),
        ("toy-separable-cell", (1, 4, 4), {}, "at least 5"),
        ("toy-separable-cell", (1, 8, 8), {"sharing": "entagled"}, "entangled"),
        ("nasbench201", (3, 8, 8), {"published": True}, "form of sharing='entangled'"),
    ):
        with pytest.raises(ConfigurationError, match=word):
            build_supernet(load(name), shape, 10, network=network)
    assert len(OPERATIONS) == 4
