"""Rows of many tiny networks: a training step of 32 at once, beside one of each, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from torch import Tensor, nn

from benchmarks.table.exact import difference
from benchmarks.table.row import AtLeast, Row, Size, Step, alternating
from sharewise.data import digits
from sharewise.engine import SearchState, train, weight_step
from sharewise.engine.side_by_side import Trainings, train_side_by_side
from sharewise.run.place import Place, Setting
from sharewise.run.standalone import TrainingRecipe
from sharewise.run.train import Training
from sharewise.space import Architecture, sample
from sharewise.spaces import load

__all__ = ["ROWS"]

COUNT = 32
CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
ALONE = "one after the other"

Prepared = list[tuple[SearchState, nn.Module]]


def _equal(number: int) -> Architecture:
    """One cell for all, with every operation but `none`."""
    return load("nasbench201").parse(CELL)


def _different(number: int) -> Architecture:
    return sample(load("nasbench201"), np.random.default_rng(number))


def _prepared(of: Callable[[int], Architecture], channels: int, batch: int, count: int, precision: str) -> Prepared:
    """Trainings on the digits (8×8), each with a seed of its own."""
    space, data = load("nasbench201"), digits()
    recipe = TrainingRecipe(epochs=1, batch_size=batch, validation_fraction=0.5)
    network = {"channels": channels, "cells": 1}
    made = []
    for number in range(count):
        setting = Setting(network, number, Place("cpu", precision), 3 if precision == "float64" else None)
        made.append(Training(space, of(number), data, recipe, setting).prepare())
        made[-1][0].supernet.train()
    return made


def _together(prepared: Prepared) -> Trainings:
    return Trainings([state for state, _ in prepared], [network for _, network in prepared])


def _sides(of: Callable[[int], Architecture], channels: int, size: Size) -> Mapping[str, Step]:
    one = _together(_prepared(of, channels, size.batch // 2, COUNT, "float32"))
    alone = [state for state, _ in _prepared(of, channels, size.batch // 2, COUNT, "float32")]
    return {"at once": one.step, ALONE: lambda: [weight_step(state) for state in alone]}


def _same(of: Callable[[int], Architecture]) -> float:
    """Weights, statistics and moments after three steps."""
    together, alone = (_prepared(of, 4, 16, 6, "float64") for _ in range(2))
    if any(train_side_by_side(_together(together))):
        return float("inf")
    for state, _ in alone:
        train(state)
    return max(
        difference(_numbers(ours), _numbers(theirs)) for (ours, _), (theirs, _) in zip(together, alone, strict=True)
    )


def _numbers(state: SearchState) -> list[Tensor]:
    entries = sorted(state.weight_optimizer.state_dict()["state"].items())
    moments = [value for _, entry in entries for value in entry.values()]
    return [value.double() for value in (*state.supernet.state_dict().values(), *moments)]


def _row(title: str, of: Callable[[int], Architecture], channels: int, goal: float) -> Row:
    return Row(
        f"{COUNT} tiny networks, {title}, {channels} channels",
        alternating(partial(_sides, of, channels)),
        [AtLeast(ALONE, goal)],
        partial(_same, of),
    )


ROWS = (
    _row("one cell", _equal, 8, 4.0),
    _row("one cell", _equal, 4, 7.0),
    _row("different cells", _different, 8, 0.95),
)
