"""Samplers: distributions that do not learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from sharewise.distribution.distribution import Distribution
from sharewise.distribution.factored import drawable, option_mask
from sharewise.distribution.phase import Phase
from sharewise.errors import ConfigurationError
from sharewise.space import Option, Relaxation, sample
from sharewise.supernet.gate import Gates, discrete

__all__ = ["Undecided", "UniformSampler", "host_rng"]


def host_rng(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator seeded by the next number of a torch generator, so that one stream drives both."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))


@final
class UniformSampler(Distribution):
    """Architectures drawn uniformly from the space, one or more per batch.

    Args:
        relaxation: encodes the drawn architectures.
        paths: how many architectures share a batch (AVG-n of *To Share or Not To Share*); at least 1.
        exclude: options that are never drawn.

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), equation 7; L. Li and A. Talwalkar,
        *Random Search and Reproducibility for NAS*, UAI 2019.

    Example:
        >>> from sharewise.spaces import load
        >>> sampler = UniformSampler(load("nasbench201").relaxation)
        >>> [gates] = sampler.draw(torch.Generator().manual_seed(0), Phase("weights"))
        >>> len(gates["edge_0_1"].active)
        1
    """

    def __init__(self, relaxation: Relaxation, paths: int = 1, exclude: tuple[Option, ...] = ()) -> None:
        super().__init__()
        if paths < 1:
            raise ConfigurationError(f"a sampler draws at least 1 path per batch, got paths={paths}")
        self.relaxation, self.paths = relaxation, paths
        option_mask(relaxation.decisions, exclude)  # rejects options that exist nowhere
        self.space = drawable(relaxation, exclude)

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """As many sets of one-hot gates as there are paths."""
        rng = host_rng(generator)
        return [discrete(self.relaxation.encode(sample(self.space, rng))) for _ in range(self.paths)]

    def probabilities(self) -> Mapping[str, Tensor]:
        """Nothing: a sampler has no parameters to report."""
        return {}

    def optimizer(self) -> Optimizer | None:
        """Nothing to learn."""
        return None

    def restrict(self, keep: Mapping[str, Tensor]) -> None:
        """Not possible: the space decides what is drawn."""
        raise ConfigurationError(
            "a uniform sampler cannot be pruned in a stage; exclude options from the start, or learn a distribution"
        )


@final
class Undecided(Distribution):
    """The distribution over no decisions: every draw is one empty set of gates.

    Args:
        relaxation: of a network without decisions.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        super().__init__()
        self.relaxation, self.space = relaxation, relaxation.space

    def draw(self, generator: torch.Generator, phase: Phase) -> list[Gates]:
        """One empty set of gates."""
        return [{}]

    def probabilities(self) -> Mapping[str, Tensor]:
        """Nothing to report."""
        return {}

    def optimizer(self) -> Optimizer | None:
        """Nothing to learn."""
        return None

    def restrict(self, keep: Mapping[str, Tensor]) -> None:
        """Nothing to mask."""
        raise ConfigurationError("a network without decisions cannot be pruned in a stage")
