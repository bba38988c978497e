"""Selection by perturbation: decisions that are settled one by one, and the training in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import sharewise as sw
from sharewise.data import digits
from sharewise.distribution import (
    Concentrations,
    Concrete,
    Constant,
    DirichletPath,
    Estimator,
    Expectation,
    Factored,
    Geometry,
    Phase,
    SigmoidLogits,
    Simplex,
    SoftmaxLogits,
    StraightThroughGumbel,
    TwoPath,
)
from sharewise.engine import (
    ByPerturbation,
    Pruning,
    Recipe,
    SearchState,
    numerics,
    prepare,
    pruned,
    pruning,
    run,
    selection_scorer,
    stream,
    warm_up,
)
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build
from sharewise.run import build_supernet, from_mapping
from sharewise.spaces import load
from sharewise.spaces.darts.fair import wide_cells_of
from sharewise.supernet import BatchStatistics, Gate
from sharewise.testing import check_method, check_selection, check_surgery, small_arguments

CELLS: list[tuple[Geometry, Estimator]] = [
    (SoftmaxLogits(scale=0.5), Expectation()),
    (SigmoidLogits(scale=0.5), Expectation()),
    (Simplex(), StraightThroughGumbel(Constant(1.0))),
    (SoftmaxLogits(scale=0.5), Concrete(Constant(1.0))),
    (SoftmaxLogits(scale=0.5), TwoPath()),
    (Concentrations(scale=0.5), DirichletPath()),
]


def state_of(recipe: Recipe, space: str = "toy-two-inputs", max_steps: int | None = None) -> SearchState:
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load(space), dataset.input_shape, 10)
    data = dataset.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, data, numerics=numerics("cpu", "float64"), max_steps=max_steps)


def test_the_rule_keeps_the_contract_of_selections() -> None:
    check_selection(ByPerturbation(1, examples=16))


def test_a_round_is_a_surgery() -> None:
    period = ByPerturbation(1, examples=16).tuning(build("darts"), load("toy-two-inputs").relaxation)
    assert period is not None
    check_surgery(period.stages[1].operations[0])


def test_the_rounds_of_the_paper_make_81_epochs() -> None:
    relaxation = load("darts").relaxation
    assert [len(group) for group in relaxation.groups] == [14, 14]
    period = ByPerturbation().tuning(build("darts"), relaxation)
    assert period is not None
    assert (period.epochs, len(period.stages)) == (81, 17), "14 edges and 3 nodes with more than two inputs"
    assert [period.learning_rate(epoch, 81) for epoch in (0, 81)] == pytest.approx([0.0025, 0.001])


@pytest.mark.parametrize(
    ("geometry", "estimator"), CELLS, ids=[f"{type(g).__name__} {type(e).__name__}" for g, e in CELLS]
)
def test_settled_decisions_are_constant_under_every_distribution(geometry: Geometry, estimator: Estimator) -> None:
    relaxation, generator = load("nasbench201").relaxation, torch.Generator().manual_seed(0)
    distribution = Factored(relaxation, geometry, estimator, generator, exclude=("none",))
    distribution.settle({"edge_0_1": 3, "edge_2_3": 1})
    distribution.settle({"edge_2_3": None})
    [gates] = distribution.draw(generator, Phase("architecture"))
    assert gates["edge_0_1"].weights.tolist() == [0, 0, 0, 1, 0]
    assert gates["edge_0_1"].active == (3,)
    assert gates["edge_2_3"].active == ()
    assert not gates["edge_2_3"].weights.any()
    assert not gates["edge_0_1"].weights.requires_grad
    distribution.pullback(gates, {name: torch.ones(5) for name in gates})
    assert distribution.theta.grad is not None
    assert not distribution.theta.grad[[0, 5]].any(), "rows of settled decisions"
    for rows in (distribution.probabilities(), distribution.mixture()):
        assert rows["edge_0_1"].tolist() == [0, 0, 0, 1, 0]
        assert not rows["edge_2_3"].any()
    architecture = distribution.sample(generator)
    assert architecture["edge_0_1"] == "nor_conv_3x3"
    with pytest.raises(ConfigurationError, match="'edge_0_2' cannot take option 'none', which is masked"):
        distribution.settle({"edge_0_2": 0})


def test_the_run_trains_on_between_its_rounds() -> None:
    recipe = build("darts-pt", {"epochs": 2, "batch_size": 16, "tuning_epochs": 2})
    state = state_of(recipe)
    assert state.course.epochs == 2 + 2 * 5 + 1, "five edges, and one node with three inputs"
    assert state.total_steps == 2 * state.course.epochs
    result = run(state)
    rounds = [record for record in state.history if record["event"] == "stage" and "settled" in record]
    assert [record["epoch"] for record in rounds] == [2, 4, 6, 8, 10, 12]
    assert all(len(record["settled"]) == 1 for record in rounds)
    assert list(rounds[-1]["settled"].values()) == [None], "one of three inputs of the last node goes"
    rates = [record["learning_rate"] for record in state.history if record["event"] == "epoch"]
    assert rates[2] == pytest.approx(0.0025)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] > 0.001
    weights = state.ledger.entries["weights"]
    assert weights.steps == state.total_steps
    assert state.ledger.entries["architecture"].steps == state.total_steps
    assert state.ledger.entries["selection"].multiply_accumulates > 0
    assert result.selected.rule == "of every decision the option without which the accuracy is worst, in 6 rounds"
    assert state.history[-1]["architecture"] == str(result.architecture), "known once everything is settled"
    assert "architecture" not in state.history[2]
    assert state.phase("weights").epoch == 1, "schedules keep what they had reached"


def test_a_run_that_ends_before_decides_without_training_and_says_so() -> None:
    recipe = build("darts-pt", {"epochs": 2, "batch_size": 16, "tuning_epochs": 1})
    found = run(state_of(recipe, max_steps=7))
    assert found.state.step == 7
    assert len(found.state.distribution.settled) == 2  # type: ignore[attr-defined]
    assert found.selected.rule.endswith("in 6 rounds, 4 of them without training in between")


def test_what_is_settled_is_what_is_missed_most() -> None:
    """Against a plain computation: every removal scored by hand, options first, then edges."""
    selection = ByPerturbation(criterion="loss")
    state = state_of(replace(build("darts", small_arguments("darts")), selection=ByPerturbation(0)))
    for _ in range(4):
        state.recipe.level.step(state, architecture=True)
    decisions = state.distribution.relaxation.decisions
    mixture = state.distribution.mixture()
    gates = {name: Gate(row, tuple(range(len(row)))) for name, row in mixture.items()}
    with selection_scorer(state, BatchStatistics()).opened() as score:
        settled, scores = selection.round(state, {}, torch.Generator().manual_seed(3))
        [(name, chosen)] = settled.items()
        without = {}
        for index in (1, 2, 3):
            row = mixture[name] * (torch.arange(4) != index)
            without[index] = score({**gates, name: Gate(row, tuple(i for i in range(4) if i != index))})["loss"]
        assert chosen == max(without, key=without.__getitem__)
        assert list(scores[name].values()) == pytest.approx([-loss for loss in without.values()])
        everything = {decision.name: 2 for decision in decisions}
        settled, _ = selection.round(state, everything, torch.Generator().manual_seed(3))
        one = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
        fixed = {decision.name: Gate(one, (2,)) for decision in decisions}
        losses = {
            edge: score({**fixed, edge: Gate(0 * one, ())})["loss"] for edge in ("edge_0_3", "edge_1_3", "edge_2_3")
        }
    assert settled == {min(losses, key=losses.__getitem__): None}
    assert not selection.round(state, {**everything, **settled}, torch.Generator())[0], "nothing is left to settle"


@pytest.mark.parametrize("method", ["gdas", "gaea-erm", "drnas", "snas", "fair-darts", "proxylessnas", "beta-darts"])
def test_any_method_with_a_mixture_may_end_with_it(method: str) -> None:
    recipe = replace(build(method, {"exclude": ()}), selection=ByPerturbation(1))
    check_method(recipe, load("toy-two-inputs"), digits().limited(64, seed=0))


def test_methods_without_a_mixture_are_refused() -> None:
    for method in ("spos", "enas", "fairnas"):
        with pytest.raises(ConfigurationError, match="ByPerturbation takes options out of a mixture"):
            replace(build(method), selection=ByPerturbation())
    for wrong, words in [
        ({"tuning_epochs": -1}, "must not be negative, got -1"),
        ({"criterion": "speed"}, "Legal: loss, metric"),
        ({"examples": 0}, "at least 1 example"),
        ({"minimum_learning_rate": float("nan")}, "finite and not negative"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            ByPerturbation(**wrong)  # type: ignore[arg-type]


LEARNED = [name for name in METHODS if build(name).distribution.learns]


@pytest.mark.parametrize("method", [name for name in LEARNED if name not in ("drnas", "r-darts")])
def test_every_learned_method_can_be_pruned_in_stages(method: str) -> None:
    """By one option of a search, whatever the method calls its own."""
    values = {"method": method, "recipe": small_arguments(method) | {"epochs": 24}, "keep": [3, 2]}
    recipe = from_mapping("search", values | {"recipe": {**values["recipe"], "exclude": []}}).build_recipe()  # type: ignore[union-attr,dict-item]
    assert [stage.keep for stage in recipe.stages if stage.keep] == [3, 2]
    assert sum(stage.fraction for stage in recipe.stages) == pytest.approx(1)
    assert recipe.stages == pruned(build(method).stages, (3, 2))


def test_a_search_that_goes_back_cannot_be_pruned() -> None:
    values = {"method": "r-darts", "recipe": {"epochs": 24}, "keep": [3, 2]}
    with pytest.raises(ConfigurationError, match="EarlyStop goes back to earlier epochs"):
        from_mapping("search", values).build_recipe()  # type: ignore[union-attr]


def test_pruned_searches_end_with_few_options() -> None:
    for method in ("gdas", "sdarts", "fair-darts"):
        recipe = build(method, {"epochs": 4, "batch_size": 16, "exclude": ()})
        state = state_of(replace(recipe, stages=pruned(recipe.stages, [3, 2])))
        run(state)
        assert [int((row > 0).sum()) for row in state.distribution.mixture().values()] == [2] * 5
        assert [record["kept"] is not None for record in state.history if "kept" in record] == [True, True]


def test_stages_that_prune_already_are_refused() -> None:
    assert pruned(warm_up(0.5), []) == warm_up(0.5)
    assert pruning([3], rest=0.2) == pruned(warm_up(0.2), [3])
    assert pruned(warm_up(0.0), [3])[1].surgeries == (Pruning(3),)
    with pytest.raises(ConfigurationError, match="prune already"):
        pruned(pruning([3]), [2])
    with pytest.raises(ConfigurationError, match="must keep fewer options"):
        pruned(warm_up(0.0), [2, 3])


def test_configurations_name_selections() -> None:
    recipe = from_mapping("search", {"method": "gdas", "selection": "perturbation", "tuning_epochs": 1}).build_recipe()  # type: ignore[union-attr]
    assert recipe.selection == ByPerturbation(1)
    recipe = from_mapping("search", {"method": "darts-pt", "recipe": {"tuning_epochs": 2}}).build_recipe()  # type: ignore[union-attr]
    assert recipe.selection == ByPerturbation(2)
    with pytest.raises(ConfigurationError, match="Mode only looks at the end of a search, so that tuning epochs"):
        from_mapping("search", {"method": "gdas", "tuning_epochs": 1}).build_recipe()  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match=r"unknown selection 'random'. Legal: darts-rule, mode, perturbation"):
        from_mapping("search", {"method": "gdas", "selection": "random"}).build_recipe()  # type: ignore[union-attr]


def test_a_threshold_keeps_what_weighs_enough() -> None:
    recipe = build("fair-darts", {"epochs": 1, "batch_size": 16})
    dataset = digits().limited(64, seed=0)
    supernet = build_supernet(load("nasbench201"), dataset.input_shape, 10, network={"channels": 2, "cells": 1})
    state = prepare(
        supernet, recipe, dataset.assign(recipe.roles, generator=stream(0, "data")), numerics=numerics("cpu")
    )
    theta = state.distribution.theta  # type: ignore[attr-defined]
    with torch.no_grad():
        theta.fill_(1.0)
        theta[:, 0] = 5.0  # none, which is masked
        theta[0, 3] = theta[2, 1] = 2.0
        theta[2, 4] = 3.0
    selected = recipe.selection.select(state)
    words = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|none~2|"
    assert str(selected.architecture) == words
    assert selected.rule.startswith("options whose weight reaches 0.85, 2 of 6 decisions")
    with torch.no_grad():
        theta.clamp_(max=1.5)  # σ = 0.82
    selected = recipe.selection.select(state)
    assert "none" not in selected.architecture.values()
    assert selected.rule.startswith("strongest option other than none, since too few weights reach 0.85")
    assert sw.engine.Threshold(0.5).threshold == 0.5
    with pytest.raises(ConfigurationError, match=r"must lie in \(0, 1\), got 1"):
        sw.engine.Threshold(1.0)


def test_the_derivation_of_fair_darts() -> None:
    """Of every edge the strongest operation, of a node the two strongest edges, of these what reaches the threshold."""
    recipe, dataset = build("fair-darts", {"epochs": 1, "batch_size": 16}), digits().limited(64, seed=0)
    supernet = build_supernet(load("darts:fair"), dataset.input_shape, 10, network={"channels": 2, "layers": 3})
    roles = dataset.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cpu"))
    theta, generator = state.distribution.theta, torch.Generator().manual_seed(0)  # type: ignore[attr-defined]
    edges = [(source, node) for node in range(2, 6) for source in range(node)]
    inputs = set()
    for _ in range(20):
        with torch.no_grad():
            theta.copy_(torch.randn(theta.shape, generator=generator) + 0.3)
        chosen = wide_cells_of(recipe.selection.select(state).architecture)
        for number, kind in enumerate(("normal", "reduce")):
            sigma, expected = theta.detach()[14 * number : 14 * number + 14].sigmoid(), []
            for node in range(2, 6):
                into = [
                    (float(row.max()), -source, int(row.argmax()))
                    for (source, n), row in zip(edges, sigma, strict=True)
                    if n == node
                ]
                strong = [edge for edge in sorted(into, reverse=True)[:2] if edge[0] >= 0.85]
                expected += [(supernet.relaxation.decisions[0].options[o], node, -source) for _, source, o in strong]
                inputs.add(len(strong))
            assert sorted(chosen[kind]) == sorted(expected)
    assert inputs == {0, 1, 2}
    with torch.no_grad():
        theta[14:].clamp_(max=1.7)  # σ = 0.846: nothing of the reduction cell
    selected = recipe.selection.select(state)
    assert selected.rule.startswith("strongest option other than none, since too few weights reach 0.85")
    assert {len(cell) for cell in wide_cells_of(selected.architecture).values()} == {8}


@pytest.mark.slow
def test_edges_are_removed_where_cells_may_be_narrow() -> None:
    """DARTS-PT on the space of Fair-DARTS settles every edge, and two of them stay at every node."""
    dataset = digits().limited(48, seed=0)
    found = sw.search(
        "darts:fair", build("darts-pt", {"epochs": 1, "batch_size": 16, "tuning_epochs": 0}), dataset,
        network={"channels": 2, "layers": 3}, max_steps=1, gap_examples=0, device="cpu",
    )  # fmt: skip
    assert [len(cell) for cell in wide_cells_of(found.architecture).values()] == [8, 8]
