"""Parts of spaces have supernets, with every sharing; and spaces, supernets and recipes go to other processes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.methods import METHODS
from sharewise.oracle.tabulated import rows_of_space
from sharewise.space import Option, enumerate_architectures, restricted, sample
from sharewise.spaces import SEARCHABLE, SPACES, load
from sharewise.strategy import represent
from sharewise.supernet import discrete
from sharewise.testing import check_relaxation, check_space

_CELLS: list[dict[str, Any]] = [
    {"sharing": sharing, "fused": fused, **published}
    for sharing, published in (("disjoint", {}), ("entangled", {}), ("entangled", {"published": True}))
    for fused in (True, False)
]
NETWORKS: dict[str, list[dict[str, Any]]] = {
    "conv-macro": [{"divisor": 8}, {"divisor": 8, "published": True}],
    "darts": [{"channels": 2, "layers": 3}, {"channels": 2, "layers": 3, "sharing": "entangled"}],
    "darts:S1": [{"channels": 2, "layers": 3}],
    "darts-rnn": [{"width": 3}],
    "nasbench1shot1:1": [{"channels": 2, "cells": 1}],
    "nasbench201": [{"channels": 2, "cells": 1, **cell} for cell in _CELLS],
    "toy-separable-cell": [{"channels": 2, **cell} for cell in _CELLS],
    "toy-tied-width": [{}],
    "toy-two-inputs": [{}],
}
SHAPES: dict[str, tuple[int, ...]] = {
    "conv-macro": (3, 12, 12),
    "darts-rnn": (3,),
    "toy-tied-width": (4,),
    "toy-two-inputs": (4,),
}


def left_out(name: str) -> list[tuple[Option, ...]]:
    """Every option by itself, and all but one of the options of a choice."""
    space = load(name)
    choices = [c for c in space.choices if space.independent or isinstance(c.options[0], str)]  # edges need each other
    options = dict.fromkeys(option for choice in choices for option in choice.options)
    rest = dict.fromkeys(tuple(o for o in c.options if o != kept) for c in choices for kept in c.options)
    found = dict.fromkeys([*((option,) for option in options), *rest])
    if name == "darts-rnn":
        found = {("tanh",): None, (2, 3): None, ("tanh", "relu", "sigmoid"): None}
    elif name.startswith("darts"):  # one option, and most operations: others leave nothing new
        few = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
        found = {("sep_conv_3x3",): None, ((0, 1),): None, few: None}
    return [part for part in found if part and all(set(c.options) - set(part) for c in space.choices)]


@pytest.mark.sweep(4)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_part_has_a_supernet_whose_architectures_are_its_slices(name: str) -> None:
    rng, shape = np.random.default_rng(0), SHAPES.get(name, (3, 8, 8))
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    if name == "darts-rnn":
        inputs = torch.randint(3, (2, *shape), generator=torch.Generator().manual_seed(0))
    for options in left_out(name):
        part = load(name).without(options)
        if (
            "none" not in part.relaxation.decisions[0].options or part.relaxation.decisions[0].size > 2
        ):  # one is left out
            check_relaxation(part, samples=5)
        for network in NETWORKS[name]:
            supernet = sw.build_supernet(part, shape, 3, network=network).eval()
            architecture = sample(part, rng)
            assert not set(options) & set(architecture.values())
            plain = sw.extract(supernet, architecture).eval()
            assert torch.equal(supernet(inputs, discrete(part.relaxation.encode(architecture))), plain(inputs)), options


@pytest.mark.sweep(2)
@pytest.mark.parametrize("method", ["spos", "gaea-erm", "darts", "tanglenas-drnas"])
@pytest.mark.parametrize(
    "options", [("none",), ("nor_conv_1x1", "skip_connect"), ("none", "skip_connect", "nor_conv_3x3")]
)
def test_parts_are_searched(method: str, options: tuple[Option, ...]) -> None:
    space, data = load("nasbench201").without(options), sw.data.digits().limited(60, seed=0)
    network = {"channels": 2, "cells": 1, "sharing": "entangled"}
    found = sw.search(space, METHODS[method](epochs=1), data, network=network, device="cpu", max_steps=1)
    assert not set(options) & set(found.architecture.values())


def test_parts_of_nasbench101_are_searched() -> None:
    space = load("nasbench101:A_4").without("maxpool3x3")
    network, data = {"channels": 4, "cells": 1}, sw.data.digits().limited(60, seed=0)
    found = sw.search(space, sw.methods.spos(epochs=1), data, network=network, device="cpu", max_steps=1)
    assert "maxpool3x3" not in found.architecture.values()
    cells = represent(space)
    rng = np.random.default_rng(0)
    child = cells.mutate(cells.sample(rng), rng)
    assert "maxpool3x3" not in cells.architecture(child).values()


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_macro", "nats_size", "toy-two-inputs"])
def test_parts_keep_the_laws_of_spaces(name: str) -> None:
    space = load(name)
    check_space(space.without((space.choices[-1].options[0],)), samples=10)


def test_classes_of_a_part_have_a_member_of_it_for_a_name() -> None:
    part = load("nasbench201").without("none")
    classes = {part.canonical(a, "skip-zero") for a in list(enumerate_architectures(part))[:400]}
    assert all("none" not in a.values() for a in classes)
    assert {part.canonical(a, "skip-zero") for a in classes} == classes


def test_strings_are_read_by_the_options_of_the_part() -> None:
    part = load("nats_size").without((8, 24))
    texts = [str(part.listing.at(row)) for row in (0, 77, 1000)]
    assert part.listing.codes_of(texts).tolist() == [0, 77, 1000]


def test_a_table_answers_for_the_rows_of_a_part() -> None:
    class Whole:
        space, rows = load("nasbench201"), 15625

    for part in (Whole.space.without("none"), restricted(Whole.space, "edge_0_1", ("none",))):
        space, rows = rows_of_space(Whole(), part)  # type: ignore[arg-type]
        assert space is part
        assert [Whole.space.listing.at(row) for row in rows[:50]] == [part.listing.at(row) for row in range(50)]
        assert len(rows) == part.size


def test_a_part_without_anything_to_choose_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="choice 'edge_0_1' has no options left in space 'nasbench201' without"
    ):
        load("nasbench201").without(load("nasbench201")["edge_0_1"].options)
    with pytest.raises(ConfigurationError, match="no architecture of space 'nasbench101:A_4' is left"):
        len(load("nasbench101:A_4").without((1,)).listing)


def _sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("name", SPACES)
def test_spaces_go_to_other_processes(name: str) -> None:
    space = load(name)
    there = _sent(space)
    architecture = sample(space, np.random.default_rng(0))
    assert there.own(architecture) == architecture
    assert there.choices == space.choices
    assert len(pickle.dumps(space)) < 20_000
    if name in SEARCHABLE:
        assert there.relaxation.encode(architecture) == space.relaxation.encode(architecture)
    if space.size < 20_000:
        part = space.without((space.choices[-1].options[0],))
        assert _sent(part).size == len(_sent(part).listing) == part.size


@pytest.mark.parametrize("name", [*NETWORKS, "nasbench101:A_4"])
def test_supernets_go_to_other_processes(name: str) -> None:
    network = {"channels": 4, "cells": 1} if name.startswith("nasbench101") else NETWORKS[name][0]
    supernet = sw.build_supernet(load(name), SHAPES.get(name, (3, 8, 8)), 3, network=network)
    there = _sent(supernet)
    a = sample(supernet.space, np.random.default_rng(0))
    assert sum(p.numel() for p in sw.extract(there, a).parameters()) == sum(
        p.numel() for p in sw.extract(supernet, a).parameters()
    )


def test_a_model_of_ones_own_goes_to_other_processes() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    supernet = sw.elastic(model, {"0": sw.width([4, 8], name="hidden")}, example=torch.zeros(2, 4))
    space, there = _sent(supernet.space), _sent(supernet)
    assert sw.build_network(supernet.smallest, space, (4,), 3)[0].out_features == 4  # type: ignore[index]
    assert torch.equal(there.model[0].weight, supernet.model[0].weight)


@pytest.mark.parametrize("method", METHODS)
def test_recipes_go_to_other_processes(method: str) -> None:
    recipe = METHODS[method]()
    assert _sent(recipe) == recipe
