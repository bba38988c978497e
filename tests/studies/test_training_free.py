"""Training-free scores equal plain computations, and are oracles."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.spaces import load
from sharewise.studies.training_free import SCORES, TrainingFreeOracle, naswot, synflow
from sharewise.testing import check_oracle

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, Tensor, Tensor]:
    network = sw.build_network(CELL, "nasbench201", (3, 8, 8), 10, network={"channels": 3, "cells": 1}).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():  # so that biases, scales and shifts count
        with torch.no_grad():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    return network.train(), x, torch.randint(10, (6,), generator=generator)


def layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def plain_grad_norm(network: nn.Module, x: Tensor, y: Tensor) -> float:
    F.cross_entropy(network(x), y).backward()
    return sum(float(layer.weight.grad.square().sum().sqrt()) for layer in layers(network))  # type: ignore[union-attr]


def plain_snip(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """With masks, literally."""
    masks = []

    def masked(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        mask = torch.ones_like(layer.weight, requires_grad=True)  # type: ignore[arg-type]
        masks.append(mask)
        if isinstance(layer, nn.Conv2d):
            return F.conv2d(arguments[0], layer.weight * mask, layer.bias, layer.stride, layer.padding)  # type: ignore[arg-type]
        return F.linear(arguments[0], layer.weight * mask, layer.bias)  # type: ignore[operator, arg-type]

    for layer in layers(network):
        layer.register_forward_hook(masked)
    F.cross_entropy(network(x), y).backward()
    return sum(float(mask.grad.abs().sum()) for mask in masks)  # type: ignore[union-attr]


def plain_synflow(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Batch norms hand on what they get."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda layer, arguments, output: arguments[0])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs())
    network(torch.ones_like(x[:1])).sum().backward()
    return sum(float((layer.weight * layer.weight.grad).abs().sum().detach()) for layer in layers(network))  # type: ignore[operator]


def plain_jacobian_covariance(network: nn.Module, x: Tensor, y: Tensor) -> float:
    x = x.clone().requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None
    values = np.linalg.eigvals(np.corrcoef(x.grad.reshape(len(x), -1).numpy())).real
    return float(-sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in values))


def plain_naswot(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Pair by pair, as the Hamming distance of codes."""
    codes: list[np.ndarray[Any, Any]] = []
    for layer in network.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda layer, a, output: codes.append((a[0] > 0).flatten(1).numpy()))
    with torch.no_grad():
        network(x)
    code = np.concatenate(codes, axis=1)
    units = code.shape[1]
    kernel = [[units - int((first != second).sum()) for second in code] for first in code]
    return float(np.log(abs(np.linalg.det(np.array(kernel, dtype=np.float64) / units))) + len(x) * math.log(units))


PLAIN = {
    "grad_norm": plain_grad_norm,
    "snip": plain_snip,
    "synflow": plain_synflow,
    "jacobian_covariance": plain_jacobian_covariance,
    "naswot": plain_naswot,
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_equals_a_plain_computation(name: str, case: tuple[nn.Module, Tensor, Tensor]) -> None:
    network, x, y = case
    before = copy.deepcopy(network.state_dict())
    found = SCORES[name].function(network, x, y, F.cross_entropy)
    expected = PLAIN[name](copy.deepcopy(network), x, y)
    assert math.isclose(found, expected, rel_tol=1e-10)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_rectifiers_that_do_not_lead_to_the_output_do_not_count() -> None:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y, options = torch.zeros(4, dtype=torch.int64), {"channels": 2, "cells": 1}
    values = []
    for first in ("nor_conv_3x3", "none"):  # an edge to a node that nothing reads
        cell = f"|{first}~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
        network = sw.build_network(cell, "nasbench201", (3, 8, 8), 10, network=options)
        values.append((len([m for m in network.modules() if isinstance(m, nn.ReLU)]), network))
    shared = values[1][1].state_dict()
    values[0][1].load_state_dict({**values[0][1].state_dict(), **shared})
    assert values[0][0] > values[1][0]
    assert naswot(values[0][1], x, y, F.cross_entropy) == naswot(values[1][1], x, y, F.cross_entropy)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("space", ["nasbench201", "nasbench1shot1:1"])
def test_scores_are_oracles(name: str, space: str) -> None:
    data = sw.data.digits().limited(40, seed=0)
    oracle = TrainingFreeOracle(
        load(space), data, name, batch_size=6, network={"channels": 2, "cells": 1}, device="cpu", precision="float64"
    )
    check_oracle(oracle, dataset=data, samples=2)


@pytest.mark.parametrize("name", SCORES)
def test_a_network_whose_output_does_not_see_its_input_has_an_answer(name: str) -> None:
    space, data = load("nasbench201"), sw.data.digits().limited(40, seed=0)
    blind = space.parse("|none~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
    oracle = TrainingFreeOracle(
        space, data, name, batch_size=6, network={"channels": 2, "cells": 1}, device="cpu", precision="float64"
    )
    check_oracle(oracle, [blind])
    value = oracle.evaluate(blind, 0, np.random.default_rng(0)).value
    assert (value == -math.inf) == (name in ("jacobian_covariance", "naswot"))


def test_what_cannot_be_scored_is_refused() -> None:
    data = sw.data.digits()
    with pytest.raises(ConfigurationError, match="unknown training-free score 'nasvot'; did you mean 'naswot'"):
        TrainingFreeOracle(load("nasbench201"), data, "nasvot")
    with pytest.raises(ConfigurationError, match="batch_size must lie between 2 and"):
        TrainingFreeOracle(load("nasbench201"), data, batch_size=1)
    with pytest.raises(ConfigurationError, match="no ReLU of the network leads to its output"):
        naswot(nn.Linear(2, 2), torch.ones(3, 2), torch.zeros(3), F.cross_entropy)
    with pytest.raises(ConfigurationError, match=r"must be real numbers, got torch\.int64"):
        synflow(nn.Linear(2, 2), torch.ones(3, 2, dtype=torch.int64), torch.zeros(3), F.cross_entropy)
