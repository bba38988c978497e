"""The supernet of conv-macro: one largest network, of which every architecture is a slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.conv_macro.network import Network, classifier, flat_features
from sharewise.spaces.conv_macro.space import CHANNELS
from sharewise.supernet import Dimension, Gates, Networks, SlicedConv2d, Supernet

__all__ = ["NETWORKS", "ConvMacroOptions", "ConvMacroSupernet"]


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
        if self.divisor not in (1, 2, 4, 8):
            raise ConfigurationError(f"network option divisor must be 1, 2, 4 or 8, got {self.divisor}")
        if not 0 <= self.dropout < 1:
            raise ConfigurationError(f"network option dropout must lie in [0, 1), got {self.dropout}")


@final
class ConvMacroSupernet(Supernet):
    """All 6,561 networks in the largest one.

    Convolution i has weights W_i ∈ R^{C_i × C_{i-1} × 7 × 7}. With survivals s of its decisions (`survival`) a pass
    under a mixture convolves once, with W_i ⊙ (s_in ⊗ s_kernel): channels are a decision of the layer that writes them
    and of the layer that reads them, which scales them. Kernels are centred rings.

    Args:
        space: conv-macro.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: of the network.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: ConvMacroOptions) -> None:
        super().__init__()
        self.space, self.relaxation, self.options = space, space.relaxation, options
        self.input_shape, self.outputs = _image_shape(input_shape), outputs
        decisions, published = {d.name: d for d in self.relaxation.decisions}, options.published
        layers: list[nn.Module] = []
        before: int | Dimension = self.input_shape[0]
        for number, channels in enumerate(CHANNELS, start=1):
            sizes = tuple(c // options.divisor for c in channels)
            after = Dimension.over(decisions[f"channels_{number}"], sizes)
            layers.append(SlicedConv2d(before, after, decisions[f"kernel_{number}"], published=published))
            before = after
        self.convolutions = nn.ModuleList(layers)
        self.closing = SlicedConv2d(before, 256 // options.divisor, 7, padding=2, published=published)
        self.dropout = nn.Dropout2d(options.dropout)
        self.classifier = classifier(flat_features(self.input_shape, options.divisor), outputs, options.divisor)

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Class scores `(n, outputs)` of images `(n, channels, height, width)`."""
        x = inputs
        for layer, convolution in enumerate(self.convolutions):
            x = torch.relu(convolution(x, gates))
            if layer == 2:
                x = self.dropout(x)
            if layer in (1, 2):
                x = F.max_pool2d(x, 2)
        outputs: Tensor = self.classifier(self.dropout(self.closing(x, gates)))
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network with the same options."""
        return _plain(architecture, self.input_shape, self.outputs, self.options)


def _image_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1 or min(input_shape[1:]) < 12:
        raise ConfigurationError(
            "conv-macro networks take images of shape (channels, height, width), height and width of at least 12, got "
            f"{tuple(input_shape)}; resize smaller images (--image-size 12)"
        )
    return (input_shape[0], input_shape[1], input_shape[2])


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: ConvMacroOptions
) -> nn.Module:
    values = [
        tuple(int(str(architecture[f"{word}_{number}"])) for number in range(1, len(CHANNELS) + 1))
        for word in ("channels", "kernel")
    ]
    c1, c2, c3, c4 = (c // options.divisor for c in values[0])
    k1, k2, k3, k4 = values[1]
    shape = _image_shape(input_shape)
    return Network((c1, c2, c3, c4), (k1, k2, k3, k4), shape, outputs, options.divisor, options.dropout)


NETWORKS = Networks(options=ConvMacroOptions, supernet=ConvMacroSupernet, plain=_plain, input_kinds=("image",))
