"""The plain NAS-Bench-Macro network of one architecture, on `torch` alone.

Skeleton: 3×3 convolution to 32 channels, batch norm, ReLU; three stages of two, three and three layers, of which the
first halves the resolution and doubles the channels; 1×1 convolution to 1,280 channels, batch norm, ReLU, global
average pooling, linear classifier.

References:
    X. Su et al., CVPR 2021 (arXiv 2103.11922); xiusu/NAS-Bench-Macro, `train/model.py`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["InvertedResidual", "Network", "layer", "widths"]


class InvertedResidual(nn.Module):
    """The MobileNetV2 block: expand by 1×1, filter each channel by k×k, project by 1×1; plus its input if it fits."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels_in, h, w)` to `(n, channels_out, ⌈h/stride⌉, ⌈w/stride⌉)`."""
        outputs: Tensor = self.layers(x)
        return outputs + x if self.shortcut else outputs


def layer(digit: str, channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """The module of one digit."""
    if digit == "1":
        return InvertedResidual(channels_in, channels_out, stride, kernel=3, expansion=3)
    if digit == "2":
        return InvertedResidual(channels_in, channels_out, stride, kernel=5, expansion=6)
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


def widths(channels: int) -> list[tuple[int, int, int]]:
    """The channels that each of the eight layers reads and writes, and its stride.

    Args:
        channels: of the stem.
    """
    found, before = [], channels
    for place in range(8):
        first = place in (0, 2, 5)
        after = 2 * before if first else before
        found.append((before, after, 2 if first else 1))
        before = after
    return found


class Network(nn.Module):
    """The network of one architecture.

    Args:
        architecture: eight digits.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        channels: of the stem; 32 in the benchmark.
    """

    def __init__(self, architecture: str, input_shape: tuple[int, int, int], outputs: int, channels: int = 32) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "architecture": architecture,
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "channels": channels,
        }
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        sizes = widths(channels)
        self.layers = nn.Sequential(*(layer(d, *size) for d, size in zip(architecture, sizes, strict=True)))
        self.head = nn.Sequential(
            nn.Conv2d(sizes[-1][1], 1280, 1, bias=False),
            nn.BatchNorm2d(1280),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(1280, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        outputs: Tensor = self.head(self.layers(self.stem(x)))
        return outputs
