"""What a benchmark's training costs in passes × multiply-accumulates, the unit in which searches are charged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharewise.cost import SupernetCost
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.ledger import TRAINING
from sharewise.space import Space
from sharewise.supernet import discrete, networks_of

__all__ = ["TRAININGS", "Training", "forward_passes", "training_epochs"]


@dataclass(frozen=True)
class Training:
    """The facts of a benchmark's training that decide its cost.

    Args:
        examples: trained on in each epoch.
        size: side of an image.
        outputs: classes.
    """

    examples: int
    size: int
    outputs: int


TRAININGS = {
    "nasbench201": {
        "cifar10": Training(25_000, 32, 10),
        "cifar100": Training(50_000, 32, 100),
        "ImageNet16-120": Training(151_700, 16, 120),
    }
}
"""By space and data set, the trainings behind the validation values (*NAS-Bench-201*, ICLR 2020, section 2.3)."""


def forward_passes(space: Space, input_shape: tuple[int, ...], outputs: int) -> NDArray[np.int64]:
    """Multiply-accumulates of one forward pass of one example, for every architecture of the listing.

    Args:
        space: with independent choices, whose networks share nothing among options, so that costs add up.
        input_shape: of one example.
        outputs: classes.

    Returns:
        By index of the listing, for the network options that are the space's defaults.

    Raises:
        ConfigurationError: when costs do not add up, or the decisions of the supernet are not the choices.

    Example:
        >>> from sharewise.spaces import nasbench201
        >>> int(forward_passes(nasbench201(), (3, 32, 32), 10)[1462])
        220119690
    """
    networks = networks_of(space)
    supernet = networks.supernet(space, input_shape, outputs, networks.configure({}))
    counted = SupernetCost(supernet, input_shape)
    prices, listing = counted.prices, space.listing
    if not space.independent or [choice.name for choice in space.choices] != list(prices):
        raise ConfigurationError(f"the costs of space {space.name!r} cannot be added up choice by choice")
    first = listing.at(0)
    place = {(c.name, option): place for c in space.choices for place, option in enumerate(c.options)}
    of_first = sum(prices[name][place[name, option]] for name, option in first.items())
    fixed = counted.of(discrete(space.relaxation.encode(first))) - of_first
    return np.array(
        [fixed + sum(prices[n][place[n, o]] for n, o in listing.at(i).items_) for i in range(len(listing))],
        dtype=np.int64,
    )


def training_epochs(space: Space, dataset: str) -> tuple[NDArray[np.float64], float]:
    """The cost of one epoch of the benchmark's training for every architecture, and the mean over the space.

    Args:
        space: a key of `TRAININGS`.
        dataset: a key of its entry.

    Returns:
        Passes × multiply-accumulates by index of the listing; `TRAINING` passes an example.

    Raises:
        ConfigurationError: when the training is not known.
    """
    known = TRAININGS.get(space.name, {})
    if dataset not in known:
        raise unknown_name(f"data set of {space.name!r} with a known training", dataset, known)
    facts = known[dataset]
    passes = forward_passes(space, (3, facts.size, facts.size), facts.outputs)
    costs = (TRAINING * facts.examples * passes).astype(np.float64)
    return costs, float(costs.mean())
