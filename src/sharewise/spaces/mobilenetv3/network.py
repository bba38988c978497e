"""The plain mobile networks of one architecture, on `torch` alone: MobileNetV3, ProxylessNAS and AttentiveNAS.

They share their blocks and so a file, which an export copies. All begin with a 3×3 convolution of stride 2 and end with
1×1 convolutions, global pooling and a classifier; between them are rows of inverted bottlenecks. Channels are multiples
of eight.

References:
    A. Howard et al., *Searching for MobileNetV3*, ICCV 2019 (arXiv 1905.02244); the numbers are those of H. Cai et al.,
    ICLR 2020 (arXiv 1908.09791), mit-han-lab/once-for-all @ f03b267, `ofa_mbv3.py`, `ofa_proxyless.py`, `layers.py`,
    and of D. Wang et al., CVPR 2021 (arXiv 2011.09011), facebookresearch/AttentiveNAS @ c4c16f1, `static_layers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "EXCITED",
    "AttentiveNetwork",
    "InvertedBottleneck",
    "Network",
    "ProxylessNetwork",
    "Row",
    "SqueezeExcitation",
    "Unit",
    "convolution",
    "divisible",
    "initialise",
    "middle_channels",
    "projection",
    "proxyless_unit_channels",
    "squeezed_channels",
    "unit_channels",
]

Block = tuple[int, float]
"""Kernel and expansion of one inverted bottleneck."""


def divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of a divisor, halves up, and one more where that would lose more than a tenth.

    Args:
        channels: as many as there should be.
        divisor: of the result, at least as large as the divisor itself.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def middle_channels(channels_in: int, expansion: float, multiple: int = 8) -> int:
    """Channels of the depthwise convolution of an inverted bottleneck."""
    return divisible(round(channels_in * expansion), multiple)


def squeezed_channels(channels: int, multiple: int = 8) -> int:
    """Channels between the two convolutions of squeeze-and-excitation."""
    return divisible(channels // 4, multiple)


def convolution(
    channels_in: int,
    channels_out: int,
    kernel: int,
    activation: Callable[[], nn.Module] | None,
    *,
    stride: int = 1,
    groups: int = 1,
    eps: float = 1e-5,
) -> nn.Sequential:
    """A convolution without bias that keeps the extent at stride 1, batch norm, and a non-linearity, if any."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out, eps=eps),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation()]))


class SqueezeExcitation(nn.Module):
    """Scales every channel by a function of the means of all channels, through a quarter of as many.

    Args:
        channels: of the input and the output.
        multiple: to a multiple of which the numbers of channels between are rounded.
    """

    def __init__(self, channels: int, multiple: int = 8) -> None:
        super().__init__()
        squeezed = squeezed_channels(channels, multiple)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the shape of the inputs."""
        means = x.mean((2, 3), keepdim=True)
        return x * nn.functional.hardsigmoid(self.expand(torch.relu(self.reduce(means))))


class InvertedBottleneck(nn.Module):
    """1×1 convolution to many channels, depthwise convolution, 1×1 convolution to few, and the input where it fits.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        kernel: of the depthwise convolution, odd.
        expansion: middle channels per input channel; with 1 there is no first convolution.
        stride: of the depthwise convolution.
        activation: makes the non-linearity behind the first two convolutions.
        excited: whether the middle channels are squeezed and excited.
        eps: of the batch norms.
        multiple: to a multiple of which the numbers of channels within are rounded.
        adds: whether the input is added where it fits.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        expansion: float,
        *,
        stride: int = 1,
        activation: Callable[[], nn.Module] = nn.ReLU,
        excited: bool = False,
        eps: float = 1e-5,
        multiple: int = 8,
        adds: bool = True,
    ) -> None:
        super().__init__()
        middle = middle_channels(channels_in, expansion, multiple)
        self.adds = adds and stride == 1 and channels_in == channels_out
        layers: dict[str, nn.Module] = {}
        if expansion != 1:
            layers["expand"] = convolution(channels_in, middle, 1, activation, eps=eps)
        layers["depthwise"] = convolution(middle, middle, kernel, activation, stride=stride, groups=middle, eps=eps)
        if excited:
            layers["excite"] = SqueezeExcitation(middle, multiple)
        layers["project"] = convolution(middle, channels_out, 1, None, eps=eps)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs `(n, channels_out, height / stride, width / stride)`."""
        inputs = x
        for layer in self.children():
            x = layer(x)
        return inputs + x if self.adds else x


class Unit(nn.Sequential):
    """A row of inverted bottlenecks, the first of which changes channels and extent.

    Args:
        channels_in: of the input.
        channels_out: of every block.
        blocks: kernel and expansion of each.
        stride: of the first block.
        options: of the blocks, as `InvertedBottleneck` takes them.
    """

    def __init__(
        self, channels_in: int, channels_out: int, blocks: Sequence[Block], stride: int, **options: Any
    ) -> None:
        super().__init__(
            *(
                InvertedBottleneck(
                    channels_out if number else channels_in,
                    channels_out,
                    kernel,
                    expansion,
                    stride=1 if number else stride,
                    **options,
                )
                for number, (kernel, expansion) in enumerate(blocks)
            )
        )


def initialise(network: nn.Module) -> None:
    """Normal weights by the number of outputs (He) for convolutions, a hundredth for linear layers, zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


