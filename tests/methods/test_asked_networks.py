"""A method says what it asks of its network; the user's word comes first, and a space that cannot says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sharewise.distribution import Expectation, Factored, Simplex, SoftmaxLogits
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.run import from_mapping
from sharewise.run.networks import asked_network
from sharewise.space import EdgeWeights
from sharewise.spaces import load
from sharewise.testing import methods_of


def test_the_user_comes_first() -> None:
    space, recipe = load("nasbench201"), build("pc-darts")
    assert asked_network(space, recipe) == {"partial": 4, "edge_weights": True}
    assert asked_network(space, recipe, {"partial": 2, "cells": 1}) == {
        "partial": 2,
        "edge_weights": True,
        "cells": 1,
    }
    values = {"method": "gaea-pc-darts", "network": {"channels": 8, "edge_weights": False}}
    configuration = from_mapping("search", values)
    complete = configuration.complete()
    assert complete["network"]["partial"] == 4
    assert complete["network"]["edge_weights"] is False
    again = from_mapping("search", complete).complete()
    assert again == complete, "what --print-config shows says the same when it is read"


def test_a_space_that_does_not_know_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_mapping("search", {"method": "pc-darts", "space": "conv-macro"}).network_options()
    message = str(caught.value)
    assert "\n" not in message
    for word in ("'pc-darts'", "'partial'", "'conv-macro'", "nasbench201", "darts", "toy-two-inputs"):
        assert word in message
    assert "toy-tied-width" not in message
    assert "pc-darts" not in methods_of(load("conv-macro"))


def weighed(geometry: Simplex | SoftmaxLogits) -> Factored:
    nodes = {
        "inputs_of_2": {0: "edge_0_2", 1: "edge_1_2"},
        "inputs_of_3": {0: "edge_0_3", 1: "edge_1_3", 2: "edge_2_3"},
    }
    relaxation = EdgeWeights(load("nasbench201").relaxation, nodes)
    return Factored(relaxation, geometry, Expectation(), torch.Generator().manual_seed(0)).double()


def test_edges_have_a_rate_of_their_own_and_no_floor() -> None:
    """θ is clamped at the floor; edges are only divided by their sum."""
    distribution = weighed(Simplex(0.1, floor=1e-2, edge_learning_rate=0.7))
    theta, mask = distribution.theta, distribution.mask
    before = theta.detach().clone()
    optimizer = distribution.optimizer()
    theta.grad = 60 * torch.rand(theta.shape, generator=torch.Generator().manual_seed(0), dtype=theta.dtype) * mask
    optimizer.step()
    for row, rate in ((0, 0.1), (6, 0.7), (7, 0.7)):
        kept = mask[row]
        grown = before[row, kept] * (-rate * theta.grad[row, kept]).exp()
        grown = grown / grown.sum()
        expected = grown if row >= 6 else grown.clamp_min(1e-2) / grown.clamp_min(1e-2).sum()
        torch.testing.assert_close(theta.detach()[row, kept], expected, rtol=1e-12, atol=0)
    assert 0 < float(theta.detach()[6:][mask[6:]].min()) < 1e-4
    assert float(theta.detach()[:6].min()) > 5e-3


def test_pruning_leaves_edges_alone(tmp_path: Path) -> None:
    values = {
        "method": "drnas",
        "network": {"channels": 4, "cells": 1, "edge_weights": True},
        "recipe": {"keep": [2], "epochs": 2, "batch_size": 16},
        "train_examples": 64,
        "gap_examples": 0,
        "device": "cpu",
    }
    state = from_mapping("search", values).execute(tmp_path / "run").state
    kept = next(record["kept"] for record in state.history if "kept" in record)
    assert set(kept) == {d.name for d in load("nasbench201").relaxation.decisions}
    rows = state.distribution.probabilities()
    assert bool((rows["inputs_of_3"] > 0).all())
    assert int((rows["edge_0_1"] > 0).sum()) == 2
