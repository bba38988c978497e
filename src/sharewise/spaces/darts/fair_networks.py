"""The networks of the wider space of Fair-DARTS: one plain network an architecture, without a supernet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.darts.fair import wide_cells_of
from sharewise.spaces.darts.supernet import check_macro, plain_network
from sharewise.supernet import Networks

__all__ = ["NETWORKS", "FairOptions"]


@final
@dataclass(frozen=True)
class FairOptions:
    """Options of the network.

    Args:
        channels: C (36 and 48 in the published networks for CIFAR and ImageNet).
        layers: L, the number of cells, at least 3 (20 and 14 in the published networks).
        stem: `"cifar"`, one convolution, or `"imagenet"`, which makes images 8 times smaller first.
    """

    channels: int = 16
    layers: int = 8
    stem: Literal["cifar", "imagenet"] = "cifar"

    def __post_init__(self) -> None:
        check_macro(self.channels, self.layers, self.stem)


def _plain(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: FairOptions) -> nn.Module:
    return plain_network(wide_cells_of(architecture), input_shape, outputs, options)


def _supernet(space: Space, input_shape: Sequence[int], outputs: int, options: FairOptions) -> NoReturn:
    raise ConfigurationError(
        f"space {space.name!r} has no supernet, so it cannot be searched by weight sharing; search 'darts', whose "
        "results have two inputs a node. `sharewise train` and `sharewise cost` build the network of any of its cells"
    )


NETWORKS = Networks(options=FairOptions, supernet=_supernet, plain=_plain, input_kinds=("image",))
