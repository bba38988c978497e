"""The price of an architecture is the cost of its extracted network: for every space, option, example and own model."""

from __future__ import annotations

import runpy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sharewise as sw
from sharewise.cost import MultiplyAccumulates, Parameters, SupernetCost, cost
from sharewise.run import build_supernet
from sharewise.space import sample
from sharewise.spaces import SEARCHABLE, load
from sharewise.supernet import Supernet, discrete, extract
from sharewise.supernet.structures import integers_of, shapes_of
from sharewise.testing.small import MACRO, small_supernet

ROOT = Path(__file__).parents[2]
SAMPLES = 20

SMALL: dict[str, tuple[tuple[int, ...], list[dict[str, Any]]]] = {
    "conv-macro": ((1, 12, 13), [{"divisor": 8}, {"divisor": 8, "published": True, "dropout": 0.1}]),
    **{f"nasbench1shot1:{name}": ((3, 9, 8), [{"channels": 3, "cells": 1}]) for name in "123"},
    "nasbench201": (
        (3, 9, 8),
        [
            {"channels": 3, "cells": 1},
            {"channels": 2, "cells": 2, "affine": True, "fused": False},
            {"channels": 2, "cells": 1, "sharing": "entangled"},
            {"channels": 2, "cells": 1, "sharing": "entangled", "published": True, "affine": True},
        ],
    ),
    "toy-separable-cell": (
        (1, 8, 9),
        [{"channels": 2}, {"channels": 2, "sharing": "disjoint", "affine": True}, {"channels": 2, "published": True}],
    ),
    "darts": (
        (3, 9, 8),
        [{"channels": 2, "layers": 3}, {"channels": 2, "layers": 3, "sharing": "entangled", "affine": True}],
    ),
    "darts-rnn": ((3,), [{"width": 3}]),
    "darts:fair": ((3, 8, 9), [{"channels": 2, "layers": 3}]),
    "darts:S1": ((3, 8, 8), [{"channels": 2, "layers": 3, "fused": False}]),
    "darts:S4": ((3, 8, 9), [{"channels": 2, "layers": 3}]),
    "toy-tied-width": ((2, 3), [{}]),
    "toy-two-inputs": ((2, 3), [{"width": 5}]),
}
CELLS = ((3, 9, 8), [{"channels": 8, "cells": 1}])

Case = tuple[Supernet, Any, Any]
"""A supernet, the shape of an input, and whether inputs are indices; by name for several inputs."""


def named(name: str, options: dict[str, Any]) -> Case:
    if name in MACRO:
        return small_supernet(name)[0], MACRO[name].input_shape, bool(MACRO[name].vocabulary)
    shape, _ = SMALL.get(name, CELLS)
    return build_supernet(load(name), shape, 3, network=options), shape, name == "darts-rnn"


def own(supernet: sw.ElasticModel) -> Case:
    return supernet, shapes_of(supernet.example), integers_of(supernet.example)


def example(path: Path) -> Case:
    return own(runpy.run_path(str(path))["factory"]())


def of_the_tests(name: str) -> Case:
    """The models on which elastic networks are tested."""
    found = runpy.run_path(str(ROOT / "tests/supernet/test_elastic.py"))
    unusual = {case[0].__name__: case for case in found["UNUSUAL"]}
    if name not in unusual:
        return own(found[name]())
    model, choices, inputs = unusual[name]
    return own(sw.elastic(model(), choices, example=inputs))


