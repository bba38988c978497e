"""Blueprints: distributions as plain values, before a space is known; what a recipe holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from sharewise.distribution.distribution import Distribution
from sharewise.distribution.estimator import Estimator
from sharewise.distribution.factored import Factored
from sharewise.distribution.geometry import Geometry
from sharewise.distribution.phase import Schedule
from sharewise.distribution.samplers import Undecided, UniformSampler
from sharewise.space import Option, Relaxation

__all__ = ["Blueprint", "Learned", "Nothing", "Uniform"]


class Blueprint(ABC):
    """How to build a distribution for the decisions of a relaxation."""

    learns: bool
    """Whether the distribution has parameters θ that a level must train."""

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Values that change over the epochs, by name, so that a recipe can check them before it runs."""
        return {}

    @abstractmethod
    def build(
        self, relaxation: Relaxation, generator: torch.Generator, exclude: tuple[Option, ...] = ()
    ) -> Distribution:
        """The distribution, with its initial parameters drawn from `generator`."""


@final
@dataclass(frozen=True)
class Learned(Blueprint):
    """Independent decisions: geometry × estimator.

    Args:
        geometry: what θ is and how it moves.
        estimator: how θ becomes gates.
    """

    geometry: Geometry
    estimator: Estimator
    learns: bool = True

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Those of the estimator."""
        return self.estimator.schedules

    def build(
        self, relaxation: Relaxation, generator: torch.Generator, exclude: tuple[Option, ...] = ()
    ) -> Distribution:
        """See `Blueprint.build`."""
        return Factored(relaxation, self.geometry, self.estimator, generator, exclude)


@final
@dataclass(frozen=True)
class Uniform(Blueprint):
    """Architectures drawn uniformly from the space.

    Args:
        paths: architectures per batch.
    """

    paths: int = 1
    learns: bool = False

    def build(
        self, relaxation: Relaxation, generator: torch.Generator, exclude: tuple[Option, ...] = ()
    ) -> Distribution:
        """See `Blueprint.build`."""
        return UniformSampler(relaxation, self.paths, exclude)


@final
@dataclass(frozen=True)
class Nothing(Blueprint):
    """No decisions at all: a plain network runs through the same loop as a supernet."""

    learns: bool = False

    def build(
        self, relaxation: Relaxation, generator: torch.Generator, exclude: tuple[Option, ...] = ()
    ) -> Distribution:
        """See `Blueprint.build`."""
        return Undecided(relaxation)
