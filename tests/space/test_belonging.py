"""The gate `Space.own`: what belongs to a space, wherever it comes from, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.cost import ArchitectureCosts, SupernetCost
from sharewise.errors import ConfigurationError, SharewiseError
from sharewise.space import (
    Architecture,
    Choice,
    Condition,
    Space,
    crossover,
    features,
    mutate,
    neighbours,
    restricted,
    sample,
)
from sharewise.spaces import RELAXABLE, SPACES, load
from sharewise.strategy.bridges import to_parameters
from sharewise.supernet.elastic import ElasticModel
from sharewise.testing.small import MACRO, first_of_each

SHAPES: dict[str, tuple[int, ...]] = {
    "conv-macro": (3, 12, 12),
    "darts-rnn": (3,),
    "toy-tied-width": (4,),
    "toy-two-inputs": (4,),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "conv-macro": {"divisor": 8},
    "darts": {"channels": 2, "layers": 3},
    "darts-rnn": {"width": 3},
    "darts:S1": {"channels": 2, "layers": 3},
    "nasbench201": {"channels": 2, "cells": 1},
    "toy-separable-cell": {"channels": 2},
}


def elastic(*widths: int) -> ElasticModel:
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    return sw.elastic(model, {"0": sw.width(widths, name="first")}, example=torch.zeros(2, 4))


def drawn(space: Space) -> Architecture:
    return sample(space, np.random.default_rng(0))


def strangers(space: Space) -> dict[str, Architecture]:
    """Forms of a legal architecture that belong to no space, or to another one."""
    items = drawn(space).items_
    name, option = items[0]
    binary = set(space[name].options) <= {0, 1}  # where a truth value is an option
    truth = {} if binary else {"a truth value": Architecture(space.name, ((name, True), *items[1:]))}
    return truth | {
        "another space": Architecture("elsewhere", items),
        "a name that ends alike": Architecture(f"x{space.name}", items),
        "an unknown choice": Architecture(space.name, (*items, ("unheard", option))),
        "a choice answered twice": Architecture(space.name, (*items, items[0])),
        "a missing choice": Architecture(space.name, items[1:]),
        "no choice": Architecture(space.name, ()),
        "an option of another version": Architecture(space.name, ((name, "of another version"), *items[1:])),
    }


@pytest.mark.parametrize("name", [n for n in SPACES if n not in ("nasbench101:RES", "nasbench101:NRES")])
def test_strangers_are_refused(name: str) -> None:
    space = load(name)
    for what, stranger in strangers(space).items():
        with pytest.raises(ConfigurationError):
            pytest.fail(f"{what}: {space.own(stranger)}")
        with pytest.raises(ConfigurationError):
            pytest.fail(f"{what} has row {space.listing.index(stranger)}")


@pytest.mark.sweep(4)
@pytest.mark.parametrize("name", [*first_of_each(RELAXABLE), "darts:S1", "nasbench101:A_4"])
def test_no_entry_takes_a_stranger(name: str) -> None:
    space, rng = load(MACRO[name].space if name in MACRO else name), np.random.default_rng(0)
    shape, network = SHAPES.get(name, (3, 8, 8)), NETWORKS.get(name, {})
    if name in MACRO:
        shape, network = MACRO[name].input_shape, dict(MACRO[name].network)
    if name.startswith("nasbench1"):
        network = {"channels": 4, "cells": 1}
    supernet, own = sw.build_supernet(space, shape, 3, network=network), drawn(space)
    costs = SupernetCost(supernet, shape)
    entries: dict[str, Callable[[Any], Any]] = {
        "extract": lambda a: sw.extract(supernet, a),
        "encode": space.relaxation.encode,
        "plain": supernet.plain,
        "build_network": lambda a: sw.build_network(a, space, shape, 3, network=network),
        "train": lambda a: sw.train(space, a, sw.data.digits(), network=network),
        "multiply-accumulates": costs.multiply_accumulates,
        "parameters": costs.parameters,
        "costs": ArchitectureCosts(space, lambda a: 1.0).of,
        "features": lambda a: features(space, a),
        "mutate": lambda a: mutate(space, a, rng),
        "crossover": lambda a: crossover(space, own, a, rng),
        "neighbours": lambda a: neighbours(space, a),
        "canonical": space.canonical,
        "parameters of tuners": lambda a: to_parameters(space, a),
    }
    for entry, call in entries.items():
        for what, stranger in strangers(space).items():
            try:
                call(stranger)
            except ConfigurationError:
                continue
            pytest.fail(f"{entry} took {what}")


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "toy-two-inputs", "conv-macro", "nats_size"])
def test_the_order_of_choices_is_no_part_of_an_identity(name: str) -> None:
    space = load(name)
    architecture = drawn(space)
    turned = Architecture(space.name, architecture.items_[::-1])
    assert turned == architecture
    assert hash(turned) == hash(architecture)
    assert len({turned, architecture}) == 1
    assert space.own(turned).items_ == architecture.items_
    assert str(space.own(turned)) == str(architecture)
    assert space.listing.index(turned) == space.listing.index(architecture)
    written = json.loads(json.dumps(architecture.to_json()))
    written["choices"].reverse()
    assert space.from_json(written).items_ == architecture.items_
    assert space.from_json({**written, "choices": dict(written["choices"])}) == architecture


def test_every_plain_form_of_an_option_is_taken_as_the_option_itself() -> None:
    space = load("toy-two-inputs")
    values = dict(drawn(space))
    listed = {name: list(option) if isinstance(option, tuple) else np.str_(option) for name, option in values.items()}
    assert space.own(listed).items_ == tuple(values.items())
    widths = load("toy-tied-width")
    for form in (8, 8.0, np.int32(8), np.float64(8), torch.tensor(8)):
        own = widths.own({"width": form, "activation": "relu"})
        assert type(own["width"]) is int
        assert own == widths.parse('{"width": 8, "activation": "relu"}')
        assert own == widths.own(json.dumps({"activation": "relu", "width": 8}))
        assert own == widths.own(json.dumps(own.to_json()))
    for form in ("8", 8.5, True, np.True_, None, (8,), float("nan"), {}, np.array([4, 8])):
        with pytest.raises(ConfigurationError, match="has no option"):
            widths.own({"width": form, "activation": "relu"})  # type: ignore[dict-item]
    assert load("nasbench101").own({"vertices": 2, "edge_0_1": True})["edge_0_1"] == 1  # type: ignore[dict-item]


@pytest.mark.parametrize("form", [None, 3, ["relu", 8], [("width", 8)], b"{}"])
def test_what_is_no_architecture_at_all_is_refused_in_one_line(form: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not an architecture of space 'toy-tied-width'"):
        load("toy-tied-width").own(form)


def test_a_repeated_name_in_json_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is not an architecture"):
        load("toy-tied-width").parse('{"width": 8, "width": 16, "activation": "relu"}')
    with pytest.raises(ConfigurationError, match="answered twice"):
        Architecture.from_json({"space": "s", "choices": [["a", 1], ["a", 2]]})


def test_answers_without_effect_are_dropped() -> None:
    width = Choice("width", (4, 8), condition=Condition("depth", (2,)))
    space = Space("toy", (Choice("depth", (1, 2)), width))
    assert dict(space.own(Architecture("toy", (("depth", 1), ("width", 8))))) == {"depth": 1}
    with pytest.raises(ConfigurationError, match="needs a value for 'width'"):
        space.own(Architecture("toy", (("depth", 2),)))


def test_parts_and_wholes_of_nasbench101_share_their_cells() -> None:
    whole, narrow, other = load("nasbench101"), load("nasbench101:A_4"), load("nasbench101:A_3")
    cell = narrow.listing.at(5)
    assert whole.own(cell).space == "nasbench101"
    assert narrow.own(whole.own(cell)) == cell
    assert narrow.relaxation.encode(whole.own(cell)) == narrow.relaxation.encode(cell)
    with pytest.raises(ConfigurationError, match="exactly 3 inner vertices"):
        other.own(cell)
    with pytest.raises(ConfigurationError, match="exactly 3 inner vertices"):
        other.relaxation.encode(whole.own(cell))


def test_parts_and_wholes_without_options() -> None:
    whole = load("nasbench201")
    part, piece = whole.without("none"), restricted(whole, "edge_0_1", ("skip_connect",))
    inside = whole.parse(
        "|skip_connect~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
    )
    outside = whole.parse("|nor_conv_1x1~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    assert part.own(inside) == whole.own(part.own(inside)) == piece.own(inside) == inside
    for space in (part, piece):
        with pytest.raises(ConfigurationError, match="has no option"):
            space.own(outside)


def test_an_older_elastic_model_is_a_part_where_it_is_legal() -> None:
    old, new = elastic(8, 16), elastic(4, 16)
    assert old.space.name != new.space.name
    assert sw.extract(new, old.space.architecture({"first": 16}))[0].out_features == 16  # type: ignore[index]
    with pytest.raises(ConfigurationError, match="has no option 8; legal: 4, 16"):
        sw.extract(new, old.space.architecture({"first": 8}))
    with pytest.raises(ConfigurationError, match="belongs to space 'elastic:Model-"):
        sw.extract(new, Architecture("elastic:Model-12345678", (("first", 16),)))


def test_a_part_of_an_elastic_model_is_not_searched_as_the_whole() -> None:
    supernet = elastic(8, 16)
    with pytest.raises(ConfigurationError, match="offers other options"):
        sw.build_supernet(supernet.space.without((8,)), (4,), 3)


def test_extract_needs_a_supernet() -> None:
    with pytest.raises(SharewiseError, match="extract needs a supernet"):
        sw.extract(nn.Linear(2, 3), "x")  # type: ignore[arg-type]
