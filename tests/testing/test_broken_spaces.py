"""Spaces, relaxations and sliced layers that are broken on purpose, beside those of `test_contracts_catch.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharewise.space import (
    Architecture,
    Choice,
    Condition,
    Constraint,
    Decision,
    EnumeratedListing,
    Option,
    Picture,
    Space,
    enumerate_architectures,
)
from sharewise.spaces import SPACES, load
from sharewise.supernet import Gate, Gates, Shared, SlicedLinear
from sharewise.testing import check_sliced, check_space

CHOICES = (Choice("a", (1, 2, 3)), Choice("b", ("x", "y")))
SOUND = Space("s", CHOICES, constraints=(Constraint("3 goes with x", lambda v: v["a"] != 3 or v["b"] == "x"),))
MEMBERS = tuple(enumerate_architectures(SOUND))


class Misplaced(EnumeratedListing):
    """Looks up one row beside."""

    def index(self, architecture: Architecture) -> int:
        return (super().index(architecture) + 1) % len(self)


def listed(kind: type[EnumeratedListing], members: tuple[Architecture, ...]) -> Any:
    return lambda: kind("s", members, SOUND.parse)


def turned(values: Mapping[str, Option]) -> Mapping[str, Option]:
    """A normal form that is none: it never comes to rest."""
    return {**values, "a": int(values["a"]) % 2 + 1}  # type: ignore[call-overload]


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("a listing that misplaces", {"listing_": listed(Misplaced, MEMBERS)}, "the listing has .* in row"),
    (
        "a listing with a stranger",
        {"listing_": listed(EnumeratedListing, (*MEMBERS[:-1], Architecture("s", (("a", 9), ("b", "x")))))},
        "illegal|has no option",
    ),
    (
        "a listing that repeats",
        {"listing_": listed(EnumeratedListing, (*MEMBERS, MEMBERS[0]))},
        "repeats an architecture|in row",
    ),
    ("a normal form without rest", {"normalise": turned}, "not in its plain form"),
    ("features of many names", {"features": lambda a: {str(a["a"]): 1.0}}, "are called"),
    ("features that are no numbers", {"features": lambda a: {"width": float("nan")}}, "are not finite"),
    (
        "a drawing without nodes",
        {"draw": lambda a: Picture((), (("i", "o", "x"),))},
        "does not list",
    ),
]


def test_sound_spaces_pass() -> None:
    check_space(SOUND)
    check_space(replace(SOUND, listing_=listed(EnumeratedListing, MEMBERS)))


@pytest.mark.parametrize(("changes", "message"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_broken_spaces_are_caught(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        check_space(replace(SOUND, **changes))
    assert isinstance(caught.value, AssertionError), caught.value


def test_a_conditional_space_passes() -> None:
    deep = Choice("deep", (1, 2), condition=Condition("a", (3,)))
    check_space(Space("s", (*CHOICES, deep)))


@pytest.mark.parametrize("name", [name for name in SPACES if not name.startswith("nasbench101")])
def test_spaces_of_the_house_pass(name: str) -> None:
    check_space(load(name), samples=10, enumerate_up_to=1000)


# Sliced layers

WIDTH = Decision("width", (2, 3, 5))
X = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


class Reader(Shared):
    """A linear layer that reads a searched width; sound, and a fault makes it wrong in one way."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.linear, self.fault = nn.Linear(5, 3), fault

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        gate = gates["width"]
        size = int(WIDTH.options[gate.active[-1]])  # type: ignore[call-overload]
        s = self.survival(gate, size)
        weight = self.linear.weight[:, -size:] if self.fault == "trailing" else self.linear.weight[:, :size]
        out = nn.functional.linear(x[..., :size] * s, weight, self.linear.bias)
        if self.fault == "leaks":
            out = out + 1e-3 * self.linear.weight[:, size:].sum()
        return out

    def survival(self, gate: Gate, size: int) -> Tensor:
        positions = torch.arange(size)
        if self.fault == "ignores":
            return torch.ones(size, dtype=gate.weights.dtype)
        rows = [gate.weights[i] * (positions < WIDTH.options[i]) for i in gate.active]  # type: ignore[operator]
        s = torch.stack(rows).sum(0)
        return s.square() if self.fault == "twice" else s

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        size = int(WIDTH.options[gates["width"].active[-1]])  # type: ignore[call-overload]
        weight = self.linear.weight.detach()
        return {"weight": weight[:, :size], "bias": self.linear.bias.detach()}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("ignores", "executed densely with one-hot weights it differs from the slice"),
        ("twice", "differs by .* from its largest slice on inputs that are scaled by their survival"),
        ("trailing", "the slice differs from the plain layer"),
        ("leaks", "the slice differs from the plain layer|gradients reach weights outside the slice"),
    ],
)
def test_broken_sliced_layers_are_caught(fault: str, message: str) -> None:
    def plain(options: Mapping[str, Option]) -> nn.Module:
        return nn.Linear(int(options["width"]), 3)  # type: ignore[call-overload]

    check_sliced(Reader(), plain, X, [WIDTH], reads=WIDTH, reader=True)
    check_sliced(SlicedLinear(WIDTH, 3), plain, X, [WIDTH], reads=WIDTH, reader=True)
    with pytest.raises(AssertionError, match=message):
        check_sliced(Reader(fault), plain, X, [WIDTH], reads=WIDTH, reader=True)
