"""Widths that follow decisions which are made elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.errors import ConfigurationError
from sharewise.supernet import Gate
from sharewise.testing import check_model, check_relaxation, check_supernet


class Excited(nn.Module):
    """A hidden dimension that is squeezed to a quarter, at least one."""

    def __init__(self, features: int = 3, hidden: int = 12) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(features, hidden), nn.Linear(hidden, features)
        self.reduce, self.expand = nn.Linear(hidden, max(1, hidden // 4)), nn.Linear(max(1, hidden // 4), hidden)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.enter(x).relu()
        return x + self.leave(hidden * self.expand(self.reduce(hidden).relu()).sigmoid())


def quarter(hidden: int) -> int:
    return max(1, hidden // 4)


def blocks(number: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(*(Excited() for _ in range(number))), nn.Linear(3, 2))


def chosen(number: int = 3, **others: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"0.*": sw.depth(range(1, number + 1), name="depth")}
    for n in range(number):
        found[f"0.{n}.enter"] = sw.width([4, 6, 12], name=f"hidden_{n}")
        found[f"0.{n}.reduce"] = sw.following(f"hidden_{n}", size=quarter)
    return {**found, **others}


def test_what_follows_keeps_the_laws() -> None:
    supernet = sw.elastic(blocks(), chosen(), example=torch.zeros(2, 3))
    check_relaxation(supernet.space, samples=9)
    check_supernet(supernet, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), samples=3)
    assert check_model(supernet, samples=6).continuity <= 1e-12
    for hidden, squeezed in ((4, 1), (6, 1), (12, 3)):
        block = sw.extract(supernet, {"depth": 1, "hidden_0": hidden})[0][0]
        assert block.reduce.weight.shape == (squeezed, hidden)
        assert block.expand.weight.shape == (hidden, squeezed)


def test_a_mixture_survives_by_the_sizes_that_follow() -> None:
    """Equal sizes of two options add their weights."""
    supernet = sw.elastic(blocks(1).double(), chosen(1), example=torch.zeros(2, 3, dtype=torch.float64))
    g = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    block, leave = supernet.model[0][0], supernet.model[1]
    s = sum(w * (torch.arange(12) < o) for w, o in zip(g, (4, 6, 12), strict=True))
    q = sum(w * (torch.arange(3) < o) for w, o in zip(g, (1, 1, 3), strict=True))
    hidden = block.enter(x).relu()
    squeezed = (hidden @ (block.reduce.weight * s).T + block.reduce.bias).relu()
    excited = hidden * (squeezed @ (block.expand.weight * q).T + block.expand.bias).sigmoid()
    expected = leave(x + excited @ (block.leave.weight * s).T + block.leave.bias)
    gates = {"depth": Gate(torch.ones(1), (0,), unit=True), "hidden_0": Gate(g, (0, 1, 2))}
    assert torch.allclose(supernet(x, gates), expected, rtol=1e-12, atol=1e-14)


def test_a_choice_that_is_followed_within_its_block_still_depends_on_the_depth() -> None:
    space = sw.elastic(blocks(), chosen(), example=torch.zeros(2, 3)).space
    conditions = {choice.name: choice.condition for choice in space.choices}
    assert conditions["hidden_0"] is None
    assert conditions["hidden_1"].options == (2, 3)
    assert conditions["hidden_2"].options == (3,)
    assert space.size == 3 + 9 + 27


def test_one_that_is_followed_outside_of_its_block_does_not() -> None:
    model = blocks()
    choices = chosen(**{"0.0.reduce": sw.following("hidden_2", size=quarter)})
    space = sw.elastic(model, choices, example=torch.zeros(2, 3)).space
    assert space["hidden_2"].condition is None
    assert space["hidden_1"].condition is not None


def test_a_size_may_follow_several_decisions() -> None:
    """A product that is rounded up to an even number."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 12), nn.Linear(12, 2))

    def even(width: int, ratio: int) -> int:
        return (width * ratio + 1) // 2

    choices = {
        "0": sw.width([3, 5, 8], name="width"),
        "2": sw.ratio([1, 3], of="width", name="ratio"),
        "4": sw.following("width", "ratio", size=even),
    }
    supernet = sw.elastic(model, choices, example=torch.zeros(2, 3))
    check_supernet(supernet, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), samples=4)
    network = sw.extract(supernet, {"width": 5, "ratio": 3})
    assert network[2].out_features, network[4].out_features == (15, 8)
    assert supernet.reads()["5"] == ("width", "ratio")


@pytest.mark.parametrize(
    ("follows", "message"),
    [
        (
            sw.following("hiden_0", size=quarter),
            "unknown decision that '0.0.reduce' follows: 'hiden_0'; did you mean 'hidden_0'",
        ),
        (sw.following("hidden_0", size=lambda h: h // 2), "the largest following of '0.0.reduce' must be .* 3, got 6"),
        (sw.following("hidden_0", size=lambda h: 15 - h), "its size is 11 for some options and 3 for the largest"),
        (sw.following("hidden_0", size=lambda h: 3 if h != 6 else 2), "options 4 and 6 .* do not nest"),
        (sw.following("hidden_0", size=lambda h: h / 4), r"its size for \(4,\) is 1.0; it must be a positive integer"),
        (sw.following("hidden_0", size=lambda h: h // 5), r"its size for \(4,\) is 0"),
    ],
)
def test_what_does_not_fit_is_refused(follows: Any, message: str) -> None:
    choices = chosen(**{"0.0.reduce": follows})
    with pytest.raises(ConfigurationError, match=message):
        sw.elastic(blocks(), choices, example=torch.zeros(2, 3))


def test_following_needs_names_and_a_function() -> None:
    with pytest.raises(ConfigurationError, match="needs the names of decisions"):
        sw.following(size=quarter)
    with pytest.raises(ConfigurationError, match="a function of the options"):
        sw.following("hidden", size=4)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="must be an identifier"):
        sw.following("hidden 0", size=quarter)


def test_spaces_of_old_keep_their_names() -> None:
    """By which run folders know them: fields that places have got since are no part of it where they say nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    choices = {"0": sw.width([4, 8]), "3": [sw.kernel([3, 5], name="k")]}
    assert sw.elastic(model, choices, example=torch.randn(2, 1, 8, 8)).space.name == "elastic:Sequential-bbcc74e5"
