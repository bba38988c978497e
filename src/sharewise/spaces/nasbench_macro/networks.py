"""The networks of NAS-Bench-Macro: one plain network an architecture. There is no supernet of this space yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.nasbench_macro.network import Network
from sharewise.supernet import Networks

__all__ = ["NETWORKS", "NasBenchMacroOptions"]


@final
@dataclass(frozen=True)
class NasBenchMacroOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        channels: of the stem (the benchmark has 32); each stage doubles them.
    """

    channels: int = 32

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ConfigurationError(f"network option channels must be at least 1, got {self.channels}")


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NasBenchMacroOptions
) -> nn.Module:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"NAS-Bench-Macro networks take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    shape = (input_shape[0], input_shape[1], input_shape[2])
    return Network(str(architecture), shape, outputs, options.channels)


def _supernet(space: Space, input_shape: Sequence[int], outputs: int, options: NasBenchMacroOptions) -> NoReturn:
    raise ConfigurationError(
        f"space {space.name!r} has no supernet yet, so it cannot be searched by weight sharing; `sharewise train` and "
        "`sharewise cost` build the network of a single architecture, and benchmark tables answer for all of them"
    )


NETWORKS = Networks(options=NasBenchMacroOptions, supernet=_supernet, plain=_plain, input_kinds=("image",))
