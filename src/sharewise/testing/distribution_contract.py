"""The contract of a distribution: legal gates, honest gradients, nothing hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from sharewise.distribution import Blueprint, Distribution, Phase, Size, Step, option_mask
from sharewise.errors import ConfigurationError
from sharewise.space import Option, Space
from sharewise.supernet import Gates, cut
from sharewise.testing.expect import expect

__all__ = ["check_distribution", "check_gates"]

_STEPS: tuple[Step, ...] = ("weights", "architecture")


def check_gates(gates: Gates, distribution: Distribution, allowed: Mapping[str, Tensor], *, learned: bool) -> None:
    """Check that one set of drawn gates is legal.

    Every decision has a gate of its size with finite weights, none negative, zero outside the active options, which are
    ascending and among those allowed. Weights of a learned distribution sum to one over every decision, where options
    compete, and do not exceed one where they do not; those of a sampler are zero or one.

    Args:
        gates: as drawn.
        distribution: that drew them.
        allowed: by decision, true for options that are neither excluded nor masked.
        learned: whether the distribution learns.

    Raises:
        AssertionError: naming the decision.

    Example:
        >>> from sharewise.distribution import Expectation, Learned, Simplex
        >>> from sharewise.spaces import load
        >>> generator = torch.Generator().manual_seed(0)
        >>> space = load("toy-tied-width")
        >>> theta = Learned(Simplex(), Expectation()).build(space.relaxation, generator)
        >>> allowed = {d.name: torch.ones(d.size, dtype=torch.bool) for d in space.relaxation.decisions}
        >>> check_gates(theta.draw(generator, Phase("weights"))[0], theta, allowed, learned=True)
    """
    decisions = distribution.relaxation.decisions
    expect(set(gates) == {d.name for d in decisions}, f"gates were drawn for {sorted(gates)} only")
    for decision in decisions:
        gate, name = gates[decision.name], decision.name
        weights = gate.weights.detach()
        expect(gate.size == decision.size, f"the gate of {name!r} has {gate.size} weights for {decision.size} options")
        expect(bool(weights.isfinite().all()), f"the gate of {name!r} is not finite: {weights.tolist()}")
        expect(bool((weights >= 0).all()), f"the gate of {name!r} has a negative weight: {weights.tolist()}")
        expect(list(gate.active) == sorted(set(gate.active)), f"the active options of {name!r} are {gate.active}")
        for index in gate.active:
            expect(bool(allowed[name][index]), f"option {decision.options[index]!r} of {name!r} is masked, but active")
        rest = [float(weights[i]) for i in range(gate.size) if i not in gate.active]
        expect(not any(rest), f"options of {name!r} that are not active have weights {rest}")
        if learned:
            if distribution.competing:
                expect(abs(float(weights.sum()) - 1) < 1e-5, f"the weights of {name!r} sum to {float(weights.sum())}")
            expect(
                bool((weights <= 1 + 1e-6).all()), f"the gate of {name!r} has a weight above one: {weights.tolist()}"
            )
            expect(len(gate.active) > 0, f"decision {name!r} has no active option")
        else:
            expect(bool(((weights == 0) | (weights == 1)).all()), f"a sampler gave {name!r} the weights {weights}")
        if gate.unit:
            expect(bool((weights[list(gate.active)] == 1).all()), f"the gate of {name!r} is no unit: {weights}")


def check_distribution(
    blueprint: Blueprint,
    space: Space,
    *,
    exclude: tuple[Option, ...] = (),
    draws: int = 20,
    seed: int = 0,
    size: Size | None = None,
) -> None:
    """Check that a distribution draws legal gates and that gradients reach θ undistorted.

    Draws are legal, a function of the generator, and carry a graph only where gradients are enabled; they execute the
    same options where the distribution says so (`constant`); reported
    probabilities sum to one and are zero where masked; sampled architectures are legal; `pullback` gives the gradient
    that plain automatic differentiation through the whole graph gives, in double precision, or, where the gradient is a
    score, log-probabilities are legal and reach θ; the optimiser keeps θ legal; masks stay; a state dictionary carries
    everything.

    Args:
        blueprint: geometry × estimator, or a sampler.
        space: whose decisions are drawn.
        exclude: options that are masked from the start.
        draws: how many draws to look at.
        seed: of θ and of the draws.
        size: of the network of an architecture, for a distribution that reads it; one for every architecture if absent.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.distribution import Uniform
        >>> from sharewise.spaces import load
        >>> check_distribution(Uniform(paths=2), load("nasbench201"))
    """
    build = partial(blueprint.build, exclude=exclude, size=size or (lambda architecture: 1))
    distribution = build(space.relaxation, torch.Generator().manual_seed(seed)).double()
    check_gradient = _check_score if blueprint.gradient == "score" else _check_pullback
    decisions = distribution.relaxation.decisions
    mask = option_mask(decisions, exclude)
    allowed = {d.name: row[: d.size] for d, row in zip(decisions, mask, strict=True)}
    _check_draws(distribution, allowed, blueprint.learns, draws, seed)
    _check_samples(distribution, exclude, draws, seed)
    if not blueprint.learns:
        expect(distribution.optimizer() is None, "a distribution that does not learn has an optimiser")
        expect(not list(distribution.parameters()), "a distribution that does not learn has parameters")
        expect(not distribution.probabilities(), "a distribution that does not learn reports probabilities")
        return
    for draw in range(draws):
        check_gradient(distribution, seed + draw)
        _check_probabilities(distribution, allowed)
    _check_state(build, space, distribution, seed)
    kept = {}
    for decision in decisions:
        kept[decision.name] = torch.zeros(decision.size, dtype=torch.bool)
        kept[decision.name][allowed[decision.name].nonzero().flatten()[-2:]] = True
    distribution.restrict(kept)
    _check_probabilities(distribution, kept)
    _check_draws(distribution, kept, True, draws, seed)
    check_gradient(distribution, seed)
    _check_samples(distribution, exclude, draws, seed)
    _check_probabilities(distribution, kept)
    _check_state(build, space, distribution, seed)
    try:
        distribution.restrict({decisions[0].name: torch.zeros(decisions[0].size, dtype=torch.bool)})
    except ConfigurationError:
        _check_probabilities(distribution, kept)
    else:
        raise AssertionError(f"decision {decisions[0].name!r} could be left without options")


def _check_draws(
    distribution: Distribution, allowed: Mapping[str, Tensor], learned: bool, draws: int, seed: int
) -> None:
    executed = set[tuple[tuple[str, tuple[int, ...]], ...]]()
    for step in _STEPS:
        first, second = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        for draw in range(draws):
            phase = Phase(step, draw, draws)
            paths, again = distribution.draw(first, phase), distribution.draw(second, phase)
            expect(len(paths) >= 1, "a draw has no paths")
            executed |= {tuple((name, gate.active) for name, gate in gates.items()) for gates in paths}
            for gates, other in zip(paths, again, strict=True):
                check_gates(gates, distribution, allowed, learned=learned)
                for name, gate in gates.items():
                    expect(
                        torch.equal(gate.weights, other[name].weights) and gate.active == other[name].active,
                        f"the gates of {name!r} are not a function of the generator",
                    )
            with torch.no_grad():
                for gates in distribution.draw(second, phase):
                    hanging = [name for name, gate in gates.items() if gate.weights.requires_grad]
                    expect(not hanging, f"the gates of {hanging} carry a graph although gradients are disabled")
            first.set_state(second.get_state())
    expect(
        not distribution.constant or len(executed) == 1,
        "the distribution says that every draw executes the same options, and draws differ in them",
    )


def _loss(gates: Gates) -> Tensor:
    """Some curved function of the active gates that couples all decisions."""
    terms = []
    for number, gate in enumerate(gates.values()):
        slopes = torch.linspace(-1.0, 2.0, gate.size, dtype=gate.weights.dtype) + number
        terms.append(sum((slopes[i] * gate.weights[i] for i in gate.active), torch.zeros((), dtype=slopes.dtype)))
    total = torch.stack(terms)
    return total.sin().sum() + total.sum().square() / len(terms)


def _check_pullback(distribution: Distribution, seed: int) -> None:
    """One step whose gradient is taken in two ways."""
    generator = torch.Generator().manual_seed(seed)
    phase = Phase("architecture", 1, 4)
    state = generator.get_state()
    distribution.zero_grad(set_to_none=True)
    whole = torch.stack([_loss(gates) for gates in distribution.draw(generator, phase)]).sum()
    if whole.requires_grad:  # not where every decision has a single option
        torch.autograd.backward(whole)
    expected = {name: _gradient(p) for name, p in distribution.named_parameters()}
    distribution.zero_grad(set_to_none=True)
    generator.set_state(state)
    for gates in distribution.draw(generator, phase):
        leaves = cut(gates, differentiable=True)
        inputs = [leaf.weights for leaf in leaves.values()]
        gradients = torch.autograd.grad(_loss(leaves), inputs, allow_unused=True)
        cotangents = {name: g for name, g in zip(leaves, gradients, strict=True) if g is not None}
        distribution.pullback(gates, cotangents)
    for name, parameter in distribution.named_parameters():
        expect(
            torch.allclose(_gradient(parameter), expected[name], rtol=1e-10, atol=1e-12),
            f"pullback gives {name!r} a gradient that differs from that of the whole graph by up to "
            f"{(_gradient(parameter) - expected[name]).abs().max():.3g}",
        )
    optimizer = distribution.optimizer()
    assert optimizer is not None
    optimizer.step()


def _check_score(distribution: Distribution, seed: int) -> None:
    """One step along the score of a draw."""
    generator = torch.Generator().manual_seed(seed)
    distribution.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64)
    for gates in distribution.draw(generator, Phase("architecture", 1, 4)):
        for name, gate in gates.items():
            score = gate.log_prob
            assert score is not None, f"the gate of {name!r} has no log-probability"
            expect(score.shape == (), f"the log-probability of {name!r} has shape {tuple(score.shape)}")
            expect(
                bool(score.isfinite()) and float(score.detach()) <= 1e-9, f"the log-probability of {name!r} is {score}"
            )
            expect(not gate.weights.requires_grad, f"the gate of {name!r} carries a graph beside its score")
            total = total - score
    expect(total.requires_grad, "the log-probability of a draw does not depend on θ")
    torch.autograd.backward(total)
    optimizer = distribution.optimizer()
    assert optimizer is not None
    optimizer.step()


def _check_samples(distribution: Distribution, exclude: tuple[Option, ...], draws: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        state = generator.get_state()
        architecture = distribution.sample(generator)
        legal = distribution.relaxation.space.architecture(dict(architecture))
        expect(legal == architecture, f"{architecture} was sampled, which is not in its plain form {legal}")
        forbidden = [option for option in exclude if option in architecture.values()]
        expect(not forbidden, f"{forbidden} are excluded, but {architecture} was sampled")
        twin = torch.Generator()
        twin.set_state(state)
        expect(distribution.sample(twin) == architecture, "a sample is not a function of the generator")


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def _check_probabilities(distribution: Distribution, allowed: Mapping[str, Tensor]) -> None:
    probabilities = distribution.probabilities()
    for decision in distribution.relaxation.decisions:
        row = probabilities[decision.name]
        expect(row.shape == (decision.size,), f"{decision.name!r} has probabilities of shape {tuple(row.shape)}")
        expect(not row.requires_grad, f"the reported probabilities of {decision.name!r} carry a graph")
        expect(
            bool((row >= 0).all()) and abs(float(row.sum()) - 1) < 1e-5,
            f"the probabilities of {decision.name!r} are {row.tolist()}",
        )
        expect(not bool(row[~allowed[decision.name]].any()), f"masked options of {decision.name!r} have probabilities")
    entropy = distribution.entropy()
    expect(entropy is not None and entropy >= -1e-9, f"the entropy is {entropy}")


def _check_state(build: Callable[..., Distribution], space: Space, distribution: Distribution, seed: int) -> None:
    twin = build(space.relaxation, torch.Generator().manual_seed(seed + 1)).double()
    twin.draw(torch.Generator().manual_seed(0), Phase("weights"))
    twin.load_state_dict(distribution.state_dict())
    for name, row in distribution.probabilities().items():
        expect(
            torch.equal(row, twin.probabilities()[name]), f"the state dictionary loses the probabilities of {name!r}"
        )
    mine, theirs = (d.draw(torch.Generator().manual_seed(seed), Phase("weights")) for d in (distribution, twin))
    for gates, other in zip(mine, theirs, strict=True):
        for name, gate in gates.items():
            expect(
                gate.active == other[name].active and torch.equal(gate.weights, other[name].weights),
                f"the state dictionary loses what decides the gate of {name!r}",
            )
