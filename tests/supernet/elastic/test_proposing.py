"""A space for a model of which nothing was said, and requests of which some can be followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.supernet.elastic.model import traced
from sharewise.supernet.elastic.places import Place
from sharewise.supernet.elastic.proposing import sensible
from sharewise.testing import check_model


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(self.norm(x)).relu())


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(3, 16), nn.Linear(16, 5)
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_a_space_is_proposed() -> None:
    torch.manual_seed(0)
    supernet = sw.elastic(Model(), example=torch.randn(2, 3))
    options = {decision.name: decision.options for decision in supernet.relaxation.decisions}
    assert options == {"blocks_depth": (2, 3, 4), "enter_width": (4, 8, 12, 16)} | {
        f"blocks_{i}_up_width": (16, 32, 48, 64) for i in range(4)
    }
    assert "it is the output of the model" in supernet.left["head"]
    check_model(supernet, samples=3)


def test_sizes_that_processors_like() -> None:
    for size in range(1, 300):
        sizes = sensible(size)
        assert sizes[-1] == size
        assert list(sizes) == sorted(set(sizes))
        step = 8 if size >= 64 else 4 if size >= 16 else 1
        assert all(smaller % step == 0 for smaller in sizes[:-1])


def test_what_can_be_followed_is_taken_and_the_rest_is_listed() -> None:
    torch.manual_seed(0)
    choices = {"enter": sw.width([8, 16]), "head": sw.width([2, 5]), "blocks.*.up": sw.width([32, 64])}
    with pytest.raises(ConfigurationError, match="output of the model"):
        sw.elastic(Model(), choices, example=torch.randn(2, 3))
    supernet = sw.elastic(Model(), choices, example=torch.randn(2, 3), strict=False)
    assert {d.name for d in supernet.relaxation.decisions} == {
        "enter_width",
        *(f"blocks_{i}_up_width" for i in range(4)),
    }
    assert list(supernet.left) == ["head (width)"]
    with pytest.raises(ConfigurationError, match=r"nothing can be chosen: .*output of the model"):
        sw.elastic(Model(), {"head": sw.width([2, 5])}, example=torch.randn(2, 3), strict=False)


def test_a_model_in_which_nothing_can_be_chosen_says_why() -> None:
    with pytest.raises(
        ConfigurationError, match="nothing can be chosen: every dimension found is one that the model takes"
    ):
        sw.elastic(nn.Linear(4, 16), example=torch.randn(2, 4))


def test_choices_that_only_narrow_share_one_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    traces: list[int] = []

    def counted(model: nn.Module, places: tuple[Place, ...], example: Any) -> Any:
        traces.append(len(places))
        return traced(model, places, example)

    monkeypatch.setattr("sharewise.supernet.elastic.own.traced", counted)
    choices = {"head": sw.width([2, 5]), "enter": sw.width([8, 16]), "blocks.*.up": sw.width([32, 64])}
    supernet = sw.elastic(Model(), choices, example=torch.randn(2, 3), strict=False)
    assert list(supernet.left) == ["head (width)"]  # by halves, each of which was traced
    assert len(traces) == 1
    check_model(supernet, samples=3)
    with_depth = sw.elastic(Model(), choices | {"blocks.*": sw.depth([2, 4])}, example=torch.randn(2, 3), strict=False)
    assert list(with_depth.left) == ["head (width)"]
    assert len(traces) <= 3  # with the row of blocks, and without it
    check_model(with_depth, samples=3)


def test_names_of_modules_that_are_no_identifiers() -> None:
    model = nn.Sequential()
    model.add_module("block1-0", nn.Linear(3, 8))
    model.add_module("leave", nn.Linear(8, 2))
    supernet = sw.elastic(model, {"block1-0": sw.width([4, 8])}, example=torch.randn(2, 3))
    assert [decision.name for decision in supernet.relaxation.decisions] == ["block1_0_width"]
