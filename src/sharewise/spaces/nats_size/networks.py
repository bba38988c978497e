"""The networks of the NATS-Bench size space: one plain network an architecture. There is no supernet of it yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.nats_size.network import Network
from sharewise.supernet import Networks

__all__ = ["NETWORKS", "NatsSizeOptions"]


@final
@dataclass(frozen=True)
class NatsSizeOptions:
    """The network of this space has no options: its architecture says all."""


def _plain(architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NatsSizeOptions) -> nn.Module:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"networks of the size space take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    channels = [int(part) for part in str(architecture).split(":")]
    return Network(channels, (input_shape[0], input_shape[1], input_shape[2]), outputs)


def _supernet(space: Space, input_shape: Sequence[int], outputs: int, options: NatsSizeOptions) -> NoReturn:
    raise ConfigurationError(
        f"space {space.name!r} has no supernet yet, so it cannot be searched by weight sharing; `sharewise train` and "
        "`sharewise cost` build the network of a single architecture, and benchmark tables answer for all of them"
    )


NETWORKS = Networks(options=NatsSizeOptions, supernet=_supernet, plain=_plain, input_kinds=("image",))
