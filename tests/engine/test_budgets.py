"""Budgets: the selected architecture keeps every limit, and is the most probable one that does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.cost import (
    ArchitectureCosts,
    Latency,
    MultiplyAccumulates,
    Parameters,
    SupernetCost,
    cost,
    measure_latencies,
)
from sharewise.cost.prices import matrix
from sharewise.data import digits
from sharewise.engine import (
    Affordable,
    ByStrategy,
    CostTarget,
    Evolution,
    Limit,
    RankSampled,
    Scorer,
    SearchState,
    budget,
    numerics,
    prepare,
    run,
    stream,
)
from sharewise.engine.score import Opened
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import RunFolder, SearchConfiguration, build_network, build_supernet, from_mapping
from sharewise.space import Choice, Constraint, Space, enumerate_architectures, sample
from sharewise.spaces import load
from sharewise.strategy import LocalSearch, RegularizedEvolution, Tournament
from sharewise.supernet import discrete, extract
from sharewise.testing import small_arguments

NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "conv-macro": ((1, 12, 12), {"divisor": 8}),
    "nasbench201": ((1, 8, 8), {"channels": 2, "cells": 1}),
    "toy-separable-cell": ((1, 8, 8), {"channels": 2}),
    "toy-tied-width": ((6,), {}),
    "toy-two-inputs": ((6,), {}),
}


@cache
def costs_of(name: str, **network: Any) -> SupernetCost:
    shape, options = NETWORKS[name]
    return SupernetCost(build_supernet(load(name), shape, 3, network={**options, **network}), shape)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_costs_are_those_of_extracted_networks(name: str) -> None:
    shape, options = NETWORKS[name]
    supernet, rng = build_supernet(load(name), shape, 3, network=options), np.random.default_rng(1)
    costs = costs_of(name)
    for _ in range(3):
        a = sample(supernet.space, rng)
        true = cost(extract(supernet, a), shape)
        assert costs.architectures(Parameters()).of(a) == true.parameters
        priced = costs.architectures(MultiplyAccumulates()).of if name == "conv-macro" else costs.multiply_accumulates
        assert priced(a) == true.multiply_accumulates
    assert costs.architectures(Parameters()).additive == (name != "conv-macro")


def test_sharing_does_not_change_what_an_architecture_costs() -> None:
    a = sample(load("nasbench201"), np.random.default_rng(3))
    disjoint, entangled = (costs_of("nasbench201", sharing=sharing) for sharing in ("disjoint", "entangled"))
    assert disjoint.parameters(a) == entangled.parameters(a)
    assert disjoint.multiply_accumulates(a) == entangled.multiply_accumulates(a)
    assert disjoint.gate_passes == 2
    assert entangled.gate_passes == 3, "the gradient to a gate in a weight needs that of the weight"
    cell = costs_of("toy-separable-cell", sharing="disjoint")
    assert cell.gate_passes == 2
    a = sample(load("toy-separable-cell"), np.random.default_rng(3))
    gates = discrete(load("toy-separable-cell").relaxation.encode(a))
    assert cell.of(gates) == costs_of("toy-separable-cell").of(gates) == cell.multiply_accumulates(a)


def interacting() -> tuple[Space, Any]:
    space = Space("toy", tuple(Choice(f"c{i}", (1, 2, 5), ordered=True) for i in range(5)))

    def price(a: Any) -> float:
        return 7.0 + a["c0"] * a["c1"] * a["c2"] + a["c2"] * a["c3"] + 0.5 * a["c4"]

    return space, price


def test_interactions_are_found_and_the_sum_is_exact() -> None:
    space, price = interacting()
    seen = 0

    def counted(a: Any) -> float:
        nonlocal seen
        seen += 1
        return float(price(a))

    costs = ArchitectureCosts(space, counted)
    assert costs.terms is not None
    assert max(costs.terms, key=len) == ("c0", "c1", "c2")
    assert not costs.additive
    everything = list(enumerate_architectures(space))
    before = seen
    assert [costs.of(a) for a in everything] == pytest.approx([price(a) for a in everything], rel=1e-12)
    assert costs.of_all(everything) == pytest.approx(np.array([price(a) for a in everything]), rel=1e-12)
    assert seen == before < len(everything)


def test_an_interaction_that_pairs_do_not_show_is_noticed() -> None:
    space = Space("toy", tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(4)))

    def price(a: Any) -> float:
        return float(1 + 10 * (a["c0"] == 1) * (a["c1"] == 1))  # invisible at the last options

    costs = ArchitectureCosts(space, price)
    assert costs.terms is None
    assert costs.of(space.architecture({"c0": 1, "c1": 1, "c2": 0, "c3": 0})) == 11


def test_the_expected_cost_is_the_sum_over_all_architectures_and_so_is_its_gradient() -> None:
    space, price = interacting()
    costs = ArchitectureCosts(space, price)
    generator = torch.Generator().manual_seed(0)
    theta = {c.name: torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_() for c in space.choices}
    p = {name: row.softmax(-1) for name, row in theta.items()}
    brute = torch.zeros((), dtype=torch.float64)
    for a in enumerate_architectures(space):
        probability = torch.stack([p[c.name][c.options.index(a[c.name])] for c in space.choices]).prod()
        brute = brute + probability * price(a)
    assert float(costs.expected(p).detach()) == pytest.approx(float(brute.detach()), rel=1e-12)
    mine = torch.autograd.grad(costs.expected(p), list(theta.values()), retain_graph=True)
    theirs = torch.autograd.grad(brute, list(theta.values()))
    for a_, b_ in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a_, b_)


def state_of(name: str, method: str, limits: tuple[Limit, ...], **changes: Any) -> SearchState:
    options = NETWORKS[name][1]
    data = (sw.data.load("digits", image_size=12) if name == "conv-macro" else digits()).limited(64, seed=0)
    recipe = replace(build(method, small_arguments(method)), limits=limits, **changes)
    supernet = build_supernet(load(name), data.input_shape, data.task.outputs, network=options)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, roles, numerics=numerics("cpu"))


def brute_best(affordable: Affordable, probabilities: dict[str, list[float]]) -> tuple[float, set[str]]:
    def score(a: Any) -> float:
        encoding = affordable.relaxation.encode(a)
        return sum(
            math.log(probabilities[n][i]) for n, row in encoding.items() for i, weight in enumerate(row) if weight
        )

    legal = [a for a in enumerate_architectures(affordable.space) if affordable.admits(a)]
    best = max(map(score, legal))
    return best, {str(a) for a in legal if score(a) > best - 1e-9}


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "by sums"])
@pytest.mark.parametrize("name", ["toy-separable-cell", "toy-tied-width"])
def test_the_projection_within_a_budget_is_the_best_one(
    name: str, listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_LISTED", 20_000 if listed else 1)
    costs, space = costs_of(name), load(name)
    everything = costs.architectures(Parameters()).of_all(list(enumerate_architectures(space)))
    rng = np.random.default_rng(0)
    for quantile in (0.0, 0.02, 0.3):
        most = float(np.quantile(everything, quantile))
        affordable = Affordable([Limit(Parameters(), most)], costs, space.relaxation, space)
        assert affordable.exact
        probabilities = {d.name: rng.dirichlet(np.ones(d.size)).tolist() for d in space.relaxation.decisions}
        found = affordable.best(probabilities, space.relaxation.project(probabilities))
        assert affordable.spent(found)["max_parameters"]["spent"] <= most
        assert str(found) in brute_best(affordable, probabilities)[1]
        assert affordable.admits(affordable.sample(rng))


@pytest.mark.slow
def test_where_everything_may_be_left_out_a_budget_leaves_out_no_more_than_it_must() -> None:
    space = load("darts:fair")
    supernet = build_supernet(space, (1, 8, 8), 10, network={"channels": 2, "layers": 3})
    costs = SupernetCost(supernet, (1, 8, 8))
    rng = np.random.default_rng(0)
    probabilities = {d.name: rng.uniform(0.1, 1, d.size).tolist() for d in space.relaxation.decisions}
    wish = space.relaxation.project(probabilities)
    whole = costs.architectures(Parameters()).of(wish)
    affordable = Affordable([Limit(Parameters(), 0.97 * whole)], costs, space.relaxation, space)
    found = affordable.best(probabilities, wish)

    def weight(architecture: Any) -> float:
        encoding = space.relaxation.encode(architecture)
        return sum(probabilities[n][i] for n, row in encoding.items() for i, taken in enumerate(row) if taken)

    assert affordable.admits(found)
    assert weight(found) > 0.8 * weight(wish)


def test_a_wish_that_is_affordable_is_granted() -> None:
    space = load("toy-tied-width")
    affordable = Affordable([Limit(Parameters(), 1e9)], costs_of("toy-tied-width"), space.relaxation, space)
    wish = space.architecture({"width": 32, "activation": "gelu"})
    assert affordable.best({d.name: [1.0] * d.size for d in space.relaxation.decisions}, wish) == wish


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "evolved"])
def test_two_limits_hold_together(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_LISTED", 20_000 if listed else 1)
    costs, space = costs_of("conv-macro"), load("conv-macro")
    limits = [Limit(Parameters(), 17_000), Limit(MultiplyAccumulates(), 200_000)]
    affordable = Affordable(limits, costs, space.relaxation, space)
    assert affordable.exact == listed
    large = space.architecture({c.name: c.options[-1] for c in space.choices})
    assert not affordable.admits(large)
    probabilities = {d.name: [0.1, 0.2, 0.7] for d in space.relaxation.decisions}
    found = affordable.best(probabilities, large)
    spent = affordable.spent(found)
    assert all(0 < entry["spent"] <= entry["most"] for entry in spent.values())
    if listed:
        assert str(found) in brute_best(affordable, probabilities)[1]
    with pytest.raises(ConfigurationError, match="more than max_parameters"):
        affordable.spent(large)


@pytest.mark.parametrize("listed", [True, False])
def test_an_impossible_budget_names_the_smallest_cost(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_LISTED", 20_000 if listed else 1)
    costs, space = costs_of("conv-macro"), load("conv-macro")
    smallest = int(costs.architectures(Parameters()).of_all(list(enumerate_architectures(space))).min())
    Affordable([Limit(Parameters(), smallest)], costs, space.relaxation, space)
    with pytest.raises(ConfigurationError, match=f"smallest number of parameters.* is {smallest:,}"):
        Affordable([Limit(Parameters(), smallest - 1)], costs, space.relaxation, space)


@pytest.mark.parametrize("listed", [True, False])
def test_a_budget_of_exactly_the_smallest_sum_is_possible(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of milliseconds depend on their order: 0.1 + 0.2 + 0.3 is 0.6 or a little more."""
    monkeypatch.setattr(budget, "_LISTED", 20_000 if listed else 1)
    costs, space = costs_of("toy-tied-width"), load("toy-tied-width")
    rows = [("width", w, 0.2 if w == 4 else 0.7) for w in (4, 8, 16, 32)]
    rows += [("activation", word, 0.1 if word == "gelu" else 0.9) for word in ("relu", "tanh", "gelu")]
    affordable = Affordable([Limit(Latency(0.3, tuple(rows)), 0.6)], costs, space.relaxation, space)
    even = {d.name: [1 / d.size] * d.size for d in space.relaxation.decisions}
    found = affordable.best(even, space.architecture({"width": 32, "activation": "tanh"}))
    assert dict(found) == {"width": 4, "activation": "gelu"}
    assert affordable.spent(found)["max_latency"]["most"] == 0.6


