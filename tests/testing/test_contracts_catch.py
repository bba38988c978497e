"""A contract suite is worth something when it fails: each law is broken once, and the suite says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from sharewise.distribution import (
    Blueprint,
    Distribution,
    Drawn,
    Estimator,
    Expectation,
    Factored,
    Geometry,
    Learned,
    Phase,
    Simplex,
    Size,
    Traits,
)
from sharewise.engine import Level, SearchState, architecture_step, weight_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.space import Architecture, Choice, Codec, Encoding, Option, Picture, Probabilities, Relaxation, Space
from sharewise.space.relaxation import DirectRelaxation
from sharewise.spaces import load
from sharewise.supernet import Gate, Gates, MixedOperation, Supernet
from sharewise.testing import check_distribution, check_method, check_relaxation, check_space, check_supernet, expect

CHOICES = (Choice("a", (1, 2, 3)), Choice("b", ("x", "y")))


def test_expect_is_no_assert_statement() -> None:
    expect(True, "fine")
    with pytest.raises(AssertionError, match="broken"):
        expect(False, "broken")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"codec": Codec(lambda v: f"{v['a']}{v['b']}", lambda t: {"a": 1, "b": t[-1]})},
            "came back from its string",
        ),
        (
            {"canonical_forms": {"turn": lambda a: Space("s", CHOICES).architecture({**a, "a": int(a["a"]) % 3 + 1})}},
            "not idempotent",
        ),
        ({"draw": lambda a: Picture(("input",), (("input", "output", "x"),))}, "edges to nodes that it does not list"),
        ({"canonical_forms": {"alien": lambda a: Architecture("t", (("a", 9), ("b", "x")))}}, "illegal architecture"),
    ],
)
def test_broken_spaces(changes: dict[str, Any], message: str) -> None:
    check_space(Space("s", CHOICES))
    with pytest.raises(AssertionError, match=message):
        check_space(replace(Space("s", CHOICES), **changes))


class Broken(Relaxation):
    """A relaxation that forgets something."""

    def __init__(self, space: Space, fault: str) -> None:
        self.inner, self.fault = DirectRelaxation(space), fault
        self.space, self.decisions = space, self.inner.decisions

    def encode(self, architecture: Architecture) -> Encoding:
        encoding = dict(self.inner.encode(architecture))
        if self.fault == "encode":
            encoding.pop("a")
        return encoding

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        if self.fault == "exclude":
            exclude = ()
        if self.fault == "project":
            probabilities = {name: list(reversed(row)) for name, row in probabilities.items()}
        if self.fault == "illegal" and abs(sum(probabilities["a"]) - 1) > 0.1:
            return Architecture("s", (("a", 4), ("b", "x")))
        return self.inner.project(probabilities, exclude)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("encode", "the encoding of .* covers"),
        ("project", "project.encode.a.. is"),
        ("exclude", "was excluded, but"),
        ("illegal", "projection gave an illegal architecture"),
    ],
)
def test_broken_relaxations(fault: str, message: str) -> None:
    check_relaxation(Space("s", CHOICES, relax=lambda space: Broken(space, "")))
    with pytest.raises(AssertionError, match=message):
        check_relaxation(Space("s", CHOICES, relax=lambda space: Broken(space, fault)))


class Plain(nn.Module):
    def __init__(self, option: str) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.mixed = nn.Linear(3, 3) if option == "linear" else nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mixed(self.norm(x))
        return out


class Faulty(Supernet):
    """A supernet of one decision that breaks one law."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.space = Space("faulty", (Choice("a", ("linear", "tanh")),))
        self.relaxation, self.fault, self.calls = self.space.relaxation, fault, 0
        self.norm = nn.BatchNorm1d(3)
        self.mixed = MixedOperation(self.relaxation.decisions[0], {"linear": nn.Linear(3, 3), "tanh": nn.Tanh()})

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        self.calls += 1
        x = self.norm(inputs)
        if self.fault == "norm":
            x = (inputs - inputs.mean(0)) / inputs.std(0)
        out = self.mixed(x, gates["a"])
        if self.fault == "executes":
            out = out + 0 * sum(o(x) for o in self.mixed.operations.values())
        if self.fault == "memory":
            out = out + 0.1 * self.calls * (not self.training)
        if self.fault == "leaks" and self.training:
            out = out + 1e-3 * self.mixed.operations["linear"].weight.sum()
        if self.fault == "scale":
            out = out * (1 + 1e-7)
        assert out is not None
        result: Tensor = out
        return result

    def plain(self, architecture: Architecture) -> nn.Module:
        if self.fault == "shares":
            network = Plain(str(architecture["a"]))
            network.load_state_dict = lambda *a, **k: setattr(network, "norm", self.norm)  # type: ignore[assignment, return-value, method-assign]
            return network
        return Plain(str(architecture["a"]))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("norm", "differs from the supernet"),
        ("scale", "differs from the supernet"),
        ("memory", "left a trace|differs from the supernet"),
        ("leaks", "gradient"),
        ("executes", "is not active, but was executed|gradients to weights that are not its own"),
        ("shares", "shares storage"),
    ],
)
def test_broken_supernets(fault: str, message: str) -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    check_supernet(Faulty(""), x)
    with pytest.raises(AssertionError, match=message):
        check_supernet(Faulty(fault), x)


