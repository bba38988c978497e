"""Cells that make no sense fail when the recipe is built, and name the two pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sharewise.data import digits, held_out
from sharewise.distribution import Expectation, Learned, Simplex, StraightThroughGumbel, Uniform
from sharewise.engine import (
    Alternating,
    Constant,
    Cosine,
    DartsRule,
    EntropyPenalty,
    Linear,
    Mode,
    RankSampled,
    Recipe,
    Stage,
    WeightDecay,
    WeightOptimization,
    WeightsOnly,
    warm_up,
)
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS, build, darts, gdas, parameters, spos
from sharewise.run import search
from sharewise.spaces import load

LEARNED = Learned(Simplex(), Expectation())


@pytest.mark.parametrize(
    ("base", "change", "words"),
    [
        ("darts", {"epochs": 0}, ["epochs must be at least 1", "0"]),
        ("spos", {"batch_size": 0}, ["batch_size must be at least 1", "0"]),
        ("darts", {"distribution": Uniform()}, ["level Alternating", "distribution Uniform", "WeightsOnly"]),
        ("spos", {"level": Alternating()}, ["level Alternating", "distribution Uniform", "Learned"]),
        ("darts", {"level": WeightsOnly()}, ["distribution Learned", "level WeightsOnly", "Alternating"]),
        ("spos", {"distribution": LEARNED}, ["distribution Learned", "level WeightsOnly", "Uniform"]),
        ("spos", {"selection": DartsRule()}, ["selection DartsRule", "distribution Uniform", "RankSampled"]),
        ("spos", {"selection": Mode()}, ["selection Mode", "distribution Uniform", "RankSampled"]),
        ("darts", {"roles": held_out()}, ["level Alternating", "role 'architecture'", "bilevel", "single_level"]),
        ("spos", {"penalties": (WeightDecay(),)}, ["penalties", "distribution Uniform", "remove"]),
        ("darts", {"stages": ()}, ["stages must sum to 1"]),
        ("darts", {"stages": (Stage(0.5),)}, ["stages must sum to 1", "0.5"]),
        ("darts", {"stages": (Stage(0.6), Stage(0.6))}, ["stages must sum to 1"]),
        ("spos", {"stages": warm_up(0.5)}, ["warm up or prune", "distribution Uniform"]),
        ("spos", {"stages": (Stage(1.0, keep=2),)}, ["warm up or prune", "distribution Uniform"]),
    ],
)
def test_illegal_combinations(base: str, change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(build(base), **change)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stage(0.0),
        lambda: Stage(1.5),
        lambda: Stage(1.0, keep=0),
        lambda: warm_up(1.0),
        lambda: warm_up(-0.1),
        lambda: Cosine(0.1, stretch=0.0),
        lambda: WeightDecay(-1.0),
        lambda: EntropyPenalty(-1.0),
        lambda: RankSampled(0),
        lambda: RankSampled(examples=0),
        lambda: WeightOptimization(Constant(0.1), momentum=1.0),
        lambda: WeightOptimization(Constant(0.1), weight_decay=-1.0),
        lambda: WeightOptimization(Constant(0.1), gradient_clip=0.0),
        lambda: WeightOptimization(Constant(0.0)),
        lambda: WeightOptimization(Constant(0.1), momentum=0.0, nesterov=True),
        lambda: darts(warm_up=1.0),
        lambda: gdas(architecture_learning_rate=0.0),
        lambda: spos(candidates=0),
    ],
)
def test_values_out_of_range(make: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must|needs"):
        make()


def test_exclusions_that_fit_no_space() -> None:
    relaxation = load("nasbench201").relaxation
    for blueprint in (LEARNED, Uniform()):
        with pytest.raises(ConfigurationError, match="did you mean 'skip_connect'"):
            blueprint.build(relaxation, torch.Generator(), ("skip_conect",))
        with pytest.raises(ConfigurationError, match="without options"):
            blueprint.build(relaxation, torch.Generator(), relaxation.decisions[0].options)
    with pytest.raises(ConfigurationError, match="cannot be pruned"):
        Uniform().build(relaxation, torch.Generator()).restrict({})
    with pytest.raises(ConfigurationError, match="at least 1 path"):
        Uniform(0).build(relaxation, torch.Generator())


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_is_a_recipe_with_its_arguments(name: str) -> None:
    recipe = build(name, {"epochs": 3})
    assert isinstance(recipe, Recipe)
    assert recipe.name == name
    assert recipe.epochs == recipe.arguments["epochs"] == 3
    assert set(recipe.arguments) == set(parameters(name))
    assert build(name, dict(recipe.arguments)) == recipe
    assert recipe.with_epochs(7).epochs == recipe.with_epochs(7).arguments["epochs"] == 7
    assert recipe.describe()
    with pytest.raises(ConfigurationError, match="did you mean 'epochs'"):
        build(name, {"epoch": 3})


def test_unknown_method() -> None:
    with pytest.raises(ConfigurationError, match="unknown method 'dart'; did you mean 'darts'"):
        build("dart")
    with pytest.raises(ConfigurationError, match="unknown method 'dart'"):
        parameters("dart")


def test_published_defaults() -> None:
    """The settings that the papers and their released code state."""
    recipe = darts()
    assert recipe.batch_size == 64
    assert recipe.epochs == 50
    assert [recipe.weights.learning_rate(e, 50) for e in (0, 50)] == pytest.approx([0.025, 0.001])
    assert (recipe.weights.momentum, recipe.weights.weight_decay, recipe.weights.gradient_clip) == (0.9, 3e-4, 5.0)
    adam = recipe.distribution.build(load("nasbench201").relaxation, torch.Generator()).optimizer()
    assert adam is not None
    assert (adam.defaults["lr"], adam.defaults["betas"], adam.defaults["weight_decay"]) == (3e-4, (0.5, 0.999), 0)
    assert recipe.penalties == (WeightDecay(1e-3),)
    assert recipe.level == Alternating(first="architecture")
    gaea = build("gaea-darts")
    assert gaea.distribution == Learned(Simplex(0.1, 1e-5), Expectation())
    assert gaea.exclude == ("none",)
    assert gaea.epochs == 25
    assert gaea.weights.learning_rate(25, 25) == pytest.approx((0.025 + 0.001) / 2)
    assert gaea.penalties == ()
    sampled = build("gdas")
    assert isinstance(sampled.distribution, Learned)
    assert sampled.distribution.estimator == StraightThroughGumbel(Linear(10.0, 0.1))
    assert sampled.weights.nesterov
    assert (sampled.epochs, sampled.weights.weight_decay) == (250, 5e-4)


def test_single_level_changes_data_roles_only() -> None:
    for method, variant in (("darts", "darts-erm"), ("gaea-darts", "gaea-erm")):
        host, single = build(method), build(variant)
        assert replace(single, roles=host.roles, name=host.name) == host
        assert not single.roles.is_disjoint("weights", "architecture")
        assert host.roles.is_disjoint("weights", "architecture")
        assert "single level" in single.describe()


def test_an_unknown_order_of_steps_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="weights"):
        Alternating(first="weight")  # type: ignore[arg-type]


def test_a_stage_that_rounds_to_no_epoch_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rounds to none"):
        darts(epochs=2, warm_up=0.9)
    with pytest.raises(ConfigurationError, match="rounds to none"):
        darts(epochs=50, warm_up=0.1).with_epochs(2)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"minimum_temperature": 0.0}, "temperature"),
        ({"minimum_learning_rate": -1.0}, "learning rate"),
        ({"learning_rate": float("inf")}, "learning rate"),
        ({"weight_decay": float("nan")}, "weight decay"),
        ({"architecture_weight_decay": float("nan")}, "penalty"),
    ],
)
def test_values_that_break_later_are_refused_at_once(options: dict[str, float], part: str) -> None:
    with pytest.raises(ConfigurationError, match=part):
        gdas(epochs=3, **options)  # type: ignore[arg-type]


def test_excluding_every_option_that_the_rule_allows_is_refused() -> None:
    exclude = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    data = digits().limited(64, seed=0)
    with pytest.raises(ConfigurationError, match="without options"):
        search(load("nasbench201"), darts(exclude=exclude), data, network={"channels": 1, "cells": 1}, max_steps=1)
