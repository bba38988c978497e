"""DARTS on NAS-Bench-201, in the style of AutoDL-Projects: five modules an edge, five products, a sum.

As there, norms of cells keep no running statistics, and convolutions before norms that learn no shift have one, which
the norms take out again: it is zero at the start, has no gradient but rounding, and costs its operations.

References:
    X. Dong and Y. Yang, *NAS-Bench-201*, ICLR 2020 (arXiv 2001.00326); H. Liu et al., *DARTS*, ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.plain import Peer, Zero, rows

OPTIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = [(source, target) for target in range(1, 4) for source in range(target)]


def convolution(into: int, out: int, kernel: int, stride: int = 1, affine: bool = True) -> nn.Sequential:
    """Inside of cells norms learn nothing; outside they do."""
    layer = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=not affine)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.ReLU(), layer, nn.BatchNorm2d(out, affine=affine, track_running_stats=affine))


def operation(option: str, channels: int) -> nn.Module:
    """A module of an edge."""
    makers = {
        "none": Zero,
        "skip_connect": nn.Identity,
        "nor_conv_1x1": lambda: convolution(channels, channels, 1, affine=False),
        "nor_conv_3x3": lambda: convolution(channels, channels, 3, affine=False),
        "avg_pool_3x3": lambda: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
    }
    made: nn.Module = makers[option]()
    return made


class Cell(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(nn.ModuleList(operation(o, channels) for o in OPTIONS) for _ in EDGES)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """All operations of all edges."""
        nodes = [x]
        for target in range(1, 4):
            terms = []
            for index, (source, end) in enumerate(EDGES):
                if end == target:
                    operations = zip(self.edges[index], weights[index], strict=True)  # type: ignore[call-overload]
                    terms.append(sum(layer(nodes[source]) * w for layer, w in operations))
            nodes.append(sum(terms))
        return nodes[-1]

    def path(self, x: Tensor, choice: Sequence[int]) -> Tensor:
        """One operation an edge."""
        nodes = [x]
        for target in range(1, 4):
            terms = []
            for index, (source, end) in enumerate(EDGES):
                if end == target:
                    terms.append(self.edges[index][choice[index]](nodes[source]))  # type: ignore[index]
            nodes.append(sum(terms))  # type: ignore[arg-type]
        return nodes[-1]


class Reduction(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first, self.second = convolution(into, out, 3, 2), convolution(out, out, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(into, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(self.first(x))
        total: Tensor = self.shortcut(x) + residual
        return total


class Network(nn.Module):
    def __init__(self, channels: int, cells: int, outputs: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.last = nn.Sequential(nn.BatchNorm2d(4 * channels), nn.ReLU())
        self.pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(4 * channels, outputs)
        self.stages = nn.ModuleList(
            nn.ModuleList(Cell(channels * 2**stage) for _ in range(cells)) for stage in range(3)
        )
        self.reductions = nn.ModuleList(Reduction(channels * 2**i, channels * 2 ** (i + 1)) for i in range(2))

    def features(self, x: Tensor, cell: str, how: object) -> Tensor:
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            x = self.reductions[number - 1](x) if number else x
            for each in stage:  # type: ignore[attr-defined]
                x = each(x, how) if cell == "mixture" else each.path(x, how)
        scores: Tensor = self.classifier(torch.flatten(self.pool(self.last(x)), 1))
        return scores

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """Class scores under softmax(θ)."""
        return self.features(x, "mixture", torch.softmax(theta, dim=-1))

    def path(self, x: Tensor, choice: Sequence[int]) -> Tensor:
        """Class scores of one architecture."""
        return self.features(x, "path", choice)


def peer(channels: int, cells: int) -> Peer:
    """The search at its start."""
    network = Network(channels, cells)
    own = [p for name, p in network.named_parameters() if not (name.startswith("stages.") and name.endswith(".bias"))]
    return Peer(network, [rows(len(EDGES), len(OPTIONS))], own)
