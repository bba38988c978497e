"""The contract of a penalty: it lowers what it says, reads what is not masked, and touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from sharewise.cost import SupernetCost
from sharewise.distribution import (
    Concentrations,
    Expectation,
    Factored,
    Geometry,
    Linear,
    Phase,
    Setting,
    SigmoidLogits,
    Simplex,
    SoftmaxLogits,
)
from sharewise.engine import Penalty
from sharewise.run import build_supernet
from sharewise.spaces import nasbench201
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.compare import same, values
from sharewise.testing.expect import expect

__all__ = ["Quantity", "check_penalty"]

Quantity = Callable[[Factored, SupernetCost], Tensor | float]
"""A number that describes a distribution over priced options, such as its entropy."""

_GEOMETRIES: tuple[Geometry, ...] = (SoftmaxLogits(0.05), Simplex(), Concentrations(0.05), SigmoidLogits(0.05))
_SHAPE = (1, 8, 8)
_PHASES = (Phase("architecture", 0, 3), Phase("architecture", 1, 3), Phase("architecture", 2, 3))


def check_penalty(penalty: Penalty, lowers: Quantity, *, seed: int = 0) -> None:
    """Check a penalty under every geometry that it understands, on a space whose options have different prices.

    *A function of θ*: a finite scalar, the same again, with a graph to θ; θ, masks and the global generators stay as
    they are. *Masked options have no part*: whatever stands at masked entries of θ changes nothing, and has no
    gradient. *Honest*: the gradient is the derivative (by central differences), and is not zero everywhere. *The right
    sign*: steps on the penalty alone lower the quantity that it is said to lower. *At the corners*: where a decision is
    settled, value and gradient are finite. *Its strength*: twice the strength is twice the penalty, none is nothing,
    and a schedule is followed.

    Args:
        penalty: of positive strength.
        lowers: what following the penalty must lower, computed without the penalty: `lambda d, c: -d.entropy()` for
            one that keeps a distribution from collapsing.
        seed: of θ and the weights.

    Raises:
        AssertionError: for the first law that is broken, naming the geometry.

    Example:
        >>> from sharewise.engine import WeightDecay
        >>> check_penalty(WeightDecay(), lambda distribution, costs: distribution.theta.square().sum())
    """
    space = nasbench201()
    supernet = build_supernet(space, _SHAPE, 3, network={"channels": 2, "cells": 1}, seed=seed)
    costs, understood = SupernetCost(supernet, _SHAPE), 0
    for geometry in _GEOMETRIES:
        if not isinstance(geometry, penalty.geometry):
            continue
        understood += 1
        words, effects = f"{type(penalty).__name__} under {type(geometry).__name__}", []
        for number, exclude in enumerate(((), ("none",), ("skip_connect",))):
            generator = torch.Generator().manual_seed(seed + number)
            distribution = Factored(space.relaxation, geometry, Expectation(), generator, exclude).double()
            for _ in range(3):
                _move(distribution, generator)
                effects.append(_check_function(penalty, distribution, costs, words))
                _check_masked(penalty, distribution, costs, words)
                _check_derivative(penalty, distribution, costs, generator, words)
        expect(any(effects), f"{words} has no effect: its gradient is zero at every θ that was tried")
        _check_corners(penalty, geometry, costs, words)
        _check_sign(penalty, geometry, costs, lowers, seed, words)
        _check_strength(penalty, distribution, costs, words)
    expect(understood > 0, f"{type(penalty).__name__} understands none of the geometries that there are")


def _move(distribution: Factored, generator: torch.Generator) -> None:
    """Some θ, legal under its geometry."""
    raw = torch.rand(distribution.theta.shape, generator=generator, dtype=torch.float64) * 2 + 0.1
    with torch.no_grad():
        distribution.theta.copy_(distribution.geometry.restricted(raw, distribution.mask))


def _gradient(penalty: Penalty, distribution: Factored, costs: SupernetCost, words: str) -> tuple[Tensor, Tensor]:
    value = penalty(distribution, costs, _PHASES[-1])
    expect(value.shape == (), f"{words} is a scalar, got shape {tuple(value.shape)}")
    expect(value.requires_grad, f"{words} carries no graph to θ, and so has no effect")
    (gradient,) = torch.autograd.grad(value, distribution.theta, allow_unused=True, materialize_grads=True)
    return value.detach(), gradient


def _check_function(penalty: Penalty, distribution: Factored, costs: SupernetCost, words: str) -> bool:
    """Returns whether the penalty has an effect here."""
    state = values(distribution)
    with without_ambient_randomness(words):
        value, gradient = _gradient(penalty, distribution, costs, words)
    expect(bool(value.isfinite()) and bool(gradient.isfinite().all()), f"{words} is {float(value)}, or its gradient is")
    expect(same(state, values(distribution)), f"{words} changes θ or its mask while it is computed")
    again, _ = _gradient(penalty, distribution, costs, words)
    expect(torch.equal(value, again), f"{words} is {float(value):.9g}, and computed again {float(again):.9g}")
    return bool(gradient[distribution.mask].any())


def _check_masked(penalty: Penalty, distribution: Factored, costs: SupernetCost, words: str) -> None:
    masked = ~distribution.mask
    if not bool(masked.any()):
        return
    value, gradient = _gradient(penalty, distribution, costs, words)
    expect(not bool(gradient[masked].any()), f"{words} has a gradient at masked options")
    kept = distribution.theta.detach().clone()
    with torch.no_grad():
        distribution.theta[masked] = 0.7
    other, _ = _gradient(penalty, distribution, costs, words)
    with torch.no_grad():
        distribution.theta.copy_(kept)
    expect(
        torch.allclose(value, other, rtol=1e-12, atol=0),
        f"{words} reads masked options: {float(value):.9g} becomes {float(other):.9g} when they change",
    )


def _check_derivative(
    penalty: Penalty, distribution: Factored, costs: SupernetCost, generator: torch.Generator, words: str
) -> None:
    _, gradient = _gradient(penalty, distribution, costs, words)
    theta = distribution.theta.detach().clone()
    direction = torch.randn(theta.shape, generator=generator, dtype=theta.dtype) * distribution.mask
    step, ends = 1e-6, []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            distribution.theta.copy_(theta + sign * step * direction)
            ends.append(float(penalty(distribution, costs, _PHASES[-1])))
        distribution.theta.copy_(theta)
    expected, actual = (ends[0] - ends[1]) / (2 * step), float((gradient * direction).sum())
    expect(
        abs(expected - actual) <= 1e-5 * max(1e-3, abs(expected)) + 1e-9,
        f"the derivative of {words} is {expected:.6g} along a direction of θ, but its gradient says {actual:.6g}",
    )


def _check_corners(penalty: Penalty, geometry: Geometry, costs: SupernetCost, words: str) -> None:
    space, generator = nasbench201(), torch.Generator().manual_seed(0)
    distribution = Factored(space.relaxation, geometry, Expectation(), generator).double()
    corner = torch.zeros_like(distribution.theta)
    corner[:, 0] = 1.0
    for theta in (geometry.restricted(corner, distribution.mask), 60.0 * (2 * corner - 1)):
        if isinstance(geometry, Simplex) and bool((theta < 0).any()):
            continue  # no point of the simplex
        with torch.no_grad():
            distribution.theta.copy_(theta * distribution.mask)
        value, gradient = _gradient(penalty, distribution, costs, words)
        expect(
            bool(value.isfinite()) and bool(gradient.isfinite().all()),
            f"{words} is not finite where a decision is settled: {float(value)}, gradient {gradient.tolist()}",
        )


def _check_sign(
    penalty: Penalty, geometry: Geometry, costs: SupernetCost, lowers: Quantity, seed: int, words: str
) -> None:
    space, generator = nasbench201(), torch.Generator().manual_seed(seed)
    distribution = Factored(space.relaxation, geometry, Expectation(), generator).double()
    _move(distribution, generator)
    optimizer = distribution.optimizer()
    with torch.no_grad():
        before = float(lowers(distribution, costs))
    for _ in range(20):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(penalty(distribution, costs, _PHASES[-1]))
        optimizer.step()
    with torch.no_grad():
        after = float(lowers(distribution, costs))
    expect(
        after < before,
        f"20 steps on {words} alone took what it should lower from {before:.6g} to {after:.6g}: is its sign wrong?",
    )


def _check_strength(penalty: Penalty, distribution: Factored, costs: SupernetCost, words: str) -> None:
    for phase, strength, value in _strengths(penalty, distribution, costs):
        unit = float(penalty.value(distribution, costs).detach())
        expect(
            abs(value - strength * unit) <= 1e-9 * max(1.0, abs(unit)),
            f"{words} with a strength of {strength:g} in epoch {phase.epoch} is {value:.6g}, where its value at "
            f"strength one is {unit:.6g}",
        )


def _strengths(penalty: Penalty, distribution: Factored, costs: SupernetCost) -> Iterator[tuple[Phase, float, float]]:
    """Phases with a strength and the penalty at them, under numbers and under a schedule."""
    settings: tuple[Setting, ...] = (0.0, 0.5, Linear(0.0, 2.0))
    for setting in settings:
        other = cast("Penalty", replace(cast("Any", penalty), strength=setting))
        for phase in _PHASES:
            yield phase, phase.value(setting), float(other(distribution, costs, phase).detach())
