"""Second-order DARTS against numeric differentiation, the whole graph, and its own limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from sharewise.data import Batch, digits
from sharewise.distribution import Phase
from sharewise.engine import (
    Constant,
    SearchState,
    WeightOptimization,
    architecture_step,
    numerics,
    prepare,
    run,
    stream,
    unrolled_step,
    weight_step,
)
from sharewise.methods import darts_second_order
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import frozen_statistics

NETWORKS: dict[str, dict[str, Any]] = {"nasbench201": {"channels": 2, "cells": 1}, "toy-two-inputs": {"width": 5}}


def state_of(space: str = "toy-two-inputs", *, nesterov: bool = False, steps: int = 2, **options: Any) -> SearchState:
    recipe = darts_second_order(batch_size=16, **options)
    weights = WeightOptimization(Constant(0.3), momentum=0.9, weight_decay=0.05, nesterov=nesterov)
    recipe = replace(recipe, penalties=(), weights=weights)
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=NETWORKS[space])
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"))
    supernet.train()
    with torch.no_grad():
        theta = torch.randn(theta_of(state).shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        theta_of(state).copy_(0.5 * theta)
    for _ in range(steps):  # so that there is momentum
        weight_step(state)
    return state


def theta_of(state: SearchState) -> torch.nn.Parameter:
    theta = state.distribution.theta
    assert isinstance(theta, torch.nn.Parameter)
    return theta


def peek(state: SearchState) -> tuple[Batch, Batch]:
    """The batches of the next step, which stay the next ones."""
    batches = []
    for role in ("weights", "architecture"):
        place = state.streams[role].state_dict()  # type: ignore[index]
        batches.append(state.next_batch(role))  # type: ignore[arg-type]
        state.streams[role].load_state_dict(place)  # type: ignore[index]
    return batches[0], batches[1]


def ahead(state: SearchState, train: Batch, rate: float, *, graph: bool) -> dict[str, Tensor]:
    """w after one step of SGD on the training batch, written out."""
    [gates] = state.distribution.draw(torch.Generator(), Phase("architecture"))
    w = dict(state.supernet.named_parameters())
    loss = state.loss(state.supernet(train.inputs, gates), train.targets)
    gradients = torch.autograd.grad(loss, list(w.values()), create_graph=graph, allow_unused=True)
    result = {}
    for (name, value), g in zip(w.items(), gradients, strict=True):
        if g is None:
            continue
        direction = g + 0.05 * value
        buffer = state.weight_optimizer.state[value].get("momentum_buffer", torch.zeros_like(value))
        moved = direction + 0.9 * buffer
        nesterov = state.recipe.weights.nesterov
        result[name] = value - rate * (direction + 0.9 * moved if nesterov else moved)
    return result


def loss_ahead(state: SearchState, train: Batch, valid: Batch, rate: float, *, graph: bool = False) -> Tensor:
    with frozen_statistics(state.supernet):
        w = ahead(state, train, rate, graph=graph)
        [gates] = state.distribution.draw(torch.Generator(), Phase("architecture"))
        loss: Tensor = state.loss(functional_call(state.supernet, w, (valid.inputs, gates)), valid.targets)
    return loss


def gradient(state: SearchState, train: Batch, **settings: Any) -> Tensor:
    """The gradient that the product leaves in θ, at a θ that does not move."""
    start = theta_of(state).detach().clone()
    unrolled_step(state, train, **settings)
    with torch.no_grad():
        theta_of(state).copy_(start)
    g = theta_of(state).grad
    assert g is not None
    return g.clone()


@pytest.mark.parametrize("space", list(NETWORKS))
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("steps", [0, 2])
def test_exact_gradient_equals_that_of_the_whole_graph(space: str, nesterov: bool, steps: int) -> None:
    state = state_of(space, nesterov=nesterov, steps=steps)
    train, valid = peek(state)
    expected = torch.autograd.grad(loss_ahead(state, train, valid, 0.3, graph=True), theta_of(state))[0]
    got = gradient(state, train)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)
    state = state_of(space, nesterov=nesterov, steps=steps)
    first = gradient(state, train, inner_learning_rate=0.0)
    assert float((got - first).norm() / first.norm()) > 0.01, "the second-order term is not negligible here"


@pytest.mark.parametrize("space", list(NETWORKS))
def test_exact_gradient_equals_numeric_differentiation(space: str) -> None:
    state = state_of(space)
    train, valid = peek(state)
    got = gradient(state, train)
    start, step = theta_of(state).detach().clone(), 1e-5

    def value(theta: Tensor) -> float:
        with torch.no_grad():
            theta_of(state).copy_(theta)
        return float(loss_ahead(state, train, valid, 0.3).detach())

    for row in range(len(start)):
        for column in range(start.shape[1]):
            shift = torch.zeros_like(start)
            shift[row, column] = step
            numeric = (value(start + shift) - value(start - shift)) / (2 * step)
            assert float(got[row, column]) == pytest.approx(numeric, rel=2e-5, abs=1e-8)


def errors(space: str, radii: tuple[float, ...], *, nesterov: bool = False) -> list[float]:
    """Relative errors of the finite difference for each radius."""
    found = []
    for radius in radii:
        state = state_of(space, nesterov=nesterov)
        train, _ = peek(state)
        place = state.streams["architecture"].state_dict()
        exact = gradient(state, train)
        state.streams["architecture"].load_state_dict(place)
        found.append(float((gradient(state, train, radius=radius) - exact).norm() / exact.norm()))
    return found


@pytest.mark.parametrize("space", list(NETWORKS))
@pytest.mark.parametrize("nesterov", [False, True])
def test_finite_difference_tends_to_the_exact_product(space: str, nesterov: bool) -> None:
    [error] = errors(space, (1e-5,), nesterov=nesterov)
    assert error < 1e-6


def test_the_error_of_a_smooth_network_falls_with_the_square_of_the_radius() -> None:
    published, smaller, smallest = errors("toy-two-inputs", (1e-2, 1e-3, 1e-4))
    assert published < 1e-3
    assert published / smaller > 50
    assert smaller / smallest > 50


def test_the_published_radius_steps_over_the_kinks_of_a_small_network() -> None:
    """The product of a network with ReLUs holds between two kinks; R = 0.01 reaches across many of them."""
    [error] = errors("nasbench201", (1e-2,))
    assert error > 0.5


@pytest.mark.parametrize("radius", [None, 0.01])
def test_equals_first_order_at_inner_learning_rate_zero(radius: float | None) -> None:
    state = state_of("nasbench201")
    train, _ = peek(state)
    place = state.streams["architecture"].state_dict()
    got = gradient(state, train, inner_learning_rate=0.0, radius=radius)
    state.streams["architecture"].load_state_dict(place)
    architecture_step(state)
    first = theta_of(state).grad
    assert first is not None
    torch.testing.assert_close(got, first, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("radius", [None, 0.01])
def test_nothing_but_theta_is_touched(radius: float | None) -> None:
    state = state_of("nasbench201")
    train, _ = peek(state)
    before = {name: value.clone() for name, value in state.supernet.state_dict().items()}
    optimizer = {k: v["momentum_buffer"].clone() for k, v in state.weight_optimizer.state_dict()["state"].items()}
    theta = theta_of(state).detach().clone()
    state.weight_optimizer.zero_grad()
    unrolled_step(state, train, radius=radius)
    assert all(torch.equal(value, before[name]) for name, value in state.supernet.state_dict().items())
    after = state.weight_optimizer.state_dict()["state"]
    assert all(torch.equal(after[k]["momentum_buffer"], v) for k, v in optimizer.items())
    assert all(p.grad is None for p in state.supernet.parameters())
    assert not torch.equal(theta, theta_of(state))


def test_both_steps_see_the_same_batch() -> None:
    state = state_of(steps=0)
    seen: list[Tensor] = []
    state.supernet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    run(state, (lambda state, event: seen.append(torch.zeros(0)) if type(event).__name__ == "Stepped" else None,))
    train, valid, again = seen[:3]
    assert torch.equal(train, again)
    assert not torch.equal(train, valid)
    assert seen[3].numel() == 0, "two forward passes for the architecture, one for the weights"


def test_a_vanishing_direction_gives_no_division_by_zero() -> None:
    state = state_of()
    state.loss = lambda outputs, targets: (outputs * 0).sum()
    train, _ = peek(state)
    assert bool(gradient(state, train, radius=0.01).isfinite().all())
