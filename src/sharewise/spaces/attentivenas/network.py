"""The plain network of AttentiveNAS of one architecture, on `torch` alone.

A 3×3 convolution of stride 2; seven stages of inverted bottlenecks with swish, each block with a shortcut; a 1×1
convolution to six times the channels, global pooling, a second 1×1 convolution and the classifier.

References:
    D. Wang et al., CVPR 2021 (arXiv 2011.09011); facebookresearch/AttentiveNAS @ c4c16f1, `static_layers.py`,
    `attentive_nas_static_model.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.spaces.mobilenetv3.network import InvertedBottleneck, convolution, initialise

__all__ = ["Network"]

Row = tuple[int, int, int, int]
"""Blocks, channels, kernel and expansion of one stage."""


class _Reshaping(nn.Module):
    """An inverted bottleneck that changes the shape, and a shortcut that follows: pooled, then projected where channels
    differ."""

    def __init__(self, body: nn.Module, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body, self.stride = body, stride
        same = channels_in == channels_out
        self.project = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, self.stride, padding=x.shape[-1] % 2) if self.stride > 1 else x
        outputs: Tensor = self.body(x) + self.project(pooled)
        return outputs


def _block(channels_in: int, channels_out: int, stride: int, kernel: int, expansion: int, excited: bool) -> nn.Module:
    body = InvertedBottleneck(
        channels_in, channels_out, kernel, expansion, stride=stride, activation=nn.SiLU, excited=excited
    )
    return body if body.adds else _Reshaping(body, channels_in, channels_out, stride)


class Network(nn.Module):
    """The network of one architecture.

    Args:
        first: channels of the first convolution.
        rows: of the seven stages, how many blocks of which channels, kernel and expansion.
        strides: of the first block of each stage.
        excited: whether the blocks of each stage squeeze and excite.
        last: features before the classifier.
        channels: of the images.
        outputs: number of classes.
        dropout: probability before the classifier.
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
        }
        self.stem = convolution(channels, first, 3, nn.SiLU, stride=2)
        self.stages, before = nn.ModuleList(), first
        for (depth, after, kernel, expansion), stride, squeezes in zip(rows, strides, excited, strict=True):
            blocks = []
            for n in range(depth):
                blocks.append(_block(before, after, 1 if n else stride, kernel, expansion, squeezes))
                before = after
            self.stages.append(nn.Sequential(*blocks))
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
