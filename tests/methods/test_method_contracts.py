"""Every method keeps the contract on every space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sharewise.data import digits
from sharewise.data import load as load_data
from sharewise.engine import Stage, warm_up
from sharewise.methods import METHODS, build
from sharewise.spaces import RELAXABLE, load
from sharewise.testing import check_method, methods_of, planted

NETWORKS: dict[str, dict[str, Any]] = {
    "conv-macro": {"divisor": 8},
    "darts": {"channels": 4, "layers": 3},
    "darts:S4": {"channels": 2, "layers": 3},
    "darts:fair": {"channels": 2, "layers": 3},
    "nasbench1shot1:1": {"channels": 4, "cells": 1},
    "nasbench201": {"channels": 4, "cells": 1},
    "toy-separable-cell": {"channels": 4},
}

SOME = ("drnas", "gaea-gdas", "spos")
"""For a space that differs from others in its layers alone."""
LARGER = {
    "toy-separable-cell": SOME,
    "darts": (),
    "darts:S4": ("gdas",),
    "darts:fair": ("fair-darts",),
    "nasbench1shot1:1": (*SOME, "darts-second-order"),
}
"""Spaces of which some methods are enough here; the others run in the slow suite where `IN_FULL` says so."""
IN_FULL = ("darts", "nasbench1shot1:1")
PAIRS = [
    pytest.param(m, s, marks=() if m in LARGER.get(s, METHODS) else pytest.mark.slow)
    for s in RELAXABLE
    if s in NETWORKS or s.startswith("toy")
    for m in methods_of(load(s))
    if m in LARGER.get(s, METHODS) or s in IN_FULL
]


@pytest.mark.sweep(5, slow=3)
@pytest.mark.parametrize(("method", "space"), PAIRS)
def test_contract(method: str, space: str) -> None:
    data = load_data("digits", image_size=12) if space == "conv-macro" else digits()
    check_method(build(method), load(space), data.limited(64, seed=0), network=NETWORKS.get(space))


@pytest.mark.parametrize(
    ("method", "published"), [("tanglenas-drnas", False), ("gaea-gdas", True), ("proxylessnas", False)]
)
def test_contract_on_an_entangled_cell(method: str, published: bool) -> None:
    network = {**NETWORKS["nasbench201"], "sharing": "entangled", "published": published}
    check_method(build(method), load("nasbench201"), digits().limited(64, seed=0), network=network)


@pytest.mark.sweep(2)
@pytest.mark.parametrize("method", list(METHODS))
def test_contract_on_a_table(method: str) -> None:
    problem = planted()
    check_method(build(method), problem.space, problem.dataset.limited(64, seed=0))


@pytest.mark.parametrize("method", ["darts", "gaea-erm", "gdas"])
def test_contract_with_stages(method: str) -> None:
    pruned = (Stage(0.5, architecture_steps=False), Stage(0.5, keep=2))
    for stages in (warm_up(0.5), pruned):
        recipe = replace(build(method, {"exclude": ("none",)}), stages=stages)
        check_method(recipe, load("toy-two-inputs"), digits().limited(64, seed=0))
