"""Concrete, two-path, Dirichlet and score-function estimators, each against an oracle."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import special, stats
from torch import Tensor

from sharewise.cost import SupernetCost
from sharewise.distribution import (
    Autoregressive,
    Concentrations,
    Concrete,
    Controller,
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
)
from sharewise.engine import AnchorPenalty, Constant, ExpectedCost
from sharewise.errors import ConfigurationError
from sharewise.run import build_supernet
from sharewise.space import Choice, Space, enumerate_architectures
from sharewise.spaces import load
from sharewise.supernet import discrete

TINY = Space("tiny", (Choice("a", ("x", "y", "z")), Choice("b", ("u", "v")), Choice("c", ("x", "y", "z"))))
ARCHITECTURE = Phase("architecture")


def factored(space: Space, geometry: Geometry, estimator: Estimator, exclude: tuple[str, ...] = ()) -> Factored:
    generator = torch.Generator().manual_seed(0)
    made = Factored(space.relaxation, geometry, estimator, generator, exclude).double()
    with torch.no_grad():
        noise = torch.randn(made.theta.shape, generator=generator, dtype=torch.float64)
        made.theta.copy_(torch.softmax(noise, -1) if isinstance(geometry, Simplex) else noise)
    return made


@pytest.mark.parametrize("temperature", [2.0, 0.5])
@pytest.mark.parametrize("geometry", [SoftmaxLogits(), Simplex()])
def test_concrete_gradient_equals_the_hand_written_product(geometry: Geometry, temperature: float) -> None:
    made = factored(load("nasbench201"), geometry, Concrete(Constant(temperature)))
    u = torch.randn(6, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    [gates] = made.draw(torch.Generator().manual_seed(3), ARCHITECTURE)
    made.pullback(gates, dict(zip(gates, u, strict=True)))
    p = geometry.probabilities(made.theta, made.mask).detach()
    noise = -torch.empty(6, 5, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(3)).log()
    z = torch.softmax((p.log() + noise) / temperature, -1)
    for row, gate in enumerate(gates.values()):
        torch.testing.assert_close(gate.weights.detach(), z[row])
        assert gate.active == (0, 1, 2, 3, 4)
        to_log_p = (torch.diag(z[row]) - torch.outer(z[row], z[row])) @ u[row] / temperature
        soft = isinstance(geometry, SoftmaxLogits)
        expected = to_log_p - p[row] * to_log_p.sum() if soft else to_log_p / p[row]
        assert made.theta.grad is not None
        torch.testing.assert_close(made.theta.grad[row], expected, rtol=1e-10, atol=1e-14)


def test_concrete_samples_become_one_hot_with_the_right_frequencies() -> None:
    made = factored(TINY, SoftmaxLogits(), Concrete(Constant(0.01)))
    p, n = made.probabilities()["a"], 3000
    counts, generator = torch.zeros(3, dtype=torch.float64), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(n):
            counts += made.draw(generator, ARCHITECTURE)[0]["a"].weights.round()
    assert bool(((counts / n - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all())


def test_two_paths_in_an_architecture_step_and_one_in_a_weight_step() -> None:
    made = factored(load("nasbench201"), SoftmaxLogits(), TwoPath())
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        [gates] = made.draw(generator, ARCHITECTURE)
        for gate in gates.values():
            assert len(gate.active) == 2
            assert sorted(gate.weights.tolist()) == [0.0, 0.0, 0.0, 0.0, 1.0]
            assert gate.weights[list(gate.active)].sum() == 1
        [gates] = made.draw(generator, Phase("weights"))
        assert all(len(gate.active) == 1 and gate.weights[gate.active[0]] == 1 for gate in gates.values())


def test_two_path_gradient_is_equation_4_and_zero_to_the_bit_elsewhere() -> None:
    made = factored(load("nasbench201"), SoftmaxLogits(), TwoPath())
    for seed in range(20):
        made.zero_grad()
        [gates] = made.draw(torch.Generator().manual_seed(seed), ARCHITECTURE)
        u = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        made.pullback(gates, dict(zip(gates, u, strict=True)))
        assert made.theta.grad is not None
        for row, gate in enumerate(gates.values()):
            i, j = gate.active
            q = torch.softmax(made.theta.detach()[row, [i, j]], -1)
            expected = torch.zeros(5, dtype=torch.float64)
            for m, n in ((0, 1), (1, 0)):
                own = u[row, gate.active[m]] * q[m] * (1 - q[m])
                other = u[row, gate.active[n]] * q[n] * (0 - q[m])
                expected[gate.active[m]] = own + other
            torch.testing.assert_close(made.theta.grad[row], expected, rtol=1e-10, atol=1e-15)
            rest = [k for k in range(5) if k not in gate.active]
            assert made.theta.grad[row, rest].tolist() == [0.0, 0.0, 0.0]


def test_two_path_pairs_are_drawn_without_replacement_and_heads_from_the_pair() -> None:
    made = factored(TINY, SoftmaxLogits(), TwoPath())
    p = made.probabilities()["a"].tolist()
    pairs = {
        (i, j): p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]) for i, j in itertools.combinations(range(3), 2)
    }
    n, generator = 6000, torch.Generator().manual_seed(0)
    drawn: list[tuple[tuple[int, ...], int]] = []
    with torch.no_grad():
        for _ in range(n):
            gate = made.draw(generator, ARCHITECTURE)[0]["a"]
            drawn.append((gate.active, int(gate.weights.argmax())))
    for pair, probability in pairs.items():
        mine = [head for active, head in drawn if active == pair]
        assert abs(len(mine) / n - probability) < 4 * math.sqrt(probability * (1 - probability) / n)
        q = p[pair[0]] / (p[pair[0]] + p[pair[1]])
        assert abs(mine.count(pair[0]) / len(mine) - q) < 4 * math.sqrt(q * (1 - q) / len(mine))


def test_two_path_step_leaves_other_probabilities_alone() -> None:
    geometry = SoftmaxLogits(0.5, betas=(0.0, 0.999), preserve_mass=True)
    made = factored(load("nasbench201"), geometry, TwoPath())
    optimizer = made.optimizer()
    for seed in range(10):
        before = torch.stack(list(made.probabilities().values()))
        optimizer.zero_grad()
        [gates] = made.draw(torch.Generator().manual_seed(seed), ARCHITECTURE)
        u = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        made.pullback(gates, dict(zip(gates, u, strict=True)))
        optimizer.step()
        after = torch.stack(list(made.probabilities().values()))
        for row, gate in enumerate(gates.values()):
            rest = [k for k in range(5) if k not in gate.active]
            torch.testing.assert_close(after[row, rest], before[row, rest], rtol=1e-12, atol=1e-15)
            assert float((after - before)[row, list(gate.active)].abs().min()) > 1e-5
    with pytest.raises(ConfigurationError, match="first beta of 0"):
        SoftmaxLogits(preserve_mass=True)


def test_a_single_option_left_is_taken() -> None:
    for geometry, estimator in [(SoftmaxLogits(), TwoPath()), (Concentrations(), DirichletPath())]:
        made = factored(TINY, geometry, estimator)
        made.restrict({"a": torch.tensor([False, True, False])})
        [gates] = made.draw(torch.Generator().manual_seed(0), ARCHITECTURE)
        assert gates["a"].active == (1,)
        assert gates["a"].weights.tolist() == [0.0, 1.0, 0.0]
        gates["a"].weights[1].backward()
        assert made.theta.grad is None or bool(made.theta.grad.isfinite().all())


def test_concentrations_are_elu_plus_one() -> None:
    geometry = Concentrations()
    theta = torch.tensor([-12.0, -3.0, -1e-3, 0.0, 1e-3, 4.0], dtype=torch.float64, requires_grad=True)
    made = geometry.concentrations(theta)
    torch.testing.assert_close(made, torch.nn.functional.elu(theta) + 1, rtol=1e-9, atol=0.0)
    made.sum().backward()
    assert theta.grad is not None
    torch.testing.assert_close(theta.grad, torch.where(theta > 0, 1.0, theta.detach().exp()))
    assert float(geometry.concentrations(torch.tensor(-1e4))) == pytest.approx(math.exp(-13))


def test_dirichlet_samples_lie_on_the_simplex_with_the_right_moments() -> None:
    made = factored(load("nasbench201"), Concentrations(), DirichletPath(), exclude=("none",))
    beta = made.geometry.concentrations(made.theta).detach()[0] if isinstance(made.geometry, Concentrations) else None
    assert beta is not None
    beta = beta[1:]
    generator, n = torch.Generator().manual_seed(0), 4000
    samples = torch.zeros(n, 4, dtype=torch.float64)
    with torch.no_grad():
        for i in range(n):
            gate = made.draw(generator, ARCHITECTURE)[0]["edge_0_1"]
            assert float(gate.weights[0]) == 0
            assert float(gate.weights.sum()) == pytest.approx(1, abs=1e-12)
            samples[i] = gate.weights[1:]
    mean = beta / beta.sum()
    variance = mean * (1 - mean) / (beta.sum() + 1)
    assert bool(((samples.mean(0) - mean).abs() < 4 * (variance / n).sqrt()).all())
    torch.testing.assert_close(samples.var(0), variance, rtol=0.15, atol=0.0)


def test_dirichlet_path_gradient_of_two_options_equals_the_implicit_one() -> None:
    """x ~ Beta(a, b) has dx/da = -∂F/∂a / f, the only path there is in one dimension."""
    space = Space("pair", (Choice("a", ("x", "y")),))
    made = factored(space, Concentrations(), DirichletPath())
    for seed in range(10):
        with torch.no_grad():
            made.theta.copy_(torch.randn(1, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        made.zero_grad()
        [gates] = made.draw(torch.Generator().manual_seed(seed), ARCHITECTURE)
        x = float(gates["a"].weights[0].detach())
        made.pullback(gates, {"a": torch.tensor([1.0, 0.0], dtype=torch.float64)})
        theta = made.theta.detach()
        assert isinstance(made.geometry, Concentrations)
        a, b = made.geometry.concentrations(theta)[0].tolist()
        density, h = stats.beta.pdf(x, a, b), 1e-5
        to_a = -(special.betainc(a + h, b, x) - special.betainc(a - h, b, x)) / (2 * h) / density
        to_b = -(special.betainc(a, b + h, x) - special.betainc(a, b - h, x)) / (2 * h) / density
        slopes = torch.where(theta > 0, 1.0, theta.exp())[0]
        assert made.theta.grad is not None
        expected = torch.tensor([to_a, to_b], dtype=torch.float64) * slopes
        # The library approximates the derivative of the incomplete beta function to some four digits.
        torch.testing.assert_close(made.theta.grad[0], expected, rtol=2e-3, atol=1e-5)


def test_dirichlet_path_gradient_is_unbiased() -> None:
    """E[x_i²] = β_i (β_i + 1) / (s (s + 1)), whose gradient the mean of the path gradients must approach."""
    space = Space("three", (Choice("a", ("x", "y", "z")),))
    made = factored(space, Concentrations(), DirichletPath())
    theta = made.theta.detach().clone().requires_grad_()
    assert isinstance(made.geometry, Concentrations)
    beta = made.geometry.concentrations(theta)[0]
    slopes = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (slopes * beta * (beta + 1) / (beta.sum() * (beta.sum() + 1))).sum().backward()
    generator, n = torch.Generator().manual_seed(0), 3000
    gradients = torch.zeros(n, 3, dtype=torch.float64)
    for i in range(n):
        made.zero_grad()
        [gates] = made.draw(generator, ARCHITECTURE)
        made.pullback(gates, {"a": 2 * slopes * gates["a"].weights.detach()})
        assert made.theta.grad is not None
        gradients[i] = made.theta.grad[0]
    error = gradients.std(0) / math.sqrt(n)
    assert theta.grad is not None
    assert bool(((gradients.mean(0) - theta.grad[0]).abs() < 4 * error).all())
    assert float(theta.grad.abs().max()) > 10 * float(error.max()), "the test can tell a wrong gradient"


@pytest.mark.parametrize("estimator", [DirichletPath(), Concrete(Constant(1.0)), TwoPath()])
def test_draws_leave_global_generators_alone(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("the generators of other devices were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    made = factored(load("nasbench201"), Concentrations(), estimator)
    before = torch.get_rng_state()
    made.draw(torch.Generator().manual_seed(0), ARCHITECTURE)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("low", [-20.0, -80.0])
def test_tiny_concentrations_keep_gradients_finite(low: float) -> None:
    made = Factored(load("nasbench201").relaxation, Concentrations(), DirichletPath(), torch.Generator())
    with torch.no_grad():
        made.theta[:, :3] = low
    costs = SupernetCost(build_supernet(load("toy-tied-width"), (4,), 3), (4,))
    for seed in range(20):
        [gates] = made.draw(torch.Generator().manual_seed(seed), ARCHITECTURE)
        made.pullback(gates, {name: torch.arange(5.0) for name in gates})
        AnchorPenalty(1.0)(made, costs, ARCHITECTURE).backward()
    assert made.theta.grad is not None
    assert bool(made.theta.grad.isfinite().all())


def test_an_underflowed_entry_of_the_simplex_spoils_no_gradient() -> None:
    made = factored(load("nasbench201"), Simplex(floor=0.0), Concrete(Constant(1.0)))
    with torch.no_grad():
        made.theta[:, 0], made.theta[:, 1] = 0.0, 1 - made.theta[:, 2:].sum(-1)
    [gates] = made.draw(torch.Generator().manual_seed(0), ARCHITECTURE)
    made.pullback(gates, {name: torch.arange(5.0) for name in gates})
    assert made.theta.grad is not None
    assert bool(made.theta.grad.isfinite().all())


def test_dirichlet_needs_concentrations() -> None:
    with pytest.raises(ConfigurationError, match="DirichletPath needs the geometry Concentrations, got SoftmaxLogits"):
        Learned(SoftmaxLogits(), DirichletPath())


def test_the_anchor_penalty() -> None:
    made = factored(load("nasbench201"), Concentrations(), DirichletPath(), exclude=("none",))
    costs = SupernetCost(build_supernet(load("toy-tied-width"), (4,), 3), (4,))
    beta = made.geometry.concentrations(made.theta).detach()[:, 1:]  # type: ignore[attr-defined]
    total = beta.sum(-1)
    written = (
        torch.lgamma(total)
        - torch.lgamma(beta).sum(-1)
        - math.lgamma(4)
        + ((beta - 1) * (torch.digamma(beta) - torch.digamma(total)[:, None])).sum(-1)
    ).sum()
    assert float(AnchorPenalty(0.5)(made, costs, ARCHITECTURE).detach()) == pytest.approx(
        0.5 * float(written), rel=1e-10
    )
    with torch.no_grad():
        made.theta.zero_()
    penalty = AnchorPenalty(0.5)(made, costs, ARCHITECTURE)
    assert float(penalty.detach()) == pytest.approx(0.0, abs=1e-12)
    penalty.backward()
    assert made.theta.grad is not None
    assert float(made.theta.grad.abs().max()) < 1e-12, "the anchor is the minimum"
    with pytest.raises(ConfigurationError, match="use the geometry Concentrations, not SoftmaxLogits"):
        AnchorPenalty()(factored(TINY, SoftmaxLogits(), Expectation()), costs, ARCHITECTURE)


def test_expected_cost_equals_enumeration() -> None:
    space = load("nasbench201")
    supernet = build_supernet(space, (3, 8, 8), 4, network={"channels": 2, "cells": 1})
    costs = SupernetCost(supernet, (3, 8, 8))
    made = factored(space, SoftmaxLogits(), Expectation())
    made.restrict({d.name: torch.tensor([True, True, True, False, False]) for d in space.relaxation.decisions})
    base = costs.of(discrete({d.name: (0.0,) * 5 for d in space.relaxation.decisions}))
    p = made.probabilities()
    options = space.relaxation.decisions[0].options
    expected = largest = 0.0
    for picks in itertools.product((0, 1, 2), repeat=6):
        architecture = space.architecture(
            {d.name: options[i] for d, i in zip(space.relaxation.decisions, picks, strict=True)}
        )
        price = costs.of(discrete(space.relaxation.encode(architecture))) - base
        chance = math.prod(float(p[d.name][i]) for d, i in zip(space.relaxation.decisions, picks, strict=True))
        expected += chance * price
        largest = max(largest, price)
    assert float(ExpectedCost(0.7)(made, costs, ARCHITECTURE).detach()) == pytest.approx(
        0.7 * expected / largest, rel=1e-9
    )


def test_the_expected_cost_of_a_shared_layer_is_the_sum_over_its_widths() -> None:
    space = load("toy-tied-width")
    costs = SupernetCost(build_supernet(space, (4,), 3), (4,))
    made = factored(space, SoftmaxLogits(), Expectation())
    p = made.probabilities()["width"]
    widths = space["width"].options
    grows = [float(width) * 5 + (width + 1) * 3 for width in widths]  # of the two layers, biases included
    expected = sum(float(q) * price for q, price in zip(p, grows, strict=True)) / max(grows)
    assert float(ExpectedCost(1.0)(made, costs, ARCHITECTURE).detach()) == pytest.approx(expected, rel=1e-6)


def test_sigmoid_options_do_not_compete() -> None:
    made = factored(load("nasbench201"), SigmoidLogits(), Expectation(), exclude=("none",))
    [gates] = made.draw(torch.Generator(), ARCHITECTURE)
    sigma = torch.sigmoid(made.theta.detach())
    for row, (name, gate) in enumerate(gates.items()):
        torch.testing.assert_close(gate.weights.detach()[1:], sigma[row, 1:])
        torch.testing.assert_close(made.mixture()[name], gate.weights.detach())
        torch.testing.assert_close(made.probabilities()[name][1:], sigma[row, 1:] / sigma[row, 1:].sum())
        made.zero_grad()
        gate.weights[2].backward(retain_graph=True)
        assert made.theta.grad is not None
        assert made.theta.grad.nonzero().tolist() == [[row, 2]], "no option takes from another one"


def reward(index: Tensor) -> Tensor:
    return (index[:, 0] * 1.0 - 0.5 * index[:, 1] + (index[:, 0] == index[:, 2]) * 1.5).double()


def sequences() -> Tensor:
    return torch.tensor(list(itertools.product(range(3), range(2), range(3))))


def test_score_function_of_independent_decisions_equals_enumeration() -> None:
    made = factored(TINY, SoftmaxLogits(), ScoreFunction())
    indices = sequences()
    log_p = made.geometry.log_probabilities(made.theta, made.mask)
    chances = torch.stack([log_p[d, indices[:, d]] for d in range(3)]).sum(0).exp()
    exact = torch.autograd.grad((chances * reward(indices)).sum(), made.theta)[0]
    assert float(chances.detach().sum()) == pytest.approx(1)
    generator, n = torch.Generator().manual_seed(0), 4000
    gradients = torch.zeros(n, *made.theta.shape, dtype=torch.float64)
    for i in range(n):
        made.zero_grad()
        [gates] = made.draw(generator, ARCHITECTURE)
        picked = torch.tensor([[gate.active[0] for gate in gates.values()]])
        score = torch.stack([g.log_prob for g in gates.values() if g.log_prob is not None]).sum()
        (reward(picked)[0] * score).backward()
        assert made.theta.grad is not None
        gradients[i] = made.theta.grad
    error = gradients.std(0) / math.sqrt(n)
    assert bool(((gradients.mean(0) - exact).abs() < 4 * error + 1e-12).all())
    assert float(exact.abs().max()) > 10 * float(error.max())


@pytest.fixture(scope="module")
def controller() -> Controller:
    made = Autoregressive(bound=2.5, temperature=1.0).build(TINY.relaxation, torch.Generator().manual_seed(0)).double()
    assert isinstance(made, Controller)
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(8)  # far from uniform
    return made


def test_the_controller_is_a_distribution(controller: Controller) -> None:
    log_p = controller.log_probability(sequences())
    log_p = log_p.detach()
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(log_p.exp().max() / log_p.exp().min()) > 2, "and not a uniform one"


def test_controller_scores_equal_enumeration(controller: Controller) -> None:
    """Σ_a p(a) R(a) ∇ log p(a), with the scores that draws carry, is the gradient of the expected reward."""
    indices = sequences()
    parameters = list(controller.parameters())
    chances = controller.log_probability(indices).exp()
    exact = torch.autograd.grad((chances * reward(indices)).sum(), parameters)
    total = [torch.zeros_like(p) for p in parameters]
    seen: set[tuple[int, ...]] = set()
    generator = torch.Generator().manual_seed(0)
    while len(seen) < len(indices):
        [gates] = controller.draw(generator, ARCHITECTURE)
        picked = tuple(gate.active[0] for gate in gates.values())
        if picked in seen:
            continue
        seen.add(picked)
        score = torch.stack([g.log_prob for g in gates.values() if g.log_prob is not None]).sum()
        weight = score.detach().exp() * reward(torch.tensor([picked]))[0]
        for sum_, g in zip(total, torch.autograd.grad(weight * score, parameters), strict=True):
            sum_ += g
    for got, expected in zip(total, exact, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_controller_samples_what_it_says(controller: Controller) -> None:
    indices = sequences()
    chances = controller.log_probability(indices).detach().exp()
    n, generator = 4000, torch.Generator().manual_seed(1)
    names = list(enumerate_architectures(TINY))
    counts = dict.fromkeys(names, 0)
    for _ in range(n):
        counts[controller.sample(generator)] += 1
    for chance, row in zip(chances.tolist(), indices.tolist(), strict=True):
        values = {c.name: c.options[i] for c, i in zip(TINY.choices, row, strict=True)}
        assert abs(counts[TINY.architecture(values)] / n - chance) < 4.5 * math.sqrt(chance * (1 - chance) / n) + 1e-9
    marginals = controller.probabilities()
    for d, name in enumerate(("a", "b", "c")):
        for option in range(marginals[name].numel()):
            exact = float(chances[indices[:, d] == option].sum())
            assert abs(float(marginals[name][option]) - exact) < 4 * math.sqrt(exact * (1 - exact) / 512) + 1e-9


def test_decisions_with_the_same_options_share_their_layers(controller: Controller) -> None:
    assert len(controller.embeddings) == len(controller.outputs) == 2
    for wrong in ({"hidden": 0}, {"layers": 0}, {"temperature": 0.0}, {"bound": -1.0}, {"betas": (1.0, 0.9)}):
        with pytest.raises(ConfigurationError, match=r"of the controller must|the controller needs"):
            Autoregressive(**wrong)  # type: ignore[arg-type]


def test_straight_through_and_score_draw_the_same_options() -> None:
    """Both take the largest of log p plus the same noise."""
    space = load("nasbench201")
    first = factored(space, SoftmaxLogits(), StraightThroughGumbel(Constant(1.0)))
    second = factored(space, SoftmaxLogits(), ScoreFunction())
    for seed in range(10):
        a, b = (m.draw(torch.Generator().manual_seed(seed), ARCHITECTURE)[0] for m in (first, second))
        assert [gate.active for gate in a.values()] == [gate.active for gate in b.values()]
