"""The supernet of ProxylessNAS: the largest network, of which every architecture is a slice, as for MobileNetV3."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sharewise.space import Architecture, Space
from sharewise.spaces.mobilenetv3.supernet import MobileNetOptions, example, image_channels, unit_choices, units_of
from sharewise.spaces.proxylessnas.network import Network, unit_channels
from sharewise.spaces.proxylessnas.space import UNITS
from sharewise.supernet.elastic import Choices, elastic_networks

__all__ = ["NETWORKS"]


def _network(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: MobileNetOptions
) -> nn.Module:
    channels = image_channels("proxylessnas", input_shape)
    return Network(units_of(architecture, UNITS), channels, outputs, options.width, options.dropout)


def _choices(space: Space, options: MobileNetOptions) -> dict[str, Choices]:
    units = ((a, b, False) for a, b in zip(*unit_channels(options.width), strict=True))
    return unit_choices(space, units, transforms=options.kernel_transforms)


NETWORKS = elastic_networks(_network, _choices, options=MobileNetOptions, example=example)
