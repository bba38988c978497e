"""The supernet of MobileNetV3: the largest network, of which every architecture is a slice.

Middle channels follow the expansion, and squeezed ones the middle channels; both are the leading ones. Kernels are
nested, a smaller one as the centre of the next larger one times a learned matrix; depths keep the first blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space
from sharewise.spaces.mobilenetv3.network import EXCITED, Network, middle_channels, squeezed_channels, unit_channels
from sharewise.spaces.mobilenetv3.space import UNITS
from sharewise.supernet.elastic import Choices, depth, elastic_networks, following, kernel

__all__ = ["NETWORKS", "MobileNetOptions", "blocks_of", "choices_of", "example", "image_channels"]


@final
@dataclass(frozen=True)
class MobileNetOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        width: multiplies all numbers of channels, which are rounded to multiples of eight; 1.0 and 1.2 in the paper.
        dropout: probability before the classifier, in [0, 1).
        kernel_transforms: whether a smaller kernel is the centre of the next larger one times a matrix that is learned,
            as the authors have it, or the centre alone.
        published: whether the shared weights are superposed as in TangleNAS, which scales a channel where it is written
            and where it is read, or once (default).
    """

    width: float = 1.0
    dropout: float = 0.1
    kernel_transforms: bool = True
    published: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.width <= 8:
            raise ConfigurationError(f"network option width must lie in (0, 8], got {self.width}")
        if not 0 <= self.dropout < 1:
            raise ConfigurationError(f"network option dropout must lie in [0, 1), got {self.dropout}")


def image_channels(space: str, input_shape: Sequence[int]) -> int:
    """The number of channels of images.

    Raises:
        ConfigurationError: for inputs of another shape than `(channels, height, width)`.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"networks of {space} take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    return input_shape[0]


def _number(option: Option) -> int:
    return int(str(option))


def blocks_of(architecture: Architecture, unit: int, blocks: int) -> list[tuple[int, int]]:
    """Kernel and expansion of the first blocks of a unit, which is counted from 1."""
    return [
        (_number(architecture[f"kernel_{unit}_{b}"]), _number(architecture[f"expansion_{unit}_{b}"]))
        for b in range(1, blocks + 1)
    ]


def _network(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: MobileNetOptions
) -> nn.Module:
    units = [blocks_of(architecture, u, _number(architecture[f"depth_{u}"])) for u in range(1, UNITS + 1)]
    channels = image_channels("mobilenetv3", input_shape)
    return Network(units, channels, outputs, options.width, options.dropout)


def choices_of(
    path: str, space: Space, key: str, channels_in: int, *, excited: bool, transforms: bool
) -> Iterator[tuple[str, Choices]]:
    """What is chosen in one inverted bottleneck, by path.

    Args:
        path: of the block.
        space: whose choices are called `kernel_KEY` and `expansion_KEY`.
        key: of the block.
        channels_in: of the block.
        excited: whether the block squeezes and excites.
        transforms: whether smaller kernels are learned functions of larger ones.
    """
    name, kernels = f"expansion_{key}", map(_number, space[f"kernel_{key}"].options)
    middle = partial(middle_channels, channels_in)
    yield f"{path}.expand.0", following(name, size=middle)
    yield f"{path}.depthwise.0", kernel(kernels, name=f"kernel_{key}", transforms=transforms)
    if excited:
        yield f"{path}.excite.reduce", following(name, size=lambda ratio: squeezed_channels(middle(ratio)))


def _choices(space: Space, options: MobileNetOptions) -> dict[str, Choices]:
    found: dict[str, Choices] = {}
    before, widths = unit_channels(options.width)
    for u, (a, b, excited) in enumerate(zip(before, widths, EXCITED, strict=True)):
        depths = space[f"depth_{u + 1}"].options
        found[f"units.{u}.*"] = depth(map(_number, depths), name=f"depth_{u + 1}")
        for n in range(_number(depths[-1])):
            path, key = f"units.{u}.{n}", f"{u + 1}_{n + 1}"
            transforms = options.kernel_transforms
            found |= choices_of(path, space, key, b if n else a, excited=excited, transforms=transforms)
    return found


def example(input_shape: Sequence[int]) -> Tensor:
    """Two small images, since nothing that is found out about these networks depends on the extent of an image."""
    channels, *extents = input_shape
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2, channels, *(min(extent, 32) for extent in extents)), generator=generator, device="cpu")


NETWORKS = elastic_networks(_network, _choices, options=MobileNetOptions, example=example)
