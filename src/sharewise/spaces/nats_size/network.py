"""The plain network of the NATS-Bench size space, on `torch` alone.

Skeleton: 3×3 convolution and batch norm; five layers, the second and the fourth residual blocks of stride 2 and the
others the fixed cell; batch norm, ReLU, global average pooling, linear classifier. Every operation that leaves a cell's
input changes the channels; a skip connection does so by a 1×1 convolution and batch norm where they differ.

References:
    X. Dong et al., *NATS-Bench*, TPAMI 2021 (arXiv 2009.00437); D-X-Y/AutoDL-Projects, `InferTinyCellNet.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

__all__ = ["Cell", "Network", "ResidualBlock"]


def convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution without bias, batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    )


class Cell(nn.Module):
    """The fixed cell `|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|`.

    It was the best of the topology space on the validation images of CIFAR-100.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.edge_0_1 = convolution(channels_in, channels_out, 3)
        self.edge_0_2 = convolution(channels_in, channels_out, 3)
        self.edge_1_2 = convolution(channels_out, channels_out, 3)
        same = channels_in == channels_out
        self.edge_0_3: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))
        )
        self.edge_1_3 = convolution(channels_out, channels_out, 3)
        self.edge_2_3 = convolution(channels_out, channels_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels_in, height, width)` to `(n, channels_out, height, width)`."""
        first: Tensor = self.edge_0_1(x)
        second: Tensor = self.edge_0_2(x) + self.edge_1_2(first)
        output: Tensor = self.edge_0_3(x) + self.edge_1_3(first) + self.edge_2_3(second)
        return output


class ResidualBlock(nn.Module):
    """The block between stages: halves the resolution and changes the number of channels."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = convolution(channels_in, channels_out, 3, stride=2)
        self.second = convolution(channels_out, channels_out, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(channels_in, channels_out, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels_in, h, w)` to `(n, channels_out, ⌈h/2⌉, ⌈w/2⌉)`."""
        shortcut: Tensor = self.shortcut(x)
        residual: Tensor = self.second(self.first(x))
        return shortcut + residual


class Network(nn.Module):
    """The network of five widths.

    Args:
        channels: of the five layers.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
    """

    def __init__(self, channels: Sequence[int], input_shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "channels": tuple(channels),
            "input_shape": tuple(input_shape),
            "outputs": outputs,
        }
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0])
        )
        widths = [channels[0], *channels]
        self.layers = nn.Sequential(
            *((Cell if i % 2 == 0 else ResidualBlock)(widths[i], widths[i + 1]) for i in range(len(channels)))
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d(channels[-1]),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels[-1], outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        outputs: Tensor = self.head(self.layers(self.stem(x)))
        return outputs
