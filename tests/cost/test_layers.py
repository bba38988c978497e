"""Prices by layer: few passes find them, and they are exact or refused."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.cost import ArchitectureCosts, MultiplyAccumulates, Parameters, Prices, SupernetCost, cost
from sharewise.cost.layers import Pattern, decomposed
from sharewise.cost.prices import from_layers
from sharewise.engine import CostTarget, ExpectedCost, numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.space import Choice, Condition, Space, enumerate_architectures
from sharewise.spaces import load
from sharewise.supernet import Gate, extract
from sharewise.testing.small import MACRO, small_supernet


def transformer(blocks: int = 3) -> sw.ElasticModel:
    torch.manual_seed(0)
    layers = [torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(blocks)]

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.blocks, self.leave = (
                torch.nn.Linear(8, 8),
                torch.nn.ModuleList(layers),
                torch.nn.Linear(8, 10),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.embed(x[:, 0])
            for block in self.blocks:
                x = block(x)
            return self.leave(x.mean(1))

    choices = {"blocks.*": sw.depth(list(range(1, blocks + 1)), name="depth"), "blocks.*.linear1": sw.width([4, 8, 16])}
    return sw.elastic(Encoder(), choices, example=torch.randn(2, 1, 8, 8))


class Normed(torch.nn.Module):
    """A searched width that runs through a norm and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm, self.leave = torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.Linear(16, 10)
        self.hidden = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x[:, 0]).relu()
        return self.leave(self.norm(x + self.hidden(self.norm(x))).mean(1))


def normed() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {"enter": sw.width([4, 8, 16], name="features"), "hidden": sw.width([8, 32])}
    return sw.elastic(Normed(), choices, example=torch.randn(2, 1, 8, 8))


OWN = {"elastic": transformer, "normed": normed}


def network(pattern: Pattern) -> Mapping[Hashable, int]:
    """A depth, two widths of its blocks, and a layer that reads a concatenation of them."""
    depth, first, second = (max(active) for active in pattern)
    found = {"stem": 7, "first": 9 * (first + 1), "both": 5 * (first + 2) * (second + 3)}
    if depth > 0:
        found["deep"] = 3 * (second + 1)
    return found | ({"joined": (first + 1 + second + 1) * 4} if depth > 1 else {})


def test_products_branches_and_sums_are_found_and_exact() -> None:
    for mixtures in (False, True):
        layers = decomposed((3, 3, 4), network, mixtures=mixtures)
        assert layers is not None
        for indices in itertools.product(range(3), range(3), range(4)):
            pattern = tuple((i,) for i in indices)
            assert sum(layer.at(pattern) for layer in layers) == sum(network(pattern).values())
            assert from_layers((3, 3, 4), layers).of(indices) == sum(network(pattern).values())


