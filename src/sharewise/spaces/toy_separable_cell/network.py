"""The plain network of the toy separable cell, on `torch` alone, with the operations of DARTS that it needs.

Cells: reduction with C channels, normal with C, reduction with 2C; each begins with ReLU, 1×1 convolution and batch
norm, and ends with the concatenation of its two nodes. Dropout after every cell, 2×2 max pooling, a linear layer to 4C,
ReLU, dropout, linear classifier.

References:
    R. Sukthanker et al., AutoML 2024 (arXiv 2312.10440), appendix D; automl/TangleNAS,
    `toy_search_spaces/cell_topology`; the operations are those of H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CELLS", "Cell", "Network", "dilated", "operation", "preprocess", "separable"]

CELLS = (("reduction", 1), ("normal", 1), ("reduction", 2))
"""Kind of each cell and its channels in units of C."""


def separable(channels: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    """Twice ReLU, depthwise convolution, 1×1 convolution and batch norm; the stride is that of the first."""

    def half(stride: int) -> list[nn.Module]:
        return [
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        ]

    return nn.Sequential(*half(stride), *half(1))


def dilated(channels: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    """ReLU, depthwise convolution of dilation 2, 1×1 convolution and batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, kernel - 1, dilation=2, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def operation(name: str, channels: int, stride: int, affine: bool) -> nn.Sequential:
    """The module of a candidate operation."""
    match name:
        case "sep_conv_3x3" | "sep_conv_5x5":
            return separable(channels, int(name[-1]), stride, affine)
        case "dil_conv_3x3" | "dil_conv_5x5":
            return dilated(channels, int(name[-1]), stride, affine)
        case _:
            raise ValueError(f"unknown operation {name!r}")


def preprocess(channels_in: int, channels: int, affine: bool) -> nn.Sequential:
    """ReLU, 1×1 convolution and batch norm at the entrance of a cell."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=affine)
    )


class Cell(nn.Module):
    """One cell: two nodes, each the sum of its operations on all earlier ones; the output is their concatenation.

    Args:
        operations: by edge `"0_1"`, `"0_2"`, `"1_2"`.
        channels_in: of the input.
        channels: of each node.
        reduction: whether edges from the input have stride 2.
        affine: whether batch norms have a scale and a shift.
    """

    def __init__(
        self, operations: dict[str, str], channels_in: int, channels: int, reduction: bool, affine: bool
    ) -> None:
        super().__init__()
        self.preprocess = preprocess(channels_in, channels, affine)
        self.edges = nn.ModuleDict(
            {
                edge: operation(name, channels, 2 if reduction and edge.startswith("0") else 1, affine)
                for edge, name in operations.items()
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels_in, h, w)` to `(n, 2 · channels, h, w)`, or half of that resolution."""
        x = self.preprocess(x)
        first = self.edges["0_1"](x)
        return torch.cat([first, self.edges["0_2"](x) + self.edges["1_2"](first)], dim=1)


class Network(nn.Module):
    """The network of one architecture.

    Args:
        operations: by choice, `"normal_0_1"` to `"reduction_1_2"`.
        input_shape: channels, height and width of one image; height and width of at least 5.
        outputs: number of classes.
        channels: C, 32 in the paper.
        affine: whether batch norms have a scale and a shift, false in the paper.
        dropout: probability, 0.2 in the paper.
    """

    def __init__(
        self,
        operations: dict[str, str],
        input_shape: tuple[int, int, int],
        outputs: int,
        channels: int = 32,
        affine: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "operations": dict(operations),
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "channels": channels,
            "affine": affine,
            "dropout": dropout,
        }
        before, cells = input_shape[0], []
        for kind, factor in CELLS:
            edges = {name.removeprefix(f"{kind}_"): o for name, o in operations.items() if name.startswith(kind)}
            cells.append(Cell(edges, before, factor * channels, kind == "reduction", affine))
            before = 2 * factor * channels
        self.cells = nn.ModuleList(cells)
        self.dropout = nn.Dropout(dropout)
        height, width = (math.ceil(math.ceil(size / 2) / 2) // 2 for size in input_shape[1:])
        self.project = nn.Linear(4 * channels * height * width, 4 * channels)
        self.classify = nn.Linear(4 * channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        for cell in self.cells:
            x = self.dropout(cell(x))
        x = torch.relu(self.project(F.max_pool2d(x, 2).flatten(1)))
        outputs: Tensor = self.classify(self.dropout(x))
        return outputs
