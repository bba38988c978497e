"""A sampler of whole architectures, kept to a part of the space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch

from sharewise.distribution.blueprint import Blueprint, Joined, Size, unsized
from sharewise.distribution.distribution import Distribution
from sharewise.distribution.schedule import Bounded
from sharewise.errors import ConfigurationError
from sharewise.space import Option, Relaxation
from sharewise.space.restriction import RestrictedRelaxation, restricted

__all__ = ["Restricted"]


@final
@dataclass(frozen=True)
class Restricted(Blueprint):
    """Architectures in which one choice takes one of some options, drawn as the sampler draws them from the whole.

    The network and its decisions stay those of the whole space: k never changes.

    Args:
        sampler: draws whole architectures.
        choice: that is restricted.
        options: that it may take.

    Raises:
        ConfigurationError: for a distribution that does not draw whole architectures.

    Example:
        >>> from sharewise.distribution import Uniform
        >>> from sharewise.spaces import load
        >>> blueprint = Restricted(Uniform(), "width", (32,))
        >>> sampler = blueprint.build(load("toy-tied-width").relaxation, torch.Generator())
        >>> sampler.sample(torch.Generator().manual_seed(0))["width"]
        32
    """

    sampler: Blueprint
    choice: str
    options: tuple[Option, ...]
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.sampler.whole:
            raise ConfigurationError(
                f"a part of a space is drawn by samplers of whole architectures, Uniform and Proportional, not by "
                f"{type(self.sampler).__name__}; use a method such as spos or rs-ws"
            )

    @property
    def schedules(self) -> Mapping[str, Bounded]:
        """Those of the sampler."""
        return self.sampler.schedules

    def fits(self, recipe: Joined) -> None:
        """Refuse what the sampler refuses."""
        self.sampler.fits(recipe)

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> Distribution:
        """See `Blueprint.build`."""
        part = restricted(relaxation.space, self.choice, self.options)
        return self.sampler.build(RestrictedRelaxation(relaxation, part), generator, exclude, size)
