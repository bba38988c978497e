"""The supernet of conv-macro: the largest network, of which every architecture is a slice.

Convolution i has weights W_i ∈ R^{C_i × C_{i-1} × 7 × 7}. With survivals s of its decisions a pass under a mixture
convolves once, with W_i ⊙ (s_in ⊗ s_kernel): channels are a decision of the layer that writes them and of the layer
that reads them, which scales them. Kernels are centred rings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option, Space
from sharewise.spaces.conv_macro.network import Network
from sharewise.spaces.conv_macro.space import CHANNELS
from sharewise.spaces.limits import DIVISOR, PROBABILITY, keep_limits
from sharewise.supernet.elastic import Choices, elastic_networks, kernel, width

__all__ = ["NETWORKS", "ConvMacroOptions"]


@final
@dataclass(frozen=True)
class ConvMacroOptions:
    """Options of the network, none of which is part of an architecture's identity.

    Args:
        divisor: divides all channels and the sizes of the classifier, for quick looks; 1, 2, 4 or 8.
        dropout: probability with which whole channels are dropped, in [0, 1).
        published: whether the shared weights are superposed as the authors do, who scale a channel where it is written
            and where it is read, or once (default).
    """

    divisor: int = 1
    dropout: float = 0.5
    published: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, divisor=DIVISOR, dropout=PROBABILITY)


def _image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1 or min(input_shape[1:]) < 12:
        raise ConfigurationError(
            "conv-macro networks take images of shape (channels, height, width), height and width of at least 12, got "
            f"{tuple(input_shape)}; resize smaller images (--image-size 12)"
        )
    return (input_shape[0], input_shape[1], input_shape[2])


def _size(option: Option, divisor: int = 1) -> int:
    return int(str(option)) // divisor


def _network(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: ConvMacroOptions
) -> nn.Module:
    layers = range(1, len(CHANNELS) + 1)
    c1, c2, c3, c4 = (_size(architecture[f"channels_{i}"], options.divisor) for i in layers)
    k1, k2, k3, k4 = (_size(architecture[f"kernel_{i}"]) for i in layers)
    shape = _image_shape(input_shape)
    return Network((c1, c2, c3, c4), (k1, k2, k3, k4), shape, outputs, options.divisor, options.dropout)


def _choices(space: Space, options: ConvMacroOptions) -> dict[str, list[Choices]]:
    return {
        f"convolutions.{i - 1}": [
            width([_size(c, options.divisor) for c in space[f"channels_{i}"].options], name=f"channels_{i}"),
            kernel([_size(k) for k in space[f"kernel_{i}"].options], name=f"kernel_{i}"),
        ]
        for i in range(1, len(CHANNELS) + 1)
    }


NETWORKS = elastic_networks(_network, _choices, options=ConvMacroOptions)
