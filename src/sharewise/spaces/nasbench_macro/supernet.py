"""The supernet of NAS-Bench-Macro: in every layer one of three blocks, each with weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.limits import AT_LEAST_ONE, keep_limits
from sharewise.spaces.nasbench_macro.network import Network, layer, widths
from sharewise.spaces.nasbench_macro.space import BLOCKS
from sharewise.supernet.elastic import Choose, elastic_networks

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
        keep_limits(self, channels=AT_LEAST_ONE)


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NasBenchMacroOptions
) -> nn.Module:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"NAS-Bench-Macro networks take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    shape = (input_shape[0], input_shape[1], input_shape[2])
    return Network(str(architecture), shape, outputs, options.channels)


def _shared(space: Space, input_shape: Sequence[int], outputs: int, options: NasBenchMacroOptions) -> nn.Module:
    """A network with all blocks that the space offers in every layer."""
    first = space.architecture({choice.name: choice.options[0] for choice in space.choices})
    network = _plain(first, input_shape, outputs, options)
    layers = network.get_submodule("layers")
    assert isinstance(layers, nn.Sequential)
    for place, (choice, sizes) in enumerate(zip(space.choices, widths(options.channels), strict=True)):
        blocks = {str(block): layer(str(BLOCKS.index(str(block))), *sizes) for block in choice.options}
        layers[place] = Choose(blocks, name=choice.name)
    return network


NETWORKS = elastic_networks(_plain, lambda space, options: {}, shared=_shared, options=NasBenchMacroOptions)
