"""The search network of DARTS in the form of its authors, and that of PC-DARTS: a module an operation.

An edge of PC-DARTS lets operations see 1/K of the channels, joins the rest, shuffles, and is weighed against the other
edges into its node.

References:
    H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055); Y. Xu et al., *PC-DARTS*, ICLR 2020 (arXiv 1907.05737).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.plain import Peer, Zero, mixed, rows

OPTIONS = (
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
STEPS = 4
EDGES = sum(2 + step for step in range(STEPS))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


class FactorizedReduce(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.first = nn.Conv2d(into, out // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(into, out // 2, 1, 2, bias=False)
        self.norm = norm(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        halves = torch.cat([self.first(x), self.second(x[:, :, 1:, 1:])], dim=1)
        out: Tensor = self.norm(halves)
        return out


def pointwise(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(into, out, 1, bias=False), norm(out))


def separable(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    deep = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, channels, bias=False)
    return [nn.ReLU(), deep, nn.Conv2d(channels, channels, 1, bias=False), norm(channels)]


def operation(option: str, channels: int, stride: int) -> nn.Module:
    """A module of an edge; poolings are normalised in a search."""
    kernel = int(option[-1]) if option[-1].isdigit() else 0
    match option:
        case "none":
            return Zero(stride)
        case "max_pool_3x3":
            return nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(channels))
        case "avg_pool_3x3":
            return nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), norm(channels))
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
        case "sep_conv_3x3" | "sep_conv_5x5":
            return nn.Sequential(*separable(channels, kernel, stride, 1), *separable(channels, kernel, 1, 1))
        case _:
            return nn.Sequential(*separable(channels, kernel, stride, 2))


class Edge(nn.Module):
    def __init__(self, channels: int, stride: int, parts: int) -> None:
        super().__init__()
        self.parts, self.width = parts, channels // parts
        self.operations = nn.ModuleList(operation(o, self.width, stride) for o in OPTIONS)
        self.pool = nn.Identity() if stride == 1 else nn.MaxPool2d(2, 2)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        if self.parts == 1:
            return mixed(self.operations, weights, x)
        seen, rest = x[:, : self.width], x[:, self.width :]
        whole = torch.cat([mixed(self.operations, weights, seen), self.pool(rest)], dim=1)
        n, channels, height, width = whole.shape
        groups = whole.view(n, self.parts, channels // self.parts, height, width)
        return torch.transpose(groups, 1, 2).contiguous().view(n, -1, height, width)


class Cell(nn.Module):
    def __init__(self, into: tuple[int, int], channels: int, reduction: bool, halve: bool, parts: int) -> None:
        super().__init__()
        self.before = FactorizedReduce(into[0], channels) if halve else pointwise(into[0], channels)
        self.last = pointwise(into[1], channels)
        self.edges = nn.ModuleList(
            Edge(channels, 2 if reduction and source < 2 else 1, parts)
            for step in range(STEPS)
            for source in range(2 + step)
        )

    def forward(self, before: Tensor, last: Tensor, weights: Tensor, inputs: Tensor | None) -> Tensor:
        states, offset = [self.before(before), self.last(last)], 0
        for _ in range(STEPS):
            numbers = range(offset, offset + len(states))
            terms = [self.edges[i](state, weights[i]) for i, state in zip(numbers, states, strict=True)]
            offset += len(states)
            weighed = terms if inputs is None else [inputs[i] * t for i, t in zip(numbers, terms, strict=True)]
            states.append(sum(weighed))
        return torch.cat(states[-STEPS:], dim=1)


class Network(nn.Module):
    def __init__(self, channels: int, layers: int, outputs: int = 10, parts: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
        self.cells, self.reductions = nn.ModuleList(), []
        into, halve = (3 * channels, 3 * channels), False
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.cells.append(Cell(into, channels, reduction, halve, parts))
            self.reductions.append(reduction)
            into, halve = (into[1], STEPS * channels), reduction
        self.pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(STEPS * channels, outputs)

    def forward(self, x: Tensor, normal: Tensor, reduce: Tensor, *inputs: Tensor) -> Tensor:
        """Class scores under softmax of the architecture parameters of both kinds of cells."""
        before = last = self.stem(x)
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            weights = F.softmax(reduce if reduction else normal, dim=-1)
            edges = _by_node(inputs[int(reduction)]) if inputs else None
            before, last = last, cell(before, last, weights, edges)
        scores: Tensor = self.classifier(torch.flatten(self.pool(last), 1))
        return scores


def _by_node(inputs: Tensor) -> Tensor:
    """Softmax over the edges into each node, one after the other."""
    parts, start = [], 0
    for step in range(STEPS):
        parts.append(F.softmax(inputs[start : start + 2 + step], dim=-1))
        start += 2 + step
    return torch.cat(parts)


def peer(channels: int, layers: int, parts: int = 1) -> Peer:
    """The search at its start: DARTS, or PC-DARTS where operations see 1/`parts` of the channels."""
    theta = [rows(EDGES, len(OPTIONS)) for _ in range(2)]
    if parts > 1:
        theta += [nn.Parameter(rows(1, EDGES).detach()[0].clone()) for _ in range(2)]
    return Peer(Network(channels, layers, parts=parts), theta)
