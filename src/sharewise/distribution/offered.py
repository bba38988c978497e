"""A sampler whose options are offered stage by stage: what progressive shrinking draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from sharewise.distribution.blueprint import Blueprint, Size, unsized
from sharewise.distribution.factored import drawable, option_mask
from sharewise.distribution.phase import Phase
from sharewise.distribution.samplers import Sampler, host_rng
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Relaxation, sample
from sharewise.supernet.gate import Gates, discrete

__all__ = ["Offered", "OfferedSampler"]

_ATTEMPTS = 10_000


@final
class OfferedSampler(Sampler):
    """Architectures drawn uniformly among those options that a stage offers; all of them at the beginning.

    What is offered concerns weight steps. A selection draws from the whole space.

    Args:
        relaxation: encodes the drawn architectures.
        exclude: options that are never drawn.

    Example:
        >>> from sharewise.spaces import load
        >>> sampler = OfferedSampler(load("toy-tied-width").relaxation)
        >>> sampler.offer({"width": (32,)}, paths=2)
        >>> generator = torch.Generator().manual_seed(0)
        >>> [gates["width"].active for gates in sampler.draw(generator, Phase("weights"))]
        [(3,), (3,)]
    """

    mask: Tensor
    paths: Tensor

    def __init__(self, relaxation: Relaxation, exclude: tuple[Option, ...] = ()) -> None:
        super().__init__()
        self.relaxation, self.space = relaxation, drawable(relaxation, exclude)
        option_mask(relaxation.decisions, exclude)  # rejects options that exist nowhere
        choices = self.space.choices
        self.register_buffer("mask", torch.ones(len(choices), max(len(c.options) for c in choices), dtype=torch.bool))
        self.register_buffer("paths", torch.ones((), dtype=torch.long))

    def offer(self, options: Mapping[str, Sequence[Option]], paths: int) -> None:
        """See `Distribution.offer`."""
        for row, choice in enumerate(self.space.choices):
            if choice.name in options:
                offered = [choice.index(option) for option in options[choice.name]]
                if not offered:
                    raise ConfigurationError(f"a stage must offer at least one option of {choice.name!r}")
                self.mask[row] = False
                self.mask[row, offered] = True
        self.paths.fill_(paths)

    def offered(self) -> Mapping[str, tuple[Option, ...]]:
        """See `Distribution.offered`."""
        rows = self.mask.tolist()
        return {
            choice.name: tuple(o for o, there in zip(choice.options, row, strict=False) if there)
            for choice, row in zip(self.space.choices, rows, strict=True)
        }

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """As many sets of one-hot gates as a stage wants."""
        rng, offered = host_rng(generator), self.offered()
        return [discrete(self.relaxation.encode(self._pick(rng, offered))) for _ in range(int(self.paths))]

    def sample(self, generator: torch.Generator) -> Architecture:
        """Uniform over the whole space."""
        return sample(self.space, host_rng(generator))

    def _pick(self, rng: np.random.Generator, offered: Mapping[str, Sequence[Option]]) -> Architecture:
        if self.space.constraints or self.space.normalise or self.space.listing_:
            return self._rejected(rng, offered)
        values: dict[str, Option] = {}
        for choice in self.space.choices:
            if choice.condition is None or choice.condition.holds(values):
                options = offered[choice.name]
                values[choice.name] = options[int(rng.integers(len(options)))]
        return self.space.architecture(values)

    def _rejected(self, rng: np.random.Generator, offered: Mapping[str, Sequence[Option]]) -> Architecture:
        """Where choices depend on each other, from the whole space until one has what is offered."""
        for _ in range(_ATTEMPTS):
            drawn = sample(self.space, rng)
            if all(option in offered[name] for name, option in drawn.items()):
                return drawn
        raise ConfigurationError(
            f"no architecture of space {self.space.name!r} among {_ATTEMPTS:,} has the options that a stage offers"
        )


@final
@dataclass(frozen=True)
class Offered(Blueprint):
    """Architectures drawn uniformly among what the stages of a recipe offer (surgery `Offering`)."""

    whole: ClassVar[bool] = True
    staged: ClassVar[bool] = True

    def build(
        self,
        relaxation: Relaxation,
        generator: torch.Generator,
        exclude: tuple[Option, ...] = (),
        size: Size = unsized,
    ) -> OfferedSampler:
        """See `Blueprint.build`."""
        return OfferedSampler(relaxation, exclude)