def test_a_space_with_constraints_is_evaluated_one_by_one() -> None:
    unequal = Constraint("the two differ", lambda values: values.get("a") != values.get("b"))
    space = Space("toy", (Choice("a", (1, 2)), Choice("b", (1, 2))), constraints=(unequal,))
    costs = ArchitectureCosts(space, lambda a: float(a["a"] + 10 * a["b"]))  # type: ignore[operator]
    assert costs.terms is None
    assert costs.of(space.architecture({"a": 2, "b": 1})) == 12


@pytest.mark.sweep(2)
@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_keeps_a_budget(method: str) -> None:
    space = load("toy-two-inputs")
    data = digits().limited(64, seed=0)
    supernet = build_supernet(space, data.input_shape, 10)
    sizes = SupernetCost(supernet, data.input_shape).architectures(Parameters())
    most = float(np.quantile(sizes.of_all(list(enumerate_architectures(space))), 0.02))
    found = run(state_of("toy-two-inputs", method, (Limit(Parameters(), most),))).architecture
    assert sizes.of(found) <= most


@pytest.mark.parametrize(
    ("name", "method", "target"), [("conv-macro", "tanglenas-gaea", 16_000.0), ("toy-two-inputs", "gaea-erm", 2_700.0)]
)
def test_a_penalty_pulls_the_expected_cost_below_its_target(name: str, method: str, target: float) -> None:
    """Also where decisions are not choices, as in the toy cell: its architectures take 2,410 to 3,498 parameters."""
    quantity, strength = Parameters(), 100.0
    state = state_of(name, method, (Limit(quantity, target),), penalties=(CostTarget(quantity, target, strength),))
    table = state.costs.architectures(quantity)

    def expected() -> float:
        p = matrix({n: row.double() for n, row in state.distribution.probabilities().items()})
        return float(state.costs.expected(quantity, p))

    before = expected()
    found = run(state).architecture
    assert before > target
    assert expected() < before
    assert table.of(found) <= target