EXCITED = (False, True, False, True, True)
"""Whether the blocks of a unit squeeze and excite."""
_STRIDES = (2, 2, 2, 1, 2)
_LATE = (False, False, True, True, True)  # hard swish instead of ReLU


def _channels(width: float) -> list[int]:
    """Of the stem, the first block, the five units, and the two last convolutions."""
    return [divisible(channels * width) for channels in (16, 16, 24, 40, 80, 112, 160, 960, 1280)]


def unit_channels(width: float) -> tuple[list[int], list[int]]:
    """What the five units read and write.

    Args:
        width: multiplies all numbers of channels.
    """
    channels = _channels(width)
    return channels[1:-3], channels[2:-2]


class Network(nn.Module):
    """The network of one architecture.

    Args:
        units: of the five units, kernel and expansion of each block.
        channels: of the images.
        outputs: number of classes.
        width: multiplies all numbers of channels; 1.0 and 1.2 in the paper.
        dropout: probability before the classifier.
    """

    def __init__(
        self, units: Sequence[Sequence[Block]], channels: int, outputs: int, width: float = 1.0, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "units": tuple(tuple(tuple(block) for block in unit) for unit in units),
            "channels": channels,
            "outputs": outputs,
            "width": width,
            "dropout": dropout,
        }
        stem, first, *_, final, features = _channels(width)
        before, widths = unit_channels(width)
        self.stem = convolution(channels, stem, 3, nn.Hardswish, stride=2)
        self.first = InvertedBottleneck(stem, first, 3, 1)
        self.units = nn.ModuleList(
            Unit(a, b, blocks, stride, excited=excited, activation=nn.Hardswish if late else nn.ReLU)
            for a, b, blocks, stride, excited, late in zip(before, widths, units, _STRIDES, EXCITED, _LATE, strict=True)
        )
        self.final = convolution(widths[-1], final, 1, nn.Hardswish)
        self.features = nn.Sequential(nn.Conv2d(final, features, 1, bias=False), nn.Hardswish())
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(features, outputs))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.first(self.stem(x))
        for unit in self.units:
            x = unit(x)
        outputs: Tensor = self.classifier(self.features(self.final(x).mean((2, 3), keepdim=True)))
        return outputs


_PROXYLESS_STRIDES = (2, 2, 2, 1, 2, 1)
_PROXYLESS_EPS = 1e-3  # of the batch norms


def _proxyless_channels(width: float) -> list[int]:
    """Of the stem, the first block, the six units, and the last convolution."""
    return [divisible(channels * width) for channels in (32, 16, 24, 40, 80, 96, 192, 320, 1280)]


