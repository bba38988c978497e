"""The graph is cut at the gates, and nothing is lost there."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.data import digits
from sharewise.distribution import (
    Autoregressive,
    Concentrations,
    Concrete,
    DirichletPath,
    Estimator,
    Expectation,
    Factored,
    Geometry,
    Learned,
    Phase,
    ScoreFunction,
    SigmoidLogits,
    Simplex,
    SoftmaxLogits,
    StraightThroughGumbel,
    TwoPath,
    Uniform,
)
from sharewise.engine import Linear, architecture_step, numerics, prepare, stream
from sharewise.engine.step import gate_gradients
from sharewise.methods import darts
from sharewise.run import build_supernet
from sharewise.space import Space
from sharewise.spaces import RELAXABLE, load
from sharewise.supernet import Supernet, cut, frozen_statistics
from sharewise.testing import check_distribution
from sharewise.testing.small import MACRO, first_of_each, small_supernet

GEOMETRIES: list[Geometry] = [
    SoftmaxLogits(0.05, scale=0.5),
    Simplex(),
    Concentrations(0.05, scale=0.5),
    SigmoidLogits(0.05, scale=0.5),
]
ESTIMATORS: list[Estimator] = [
    Expectation(),
    Concrete(Linear(5.0, 0.5)),
    StraightThroughGumbel(Linear(5.0, 0.5)),
    TwoPath(),
    DirichletPath(),
    ScoreFunction(),
]
EVERY_CELL = [(g, e) for g, e in itertools.product(GEOMETRIES, ESTIMATORS) if isinstance(g, e.traits.geometry)]
EVERY_NAME = [f"{type(g).__name__}-{type(e).__name__}" for g, e in EVERY_CELL]
CELLS = [(g, e) for g, e in EVERY_CELL if e.traits.gradient == "path"]
NAMES = [f"{type(g).__name__}-{type(e).__name__}" for g, e in CELLS]


QUICK = ("language-model", "nats_size")
"""Of the macro spaces, those that the fast suite meets."""
MACRO_SLOW = set(MACRO) - set(QUICK)
SPACES = [
    pytest.param(
        name, marks=pytest.mark.slow if name.startswith("darts") or (name in MACRO and name not in QUICK) else ()
    )
    for name in first_of_each(RELAXABLE)
]
"""Without the parts of others, whose decisions are fewer or smaller."""


def small(space: str) -> Space:
    """A macro space in small, another one as it is."""
    return load(MACRO[space].space if space in MACRO else space)


@pytest.mark.sweep(3, slow=2)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("geometry", "estimator"), EVERY_CELL, ids=EVERY_NAME)
@pytest.mark.parametrize("exclude", [(), ("none",)], ids=["all", "without-none"])
def test_distribution_contract(space: str, geometry: Geometry, estimator: Estimator, exclude: tuple[str, ...]) -> None:
    check_distribution(Learned(geometry, estimator), small(space), exclude=exclude, draws=8)


@pytest.mark.sweep(2)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("exclude", [(), ("none",)], ids=["all", "without-none"])
def test_controller_contract(space: str, exclude: tuple[str, ...]) -> None:
    check_distribution(Autoregressive(hidden=8), small(space), exclude=exclude, draws=8)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("paths", [1, 3])
def test_sampler_contract(space: str, paths: int) -> None:
    check_distribution(Uniform(paths), small(space), draws=10)
    check_distribution(Uniform(paths), small(space), exclude=("none",), draws=10)


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def tiny(space: str) -> tuple[Supernet, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    networks: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
        "nasbench1shot1:1": ((3, 8, 8), {"channels": 2, "cells": 1}),
        "nasbench201": ((3, 8, 8), {"channels": 2, "cells": 1}),
        "conv-macro": ((3, 12, 12), {"divisor": 8, "dropout": 0.0}),
        "darts": ((3, 8, 8), {"channels": 2, "layers": 3}),
        "darts-rnn": ((3,), {"width": 2, **{f"{n}_dropout": 0.0 for n in ("output", "hidden", "input", "embedding")}}),
        "toy-separable-cell": ((1, 8, 8), {"channels": 2, "dropout": 0.0}),
    }
    shape, network = networks.get(space, ((6,), {}))
    if space in MACRO:
        supernet, inputs = small_supernet(space, outputs=4, examples=2, seed=0)
        images = inputs.is_floating_point()
        targets = torch.randint(4, inputs.shape[:1] if images else inputs.shape, generator=generator)
        return supernet.double(), inputs.double() if images else inputs, targets
    supernet = build_supernet(load(space), shape, 4, network=network).double()
    if space == "darts-rnn":
        tokens, targets = torch.randint(4, (2, 6, *shape), generator=generator)
        return supernet, tokens, targets
    x = torch.randn(6, *shape, generator=generator, dtype=torch.float64)
    return supernet, x, torch.randint(4, (6,), generator=generator)


@pytest.mark.sweep(2, slow=2)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("geometry", "estimator"), CELLS, ids=NAMES)
def test_pullback_equals_automatic_differentiation_through_the_network(
    space: str, geometry: Geometry, estimator: Estimator
) -> None:
    supernet, x, y = tiny(space)
    distribution = Factored(
        supernet.relaxation, geometry, estimator, torch.Generator().manual_seed(1), ("none",)
    ).double()
    for seed in range(3):
        distribution.zero_grad()
        [gates] = distribution.draw(torch.Generator().manual_seed(seed), Phase("architecture", 1, 3))
        torch.manual_seed(seed)  # of dropout
        loss_of(supernet(x, gates), y).backward()
        assert distribution.theta.grad is not None
        whole = distribution.theta.grad.clone()
        distribution.zero_grad()
        torch.manual_seed(seed)
        [gates] = distribution.draw(torch.Generator().manual_seed(seed), Phase("architecture", 1, 3))
        leaves = cut(gates, differentiable=True)
        distribution.pullback(gates, gate_gradients(loss_of(supernet(x, leaves), y), leaves))
        torch.testing.assert_close(distribution.theta.grad, whole, rtol=1e-11, atol=1e-14)
        assert bool(whole.any())


@pytest.mark.parametrize("space", ["nasbench201", "toy-two-inputs"])
def test_architecture_gradient_of_first_order_darts_against_finite_differences(space: str) -> None:
    recipe = replace(darts(batch_size=16), penalties=())
    dataset = digits().limited(64, seed=0)
    network = {"channels": 2, "cells": 1} if space == "nasbench201" else {"width": 6}
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=network)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"))
    supernet.train()
    theta = state.distribution.theta
    assert isinstance(theta, torch.nn.Parameter)
    with torch.no_grad():
        theta.copy_(torch.randn(theta.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.3)
    start = theta.detach().clone()
    place = state.streams["architecture"].state_dict()
    batch = state.next_batch("architecture")
    state.streams["architecture"].load_state_dict(place)

    def loss_at(values: Tensor) -> float:
        with torch.no_grad(), frozen_statistics(supernet):
            theta.copy_(values)
            [gates] = state.distribution.draw(torch.Generator(), Phase("architecture"))
            return float(state.loss(supernet(batch.inputs, gates), batch.targets))

    reported = architecture_step(state)
    assert theta.grad is not None
    gradient = theta.grad.clone()
    assert float(reported) == pytest.approx(loss_at(start), rel=1e-12)
    step = 1e-5
    for row in range(len(start)):
        for column in range(start.shape[1]):
            shift = torch.zeros_like(start)
            shift[row, column] = step
            numeric = (loss_at(start + shift) - loss_at(start - shift)) / (2 * step)
            assert float(gradient[row, column]) == pytest.approx(numeric, rel=1e-5, abs=1e-8)
