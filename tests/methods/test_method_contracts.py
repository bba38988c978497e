"""Every method keeps the contract on every space."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharewise.data import digits
from sharewise.engine import Stage, warm_up
from sharewise.methods import METHODS, build
from sharewise.spaces import RELAXABLE, load
from sharewise.testing import check_method, planted


@pytest.mark.parametrize("space", list(RELAXABLE))
@pytest.mark.parametrize("method", list(METHODS))
def test_contract(method: str, space: str) -> None:
    network = {"channels": 2, "cells": 1} if space == "nasbench201" else {}
    check_method(build(method), load(space), digits().limited(64, seed=0), network=network)


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
