"""The supernet of MobileNetV3: the largest network, of which every architecture is a slice.

Middle channels follow the expansion, and squeezed ones the middle channels; both are the leading ones. Kernels are
nested, a smaller one as the centre of the next larger one times a learned matrix; depths keep the first blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space
from sharewise.spaces.limits import MULTIPLIER, PROBABILITY, keep_limits
from sharewise.spaces.mobilenetv3.network import EXCITED, Network, middle_channels, squeezed_channels, unit_channels
from sharewise.spaces.mobilenetv3.space import UNITS
from sharewise.supernet.elastic import Choices, depth, elastic_networks, following, kernel

__all__ = ["NETWORKS", "MobileNetOptions", "example", "image_channels", "unit_choices", "units_of"]


@final
@dataclass(frozen=True)
class MobileNetOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        width_multiplier: of all numbers of channels, which are rounded to multiples of eight; 1.0 and 1.2 in the paper.
        dropout: probability before the classifier, in [0, 1).
        kernel_transforms: whether a smaller kernel is the centre of the next larger one times a matrix that is learned,
            as the authors have it, or the centre alone.
        published: whether the shared weights are superposed as in TangleNAS, which scales a channel where it is written
            and where it is read, or once (default).
        recompute: whether blocks are computed a second time in the backward pass instead of kept, for less memory.
    """

    width_multiplier: float = 1.0
    dropout: float = 0.1
    kernel_transforms: bool = True
    published: bool = False
    recompute: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, width_multiplier=MULTIPLIER, dropout=PROBABILITY)


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


def units_of(architecture: Architecture, units: int) -> list[list[tuple[int, int]]]:
    """Kernel and expansion of every block of an architecture, unit by unit; a unit without a depth has one block.

    Args:
        architecture: with choices `depth_u`, `kernel_u_b` and `expansion_u_b`.
        units: how many there are.
    """
    depths = {u: _number(architecture.get(f"depth_{u}", 1)) for u in range(1, units + 1)}
    return [
        [
            (_number(architecture[f"kernel_{u}_{b}"]), _number(architecture[f"expansion_{u}_{b}"]))
            for b in range(1, depth + 1)
        ]
        for u, depth in depths.items()
    ]


def _network(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: MobileNetOptions
) -> nn.Module:
    channels = image_channels("mobilenetv3", input_shape)
    return Network(units_of(architecture, UNITS), channels, outputs, options.width_multiplier, options.dropout)


def _block(path: str, key: str, channels_in: int, excited: bool) -> Iterator[tuple[str, Choices]]:
    """What follows the expansion of one inverted bottleneck, by path."""
    name, middle = f"expansion_{key}", partial(middle_channels, channels_in)
    yield f"{path}.expand.0", following(name, size=middle)
    if excited:
        yield f"{path}.excite.reduce", following(name, size=lambda ratio: squeezed_channels(middle(ratio)))


def unit_choices(
    space: Space, units: Iterable[tuple[int, int, bool]], *, transforms: bool, path: str = "units"
) -> dict[str, Choices]:
    """What is chosen in rows of inverted bottlenecks, by path.

    Args:
        space: with choices `depth_u`, `kernel_u_b` and `expansion_u_b`.
        units: channels that each reads and writes, and whether its blocks squeeze and excite.
        transforms: whether smaller kernels are learned functions of larger ones.
        path: of the rows.
    """
    names, found = {choice.name for choice in space.choices}, dict[str, Choices]()
    for u, (channels_in, channels_out, excited) in enumerate(units):
        blocks = sum(name.startswith(f"kernel_{u + 1}_") for name in names)
        if (name := f"depth_{u + 1}") in names:
            found[f"{path}.{u}.*"] = depth(map(_number, space[name].options), name=name)
        for n in range(blocks):
            key, where = f"{u + 1}_{n + 1}", f"{path}.{u}.{n}"
            kernels = map(_number, space[f"kernel_{key}"].options)
            found[f"{where}.depthwise.0"] = kernel(kernels, name=f"kernel_{key}", transforms=transforms)
            found |= _block(where, key, channels_out if n else channels_in, excited)
    return found


def _choices(space: Space, options: MobileNetOptions) -> dict[str, Choices]:
    units = zip(*unit_channels(options.width_multiplier), EXCITED, strict=True)
    return unit_choices(space, units, transforms=options.kernel_transforms)


def example(input_shape: Sequence[int]) -> Tensor:
    """Two small images, since nothing that is found out about these networks depends on the extent of an image."""
    channels, *extents = input_shape
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2, channels, *(min(extent, 32) for extent in extents)), generator=generator, device="cpu")


NETWORKS = elastic_networks(_network, _choices, options=MobileNetOptions, example=example)
