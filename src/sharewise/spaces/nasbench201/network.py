"""The plain NAS-Bench-201 network of one architecture, on `torch` alone.

Skeleton: 3×3 convolution and batch norm; three stages of cells with C, 2C and 4C channels, a residual block of stride 2
between stages; batch norm, ReLU, global average pooling, linear classifier.

References:
    X. Dong and Y. Yang, *NAS-Bench-201*, ICLR 2020 (arXiv 2001.00326), figure 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["AuxiliaryHead", "Cell", "Network", "ResidualBlock", "operation"]


def parse(architecture: str) -> dict[tuple[int, int], str]:
    """Operations by edge (source, target) from `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
    edges = {}
    for target, node in enumerate(architecture.split("+"), start=1):
        for token in node.strip("|").split("|"):
            name, source = token.split("~")
            edges[int(source), target] = name
    return edges


def convolution(channels_in: int, channels_out: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    """ReLU, convolution without bias, batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out, affine=affine),
    )


def operation(name: str, channels: int, affine: bool) -> nn.Module:
    """The module of a candidate operation other than `none`; all keep the shape of their input."""
    match name:
        case "skip_connect":
            return nn.Identity()
        case "nor_conv_1x1":
            return convolution(channels, channels, 1, 1, affine)
        case "nor_conv_3x3":
            return convolution(channels, channels, 3, 1, affine)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        case _:
            raise ValueError(f"unknown operation {name!r}")


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole examples with the given probability and scale the others up, keeping the expectation."""
    keep = 1.0 - probability
    mask = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < keep
    return x * (mask.to(x.dtype) / keep)


class Cell(nn.Module):
    """One cell: node j is the sum over i < j of operation(i, j) applied to node i; node 3 is the output."""

    def __init__(self, operations: dict[tuple[int, int], str], channels: int, affine: bool) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                f"edge_{s}_{t}": operation(name, channels, affine)
                for (s, t), name in operations.items()
                if name != "none"
            }
        )
        self.drop_path_probability = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels, height, width)` to the same shape."""
        nodes = [x]
        for target in range(1, 4):
            total: Tensor | None = None
            for source in range(target):
                name = f"edge_{source}_{target}"
                if name in self.edges:
                    edge = self.edges[name]
                    term: Tensor = edge(nodes[source])
                    if self.training and self.drop_path_probability > 0 and not isinstance(edge, nn.Identity):
                        term = drop_path(term, self.drop_path_probability)
                    total = term if total is None else total + term
            nodes.append(torch.zeros_like(x) if total is None else total)
        return nodes[-1]


class ResidualBlock(nn.Module):
    """The block between stages: halves the resolution and changes the number of channels."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = convolution(channels_in, channels_out, 3, 2, affine=True)
        self.second = convolution(channels_out, channels_out, 3, 1, affine=True)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(channels_in, channels_out, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels_in, h, w)` to `(n, channels_out, ⌈h/2⌉, ⌈w/2⌉)`."""
        shortcut: Tensor = self.shortcut(x)
        residual: Tensor = self.second(self.first(x))
        return shortcut + residual


class AuxiliaryHead(nn.Module):
    """A second classifier on intermediate features, for training only."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(768, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels, h, w)` to `(n, outputs)`."""
        outputs: Tensor = self.layers(x)
        return outputs


class Network(nn.Module):
    """The network of one architecture.

    Args:
        architecture: the standard string.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        channels: C of the first stage, 16 in the benchmark.
        cells: cells per stage, 5 in the benchmark.
        affine: whether the batch norms inside cells have a scale and a shift, true in the benchmark.
        auxiliary: whether to add an auxiliary classifier after the second stage; in training mode the network then
            returns a pair of outputs.
    """

    def __init__(
        self,
        architecture: str,
        input_shape: tuple[int, int, int],
        outputs: int,
        channels: int = 16,
        cells: int = 5,
        affine: bool = True,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "architecture": architecture,
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "channels": channels,
            "cells": cells,
            "affine": affine,
            "auxiliary": auxiliary,
        }
        operations = parse(architecture)
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(Cell(operations, channels * 2**stage, affine) for _ in range(cells)) for stage in range(3)
        )
        self.reductions = nn.ModuleList(ResidualBlock(channels * 2**i, channels * 2 ** (i + 1)) for i in range(2))
        self.head = nn.Sequential(
            nn.BatchNorm2d(4 * channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * channels, outputs),
        )
        self.auxiliary = AuxiliaryHead(2 * channels, outputs) if auxiliary else None

    def set_drop_path(self, probability: float) -> None:
        """Drop each edge's output (other than a skip connection) with this probability while training."""
        for module in self.modules():
            if isinstance(module, Cell):
                module.drop_path_probability = probability

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map images to class scores `(n, outputs)`."""
        x = self.stem(x)
        auxiliary: Tensor | None = None
        for index, stage in enumerate(self.stages):
            if index > 0:
                x = self.reductions[index - 1](x)
            for cell in stage:  # type: ignore[attr-defined]
                x = cell(x)
            if index == 1 and self.auxiliary is not None and self.training:
                auxiliary = self.auxiliary(x)
        outputs: Tensor = self.head(x)
        return outputs if auxiliary is None else (outputs, auxiliary)
