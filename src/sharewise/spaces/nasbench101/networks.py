"""The networks of NAS-Bench-101: one plain network a cell. There is no supernet of this space yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.nasbench101.network import Network
from sharewise.spaces.nasbench101.space import cell_of
from sharewise.supernet import Networks

__all__ = ["NETWORKS", "NasBench101Options"]


@final
@dataclass(frozen=True)
class NasBench101Options:
    """Options of the macro network, none of which is part of an architecture's identity.

    Args:
        channels: of the stem and the first stack (the benchmark has 128, *To Share or Not To Share* 16).
        cells: cells per stack (the benchmark has 3).
    """

    channels: int = 128
    cells: int = 3

    def __post_init__(self) -> None:
        for name in ("channels", "cells"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"network option {name} must be at least 1, got {getattr(self, name)}")


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NasBench101Options
) -> nn.Module:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"NAS-Bench-101 networks take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    shape = (input_shape[0], input_shape[1], input_shape[2])
    cell = cell_of(architecture)
    if options.channels < cell.output_degree:
        raise ConfigurationError(
            f"{cell.output_degree} vertices of {cell} share {options.channels} channels; set the network option "
            f"channels to at least {cell.output_degree}"
        )
    return Network(str(cell), shape, outputs, options.channels, options.cells)


def _supernet(space: Space, input_shape: Sequence[int], outputs: int, options: NasBench101Options) -> NoReturn:
    raise ConfigurationError(
        f"space {space.name!r} has no supernet yet, so it cannot be searched by weight sharing; `sharewise train` and "
        "`sharewise cost` build the network of a single cell, and benchmark tables answer for all of them"
    )


NETWORKS = Networks(options=NasBench101Options, supernet=_supernet, plain=_plain, input_kinds=("image",))