def proxyless_unit_channels(width: float) -> tuple[list[int], list[int]]:
    """What the six units of ProxylessNAS read and write.

    Args:
        width: multiplies all numbers of channels.
    """
    channels = _proxyless_channels(width)
    return channels[1:-2], channels[2:-1]


class ProxylessNetwork(nn.Module):
    """The network of one architecture of ProxylessNAS.

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
        stem, first, *_, features = _proxyless_channels(width)
        before, widths = proxyless_unit_channels(width)
        self.stem = convolution(channels, stem, 3, nn.ReLU6, stride=2, eps=_PROXYLESS_EPS)
        self.first = InvertedBottleneck(stem, first, 3, 1, activation=nn.ReLU6, eps=_PROXYLESS_EPS)
        self.units = nn.ModuleList(
            Unit(a, b, blocks, stride, activation=nn.ReLU6, eps=_PROXYLESS_EPS)
            for a, b, blocks, stride in zip(before, widths, units, _PROXYLESS_STRIDES, strict=True)
        )
        self.features = convolution(widths[-1], features, 1, nn.ReLU6, eps=_PROXYLESS_EPS)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, outputs))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.first(self.stem(x))
        for unit in self.units:
            x = unit(x)
        outputs: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return outputs


Row = tuple[int, int, int, int]
"""Blocks, channels, kernel and expansion of one stage."""


class _First(nn.Module):
    """The first inverted bottleneck of a stage, and a shortcut that follows: pooled, then projected where channels
    differ."""

    def __init__(self, body: nn.Module, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body, self.stride = body, stride
        same = channels_in == channels_out
        self.project = nn.Identity() if same else projection(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, self.stride, padding=x.shape[-1] % 2) if self.stride > 1 else x
        outputs: Tensor = self.body(x) + self.project(pooled)
        return outputs


def projection(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Of a shortcut whose channels differ."""
    return nn.Conv2d(channels_in, channels_out, 1, bias=False)


class AttentiveNetwork(nn.Module):
    """The network of one architecture of AttentiveNAS.

    Args:
        first: channels of the first convolution.
        rows: of the seven stages, how many blocks of which channels, kernel and expansion.
        strides: of the first block of each stage.
        excited: whether the blocks of each stage squeeze and excite.
        last: features before the classifier.
        channels: of the images.
        outputs: number of classes.
        dropout: probability before the classifier.
        multiple: to a multiple of which numbers of channels within a block are rounded.
    """

    def __init__(
        self,
        first: int,
        rows: Sequence[Row],
        strides: Sequence[int],
        excited: Sequence[bool],
        last: int,
        channels: int,
        outputs: int,
        dropout: float = 0.2,
        multiple: int = 8,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "first": first,
            "rows": tuple(tuple(row) for row in rows),
            "strides": tuple(strides),
            "excited": tuple(excited),
            "last": last,
            "channels": channels,
            "outputs": outputs,
            "dropout": dropout,
            "multiple": multiple,
        }
        self.stem = convolution(channels, first, 3, nn.SiLU, stride=2)
        self.stages, before = nn.ModuleList(), first
        for (depth, after, kernel, expansion), stride, squeezes in zip(rows, strides, excited, strict=True):
            options: dict[str, Any] = {"activation": nn.SiLU, "excited": squeezes, "multiple": multiple}
            body = InvertedBottleneck(before, after, kernel, expansion, stride=stride, adds=False, **options)
            blocks: list[nn.Module] = [_First(body, before, after, stride)]
            blocks += (InvertedBottleneck(after, after, kernel, expansion, **options) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(*blocks))
            before = after
        self.final = convolution(before, 6 * before, 1, nn.SiLU)
        self.features = nn.Sequential(nn.Conv2d(6 * before, last, 1, bias=False), nn.SiLU())
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(last, outputs))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        outputs: Tensor = self.classifier(self.features(self.final(x).mean((2, 3), keepdim=True)))
        return outputs
