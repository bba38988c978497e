"""The plain ProxylessNAS network of one architecture, on `torch` alone.

A 3×3 convolution of stride 2; a bottleneck without expansion; six units of inverted bottlenecks with ReLU6; a 1×1
convolution, global pooling and the classifier.

References:
    H. Cai et al., ICLR 2020 (arXiv 1908.09791), mit-han-lab/once-for-all @ f03b267, `ofa_proxyless.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sharewise.spaces.mobilenetv3.network import InvertedBottleneck, Unit, convolution, divisible, initialise

__all__ = ["Network", "unit_channels"]

_STRIDES = (2, 2, 2, 1, 2, 1)
_EPS = 1e-3  # of the batch norms


def _channels(width: float) -> list[int]:
    """Of the stem, the first block, the six units, and the last convolution."""
    return [divisible(channels * width) for channels in (32, 16, 24, 40, 80, 96, 192, 320, 1280)]


def unit_channels(width: float) -> tuple[list[int], list[int]]:
    """What the six units read and write.

    Args:
        width: multiplies all numbers of channels.
    """
    channels = _channels(width)
    return channels[1:-2], channels[2:-1]


class Network(nn.Module):
    """The network of one architecture.

    Args:
        units: of the six units, kernel and expansion of each block.
        channels: of the images.
        outputs: number of classes.
        width: multiplies all numbers of channels; 1.0 and 1.3 in the authors' code.
        dropout: probability before the classifier.
    """

    def __init__(
        self,
        units: Sequence[Sequence[tuple[int, int]]],
        channels: int,
        outputs: int,
        width: float = 1.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "units": tuple(tuple(tuple(block) for block in unit) for unit in units),
            "channels": channels,
            "outputs": outputs,
            "width": width,
            "dropout": dropout,
        }
        stem, first, *_, features = _channels(width)
        before, widths = unit_channels(width)
        self.stem = convolution(channels, stem, 3, nn.ReLU6, stride=2, eps=_EPS)
        self.first = InvertedBottleneck(stem, first, 3, 1, activation=nn.ReLU6, eps=_EPS)
        self.units = nn.ModuleList(
            Unit(a, b, blocks, stride, activation=nn.ReLU6, eps=_EPS)
            for a, b, blocks, stride in zip(before, widths, units, _STRIDES, strict=True)
        )
        self.features = convolution(widths[-1], features, 1, nn.ReLU6, eps=_EPS)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, outputs))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.first(self.stem(x))
        for unit in self.units:
            x = unit(x)
        outputs: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return outputs
