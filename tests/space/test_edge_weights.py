"""Weights of edges are decisions beside the operations: the laws of a relaxation hold, and they rank edges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharewise.errors import ConfigurationError
from sharewise.space import EdgeWeights, Relaxation, Space
from sharewise.spaces import load
from sharewise.testing import check_relaxation

NODES = {
    "inputs_of_2": {0: "edge_0_2", 1: "edge_1_2"},
    "inputs_of_3": {0: "edge_0_3", 1: "edge_1_3", 2: "edge_2_3"},
}


def weighed(name: str) -> EdgeWeights:
    return EdgeWeights(load(name).relaxation, NODES)


@pytest.mark.parametrize("name", ["nasbench201", "toy-two-inputs"])
def test_the_laws_of_a_relaxation(name: str) -> None:
    inner = load(name)

    def relax(space: Space) -> Relaxation:
        return EdgeWeights(inner.relaxation, NODES)

    check_relaxation(replace(inner, relax=relax), samples=20)


def test_kept_edges_weigh_one() -> None:
    everything = load("nasbench201").parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert weighed("nasbench201").encode(everything)["inputs_of_3"] == (1.0, 1.0, 1.0)
    values = {"inputs_2": (0, 1), "first_2": "tanh", "second_2": "linear"}
    two = load("toy-two-inputs").architecture({**values, "inputs_3": (0, 2), "first_3": "tanh", "second_3": "linear"})
    assert weighed("toy-two-inputs").encode(two)["inputs_of_3"] == (1.0, 0.0, 1.0)


def test_edges_are_ranked_by_both() -> None:
    """The strongest operation alone would keep edges 0 and 1; their weight says otherwise."""
    strong, weak = [0.1, 0.0, 0.8, 0.1], [0.1, 0.0, 0.3, 0.6]
    rows = {"edge_0_2": strong, "edge_1_2": strong, "edge_0_3": strong, "edge_1_3": strong, "edge_2_3": weak}
    even = {"inputs_of_2": [0.5, 0.5], "inputs_of_3": [1 / 3] * 3}
    assert weighed("toy-two-inputs").project({**rows, **even})["inputs_3"] == (0, 1)
    found = weighed("toy-two-inputs").project({**rows, **even, "inputs_of_3": [0.4, 0.2, 0.4]})
    assert (found["inputs_3"], found["second_3"]) == ((0, 2), "tanh")


def test_an_edge_without_weight_still_knows_its_operations() -> None:
    rows = {d.name: [0.1, 0.2, 0.3, 0.2, 0.2] for d in load("nasbench201").relaxation.decisions}
    found = weighed("nasbench201").project({**rows, "inputs_of_2": [1.0, 0.0], "inputs_of_3": [1.0, 0.0, 0.0]})
    assert set(found.values()) == {"nor_conv_1x1"}


def test_a_single_input_has_nothing_to_weigh() -> None:
    relaxation = EdgeWeights(load("nasbench201").relaxation, {"inputs_of_1": {0: "edge_0_1"}, **NODES})
    assert [d.name for d in relaxation.decisions if d.weighs] == list(NODES)
    assert relaxation.of("edge_0_1") is None
    with pytest.raises(ConfigurationError, match="'inputs' weighs edge 'edge_9_9', which is no decision of space"):
        EdgeWeights(load("nasbench201").relaxation, {"inputs": {0: "edge_0_1", 1: "edge_9_9"}})
