"""The plain ResNet-50D of one architecture, on `torch` alone.

A stem of two or three 3×3 convolutions and max pooling; four stages of bottlenecks, whose first block changes channels
(and, from the second stage on, halves the extent, with average pooling in its shortcut); global pooling and the
classifier.

References:
    K. He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016; T. He et al., *Bag of Tricks for Image
    Classification*, CVPR 2019 (the form D); mit-han-lab/once-for-all @ f03b267, `resnets.py`, `layers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.spaces.mobilenetv3.network import convolution, divisible, initialise

__all__ = ["Bottleneck", "Network", "middle_channels", "stage_channels", "stem_channels"]

_STRIDES = (1, 2, 2, 2)


def stage_channels(stage: int, width: float) -> int:
    """Channels of the outputs of a stage, which is counted from 0; `width` multiplies those of the largest network."""
    return divisible((256, 512, 1024, 2048)[stage] * width)


def stem_channels(width: float) -> int:
    """Channels that the stem writes."""
    return divisible(64 * width)


def middle_channels(channels_out: int, expansion: float) -> int:
    """Channels within a bottleneck."""
    return divisible(round(channels_out * expansion))


class Residual(nn.Module):
    """The input plus a layer of the same shape.

    Args:
        layer: any.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the shape of the inputs."""
        outputs: Tensor = x + self.layer(x)
        return outputs


class Bottleneck(nn.Module):
    """1×1 convolution to few channels, 3×3 convolution, 1×1 convolution to many, and the shortcut.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        expansion: middle channels per output channel.
        stride: of the 3×3 convolution.
    """

    def __init__(self, channels_in: int, channels_out: int, expansion: float, stride: int = 1) -> None:
        super().__init__()
        middle = middle_channels(channels_out, expansion)
        self.reduce = convolution(channels_in, middle, 1, nn.ReLU)
        self.convolve = convolution(middle, middle, 3, nn.ReLU, stride=stride)
        self.expand = convolution(middle, channels_out, 1, None)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels_out:
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True)
            self.shortcut = nn.Sequential(pool, *convolution(channels_in, channels_out, 1, None))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `(n, channels_out, height / stride, width / stride)`, rounded up."""
        return torch.relu(self.expand(self.convolve(self.reduce(x))) + self.shortcut(x))


class Network(nn.Module):
    """The network of one architecture.

    Args:
        deep_stem: whether the stem has its second convolution.
        middle: multiplies the channels within the stem.
        stem: multiplies the channels that the stem writes.
        stages: of each stage, what multiplies its channels, and the expansions of its blocks.
        channels: of the images.
        outputs: number of classes.
        width: multiplies all numbers of channels.
        dropout: probability before the classifier.
    """

    def __init__(
        self,
        deep_stem: bool,
        middle: float,
        stem: float,
        stages: Sequence[tuple[float, Sequence[float]]],
        channels: int,
        outputs: int,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "deep_stem": deep_stem,
            "middle": middle,
            "stem": stem,
            "stages": tuple((multiplier, tuple(expansions)) for multiplier, expansions in stages),
            "channels": channels,
            "outputs": outputs,
            "width": width,
            "dropout": dropout,
        }
        inside, before = divisible(stem_channels(middle * width) // 2), stem_channels(stem * width)
        again = [Residual(convolution(inside, inside, 3, nn.ReLU))] if deep_stem else []
        self.enter, self.again = convolution(channels, inside, 3, nn.ReLU, stride=2), nn.Sequential(*again)
        self.leave, self.pool = convolution(inside, before, 3, nn.ReLU), nn.MaxPool2d(3, 2, padding=1)
        self.stages = nn.ModuleList()
        for stage, ((multiplier, expansions), stride) in enumerate(zip(stages, _STRIDES, strict=True)):
            after = stage_channels(stage, multiplier * width)
            first, *others = expansions
            blocks = [Bottleneck(before, after, first, stride), *(Bottleneck(after, after, e) for e in others)]
            self.stages.append(nn.Sequential(*blocks))
            before = after
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(before, outputs))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.pool(self.leave(self.again(self.enter(x))))
        for stage in self.stages:
            x = stage(x)
        outputs: Tensor = self.classifier(x.mean((2, 3)))
        return outputs