def test_a_hinge_rests_within_its_target_and_an_absolute_value_does_not() -> None:
    state = state_of("toy-tied-width", "gaea-erm", ())
    values = {
        two_sided: CostTarget(Parameters(), 1e9, 2.0, two_sided)(
            state.distribution, state.costs, state.phase("architecture")
        )  # type: ignore[arg-type]
        for two_sided in (False, True)
    }
    assert float(values[False].detach()) == 0
    assert float(values[True].detach()) == pytest.approx(2.0, rel=1e-3)
    with pytest.raises(ConfigurationError, match="target of a cost must be positive"):
        CostTarget(Parameters(), 0.0, 1.0)


def test_latencies_add_up_by_their_table() -> None:
    space = load("toy-tied-width")
    rows = [("width", w, 0.5 * i) for i, w in enumerate((4, 8, 16, 32))]
    rows += [("activation", word, 0.25 * i) for i, word in enumerate(("relu", "tanh", "gelu"))]
    table = Latency(1.0, tuple(rows))
    assert Latency.from_json(json.loads(json.dumps(table.to_json()))) == table
    costs = costs_of("toy-tied-width").architectures(table)
    assert costs.of(space.architecture({"width": 16, "activation": "gelu"})) == 2.5
    assert costs.additive
    for broken in (3, {"fixed": 1}, {"fixed": "x", "options": []}, {"fixed": 1, "options": [["a", "b"]]}):
        with pytest.raises(ConfigurationError, match="not a latency table"):
            Latency.from_json(broken)
    with pytest.raises(ConfigurationError, match="no entry for width=4"):
        costs_of("toy-tied-width").architectures(Latency(1.0, ()))

    def network(a: Any) -> torch.nn.Module:
        return build_network(a, space, (6,), 3)

    measured = measure_latencies(space, network, (6,), repeats=2)
    priced = costs_of("toy-tied-width").architectures(measured)
    prices = [priced.of(a) for a in enumerate_architectures(space)]
    assert min(prices) > -1e-6
    assert max(prices) > 0
    assert len(measured.options) == 7


