"""Samplers: strict fairness, sampling in proportion to size, several paths, path dropout."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from sharewise.data import digits
from sharewise.distribution import Fair, FairSampler, Phase, Proportional, ProportionalSampler, Uniform, UniformSampler
from sharewise.distribution.samplers import _additive
from sharewise.engine import Linear, SearchState, numerics, prepare, stream, weight_step
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.space import Architecture, Choice, Space, enumerate_architectures
from sharewise.spaces import load
from sharewise.supernet import Gates, MixedOperation
from sharewise.testing import check_distribution

WEIGHTS = Phase("weights", 3, 4)


def state_of(method: str, space: str = "nasbench201", **arguments: object) -> SearchState:
    recipe = build(method, {"batch_size": 8, "epochs": 2, **arguments})
    dataset = digits().limited(32, seed=0)
    network = {"channels": 2, "cells": 1} if space == "nasbench201" else {}
    supernet = build_supernet(load(space), dataset.input_shape, 10, network=network)
    state = prepare(
        supernet, recipe, dataset.assign(recipe.roles, generator=stream(0, "data")), numerics=numerics("cpu", "float64")
    )
    supernet.train()
    return state


@pytest.mark.parametrize("exclude", [(), ("none",)])
def test_every_option_is_used_exactly_once_in_a_fair_step(exclude: tuple[str, ...]) -> None:
    sampler = Fair().build(load("nasbench201").relaxation, torch.Generator(), exclude)
    generator = torch.Generator().manual_seed(0)
    legal = [0, 1, 2, 3, 4][len(exclude) :]
    seen = set()
    for _ in range(30):
        paths = sampler.draw(generator, WEIGHTS)
        assert len(paths) == len(legal)
        for decision in sampler.relaxation.decisions:
            used = [gates[decision.name].active for gates in paths]
            assert sorted(used) == [(i,) for i in legal]
        seen.add(tuple(gates["edge_0_1"].active[0] == gates["edge_0_2"].active[0] for gates in paths))
    assert len(seen) > 5, "permutations of different decisions are independent"


def test_every_operation_is_executed_and_updated_exactly_once_in_a_fair_step() -> None:
    state = state_of("fairnas")
    executed: Counter[torch.nn.Module] = Counter()
    operations = [
        operation
        for mixed in state.supernet.modules()
        if isinstance(mixed, MixedOperation)
        for operation in mixed.operations.values()
        if list(operation.parameters())
    ]
    for operation in operations:
        operation[1].register_forward_hook(lambda module, *_: executed.update([module]))  # type: ignore[index]
    moves = 0
    original = state.weight_optimizer.step

    def counted(*arguments: object) -> None:
        nonlocal moves
        moves += 1
        original(*arguments)  # type: ignore[arg-type]

    state.weight_optimizer.step = counted  # type: ignore[method-assign]
    weight_step(state)
    assert moves == 1
    assert set(executed.values()) == {1}
    assert len(executed) == len(operations) == 6 * 3 * 2


@pytest.mark.parametrize(("method", "arguments", "share"), [("fairnas", {}, 1.0), ("spos", {"paths": 3}, 1 / 3)])
def test_gradients_of_paths_are_added_or_averaged(method: str, arguments: dict[str, int], share: float) -> None:
    state = state_of(method, **arguments)
    state.recipe = replace(state.recipe, weights=replace(state.recipe.weights, gradient_clip=None))
    place = state.streams["weights"].state_dict()
    batch = state.next_batch("weights")
    state.streams["weights"].load_state_dict(place)
    seen: list[Gates] = []
    handle = state.supernet.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    before = {name: p.detach().clone() for name, p in state.supernet.named_parameters()}
    weight_step(state)
    handle.remove()
    got = {name: p.grad.clone() for name, p in state.supernet.named_parameters() if p.grad is not None}
    with torch.no_grad():
        for name, p in state.supernet.named_parameters():
            p.copy_(before[name])
    state.supernet.zero_grad()
    for gates in seen:
        state.loss(state.supernet(batch.inputs, gates), batch.targets).backward()
    assert len(seen) == (5 if method == "fairnas" else 3)
    assert set(got) == {name for name, p in state.supernet.named_parameters() if p.grad is not None}
    for name, p in state.supernet.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(got[name], p.grad * share, rtol=1e-9, atol=1e-12)


def test_fairness_among_decisions_of_different_sizes() -> None:
    space = Space("mixed", (Choice("a", ("x", "y", "z")), Choice("b", ("u", "v"))))
    sampler = FairSampler(space.relaxation)
    generator, counts = torch.Generator().manual_seed(0), Counter[int]()
    for _ in range(400):
        paths = sampler.draw(generator, WEIGHTS)
        assert sorted(gates["a"].active[0] for gates in paths) == [0, 1, 2]
        used = Counter(gates["b"].active[0] for gates in paths)
        assert sorted(used.values()) == [1, 2]
        counts.update(used)
    assert abs(counts[0] - counts[1]) < 4 * 400**0.5


@pytest.mark.parametrize("space", ["nasbench201", "toy-tied-width", "toy-two-inputs"])
@pytest.mark.parametrize("exclude", [(), ("none",)])
def test_contracts(space: str, exclude: tuple[str, ...]) -> None:
    check_distribution(Fair(), load(space), exclude=exclude, draws=5)
    check_distribution(Proportional(2), load(space), exclude=exclude, draws=5)
    if space != "toy-tied-width":
        check_distribution(Uniform(2, Linear(0.9, 0.9)), load(space), exclude=exclude, draws=5)


def test_proportional_probabilities_are_exact() -> None:
    space = Space("sized", (Choice("a", (1, 2, 5)), Choice("b", ("x", "y"))))
    sizes = {a: 3 + 2 * int(a["a"]) + 4 * (a["b"] == "y") for a in enumerate_architectures(space)}
    sampler = ProportionalSampler(space.relaxation, sizes.__getitem__)
    generator, n = torch.Generator().manual_seed(0), 6000
    counts = Counter(sampler.sample(generator) for _ in range(n))
    for architecture, size in sizes.items():
        p = size / sum(sizes.values())
        assert abs(counts[architecture] / n - p) < 4.5 * (p * (1 - p) / n) ** 0.5


def test_proportional_sampling_of_a_real_space_counts_the_extracted_networks() -> None:
    state = state_of("spos", sampling="proportional")
    sampler = state.distribution
    assert isinstance(sampler, ProportionalSampler)
    generator, space = torch.Generator().manual_seed(0), load("nasbench201")
    drawn = [sampler.sample(generator) for _ in range(1000)]
    uniform = UniformSampler(space.relaxation)
    even = [uniform.sample(generator) for _ in range(1000)]

    def size(architecture: Architecture) -> int:
        network = state.supernet.plain(architecture)
        return sum(p.numel() for p in network.parameters())

    fixed, prices = _additive(space, size)
    for architecture in drawn[:5]:
        total = sum(prices[c.name][c.options.index(architecture[c.name])] for c in space.choices)
        assert fixed + total == size(architecture)
    sizes = {
        name: torch.tensor([[prices[c.name][c.options.index(a[c.name])] for c in space.choices] for a in some])
        for name, some in {"drawn": drawn, "even": even}.items()
    }
    first, second = (fixed + sizes[name].sum(1).double() for name in ("drawn", "even"))
    expected = (second.square().mean() / second.mean()).item()  # E[n²] / E[n] when p(a) is proportional to n(a)
    assert abs(float(first.mean()) - expected) < 5 * float(first.std()) / 1000**0.5
    assert expected > 1.05 * float(second.mean())


def test_proportional_sampling_refuses_what_it_cannot_do_exactly() -> None:
    space = Space("product", (Choice("a", (1, 2)), Choice("b", (1, 2))))
    with pytest.raises(ConfigurationError, match="do not add over its choices"):
        ProportionalSampler(space.relaxation, lambda a: int(a["a"]) * int(a["b"]))
    with pytest.raises(ConfigurationError, match="no trainable parameters"):
        ProportionalSampler(space.relaxation, lambda a: 0)
    with pytest.raises(ConfigurationError, match="reads the sizes of networks"):
        Proportional().build(space.relaxation, torch.Generator())
    with pytest.raises(ConfigurationError, match="did you mean 'proportional'"):
        build("spos", {"sampling": "proportionl"})


def test_path_dropout_rises_over_the_epochs() -> None:
    sampler = UniformSampler(load("nasbench201").relaxation, path_dropout=Linear(0.0, 0.6))
    generator, n = torch.Generator().manual_seed(0), 300
    for epoch, rate in ((0, 0.0), (2, 0.3), (4, 0.6)):
        silent = sum(
            not gate.active
            for _ in range(n)
            for gate in sampler.draw(generator, Phase("weights", epoch, 5))[0].values()
        )
        assert abs(silent / (6 * n) - rate) < 4 * (rate * (1 - rate) / (6 * n)) ** 0.5 + 1e-12
    [gates] = sampler.draw(generator, Phase("selection", 4, 5))
    assert all(gate.active for gate in gates.values())
    state = state_of("spos", path_dropout=0.5)
    state.epoch = 1
    assert bool(weight_step(state).isfinite())
    with pytest.raises(ConfigurationError, match="no such decision"):
        state_of("spos", "toy-tied-width", path_dropout=0.5)
    with pytest.raises(ConfigurationError, match=r"probability in \[0, 1\), got 1.0"):
        build("spos", {"path_dropout": 1.0})
