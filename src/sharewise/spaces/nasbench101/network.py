"""The plain NAS-Bench-101 network of one cell, on `torch` alone.

Skeleton: 3×3 convolution, batch norm, ReLU; three stacks of three cells, with 2×2 max pooling and twice the channels
before the second and third; global average pooling; linear classifier. Inside a cell every edge that leaves the input
is a 1×1 convolution of its own; inner vertices add their inputs, cut to the vertex's channels; the vertices that feed
the output are concatenated, and a projection of the input is added where an edge leads straight to the output.

References:
    C. Ying et al., *NAS-Bench-101*, ICML 2019 (arXiv 1902.09635), section 2 and appendix; google-research/nasbench,
    `model_builder.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Cell", "Network", "convolution", "parse", "vertex_channels"]


def parse(architecture: str) -> tuple[list[list[int]], list[str]]:
    """Sources and operation of each vertex after the input from `operation~sources|…|output~sources`."""
    vertices = [vertex.split("~") for vertex in architecture.split("|")]
    return [[int(source) for source in sources.split(",")] for _, sources in vertices], [name for name, _ in vertices]


def vertex_channels(sources: list[list[int]], channels_in: int, channels_out: int) -> list[int]:
    """Channels of every vertex: shared among those that feed the output, the widest successor's elsewhere."""
    last = len(sources)
    widths = [channels_in, *[0] * (last - 1), channels_out]
    feeding = [v for v in sources[-1] if v > 0]
    for rank, v in enumerate(feeding):
        widths[v] = channels_out // len(feeding) + int(rank < channels_out % len(feeding))
    for v in range(last - 1, 0, -1):
        if v not in feeding:
            widths[v] = max(widths[t] for t in range(v + 1, last) if v in sources[t - 1])
    if min(widths) < 1:
        raise ValueError(f"{channels_out} channels are too few for {len(feeding)} vertices that share them")
    return widths


def convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; weights drawn from a truncated normal of variance 1 / fan-in."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    # A normal cut at two standard deviations keeps 0.8796… of its standard deviation.
    deviation = (channels_in * kernel**2) ** -0.5 / 0.87962566103423978
    nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out, eps=1e-5, momentum=0.003), nn.ReLU())


def operation(name: str, channels: int) -> nn.Module:
    """The module of an operation; all keep the shape of their input."""
    match name:
        case "conv3x3-bn-relu":
            return convolution(channels, channels, 3)
        case "conv1x1-bn-relu":
            return convolution(channels, channels, 1)
        case "maxpool3x3":
            return nn.MaxPool2d(3, stride=1, padding=1)
        case _:
            raise ValueError(f"unknown operation {name!r}")


class Cell(nn.Module):
    """One cell, mapping `(n, channels_in, height, width)` to `(n, channels_out, height, width)`."""

    def __init__(self, sources: list[list[int]], operations: list[str], channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.sources = sources
        self.widths = vertex_channels(sources, channels_in, channels_out)
        self.projections = nn.ModuleDict(
            {
                str(target): convolution(channels_in, self.widths[target], 1)
                for target, from_ in enumerate(sources, start=1)
                if 0 in from_
            }
        )
        self.operations = nn.ModuleList(
            operation(name, self.widths[target]) for target, name in enumerate(operations[:-1], start=1)
        )

    def _projected(self, x: Tensor, target: int) -> Tensor:
        projected: Tensor = self.projections[str(target)](x)
        return projected

    def forward(self, x: Tensor) -> Tensor:
        """Run the vertices in order."""
        vertices = [x]
        for target, module in enumerate(self.operations, start=1):
            terms = [vertices[s][:, : self.widths[target]] for s in self.sources[target - 1] if s > 0]
            if 0 in self.sources[target - 1]:
                terms.append(self._projected(x, target))
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            vertices.append(module(total))
        feeding = [vertices[s] for s in self.sources[-1] if s > 0]
        if not feeding:
            return self._projected(x, len(self.sources))
        output = feeding[0] if len(feeding) == 1 else torch.cat(feeding, dim=1)
        return output + self._projected(x, len(self.sources)) if 0 in self.sources[-1] else output


class Network(nn.Module):
    """The network of one cell.

    Args:
        architecture: the standard string of a cell without vertices that have no effect.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        channels: of the stem and the first stack; 128 in the benchmark.
        cells: per stack; 3 in the benchmark.
    """

    def __init__(
        self,
        architecture: str,
        input_shape: tuple[int, int, int],
        outputs: int,
        channels: int = 128,
        cells: int = 3,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "architecture": architecture,
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "channels": channels,
            "cells": cells,
        }
        sources, operations = parse(architecture)
        self.stem = convolution(input_shape[0], channels, 3)
        self.stacks, before = nn.ModuleList(), channels
        for stack in range(3):
            layers: list[nn.Module] = [] if stack == 0 else [nn.MaxPool2d(2, stride=2, ceil_mode=True)]
            for _ in range(cells):
                layers.append(Cell(sources, operations, before, channels * 2**stack))
                before = channels * 2**stack
            self.stacks.append(nn.Sequential(*layers))
        self.classifier = nn.Linear(before, outputs)
        nn.init.xavier_uniform_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.stem(x)
        for stack in self.stacks:
            x = stack(x)
        outputs: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return outputs
