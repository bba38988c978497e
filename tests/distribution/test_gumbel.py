"""The straight-through Gumbel estimator of GDAS."""

from __future__ import annotations

import pytest
import torch

from sharewise.distribution import Expectation, Factored, Phase, Simplex, SoftmaxLogits, StraightThroughGumbel
from sharewise.engine import Constant, Linear
from sharewise.errors import ConfigurationError
from sharewise.run import build_supernet
from sharewise.space import Choice, Space
from sharewise.spaces import load
from sharewise.supernet import discrete

GEOMETRIES = [SoftmaxLogits(scale=1.0), Simplex()]


def drawn(geometry: SoftmaxLogits | Simplex, temperature: float, seed: int = 3) -> tuple[Factored, dict[str, object]]:
    relaxation = load("nasbench201").relaxation
    estimator = StraightThroughGumbel(Constant(temperature))
    distribution = Factored(relaxation, geometry, estimator, torch.Generator().manual_seed(0)).double()
    [gates] = distribution.draw(torch.Generator().manual_seed(seed), Phase("architecture"))
    return distribution, dict(gates)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1])
def test_value_is_exactly_one_hot(geometry: SoftmaxLogits | Simplex, temperature: float) -> None:
    for seed in range(10):
        _, gates = drawn(geometry, temperature, seed)
        for gate in gates.values():
            assert sorted(gate.weights.tolist()) == [0.0, 0.0, 0.0, 0.0, 1.0]
            assert gate.active == (int(gate.weights.argmax()),)


def test_forward_equals_the_chosen_operation_alone() -> None:
    supernet = build_supernet(load("nasbench201"), (3, 8, 8), 4, network={"channels": 2, "cells": 1, "fused": False})
    supernet.double().eval()
    _, gates = drawn(SoftmaxLogits(), 1.0)
    space = load("nasbench201")
    chosen = space.architecture({d.name: d.options[gates[d.name].active[0]] for d in space.relaxation.decisions})
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    plain = supernet(x, discrete(space.relaxation.encode(chosen), dtype=torch.float64))
    assert torch.equal(supernet(x, gates), plain)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("temperature", [10.0, 0.7])
def test_gradient_equals_the_hand_written_product(geometry: SoftmaxLogits | Simplex, temperature: float) -> None:
    """With cotangent u on the chosen gate alone: ∂L/∂log p = (diag(p̃) - p̃ p̃ᵀ) u / τ, then through log p."""
    distribution, gates = drawn(geometry, temperature)
    cotangents = {
        name: torch.zeros(5, dtype=torch.float64).index_fill(0, torch.tensor(gate.active), 0.5 + i)
        for i, (name, gate) in enumerate(gates.items())
    }
    distribution.pullback(gates, cotangents)
    theta = distribution.theta.detach()
    p = torch.softmax(theta, -1) if isinstance(geometry, SoftmaxLogits) else theta
    noise = -torch.empty(6, 5, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(3)).log()
    relaxed = torch.softmax((p.log() + noise) / temperature, -1)
    for row, (gate, u) in enumerate(zip(gates.values(), cotangents.values(), strict=True)):
        assert gate.active == (int(relaxed[row].argmax()),)
        jacobian = torch.diag(relaxed[row]) - torch.outer(relaxed[row], relaxed[row])
        to_log_p = jacobian @ u / temperature
        through_softmax = to_log_p - p[row] * to_log_p.sum()  # log p = α - logsumexp α
        expected = through_softmax if isinstance(geometry, SoftmaxLogits) else to_log_p / p[row]
        assert distribution.theta.grad is not None
        torch.testing.assert_close(distribution.theta.grad[row], expected, rtol=1e-10, atol=1e-14)
        assert bool((distribution.theta.grad[row] != 0).all()), "every option receives a gradient"


def test_samples_follow_the_probabilities() -> None:
    space = Space("one", (Choice("a", tuple("wxyz")),))
    distribution = Factored(
        space.relaxation,
        SoftmaxLogits(scale=1.0),
        StraightThroughGumbel(Constant(1.0)),
        torch.Generator().manual_seed(2),
    )
    p = distribution.probabilities()["a"]
    generator, draws = torch.Generator().manual_seed(0), 3000
    counts = torch.zeros(4)
    with torch.no_grad():
        for _ in range(draws):
            counts[distribution.draw(generator, Phase("weights"))[0]["a"].active[0]] += 1
    assert bool(((counts / draws - p).abs() < 4 * (p * (1 - p) / draws).sqrt()).all())


def test_extreme_noise_stays_finite() -> None:
    """Float32 exponentials can be exactly zero, whose -log would be infinite."""
    space = Space("one", (Choice("a", tuple("wxyz")),))
    estimator = StraightThroughGumbel(Constant(0.1))
    distribution = Factored(space.relaxation, SoftmaxLogits(), estimator, torch.Generator())
    original = torch.Tensor.exponential_
    try:
        torch.Tensor.exponential_ = lambda self, **_: self.zero_()  # type: ignore[method-assign, assignment]
        [gates] = distribution.draw(torch.Generator(), Phase("architecture"))
    finally:
        torch.Tensor.exponential_ = original  # type: ignore[method-assign]
    assert bool(gates["a"].weights.isfinite().all())


def test_temperature_falls_linearly_as_published() -> None:
    schedule, epochs = Linear(10.0, 0.1), 250
    for epoch in range(epochs):
        assert schedule(epoch, epochs) == pytest.approx(10 - (10 - 0.1) * epoch / (epochs - 1), abs=1e-12)
    assert (schedule(0, epochs), schedule(epochs - 1, epochs)) == (10.0, pytest.approx(0.1))
    assert schedule(0, 1) == 10.0


def test_temperature_must_stay_positive() -> None:
    space = Space("one", (Choice("a", ("x", "y")),))
    estimator = StraightThroughGumbel(Linear(1.0, 0.0))
    distribution = Factored(space.relaxation, SoftmaxLogits(), estimator, torch.Generator())
    with pytest.raises(ConfigurationError, match=r"temperature must be positive and finite, got 0\.0 in epoch 2"):
        distribution.draw(torch.Generator(), Phase("weights", 2, 3))


def test_expectation_keeps_an_option_active_whose_probability_underflows() -> None:
    space = Space("one", (Choice("a", ("x", "y")),))
    distribution = Factored(space.relaxation, SoftmaxLogits(), Expectation(), torch.Generator())
    with torch.no_grad():
        distribution.theta.copy_(torch.tensor([[0.0, -1e4]]))
    [gates] = distribution.draw(torch.Generator(), Phase("weights"))
    assert gates["a"].active == (0, 1)
    assert gates["a"].weights.tolist() == [1.0, 0.0]