def rounded(pattern: Pattern) -> Mapping[Hashable, int]:
    """Stages of inverted bottlenecks: middle channels are rounded, so they are no product of width and ratio."""
    found: dict[Hashable, int] = {}
    before = 16
    for stage in range(3):
        depth, width, ratio, kernel = (max(active) for active in pattern[4 * stage : 4 * stage + 4])
        channels = (16, 24, 40)[width] + 8 * stage
        for block in range(depth + 1):
            middle = max(8, int(before * (3, 4, 6)[ratio] + 4) // 8 * 8) + 3
            found[stage, block, "depthwise"] = middle * (9, 25)[kernel]
            found[stage, block, "project"] = middle * channels
            before = channels
    return found


ROUNDED = (4, 3, 3, 2) * 3


def test_products_over_groups_of_decisions_that_interact_are_found_in_few_passes() -> None:
    passes: list[Pattern] = []

    def measure(pattern: Pattern) -> Mapping[Hashable, int]:
        passes.append(pattern)
        return rounded(pattern)

    layers = decomposed(ROUNDED, measure, mixtures=False)
    assert layers is not None
    assert len(passes) < 250, "a table over all that a part reads would take 4 · 3 · 3 · 3 · 2 passes, or more"
    rng = np.random.default_rng(0)
    for _ in range(300):
        pattern = tuple((int(rng.integers(size)),) for size in ROUNDED)
        assert sum(layer.at(pattern) for layer in layers) == sum(rounded(pattern).values())


@pytest.mark.slow
@pytest.mark.parametrize("space", ["nats_size"])
def test_single_paths_are_charged_by_tables_where_mixtures_are_no_such_sum(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = MACRO[space]
    supernet, text = small_supernet(space)[0], small.vocabulary > 0
    costs = SupernetCost(supernet, small.input_shape, integers=text)
    decisions, rng = supernet.relaxation.decisions, np.random.default_rng(0)
    rows = [tuple((int(rng.integers(d.size)),) for d in decisions) for _ in range(60)]
    mixture = tuple(tuple(range(d.size)) for d in decisions)

    def charged(pattern: Pattern) -> int:
        gates = zip(decisions, pattern, strict=True)
        return costs.of({d.name: Gate(torch.ones(d.size), active, unit=len(active) == 1) for d, active in gates})

    expected = {row: sum(costs._traced(row).values()) for row in {*rows, mixture}}
    assert [charged(row) for row in rows] == [expected[row] for row in rows]
    assert charged(mixture) == expected[mixture], "a mixture is traced"
    assert costs.paths.of([option for (option,) in rows[0]]) == expected[rows[0]]
    monkeypatch.setattr(SupernetCost, "_traced", lambda self, pattern: pytest.fail("a path was traced in a step"))
    for _ in range(100):
        charged(tuple((int(rng.integers(d.size)),) for d in decisions))


def test_tables_that_would_take_too_many_passes_are_not_begun() -> None:
    passes = 0

    def measure(pattern: Pattern) -> Mapping[Hashable, int]:
        nonlocal passes
        passes += 1
        return {"layer": sum(max(active) + 1 for active in pattern) ** 2 + 1}

    assert decomposed((3,) * 8, measure, mixtures=False) is None
    assert passes < 2500


def test_paths_have_no_tables_where_something_ran_in_mixtures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some path that was not tried may run it, too, and would be priced without it."""
    supernet = small_supernet("nats_size")[0]
    costs, traced = SupernetCost(supernet, MACRO["nats_size"].input_shape), SupernetCost._traced

    def with_more(self: SupernetCost, pattern: Pattern) -> Mapping[Any, int]:
        mixed = sum(len(active) > 1 for active in pattern)
        return {**traced(self, pattern), **({"mixed": mixed * mixed + 1} if mixed else {})}

    monkeypatch.setattr(SupernetCost, "_traced", with_more)
    with pytest.raises(sw.SharewiseError, match="few decisions"):
        _ = costs.paths


def test_a_cost_that_reads_everything_is_refused_and_nearly_right_where_that_is_asked() -> None:
    def parity(pattern: Pattern) -> Mapping[Hashable, int]:
        return {"layer": 1000 + sum(active[0] for active in pattern) % 2}

    sizes = (4,) * 7
    assert decomposed(sizes, parity, mixtures=False) is None
    layers = decomposed(sizes, parity, mixtures=False, nearly=True)
    assert layers is not None
    assert sum(layer.at(((1,),) * 7) for layer in layers) == pytest.approx(1000, abs=5)


def test_the_expected_price_is_the_sum_over_all_gates_also_where_groups_hold_a_depth() -> None:
    layers = decomposed((3, 3, 4), network, mixtures=False)
    assert layers is not None
    prices = from_layers((3, 3, 4), layers)
    theta = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    p = theta.masked_fill(~mask, -torch.inf).softmax(-1)
    brute = torch.zeros((), dtype=torch.float64)
    for indices in itertools.product(range(3), range(3), range(4)):
        brute = brute + p[0, indices[0]] * p[1, indices[1]] * p[2, indices[2]] * prices.of(indices)
    assert float(prices.expected(p).detach()) == pytest.approx(float(brute.detach()), rel=1e-12)
    mine, theirs = (torch.autograd.grad(value, theta, retain_graph=True)[0] for value in (prices.expected(p), brute))
    torch.testing.assert_close(mine, theirs)
    top = max(prices.of(indices) for indices in itertools.product(range(3), range(3), range(4)))
    assert prices.largest(mask) + prices.fixed >= top
    assert min(float(table.min()) for table in prices.terms.values()) >= 0


@pytest.mark.parametrize("quantity", [Parameters(), MultiplyAccumulates()], ids=lambda q: q.name)
def test_the_expected_cost_of_a_model_with_depth_is_that_of_enumeration(quantity: Any) -> None:
    supernet = transformer()
    costs = SupernetCost(supernet, (1, 8, 8))
    table, names = costs.architectures(quantity), [c.name for c in supernet.space.choices]
    assert not supernet.space.independent
    generator = torch.Generator().manual_seed(0)
    p = {
        c.name: torch.rand(len(c.options), generator=generator, dtype=torch.float64).softmax(-1)
        for c in supernet.space.choices
    }
    price = {
        a: getattr(cost(extract(supernet, a), (1, 8, 8)), quantity.name.replace("-", "_"))
        for a in enumerate_architectures(supernet.space)
    }
    brute = 0.0
    for options in itertools.product(*(c.options for c in supernet.space.choices)):
        chosen = dict(zip(names, options, strict=True))
        weight = np.prod([float(p[c.name][c.options.index(chosen[c.name])]) for c in supernet.space.choices])
        brute += weight * price[supernet.space.architecture(chosen)]
    assert float(table.expected(p)) == pytest.approx(brute, rel=1e-12)
    architectures = list(price)
    assert table.of_all(architectures).tolist() == list(price.values())


def test_a_scalar_price_on_a_space_with_conditions_is_taken_apart_too() -> None:
    second = Choice("second", (4, 5), condition=Condition("depth", (2,)))
    space = Space("toy", (Choice("depth", (1, 2)), Choice("width", (1, 2)), second))
    costs = ArchitectureCosts(space, lambda a: float(a["width"] + a.get("second", 0)))
    assert isinstance(costs.prices, Prices)
    assert [costs.of(a) for a in enumerate_architectures(space)] == [
        a["width"] + a.get("second", 0)  # type: ignore[operator]
        for a in enumerate_architectures(space)
    ]
    half = {name: torch.full((2,), 0.5, dtype=torch.float64) for name in ("depth", "width", "second")}
    assert float(costs.expected(half)) == pytest.approx(1.5 + 0.5 * 4.5)


@pytest.mark.parametrize("space", ["elastic", "nasbench201", "conv-macro"])
def test_penalties_pull_the_expected_cost_on_conditional_and_entangled_spaces(space: str) -> None:
    data = sw.data.load("digits", image_size=12) if space == "conv-macro" else sw.data.digits()
    data = data.limited(64, seed=0)
    network = {"nasbench201": {"channels": 2, "cells": 1, "sharing": "entangled"}, "conv-macro": {"divisor": 8}}
    named = space != "elastic"
    supernet = build_supernet(load(space), data.input_shape, 10, network=network[space]) if named else transformer()
    recipe = build("gaea-erm", {"epochs": 2, "batch_size": 16})
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cpu", "float64"))
    theta = state.distribution
    paths, phase = state.costs.paths, state.phase("architecture")
    for penalty in (ExpectedCost(2.0), CostTarget(MultiplyAccumulates(), 1.0, 2.0)):
        value = penalty(theta, state.costs, phase)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(value, theta.theta)  # type: ignore[attr-defined]
        assert float(value.detach()) > 0
        assert gradient.abs().sum() > 0
    assert float(ExpectedCost(2.0)(theta, state.costs, phase).detach()) <= 2.0  # type: ignore[arg-type]
    rows = [row.double() for row in theta.probabilities().values()]
    rng, total = np.random.default_rng(0), []
    for _ in range(4000):
        drawn = [int(rng.choice(len(row), p=row.numpy() / float(row.sum()))) for row in rows]
        total.append(paths.of(drawn))
    expected = CostTarget(MultiplyAccumulates(), 1.0, 1.0)(theta, state.costs, phase)  # type: ignore[arg-type]
    error = np.std(total) / np.sqrt(len(total))
    assert abs(float(expected.detach()) + 1 - np.mean(total)) < 5 * error + 1e-6


@pytest.mark.parametrize("space", ["elastic", "normed", "conv-macro", "toy-two-inputs"])
def test_charging_traces_nothing_after_its_tables_are_built_and_remembers_little(
    space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (sw.data.load("digits", image_size=12) if space == "conv-macro" else sw.data.digits()).limited(64, seed=0)
    network = {"divisor": 8} if space == "conv-macro" else {}
    own = space in OWN
    supernet = OWN[space]() if own else build_supernet(load(space), data.input_shape, 10, network=network)
    costs, rng = SupernetCost(supernet, data.input_shape), np.random.default_rng(0)
    decisions = supernet.relaxation.decisions

    def drawn() -> dict[str, Gate]:
        gates = {}
        for d in decisions:
            active = sorted(rng.choice(d.size, size=min(d.size, int(rng.integers(1, 3))), replace=False).tolist())
            gates[d.name] = Gate(torch.ones(d.size), tuple(active), unit=len(active) == 1)
        return gates

    for _ in range(200):
        costs.of(drawn())
    true = [(gates, sum(costs._traced(tuple(gates[d.name].active for d in decisions)).values())) for gates in [drawn()]]
    monkeypatch.setattr(SupernetCost, "_traced", lambda self, pattern: pytest.fail("a pattern was traced in a step"))
    assert [costs.of(gates) for gates, _ in true] == [value for _, value in true]
    before = None
    for number in range(3000):
        costs.of(drawn())
        if number == 2000:
            before = costs.remembered
    assert before is not None
    assert costs.remembered < 1024
    assert costs.remembered - before < 200


def test_a_supernet_without_layers_remembers_the_last_patterns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharewise.cost.supernet.decomposed", lambda *arguments, **options: None)
    monkeypatch.setattr("sharewise.cost.supernet._REMEMBERED", 24)
    supernet = build_supernet(load("toy-two-inputs"), (6,), 3)
    costs, rng = SupernetCost(supernet, (6,)), np.random.default_rng(0)
    for _ in range(60):
        gates = {
            d.name: Gate(torch.ones(d.size), (int(rng.integers(d.size)),), unit=True)
            for d in supernet.relaxation.decisions
        }
        costs.of(gates)
    assert costs.remembered == 24
    with pytest.raises(sw.SharewiseError, match="few decisions"):
        _ = costs.paths


def test_a_search_on_a_model_with_depth_is_charged_what_it_executes() -> None:
    data = sw.data.digits().limited(64, seed=0)
    recipe = build("spos", {"epochs": 8, "batch_size": 16})
    state = prepare(
        transformer(), recipe, data.assign(recipe.roles, generator=stream(0, "data")), numerics=numerics("cpu")
    )
    spent, charge = [], state.charge

    def noted(part: str, gates: Any, examples: int, passes: int) -> None:
        pattern = tuple(gates[d.name].active for d in state.supernet.relaxation.decisions)
        spent.append(passes * examples * sum(state.costs._traced(pattern).values()))
        charge(part, gates, examples, passes)

    state.charge = noted  # type: ignore[method-assign]
    for _ in range(24):
        weight_step(state)
    assert state.ledger.multiply_accumulates == sum(spent)
