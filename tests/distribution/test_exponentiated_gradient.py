"""Exponentiated gradient against its closed form and against softmax."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sharewise.distribution import (
    Expectation,
    ExponentiatedGradient,
    Factored,
    Phase,
    Simplex,
    SoftmaxLogits,
    exponentiated_step,
)
from sharewise.errors import ConfigurationError
from sharewise.spaces import load


def simplex(generator: torch.Generator, rows: int = 3, k: int = 5) -> Tensor:
    raw = torch.rand(rows, k, generator=generator, dtype=torch.float64) + 0.05
    return raw / raw.sum(-1, keepdim=True)


def case(seed: int, scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return simplex(generator), scale * torch.randn(3, 5, generator=generator, dtype=torch.float64)


SEEDS, SCALES = st.integers(0, 10**6), st.sampled_from([1e-3, 1.0, 10.0])


@given(seed=SEEDS, scale=SCALES)
def test_closed_form(seed: int, scale: float) -> None:
    theta, gradient = case(seed, scale)
    raw = theta * torch.exp(-0.1 * gradient)
    torch.testing.assert_close(
        exponentiated_step(theta, gradient, 0.1), raw / raw.sum(-1, keepdim=True), rtol=1e-12, atol=1e-15
    )


@given(seed=SEEDS, scale=SCALES)
def test_equals_softmax_of_log_theta_minus_the_scaled_gradient(seed: int, scale: float) -> None:
    theta, gradient = case(seed, scale)
    torch.testing.assert_close(
        exponentiated_step(theta, gradient, 0.3),
        torch.softmax(theta.log() - 0.3 * gradient, -1),
        rtol=1e-12,
        atol=1e-15,
    )


@given(seed=SEEDS, scale=SCALES, shift=st.sampled_from([-1e4, -3.0, 0.5, 1e4]), floor=st.sampled_from([0.0, 1e-5, 0.1]))
def test_is_invariant_to_a_constant_per_row_even_at_the_floor(
    seed: int, scale: float, shift: float, floor: float
) -> None:
    theta, gradient = case(seed, scale)
    rows = shift * torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    torch.testing.assert_close(
        exponentiated_step(theta, gradient + rows, 0.1, floor),
        exponentiated_step(theta, gradient, 0.1, floor),
        rtol=1e-9,
        atol=1e-12,
    )


@given(seed=SEEDS, scale=st.sampled_from([1.0, 1e3, 1e6]), floor=st.sampled_from([1e-5, 1e-3, 0.1]))
def test_stays_on_the_simplex_above_the_floor(seed: int, scale: float, floor: float) -> None:
    theta, gradient = case(seed, scale)
    for dtype in (torch.float32, torch.float64):
        new = exponentiated_step(theta.to(dtype), gradient.to(dtype), 0.1, floor)
        assert new.dtype == dtype
        assert torch.allclose(new.sum(-1), torch.ones(3, dtype=dtype), atol=1e-6)
        assert bool((new >= floor / (1 + 5 * floor) - 1e-9).all())


@given(seed=SEEDS, scale=st.sampled_from([1.0, 1e4]), masked=st.lists(st.integers(0, 4), max_size=4, unique=True))
def test_masked_zeros_stay_zero_and_do_not_disturb_the_rest(seed: int, scale: float, masked: list[int]) -> None:
    theta, gradient = case(seed, scale)
    theta[:, masked] = 0
    theta /= theta.sum(-1, keepdim=True)
    rest = [i for i in range(5) if i not in masked]
    new = exponentiated_step(theta, gradient, 0.1, 1e-5)
    assert bool((new[:, masked] == 0).all())
    torch.testing.assert_close(new[:, rest], exponentiated_step(theta[:, rest], gradient[:, rest], 0.1, 1e-5))


@given(seed=SEEDS)
def test_composition_of_steps_adds_gradients(seed: int) -> None:
    theta, gradient = case(seed, 1.0)
    other = gradient.flip(0)
    twice = exponentiated_step(exponentiated_step(theta, gradient, 0.2), other, 0.2)
    torch.testing.assert_close(twice, exponentiated_step(theta, gradient + other, 0.2), rtol=1e-12, atol=1e-15)


def test_uniform_with_no_gradient_stays_uniform() -> None:
    theta = torch.full((2, 4), 0.25)
    assert torch.equal(exponentiated_step(theta, torch.zeros(2, 4), 0.1, 1e-5), theta)


def test_descends() -> None:
    theta = torch.nn.Parameter(torch.full((1, 4), 0.25, dtype=torch.float64))
    slopes = torch.tensor([3.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    optimizer = ExponentiatedGradient([theta], lr=0.5)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (slopes * theta).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)
    assert int(theta.argmax()) == 1
    assert losses[-1] < 1.001


def test_closure_and_absent_gradients() -> None:
    theta, still = (torch.nn.Parameter(torch.full((1, 2), 0.5)) for _ in range(2))
    optimizer = ExponentiatedGradient([theta, still], lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = theta[0, 0] * 2
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 1.0
    assert theta[0, 0] < 0.5
    assert torch.equal(still.data, torch.full((1, 2), 0.5))


@pytest.mark.parametrize("settings", [{"lr": 0.0}, {"lr": -1.0}, {"floor": -0.1}, {"floor": 1.0}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="must"):
        ExponentiatedGradient([torch.nn.Parameter(torch.ones(1))], **settings)


@pytest.mark.parametrize("settings", [{"learning_rate": 0.0}, {"floor": 1.0}, {"floor": -1e-9}])
def test_geometry_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="must"):
        Simplex(**settings)
    with pytest.raises(ConfigurationError, match="must be positive"):
        SoftmaxLogits(learning_rate=0.0)


def test_gradient_of_logits_is_the_chain_rule_of_the_gradient_of_the_simplex() -> None:
    """∂L/∂α = Jᵀ ∂L/∂θ with J = diag(p) - p pᵀ, the gradient on the simplex being with respect to θ, not log θ."""
    relaxation = load("nasbench201").relaxation
    softmax, straight = (
        Factored(relaxation, geometry, Expectation(), torch.Generator().manual_seed(0)).double()
        for geometry in (SoftmaxLogits(scale=1.0), Simplex())
    )
    p = torch.softmax(softmax.theta.detach(), -1)
    with torch.no_grad():
        straight.theta.copy_(p)
    slopes = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for distribution in (softmax, straight):
        [gates] = distribution.draw(torch.Generator(), Phase("architecture"))
        rows = zip(slopes, gates.values(), strict=True)
        torch.stack([(row * gate.weights).sum() for row, gate in rows]).sin().sum().backward()
    g = straight.theta.grad
    assert g is not None
    expected = torch.stack([(torch.diag(q) - torch.outer(q, q)) @ row for q, row in zip(p, g, strict=True)])
    torch.testing.assert_close(softmax.theta.grad, expected, rtol=1e-12, atol=1e-14)
