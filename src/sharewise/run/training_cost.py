"""What a benchmark's training costs in passes × multiply-accumulates, the unit in which searches are charged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharewise.cost import SupernetCost, cost
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.ledger import TRAINING
from sharewise.space import Architecture, Space
from sharewise.supernet import discrete, networks_of
from sharewise.supernet.without_values import without_values

__all__ = ["TRAININGS", "Training", "forward_passes", "traced_epochs", "training_epochs"]


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
    },
    "nasbench101": {"cifar10": Training(40_000, 32, 10)},
}
"""By space and data set, the trainings behind the validation values (*NAS-Bench-201*, ICLR 2020, section 2.3;
*NAS-Bench-101*, ICML 2019, section 2.3)."""


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
    if not space.independent:
        raise _not_additive(space)
    networks = networks_of(space)
    supernet = networks.supernet(space, input_shape, outputs, networks.configure({}))
    counted = SupernetCost(supernet, input_shape)
    prices, listing = counted.prices, space.listing
    if [choice.name for choice in space.choices] != list(prices):
        raise _not_additive(space)
    first = listing.at(0)
    place = {(c.name, option): place for c in space.choices for place, option in enumerate(c.options)}
    of_first = sum(prices[name][place[name, option]] for name, option in first.items())
    fixed = counted.of(discrete(space.relaxation.encode(first))) - of_first
    return np.array(
        [fixed + sum(prices[n][place[n, o]] for n, o in listing.at(i).items_) for i in range(len(listing))],
        dtype=np.int64,
    )


_INSTEAD = "give the budget in seconds of the benchmark, or as a number of evaluations"


def _not_additive(space: Space) -> ConfigurationError:
    return ConfigurationError(
        f"the costs of space {space.name!r} cannot be added up choice by choice, so that those of all architectures "
        f"are not known in passes × multiply-accumulates; {_INSTEAD}"
    )


def _training(space: Space, dataset: str) -> Training:
    known = TRAININGS.get(space.name.partition(":")[0])
    if known is None:
        raise ConfigurationError(
            f"what a training of {space.name!r} costs in passes × multiply-accumulates is not known, only of "
            f"{', '.join(TRAININGS)}; {_INSTEAD}"
        )
    if dataset not in known:
        raise unknown_name(f"data set of {space.name!r}:", dataset, known)
    return known[dataset]


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
    facts = _training(space, dataset)
    passes = forward_passes(space, (3, facts.size, facts.size), facts.outputs)
    costs = (TRAINING * facts.examples * passes).astype(np.float64)
    return costs, float(costs.mean())


def traced_epochs(space: Space, dataset: str, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
    """The cost of one epoch of the benchmark's training for some architectures, for spaces whose costs do not add up.

    Args:
        space: a key of `TRAININGS`, or a part of one (`nasbench101:A_4`).
        dataset: a key of its entry.
        architectures: each is traced, which takes some hundredths of a second.

    Returns:
        Passes × multiply-accumulates in the order of the architectures, for the network options that are the defaults.

    Raises:
        ConfigurationError: when the training is not known.
    """
    facts, networks = _training(space, dataset), networks_of(space)
    shape, options = (3, facts.size, facts.size), networks.configure({})
    found = []
    for architecture in architectures:
        with without_values():
            network = networks.plain(space.own(architecture), shape, facts.outputs, options)
        found.append(TRAINING * facts.examples * cost(network, shape).multiply_accumulates)
    return np.array(found, dtype=np.float64)
