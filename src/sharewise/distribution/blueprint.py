"""Blueprints: distributions as plain values, before a space is known; what a recipe holds."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, final

import torch

from sharewise.distribution.controller import Controller
from sharewise.distribution.distribution import Distribution
from sharewise.distribution.estimator import Estimator, Gradient
from sharewise.distribution.factored import Factored
from sharewise.distribution.geometry import Geometry
from sharewise.distribution.piece import Piece
from sharewise.distribution.samplers import FairSampler, ProportionalSampler, Undecided, UniformSampler
from sharewise.distribution.schedule import Bounded, Schedule
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Relaxation

__all__ = [
    "Autoregressive",
    "Blueprint",
    "Fair",
    "Joined",
    "Learned",
    "Nothing",
    "Proportional",
    "Size",
    "Uniform",
    "unsized",
]

Size = Callable[[Architecture], int]
"""The trainable parameters of the plain network of an architecture."""


def unsized(architecture: Architecture) -> int:
    """The size of architectures where no network is at hand: an error, for a blueprint that needs sizes."""
    raise ConfigurationError("this distribution reads the sizes of networks: build it with a function that knows them")


class Joined(Protocol):
    """What a distribution may ask of the recipe that it is a part of, which lives in a room above."""

    @property
    def epochs(self) -> int:
        """Passes over the examples of the role `weights`."""

    @property
    def batch_size(self) -> int:
        """Examples per step."""

    @property
    def exclude(self) -> tuple[Option, ...]:
        """Options that are masked throughout."""


class Blueprint(Piece[Joined]):
    """How to build a distribution for the decisions of a relaxation."""

    @property
    def gradient(self) -> Gradient | None:
        """How a gradient reaches the parameters θ; `None` where there are none."""
        return None

    @property
    def learns(self) -> bool:
        """Whether the distribution has parameters θ that a level must train."""
        return self.gradient is not None

    whole: ClassVar[bool] = False
    """Whether it draws whole architectures from the space of the relaxation, so that a part of a space will do."""

    staged: ClassVar[bool] = False
    """Whether stages may say which options are drawn (`Distribution.offer`)."""

    @property
    def coordinates(self) -> Geometry | None:
        """What θ is, where the distribution will be `Factored`, with a row of θ for every decision; else `None`."""
        return None

    @abstractmethod
    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """The distribution, with its initial parameters drawn from `generator`.

        Args:
            relaxation: names the decisions.
            generator: source of randomness.
            exclude: options that are masked throughout.
            size: of the networks, for a distribution that depends on them.
        """


@final
@dataclass(frozen=True)
class Learned(Blueprint):
    """Independent decisions: geometry × estimator.

    Args:
        geometry: what θ is and how it moves.
        estimator: how θ becomes gates.

    Raises:
        ConfigurationError: when the estimator does not understand the geometry.
    """

    geometry: Geometry
    estimator: Estimator

    def __post_init__(self) -> None:
        needed = self.estimator.traits.geometry
        if not isinstance(self.geometry, needed):
            raise ConfigurationError(
                f"estimator {self.estimator.describe()} needs the geometry {needed.__name__}, "
                f"got {type(self.geometry).__name__}"
            )

    @property
    def gradient(self) -> Gradient:
        """That of the estimator."""
        return self.estimator.traits.gradient

    @property
    def coordinates(self) -> Geometry:
        """The geometry."""
        return self.geometry

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """Those of the estimator."""
        return self.estimator.traits.schedules

    def describe(self) -> str:
        """Geometry × estimator."""
        return f"{type(self.geometry).__name__} × {self.estimator.describe()}"

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """See `Blueprint.build`."""
        return Factored(relaxation, self.geometry, self.estimator, generator, exclude)


@final
@dataclass(frozen=True)
class Autoregressive(Blueprint):
    """Decisions that depend on the earlier ones: the controller of ENAS. Arguments as for `Controller`.

    Raises:
        ConfigurationError: when a value is out of range.
    """

    hidden: int = 32
    layers: int = 2
    temperature: float = 5.0
    bound: float = 2.5
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.999)
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("hidden", "layers"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"the controller needs {name} of at least 1, got {getattr(self, name)}")
        for name in ("temperature", "bound", "learning_rate", "epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"the {name} of the controller must be positive, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigurationError(f"the betas of the controller must lie in [0, 1), got {self.betas}")

    @property
    def gradient(self) -> Gradient:
        """A score."""
        return "score"

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """See `Blueprint.build`."""
        return Controller(relaxation, generator, exclude, **vars(self))


@final
@dataclass(frozen=True)
class Uniform(Blueprint):
    """Architectures drawn uniformly from the space.

    Args:
        paths: architectures per batch, whose losses are averaged.
        path_dropout: probability over the epochs, with which a decision is left out of a weight step.
    """

    paths: int = 1
    path_dropout: Schedule | None = None
    whole: ClassVar[bool] = True

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """The path dropout, where there is one."""
        return _dropping(self.path_dropout)

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """See `Blueprint.build`."""
        return UniformSampler(relaxation, self.paths, exclude, self.path_dropout)


@final
@dataclass(frozen=True)
class Proportional(Blueprint):
    """Architectures drawn in proportion to their trainable parameters (PRO-RATA); arguments as for `Uniform`."""

    paths: int = 1
    path_dropout: Schedule | None = None
    whole: ClassVar[bool] = True

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """The path dropout, where there is one."""
        return _dropping(self.path_dropout)

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """See `Blueprint.build`."""
        return ProportionalSampler(relaxation, size, self.paths, exclude, self.path_dropout)


@final
@dataclass(frozen=True)
class Fair(Blueprint):
    """Strict fairness: every option of every decision once per step."""

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """See `Blueprint.build`."""
        return FairSampler(relaxation, exclude)


@final
@dataclass(frozen=True)
class Nothing(Blueprint):
    """No decisions at all: a plain network runs through the same loop as a supernet."""

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """See `Blueprint.build`."""
        return Undecided(relaxation)


def _dropping(path_dropout: Schedule | None) -> Mapping[str, Bounded]:
    return {} if path_dropout is None else {"path dropout": Bounded(path_dropout, below=1.0)}
