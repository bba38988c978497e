"""Options of the networks of NAS-Bench-101, and the plain network under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture
from sharewise.spaces.limits import AT_LEAST_ONE, FRACTION, keep_limits
from sharewise.spaces.nasbench101.network import Network
from sharewise.spaces.nasbench101.space import cell_of

__all__ = ["NasBench101Options", "image_shape", "plain"]


@final
@dataclass(frozen=True)
class NasBench101Options:
    """Options of the macro network, none of which is part of an architecture's identity.

    Args:
        channels: of the stem and the first stack (the benchmark has 128, *To Share or Not To Share* 16).
        cells: cells per stack (the benchmark has 3).
        single_kernel: whether the 1×1 convolution of a vertex of the *supernet* is the centre tap of its 3×3
            convolution, batch norm included (SINGLE-K); networks that are trained on their own have no other.
        norm_momentum: in (0, 1], the weight of a batch in the running statistics of the *supernet*. The benchmark's
            0.003 remembers hundreds of batches: runs that are shorter want more, or recalibrate.
    """

    channels: int = 128
    cells: int = 3
    single_kernel: bool = False
    norm_momentum: float = 0.003

    def __post_init__(self) -> None:
        keep_limits(self, channels=AT_LEAST_ONE, cells=AT_LEAST_ONE, norm_momentum=FRACTION)


def image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of an image.

    Raises:
        ConfigurationError: for inputs that are no images.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ConfigurationError(
            f"NAS-Bench-101 networks take images of shape (channels, height, width), got {tuple(input_shape)}"
        )
    return (input_shape[0], input_shape[1], input_shape[2])


def plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: NasBench101Options
) -> nn.Module:
    """The plain network of a cell.

    Raises:
        ConfigurationError: for inputs that are no images, or too few channels for the cell.
    """
    shape, cell = image_shape(input_shape), cell_of(architecture)
    if options.channels < cell.output_degree:
        raise ConfigurationError(
            f"{cell.output_degree} vertices of {cell} share {options.channels} channels; set the network option "
            f"channels to at least {cell.output_degree}"
        )
    return Network(str(cell), shape, outputs, options.channels, options.cells)