def of_transformers(name: str) -> Case:
    found = runpy.run_path(str(ROOT / "tests/supernet/test_elastic_transformers.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, choices, inputs = found[name]()
        return own(sw.elastic(found["Logits"](model), choices, example=inputs))


class Tied(nn.Module):
    """Two layers with one weight, and a third that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(6, 8, bias=False), nn.Linear(8, 3)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.enter.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.second(self.first(self.enter(x)).relu()).relu())


class Residual(nn.Module):
    """x plus a module to choose."""

    def __init__(self) -> None:
        super().__init__()
        options = {"wide": self.branch(24), "narrow": self.branch(8), "none": nn.Dropout(0.5)}
        self.branch_of = sw.Choose(options)

    @staticmethod
    def branch(hidden: int) -> nn.Module:
        return nn.Sequential(nn.Linear(20, hidden), nn.ReLU(), nn.Linear(hidden, 20))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch_of(x)


class Branches(nn.Module):
    """Modules to choose within blocks to choose, on widths that meet in a concatenation: no cost is a product."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 8), nn.Linear(6, 12)
        self.blocks = nn.ModuleList(Residual() for _ in range(3))
        self.leave = nn.Linear(20, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.left(x), self.right(x)], -1).relu()
        for block in self.blocks:
            x = block(x)
        return self.leave(x)


class Masked(nn.Module):
    """Attention of torch's own layers under a mask that is made on the host in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(3))
        self.leave = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device="cpu"), 1)
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, mask)
        return self.leave(x.mean(1))


def tied() -> Case:
    return own(sw.elastic(Tied(), {"enter": sw.width([2, 4, 8], name="w")}, example=torch.randn(3, 6)))


def branches() -> Case:
    widths = {"left": sw.width([2, 8]), "right": sw.width([4, 8, 12]), "blocks.*": sw.depth([1, 2, 3])}
    return own(sw.elastic(Branches(), widths, example=torch.randn(3, 6)))


def masked() -> Case:
    choices = {"blocks.*": sw.depth([1, 2, 3]), "blocks.*.linear1": sw.width([4, 8, 16])}
    return own(sw.elastic(Masked(), choices, example=torch.randn(2, 5, 4)))


HEAVY = (
    "attentivenas",
    "darts",
    "darts:fair",
    "darts:S1",
    "mobilenetv3",
    "nasbench_macro",
    "nats_size",
    "ofa-resnet50",
    "proxylessnas",
)
HEAVY += ("hw-gpt-bench:M", "hw-gpt-bench:L", "nasbench1shot1:2", "nasbench1shot1:3")
HEAVY += ("vision-transformer-base", "vision-transformer-small")


def cases() -> Iterator[Any]:
    for name in SEARCHABLE:
        if name in ("darts:S2", "darts:S3"):  # whose layers are those of darts:S4
            continue
        for options in [{}] if name in MACRO else SMALL.get(name, CELLS)[1]:
            words = "".join(f" {option}={value}" for option, value in options.items())
            # Of many architectures or options for a table, or with the layers of a space that is here.
            many = name in HEAVY
            yield pytest.param(
                lambda name=name, options=options: named(name, options),
                id=name + words,
                marks=pytest.mark.slow if many else (),
            )
    for path in sorted((ROOT / "examples").glob("*.py")):
        large = path.stem.startswith("shrink_")
        marks = pytest.mark.slow if large else ()
        yield pytest.param(lambda path=path: example(path), id=f"examples/{path.stem}", marks=marks)
    models = ("dense", "encoder", "gpt", "Row", "RowTwice", "SharedChoose", "TwoNames", "SharedNorm", "Excited")
    for name in (*models, "Sinusoids"):
        yield pytest.param(lambda name=name: of_the_tests(name), id=name)
    for name in ("gpt2", "bert", "llama"):
        yield pytest.param(lambda name=name: of_transformers(name), id=name)
    for make in (tied, branches, masked):
        yield pytest.param(make, id=make.__name__)


@pytest.mark.sweep(9, slow=2)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", list(cases()))
def test_the_price_of_an_architecture_is_the_cost_of_its_network(
    make: Callable[[], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    torch.manual_seed(0)
    supernet, shape, integers = make()
    costs, rng = SupernetCost(supernet, shape, integers=integers), np.random.default_rng(0)
    tables = {q: costs.architectures(q) for q in (Parameters(), MultiplyAccumulates())}
    for _ in range(SAMPLES):
        a = sample(supernet.space, rng)
        true = cost(extract(supernet, a), shape, integers=integers)
        assert true.multiply_accumulates > 0
        assert not true.uncounted
        assert tables[Parameters()].of(a) == costs.parameters(a) == true.parameters
        assert tables[MultiplyAccumulates()].of(a) == costs.multiply_accumulates(a) == true.multiply_accumulates
        assert costs.of(discrete(supernet.relaxation.encode(a))) == true.multiply_accumulates
    space = supernet.space
    whole = bool(space.constraints or space.normalise)  # of NAS-Bench-101 and S1, evaluated one by one
    assert all((table.prices is None) == whole for table in tables.values())