def test_the_norms_are_randomised_first() -> None:
    """On a fresh network, a supernet that lost its running statistics would look right."""

    class Fresh(Faulty):
        def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
            out = self.mixed(inputs / (1 + 1e-5) ** 0.5, gates["a"])
            assert out is not None
            return out

    with pytest.raises(AssertionError, match="differs from the supernet"):
        check_supernet(Fresh(""), torch.randn(8, 3))


@dataclass(frozen=True)
class Strange(Estimator):
    """An estimator with a fault."""

    fault: str

    @property
    def traits(self) -> Traits:
        return Traits(sampled=False)

    def draw(self, geometry: Geometry, theta: Tensor, mask: Tensor, phase: Phase, generator: torch.Generator) -> Drawn:
        p = geometry.probabilities(theta, mask)
        match self.fault:
            case "sum":
                return Drawn(p * 2)
            case "everything":
                return Drawn(p, torch.ones_like(p, dtype=torch.bool))
            case "random":
                return Drawn(torch.softmax(geometry.log_probabilities(theta, mask) + torch.rand(p.shape), -1))
            case "negative":
                return Drawn(p - 0.5)
            case _:
                return Drawn(p)


@dataclass(frozen=True)
class Wrapped(Blueprint):
    """Builds a distribution and then spoils one of its methods."""

    spoil: Callable[[Factored], None]
    gradient: Any = "path"

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = lambda architecture: 1,
    ) -> Distribution:
        made = Factored(relaxation, Simplex(), Expectation(), generator, exclude)
        self.spoil(made)
        return made


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("sum", "sum to"),
        ("everything", "is masked, but active"),
        ("random", "not a function|sum"),
        ("negative", "negative"),
    ],
)
def test_broken_estimators(fault: str, message: str) -> None:
    check_distribution(Learned(Simplex(), Strange("")), load("nasbench201"), exclude=("none",), draws=3)
    with pytest.raises(AssertionError, match=message):
        check_distribution(Learned(Simplex(), Strange(fault)), load("nasbench201"), exclude=("none",), draws=3)


def spoil_pullback(made: Factored) -> None:
    inner = made.pullback

    def pullback(gates: Gates, cotangents: Mapping[str, Tensor]) -> None:
        inner(gates, {name: 1.001 * value for name, value in cotangents.items()})

    made.pullback = pullback  # type: ignore[method-assign]


def spoil_mask(made: Factored) -> None:
    made.restrict = lambda keep: None  # type: ignore[method-assign]


def spoil_probabilities(made: Factored) -> None:
    made.probabilities = lambda: {d.name: torch.ones(d.size) for d in made.relaxation.decisions}  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_pullback, "differs from that of the whole graph"),
        (spoil_mask, "masked options|is masked, but active"),
        (spoil_probabilities, "the probabilities of"),
    ],
)
def test_broken_distributions(spoil: Callable[[Factored], None], message: str) -> None:
    check_distribution(Wrapped(lambda made: None), load("nasbench201"), draws=3)
    with pytest.raises(AssertionError, match=message):
        check_distribution(Wrapped(spoil), load("nasbench201"), draws=3)


@dataclass(frozen=True)
class Careless(Level):
    """A level whose weight step also moves θ."""

    gradient: ClassVar[Any] = "path"
    roles: ClassVar[Any] = ("weights", "architecture")

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        architecture_step(state)
        return {"weights_loss": weight_step(state)}


@dataclass(frozen=True)
class Forgetful(Level):
    """A level that draws from the global generator, which no checkpoint of another seed restores."""

    gradient: ClassVar[Any] = "path"
    roles: ClassVar[Any] = ("weights", "architecture")

    def step(self, state: SearchState, *, architecture: bool) -> Mapping[str, Tensor]:
        loss = weight_step(state)
        if architecture:
            architecture_step(state)
        counter = state.supernet.__dict__.setdefault("counter", [0])
        counter[0] += 1
        if counter[0] == 6 and state.step == 5:  # a resumed run counts anew
            with torch.no_grad():
                next(state.supernet.parameters()).add_(1.0)
        return {"weights_loss": loss}


@pytest.mark.parametrize(
    ("level", "message"),
    [(Careless(), "during a warm-up changes θ"), (Forgetful(), "its continuation in the second epoch")],
)
def test_broken_methods(level: Level, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_method(replace(build("darts"), level=level), load("toy-tied-width"))


def test_a_supernet_that_records_statistics_in_architecture_steps_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr("sharewise.engine.step.frozen_statistics", lambda module: nullcontext())
    with pytest.raises(AssertionError, match=r"changes w or running statistics.*running_mean"):
        check_method(build("darts"))


def test_supernets_of_the_zoo_pass_with_gates_of_their_own() -> None:
    supernet = build_supernet(load("toy-two-inputs"), (4,), 3)
    check_supernet(supernet, torch.randn(4, 4), samples=2, seed=7)
    gate = Gate(torch.ones(4) / 4, (0, 1, 2, 3))
    assert supernet(torch.randn(4, 4), {d.name: gate for d in supernet.relaxation.decisions}).shape == (4, 3)