@pytest.mark.parametrize(
    "changes", [{"generations": 0}, {"crossover": 40, "mutation": 40}, {"mutation_probability": 2}]
)
def test_evolution_refuses_nonsense(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Evolution(**changes)


def score_by(monkeypatch: pytest.MonkeyPatch, score: Callable[[Any], float]) -> list[Any]:
    """Let selections score architectures by a function; what they score, in order."""
    met: list[Any] = []

    @contextmanager
    def opened(scorer: Scorer) -> Iterator[Any]:
        def scored(gates: Any) -> dict[str, float]:
            relaxation = scorer.state.distribution.relaxation
            a = relaxation.project({n: g.weights.tolist() for n, g in gates.items()})
            met.append(a)
            return {"loss": 0.0, "accuracy": score(a), "examples": 1}

        yield Opened(scorer, scored)

    monkeypatch.setattr(Scorer, "opened", opened)
    return met


def test_evolution_finds_what_ranking_everything_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a score that grows with every right choice, few generations find the best of 4,096 architectures."""
    selection = Evolution(generations=12, population=24, parents=6, crossover=12, mutation=12)
    state = state_of("toy-separable-cell", "spos", (), selection=selection)
    target = sample(state.supernet.space, np.random.default_rng(5))
    met = score_by(monkeypatch, lambda a: sum(a[name] == target[name] for name in a) / len(a))
    found = selection.select(state)
    assert found.architecture == target
    assert len(met) == len(set(met)) <= 12 * 24, "no architecture is scored twice"
    assert found.candidates[0][1]["accuracy"] == 1.0


def test_evolution_never_scores_what_breaks_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where slower is better, every child leans over the limit."""
    choices = load("toy-separable-cell").choices
    table = Latency(1.0, tuple((c.name, option, float(i)) for c in choices for i, option in enumerate(c.options)))
    selection = Evolution(generations=5, population=12, parents=3, crossover=6, mutation=6)
    state = state_of("toy-separable-cell", "spos", (Limit(table, 8.0),), selection=selection)
    score_by(monkeypatch, state.costs.architectures(table).of)
    found = selection.select(state)
    milliseconds = [scores["accuracy"] for _, scores in found.candidates]
    assert len(milliseconds) == 5 * 12
    assert max(milliseconds) == 8.0


@pytest.mark.parametrize("strategy", [LocalSearch(), RegularizedEvolution(4, Tournament(2))])
def test_no_strategy_asks_about_what_breaks_a_budget(strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = load("toy-separable-cell").choices
    table = Latency(1.0, tuple((c.name, option, float(i)) for c in choices for i, option in enumerate(c.options)))
    state = state_of("toy-separable-cell", "spos", (Limit(table, 8.0),), selection=ByStrategy(strategy, 60))
    score_by(monkeypatch, state.costs.architectures(table).of)
    milliseconds = [scores["accuracy"] for _, scores in state.recipe.selection.select(state).candidates]
    assert len(milliseconds) > 20
    assert max(milliseconds) == 8.0


def test_the_evolution_of_spos_is_that_of_its_paper() -> None:
    selection = build("spos", {"selection": "evolution", "candidates": 1000}).selection
    assert isinstance(selection, Evolution)
    paper = {"generations": 20, "population": 50, "parents": 10, "crossover": 25, "mutation": 25}
    assert {name: getattr(selection, name) for name in paper} == paper
    assert selection.mutation_probability == 0.1


@pytest.mark.parametrize(("probability", "changes"), [(0.0, {1}), (1.0, {1, 2, 3, 4, 5, 6})])
def test_a_mutant_changes_as_many_choices_as_its_probability_says(
    probability: float, changes: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first architecture is the best and stays the only parent."""
    selection = Evolution(2, 12, parents=1, crossover=0, mutation=11, mutation_probability=probability)
    state = state_of("toy-separable-cell", "spos", (), selection=selection)
    met = score_by(monkeypatch, lambda a: -float(len(met)))
    selection.select(state)
    parent = met[0]
    found = [sum(parent[name] != mutant[name] for name in parent) for mutant in met[12:23]]
    assert set(found) <= changes
    if probability:
        assert sum(found) / len(found) > 2, "six changes, some of which meet the same choice"


def test_spos_by_evolution_from_the_command_line_and_a_budget_that_a_resume_keeps(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "space": "toy-tied-width",
        "method": "spos",
        "train_examples": 64,
        "max_parameters": 700,
        "recipe": {"selection": "evolution", "candidates": 8, "population": 4, "epochs": 2, "batch_size": 16},
    }
    configuration = from_mapping("search", values)
    assert isinstance(configuration, SearchConfiguration)
    configuration.execute(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    first = folder.read_result()
    assert first["budget"] == {"max_parameters": {"most": 700, "spent": first["cost"]["parameters"]}}
    assert "by evolution" in first["selection"]["rule"]
    again = from_mapping("search", folder.read_config())
    assert again == replace(configuration, **{f: getattr(again, f) for f in ("network", "recipe", "threads", "native")})
    again.execute(tmp_path / "run", resume=True)
    assert folder.read_result() == first
    with pytest.raises(ConfigurationError, match="budget_penalty needs a budget"):
        from_mapping("search", {"budget_penalty": 1.0})
    with pytest.raises(ConfigurationError, match="latency table bounds nothing without max_latency"):
        from_mapping("search", {"latency": {"fixed": 1.0, "options": []}})


def test_a_measured_latency_is_frozen_into_the_run(tmp_path: Path) -> None:
    values = {"space": "toy-tied-width", "method": "gaea-erm", "train_examples": 64, "max_steps": 2, "max_latency": 1e3}
    configuration = from_mapping("search", values)
    assert isinstance(configuration, SearchConfiguration)
    configuration.execute(tmp_path / "run")
    stored = RunFolder(tmp_path / "run").read_config()
    table = Latency.from_json(stored["latency"])
    again = from_mapping("search", stored)
    assert isinstance(again, SearchConfiguration)
    assert again.with_latencies() is again, "no second measurement"
    assert again.build_recipe().limits == (Limit(table, 1e3),)
    again.execute(tmp_path / "run", resume=True)


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "by evolution"])
def test_a_range_is_kept_from_both_sides(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_LISTED", 20_000 if listed else 1)
    costs, space = costs_of("conv-macro"), load("conv-macro")
    table = costs.architectures(Parameters())
    everything = table.of_all(list(enumerate_architectures(space)))
    least, most = (float(np.quantile(everything, q)) for q in (0.6, 0.63))
    affordable = Affordable([Limit(Parameters(), most, least)], costs, space.relaxation, space)
    assert affordable.exact == listed
    rng = np.random.default_rng(0)
    for side in (0, -1):  # what the rule picks lies below, or above
        wish = space.architecture({c.name: c.options[side] for c in space.choices})
        rows = {d.name: rng.dirichlet(np.ones(d.size)).tolist() for d in space.relaxation.decisions}
        found = affordable.best(rows, wish)
        assert least <= table.of(found) <= most
        assert affordable.spent(found)["max_parameters"]["least"] == least
        with pytest.raises(ConfigurationError, match=r"(less|more) than min_parameters = .* and max_parameters"):
            affordable.spent(wish)
    drawn = {table.of(affordable.sample(rng)) for _ in range(20)}
    assert len(drawn) > 1
    assert all(least <= cost <= most for cost in drawn)
    if listed:
        probabilities = {d.name: [1 / d.size] * d.size for d in space.relaxation.decisions}
        assert str(affordable.best(probabilities, wish)) in brute_best(affordable, probabilities)[1]


def test_ranges_that_nothing_keeps_are_refused() -> None:
    costs, space = costs_of("toy-tied-width"), load("toy-tied-width")
    sizes = sorted(set(costs.architectures(Parameters()).of_all(list(enumerate_architectures(space)))))
    with pytest.raises(ConfigurationError, match=f"min_parameters is .* the largest number .* is {int(sizes[-1]):,}"):
        Affordable([Limit(Parameters(), math.inf, sizes[-1] + 1)], costs, space.relaxation, space)
    between = Limit(Parameters(), sizes[-1] - 1, sizes[-2] + 1)
    with pytest.raises(ConfigurationError, match=r"min_parameters is .* and max_parameters is .* the nearest number"):
        Affordable([between], costs, space.relaxation, space)
    for most, least in ((10, 11), (10, -1), (math.inf, 0), (math.inf, math.inf)):
        with pytest.raises(ConfigurationError, match="must"):
            Limit(Parameters(), most, least)


@pytest.mark.parametrize("selection", [RankSampled(4), Evolution(3, 4, 2, 2, 2)], ids=["ranking", "evolution"])
def test_selections_score_within_a_range_alone(selection: Any) -> None:
    space = load("toy-separable-cell")
    supernet = build_supernet(space, (1, 8, 8), 10, network={"channels": 2})
    sizes = SupernetCost(supernet, (1, 8, 8)).architectures(Parameters())
    least, most = np.quantile(sizes.of_all(list(enumerate_architectures(space))), (0.4, 0.5))
    state = state_of("toy-separable-cell", "spos", (Limit(Parameters(), most, least),), selection=selection)
    for architecture, _ in run(state).selected.candidates:
        assert least <= sizes.of(architecture) <= most


def test_a_range_is_an_option_of_every_search() -> None:
    configuration = from_mapping(
        "search", {"method": "spos", "min_parameters": 10, "max_parameters": 20, "min_macs": 5}
    )
    assert isinstance(configuration, SearchConfiguration)
    first, second = configuration.build_recipe().limits
    assert (first.least, first.most, second.least, second.most) == (10, 20, 5, math.inf)
    with pytest.raises(ConfigurationError, match="min_latency"):
        from_mapping("search", {"latency": {"fixed": 1.0, "options": []}})
