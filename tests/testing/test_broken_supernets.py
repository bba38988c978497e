"""Supernets that do not listen, and conditions that are wrong, each caught by `check_supernet` for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sharewise.space import Architecture, Choice, Condition, Encoding, Option, Probabilities, Relaxation, Space
from sharewise.space.relaxation import Decision
from sharewise.supernet import Gate, Gates, MixedOperation, Supernet
from sharewise.testing import check_influence, check_supernet

OPTIONS = ("linear", "tanh")
X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


class Conditional(Relaxation):
    """One decision per choice; what is inactive is encoded by its first option."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.decisions = tuple(Decision(choice.name, choice.options) for choice in space.choices)

    def encode(self, architecture: Architecture) -> Encoding:
        return {
            d.name: tuple(float(o == architecture.get(d.name, d.options[0])) for o in d.options) for d in self.decisions
        }

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        picked: dict[str, Option] = {}
        for d in self.decisions:
            allowed = [i for i, option in enumerate(d.options) if option not in exclude]
            picked[d.name] = d.options[max(allowed, key=lambda i, name=d.name: probabilities[name][i])]  # type: ignore[misc]
        return self.space.architecture(picked)


def space(active_at: tuple[int, ...] = (2, 3)) -> Space:
    """A first operation, a depth, and a second operation that matters at the greater depths."""
    second = Choice("second", OPTIONS, condition=Condition("depth", active_at))
    return Space("deep", (Choice("first", OPTIONS), Choice("depth", (1, 2, 3)), second), relax=Conditional)


class Plain(nn.Module):
    """The network of one architecture."""

    def __init__(self, values: Mapping[str, Option]) -> None:
        super().__init__()
        self.depth = int(values["depth"])  # type: ignore[call-overload]
        self.norm = nn.BatchNorm1d(3)
        self.first = _operation(values["first"])
        self.second = _operation(values["second"])  # at depth 1 nobody calls it

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.first(self.norm(x))
        if self.depth > 1:
            out = out + self.second(out) * (self.depth - 1)
        return out


def _operation(option: Option) -> nn.Module:
    return nn.Linear(3, 3) if option == "linear" else nn.Tanh()


class Deep(Supernet):
    """Sound; a fault makes it deaf in one way."""

    def __init__(self, fault: str = "", of: Space | None = None) -> None:
        super().__init__()
        self.space = space() if of is None else of
        self.relaxation, self.fault = self.space.relaxation, fault
        self.norm = nn.BatchNorm1d(3)
        for decision in self.relaxation.decisions:
            if decision.name != "depth":
                operations = {option: _operation(option) for option in OPTIONS}
                self.add_module(decision.name, MixedOperation(decision, operations))

    def mixed(self, name: str, x: Tensor, gate: Gate) -> Tensor:
        out: Tensor | None = self.get_submodule(name)(x, gate)
        assert out is not None
        return out

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        gates = self.heard(gates)
        x = self.mixed("first", self.norm(inputs), gates["first"])
        depth = gates["depth"]
        weight = sum((depth.weights[i] * i for i in depth.active if i), torch.zeros((), dtype=x.dtype))
        if not any(depth.active):
            return x
        return x + self.mixed("second", x, gates["second"]) * weight

    def heard(self, gates: Gates) -> Gates:
        """What the supernet takes its gates for."""
        first = gates["first"]
        match self.fault:
            case "weights":  # the average of whatever is active
                even = torch.zeros(first.size, dtype=first.weights.dtype)
                even[list(first.active)] = 1 / len(first.active)
                return {**gates, "first": Gate(even, first.active)}
            case "detached":
                return {**gates, "depth": Gate(gates["depth"].weights.detach(), gates["depth"].active)}
            case "half detached":
                half = 0.5 * first.weights + 0.5 * first.weights.detach()
                return {**gates, "first": Gate(half, first.active)}
            case "statistics" if not self.training:
                self.norm.running_mean += 0.0625  # type: ignore[operator]
        return gates

    def plain(self, architecture: Architecture) -> nn.Module:
        values = dict(architecture)
        return Plain({"second": OPTIONS[0], **values})


class Deaf(Plain):
    """Keeps its first operation, and never calls it."""

    def forward(self, x: Tensor) -> Tensor:
        out = torch.tanh(self.norm(x))
        return out + self.second(out) * (self.depth - 1) if self.depth > 1 else out


class Ignorant(Deep):
    """Takes the hyperbolic tangent first, whatever is decided; so does the network that it extracts."""

    def mixed(self, name: str, x: Tensor, gate: Gate) -> Tensor:
        return torch.tanh(x) if name == "first" else super().mixed(name, x, gate)

    def plain(self, architecture: Architecture) -> nn.Module:
        return Deaf({"second": OPTIONS[0], **architecture})


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Of some weights the derivative along a gate is so small that a wrong one is not told from it."""
    torch.manual_seed(0)


def test_the_sound_supernet_passes() -> None:
    check_supernet(Deep(), X)
    check_influence(Deep().double(), X.double(), seed=3)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("weights", "does not depend on the weights of the gate of 'first': they are never read"),
        ("detached", "the derivative of the output along the gate of 'depth' is .*: is the gate detached"),
        ("half detached", "the derivative of the output along the gate of 'first' is .*: is the gate detached"),
        ("statistics", r"differs from the supernet|left a trace|in evaluation mode moves \['norm.running_mean'\]"),
    ],
)
def test_supernets_that_do_not_listen_are_caught(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_supernet(Deep(fault), X)


def test_statistics_that_move_in_evaluation_are_caught_by_themselves() -> None:
    with pytest.raises(AssertionError, match=r"in evaluation mode moves \['norm.running_mean'\]|changes the output"):
        check_influence(Deep("statistics").double(), X.double())


def test_a_decision_that_is_ignored_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"choice 'first' changes nothing.*is a decision ignored"):
        check_supernet(Ignorant(), X)


@pytest.mark.parametrize(
    ("active_at", "message"),
    [
        ((1, 2, 3), "choice 'second' changes nothing where 'depth' is 1, where it is active"),
        ((3,), "choice 'second' is inactive in .*, but the gate of its decision changes the output"),
        ((1,), "choice 'second' changes nothing where 'depth' is 1|is inactive in .*, but the gate"),
    ],
)
def test_a_wrong_condition_is_caught(active_at: tuple[int, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_supernet(Deep(of=space(active_at)), X)


def test_a_network_that_needs_whole_architectures_is_not_mixed() -> None:
    class Whole(Conditional):
        independent = False

    check_influence(Deep("weights", of=replace(space(), relax=Whole)).double(), X.double())


def test_influence_of_everything(capsys: Any) -> None:
    """A choice with one option has none, and is none of the suite's business."""
    single = Space("single", (Choice("first", OPTIONS), Choice("depth", (1,))), relax=Conditional)
    check_influence(Deep(of=single).double(), X.double())
