"""The plain network of one cell as the one-shot network of NAS-Bench-1Shot1 has it, on `torch` alone.

Stem; three stacks of cells, with 2×2 max pooling and twice the channels C before the second and third; ReLU, 1×1
convolution and batch norm; global average pooling; linear classifier. In a cell every block has C channels: it adds its
parents, the input through a 1×1 convolution of its own, and applies its operation. The output concatenates all blocks,
zeros in the place of those that are not its parents, and adds a projection of the input where that is one. So a cell
has B · C channels, unlike in NAS-Bench-101, where the vertices that feed the output share its channels.

References:
    A. Zela, J. Siems and F. Hutter, *NAS-Bench-1Shot1*, ICLR 2020 (arXiv 2001.10422), section 3;
    automl/nasbench-1shot1, `optimizers/darts/model_search.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Cell", "Network", "convolution", "downsampling", "frame", "operation", "parse"]


def parse(form: str) -> tuple[list[str], list[list[int]]]:
    """The operation of each block, and the parents of each block and of the output, from `operation~parents|…`."""
    nodes = [node.split("~") for node in form.split("|")]
    return [name for name, _ in nodes[:-1]], [[int(p) for p in own.split(",") if p] for _, own in nodes]


def convolution(channels_in: int, channels_out: int, kernel: int, momentum: float) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out, eps=1e-5, momentum=momentum), nn.ReLU())


def operation(name: str, channels: int, momentum: float) -> nn.Module:
    """The module of an operation; all keep the shape of their input."""
    match name:
        case "conv3x3-bn-relu":
            return convolution(channels, channels, 3, momentum)
        case "conv1x1-bn-relu":
            return convolution(channels, channels, 1, momentum)
        case "maxpool3x3":
            return nn.MaxPool2d(3, stride=1, padding=1)
        case _:
            raise ValueError(f"unknown operation {name!r}")


def downsampling() -> nn.Module:
    """Between two stacks: n pixels become ⌊n/2⌋ + 1, since the authors pad."""
    return nn.MaxPool2d(2, stride=2, padding=1)


def frame(
    input_channels: int, outputs: int, channels: int, blocks: int, momentum: float
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Stem, what follows the last cell, and the classifier."""
    last = 4 * channels
    after = nn.Sequential(nn.ReLU(), nn.Conv2d(blocks * last, last, 1, bias=False), nn.BatchNorm2d(last, affine=False))
    return convolution(input_channels, channels, 3, momentum), after, nn.Linear(last, outputs)


class Cell(nn.Module):
    """One cell, mapping `(n, channels_in, height, width)` to `(n, B · channels, height, width)`."""

    def __init__(
        self, operations: list[str], parents: list[list[int]], channels_in: int, channels: int, momentum: float
    ) -> None:
        super().__init__()
        self.parents, self.channels, blocks = parents, channels, len(operations)
        self.edges = nn.ModuleDict()
        for block, name in enumerate(operations, start=1):
            if 0 in parents[block - 1]:
                self.edges[f"0_{block}"] = convolution(channels_in, channels, 1, momentum)
            if name:
                self.edges[f"block_{block}"] = operation(name, channels, momentum)
        self.skip = convolution(channels_in, blocks * channels, 1, momentum) if 0 in parents[-1] else None

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks in order."""
        nothing = torch.zeros_like(x[:, :1]).expand(-1, self.channels, -1, -1)
        values = [x]
        for block, parents in enumerate(self.parents[:-1], start=1):
            terms = [values[p] if p else self.edges[f"0_{block}"](x) for p in parents]
            for term in terms[1:]:
                terms[0] = terms[0] + term
            values.append(self.edges[f"block_{block}"](terms[0]) if terms else nothing)
        read = [value if block in self.parents[-1] else nothing for block, value in enumerate(values)]
        output = torch.cat(read[1:], dim=1)
        return output if self.skip is None else output + self.skip(x)


class Network(nn.Module):
    """The network of one cell.

    Args:
        form: `operation~parents` of every block and `output~parents`, joined by `|`; nothing on both sides of `~` where
            a block has no effect.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        channels: C of the first stack.
        cells: per stack.
        momentum: of a batch in the running statistics.
    """

    def __init__(
        self,
        form: str,
        input_shape: tuple[int, int, int],
        outputs: int,
        channels: int = 16,
        cells: int = 3,
        momentum: float = 0.997,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "form": form,
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "channels": channels,
            "cells": cells,
            "momentum": momentum,
        }
        operations, parents = parse(form)
        blocks = len(operations)
        self.stem, self.after, self.classifier = frame(input_shape[0], outputs, channels, blocks, momentum)
        self.stacks, before = nn.ModuleList(), channels
        for stack in range(3):
            width = channels * 2**stack
            layers: list[nn.Module] = [] if stack == 0 else [downsampling()]
            for _ in range(cells):
                layers.append(Cell(operations, parents, before, width, momentum))
                before = blocks * width
            self.stacks.append(nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.stem(x)
        for stack in self.stacks:
            x = stack(x)
        outputs: Tensor = self.classifier(self.after(x).mean(dim=(2, 3)))
        return outputs
