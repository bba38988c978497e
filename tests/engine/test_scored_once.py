"""Scoring leaves out what no score depends on, and evaluates architectures that compute the same once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.engine import Scorer, SearchState, selection_scorer
from sharewise.space import Architecture, sample
from sharewise.supernet import (
    BatchStatistics,
    NormPolicy,
    RecalibratedStatistics,
    RunningStatistics,
    execution,
)

POLICIES = (BatchStatistics(), RunningStatistics(), RecalibratedStatistics(1))
SMALL = {"channels": 4, "cells": 1}
DEAD = "|nor_conv_3x3~0|+|{}~0|{}~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
"""Node 2 is read by nobody."""
OF_ZEROS = "|none~0|+|nor_conv_1x1~0|{}~1|+|skip_connect~0|{}~1|nor_conv_3x3~2|"
"""Node 1 is zero."""


def trained(space: str = "nasbench201", method: str = "spos", **network: Any) -> SearchState:
    network = SMALL | network
    options = {"candidates": 1} if method == "spos" else {}
    data = sw.data.digits().limited(160, seed=0)
    recipe = sw.methods.build(method, {**options, "batch_size": 32})
    return sw.search(space, recipe, data, network=network, max_steps=4, device="cpu", gap_examples=0).state


def scores(
    state: SearchState, policy: NormPolicy, architectures: Sequence[Architecture], *, still: bool
) -> list[dict[str, float]]:
    scorer = selection_scorer(state, policy, 64)
    with scorer.opened(still=still) as score:
        return [score(scorer.gates(architecture)) for architecture in architectures]


@pytest.mark.sweep(2)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize(
    ("space", "network"),
    [
        ("nasbench201", {}),
        ("nasbench201", {"affine": True}),
        ("nasbench201", {"sharing": "entangled"}),
        ("nasbench1shot1:1", {}),
        ("toy-two-inputs", None),
    ],
    ids=["nasbench201", "affine", "entangled", "nasbench1shot1", "two inputs"],
)
def test_scores_are_those_of_whole_networks_bit_for_bit(
    space: str, network: dict[str, Any] | None, policy: NormPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = trained(space, **network) if network is not None else _two_inputs()
    rng = np.random.default_rng(0)
    architectures = [sample(state.supernet.space, rng) for _ in range(16)]
    if space == "nasbench201":
        architectures += [state.supernet.space.parse(DEAD.format("nor_conv_3x3", "nor_conv_1x1"))]
        architectures += [state.supernet.space.parse(OF_ZEROS.format("nor_conv_3x3", "nor_conv_3x3"))]
    found = scores(state, policy, architectures, still=True)
    monkeypatch.setattr(execution, "leaves_nothing", lambda: False)
    assert found == scores(state, policy, architectures, still=False)


def _two_inputs() -> SearchState:
    data = sw.data.digits().limited(160, seed=0)
    return sw.search("toy-two-inputs", "gaea-erm", data, max_steps=4, device="cpu", gap_examples=0).state


def convolutions(state: SearchState, policy: NormPolicy, architecture: str) -> int:
    """How many convolutions of cells a score takes; the one calibration batch counts like the one of evaluation."""
    made: list[nn.Module] = []
    layers = [layer for layer in state.supernet.stages.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(lambda layer, *_: made.append(layer)) for layer in layers]
    scores(state, policy, [state.supernet.space.parse(architecture)], still=True)
    for handle in handles:
        handle.remove()
    return len(made)


@pytest.mark.parametrize(
    ("policy", "dead", "of_zeros"), [(POLICIES[0], 2, 2), (POLICIES[1], 2, 4), (POLICIES[2], 4, 4)]
)
def test_dead_edges_and_convolutions_of_zeros_are_not_made(policy: NormPolicy, dead: int, of_zeros: int) -> None:
    """Three cells; one batch of evaluation, and one of calibration where there is any."""
    state = trained()
    assert convolutions(state, policy, DEAD.format("nor_conv_3x3", "nor_conv_3x3")) == 3 * dead
    assert convolutions(state, policy, OF_ZEROS.format("nor_conv_3x3", "nor_conv_3x3")) == 3 * of_zeros


def test_training_and_mixtures_execute_all_that_they_did() -> None:
    state = trained()
    gates = selection_scorer(state, RunningStatistics()).gates(
        state.supernet.space.parse(OF_ZEROS.format("nor_conv_3x3", "nor_conv_3x3"))
    )
    state.supernet.train()
    x = state.next_batch("weights").inputs
    state.supernet(x, gates).sum().backward()
    edge = state.supernet.stages[0][0].edges["edge_1_2"].operations["nor_conv_3x3"][1]
    assert edge.weight.grad is not None
    assert int((edge.weight.grad != 0).sum()) == 0, "zeros, not None: weight decay tells them apart"


def evaluations(state: SearchState, policy: NormPolicy, architectures: Sequence[str]) -> int:
    count = 0

    def look(*_: object) -> None:
        nonlocal count
        count += 1

    handle = state.supernet.register_forward_hook(look)
    scores(state, policy, [state.supernet.space.parse(text) for text in architectures], still=True)
    handle.remove()
    return count


def test_architectures_that_compute_the_same_are_evaluated_once_and_charged_alike() -> None:
    state = trained()
    dead = [DEAD.format(a, b) for a in ("nor_conv_3x3", "none") for b in ("nor_conv_1x1", "skip_connect")]
    before = state.ledger.to_json()["selection"]["multiply_accumulates"]
    assert evaluations(state, BatchStatistics(), dead) == 1
    assert evaluations(state, RunningStatistics(), dead) == 1
    spent = state.ledger.to_json()["selection"]["multiply_accumulates"] - before
    macs = [state.costs.multiply_accumulates(state.supernet.space.parse(text)) for text in dead]
    assert spent == 2 * 64 * sum(macs), "what a plain network would cost"
    zeros = [OF_ZEROS.format(a, b) for a in ("nor_conv_3x3", "skip_connect") for b in ("none", "nor_conv_1x1")]
    assert evaluations(state, BatchStatistics(), zeros) == 1
    assert evaluations(state, RunningStatistics(), zeros) == 4, "a norm with running statistics makes zero something"
    assert evaluations(state, BatchStatistics(), [dead[0], zeros[0], dead[1], zeros[1]]) == 2


def test_entangled_weights_are_told_by_all_their_gates() -> None:
    state = trained(sharing="entangled")
    cells = ["|nor_conv_3x3~0|", "|nor_conv_1x1~0|"]
    rest = "+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
    assert evaluations(state, BatchStatistics(), [first + rest for first in cells]) == 2


def test_weights_that_move_are_evaluated_every_time() -> None:
    state = trained()
    scorer: Scorer = selection_scorer(state, BatchStatistics(), 64)
    gates = scorer.gates(state.supernet.space.parse(DEAD.format("none", "none")))
    with scorer.opened(still=False) as score:
        first = score(gates)
        with torch.no_grad():
            for parameter in state.supernet.parameters():
                parameter.mul_(1.5)
        assert score(gates) != first


@pytest.mark.parametrize(("space", "normed"), [("conv-macro", False), ("nasbench201", True)])
def test_statistics_are_estimated_again_where_there_are_some(
    space: str, normed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"divisor": 8, "dropout": 0.0} if space == "conv-macro" else SMALL
    data = sw.data.digits().limited(96, seed=0).resized(12)
    recipe = sw.methods.spos(candidates=1, batch_size=32)
    state = sw.search(space, recipe, data, network=network, max_steps=1, device="cpu", gap_examples=0).state
    sizes, forward = list[int](), state.supernet.forward

    def counted(inputs: torch.Tensor, gates: Any) -> Any:
        sizes.append(len(inputs))
        return forward(inputs, gates)

    monkeypatch.setattr(state.supernet, "forward", counted)
    before = state.ledger.entries["selection"].multiply_accumulates
    [found] = scores(state, RecalibratedStatistics(1), [state.distribution.sample(torch.Generator())], still=True)
    assert found["examples"] == sum(sizes[normed:])
    assert len(sizes) == (2 if normed else 1), "batches"
    assert state.ledger.entries["selection"].multiply_accumulates > before
