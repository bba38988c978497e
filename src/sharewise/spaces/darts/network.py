"""The plain network of DARTS cells, on `torch` alone: its CIFAR and its ImageNet form.

Skeleton: a stem; L cells, of which numbers ⌊L/3⌋ and ⌊2L/3⌋ are reduction cells, which halve the resolution and double
the width; global average pooling and a linear classifier. A cell reads the outputs of the two cells before it, each
through ReLU, 1×1 convolution and batch norm, and concatenates its nodes.

References:
    H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 3 and appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "AuxiliaryHead",
    "Cell",
    "FactorizedReduce",
    "Network",
    "Noise",
    "classifier",
    "operation",
    "plan",
    "preprocess",
    "stemmed",
    "stems",
]

Operations = Sequence[tuple[str, int, int]]
"""Of a cell: operation, node that it leads to, node that it comes from."""

NODES = (2, 3, 4, 5)


class FactorizedReduce(nn.Module):
    """Two strided 1×1 convolutions, the second of the image shifted by one pixel, side by side.

    In an image of odd side the shifted one lacks its last pixel, which is zero then, so that both have ⌈side / 2⌉.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        if channels_out % 2:
            raise ValueError(f"a factorised reduction makes an even number of channels, not {channels_out}")
        self.first = nn.Conv2d(channels_in, channels_out // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(channels_in, channels_out // 2, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels_in, h, w)` to `(n, channels_out, ⌈h/2⌉, ⌈w/2⌉)`."""
        height, width = x.shape[-2:]
        shifted = x[:, :, 1:, 1:]
        if height % 2 or width % 2:
            shifted = F.pad(shifted, (0, width % 2, 0, height % 2))
        return torch.cat([self.first(x), self.second(shifted)], dim=1)


class Noise(nn.Module):
    """Standard normal noise of the shape that the input has after the stride; the input is not read.

    In training mode it comes from the global generator, as dropout does; in evaluation mode from a generator of its own
    that begins anew at every call, so that a network is a function then.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, c, h, w)` to noise of `(n, c, ⌈h/stride⌉, ⌈w/stride⌉)`."""
        like = x[:, :, :: self.stride, :: self.stride]
        if self.training:
            return torch.randn_like(like)
        generator = torch.Generator().manual_seed(0)
        return torch.randn(like.shape, generator=generator).to(like)


def norm(channels: int, affine: bool) -> nn.BatchNorm2d:
    """Batch norm, with or without a scale and a shift."""
    return nn.BatchNorm2d(channels, affine=affine)


def preprocess(channels_in: int, channels: int, halve: bool, affine: bool) -> nn.Sequential:
    """What a cell reads an earlier cell through; halved where that cell came before a reduction."""
    change = FactorizedReduce(channels_in, channels) if halve else nn.Conv2d(channels_in, channels, 1, bias=False)
    return nn.Sequential(nn.ReLU(), change, norm(channels, affine))


def separable(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    """ReLU, depthwise convolution, 1×1 convolution, batch norm."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        norm(channels, affine),
    ]


def pooling(layer: nn.Module, channels: int, normed: bool) -> nn.Module:
    """A pooling, followed by a batch norm that learns nothing where it is `normed`."""
    return nn.Sequential(layer, norm(channels, affine=False)) if normed else layer


def operation(name: str, channels: int, stride: int, affine: bool = True, normed_pools: bool = False) -> nn.Module:
    """The module of a candidate operation other than `none`.

    Args:
        name: of the operation.
        channels: of input and output.
        stride: 1, or 2 on the edges from the inputs of a reduction cell.
        affine: whether batch norms learn a scale and a shift.
        normed_pools: whether a batch norm without them follows each pooling, as in the search of DARTS.
    """
    match name:
        case "max_pool_3x3":
            return pooling(nn.MaxPool2d(3, stride, 1), channels, normed_pools)
        case "avg_pool_3x3":
            return pooling(nn.AvgPool2d(3, stride, 1, count_include_pad=False), channels, normed_pools)
        case "skip_connect" if stride == 1:
            return nn.Identity()
        case "skip_connect":
            return preprocess(channels, channels, True, affine)
        case "sep_conv_3x3" | "sep_conv_5x5":
            kernel = int(name[-1])
            halves = [separable(channels, kernel, each, 1, affine) for each in (stride, 1)]
            return nn.Sequential(*halves[0], *halves[1])
        case "dil_conv_3x3" | "dil_conv_5x5":
            return nn.Sequential(*separable(channels, int(name[-1]), stride, 2, affine))
        case "noise":
            return Noise(stride)
        case _:
            raise ValueError(f"unknown operation {name!r}")


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole examples with the given probability and scale the others up, keeping the expectation."""
    keep = 1.0 - probability
    mask = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < keep
    return x * (mask.to(x.dtype) / keep)


class Cell(nn.Module):
    """One cell: node j is the sum of its operations, zero where it has none; the output holds some of the nodes."""

    def __init__(
        self,
        operations: Operations,
        channels_in: tuple[int, int],
        channels: int,
        reduction: bool,
        halve: bool,
        affine: bool,
        normed_pools: bool,
        outputs: tuple[int, ...] = NODES,
    ) -> None:
        super().__init__()
        self.preprocess0 = preprocess(channels_in[0], channels, halve, affine)
        self.preprocess1 = preprocess(channels_in[1], channels, False, affine)
        edges: dict[tuple[int, int], dict[str, nn.Module]] = {}
        for name, target, source in operations:
            stride = 2 if reduction and source < 2 else 1
            edges.setdefault((target, source), {})[name] = operation(name, channels, stride, affine, normed_pools)
        self.edges = nn.ModuleDict(
            {f"{source}_{target}": together(edges[target, source]) for target, source in sorted(edges)}
        )
        self.sources = {node: [source for target, source in sorted(edges) if target == node] for node in NODES}
        self.outputs = outputs
        self.stride = 2 if reduction else 1
        self.drop_path_probability = 0.0

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Map the outputs of the cell before the last and of the last one to that of this cell."""
        nodes = [self.preprocess0(x0), self.preprocess1(x1)]
        nothing = nodes[0][:, :, :: self.stride, :: self.stride]
        for node in NODES:
            total: Tensor | None = None
            for source in self.sources[node]:
                edge = self.edges[f"{source}_{node}"]
                term: Tensor = edge(nodes[source])
                if self.training and self.drop_path_probability > 0 and not isinstance(edge, nn.Identity):
                    term = drop_path(term, self.drop_path_probability)
                total = term if total is None else total + term
            nodes.append(torch.zeros_like(nothing) if total is None else total)
        return torch.cat([nodes[node] for node in self.outputs], dim=1)


class Several(nn.ModuleDict):
    """The sum of several operations on one edge, by name."""

    def forward(self, x: Tensor) -> Tensor:
        """The sum, in the order of the names."""
        first, *others = [module(x) for module in self.values()]
        for term in others:
            first = first + term
        total: Tensor = first
        return total


def together(operations: dict[str, nn.Module]) -> nn.Module:
    """One operation by itself, or the sum of several."""
    return next(iter(operations.values())) if len(operations) == 1 else Several(operations)


def output_nodes(operations: Operations) -> tuple[int, ...]:
    """The nodes whose concatenation is the output: those that have an input; all of them where none has."""
    found = {target for _, target, _ in operations}
    return tuple(node for node in NODES if node in found or not found)


class AuxiliaryHead(nn.Module):
    """A second classifier on the features after the second reduction, for training only.

    Args:
        channels: of the features.
        outputs: number of classes.
        stem: `"cifar"`, which pools features of 8×8 with stride 3, or `"imagenet"`, which pools those of 7×7 with
            stride 2 and lacks the second batch norm, as the published experiments do.
    """

    def __init__(self, channels: int, outputs: int, stem: str) -> None:
        super().__init__()
        last = [nn.BatchNorm2d(768)] if stem == "cifar" else []
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, 3 if stem == "cifar" else 2, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *last,
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(768, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels, h, w)` to `(n, outputs)`."""
        outputs: Tensor = self.layers(x)
        return outputs


_SIDES = {"cifar": (4, range(8, 11), 32), "imagenet": (32, range(7, 9), 224)}
"""By how much images have shrunk where the auxiliary head reads, which sides it takes, which images it is meant for."""


def check_auxiliary(input_shape: Sequence[int], stem: str) -> None:
    """Refuse an auxiliary head whose pooling does not end at 2×2."""
    shrunk, legal, meant = _SIDES[stem]
    sides = [-(-side // shrunk) for side in input_shape[1:]]
    if not all(side in legal for side in sides):
        raise ValueError(
            f"the auxiliary head of the {stem} network of DARTS needs features of {legal[0]}x{legal[0]}, that is "
            f"images of {meant}x{meant}; images of {input_shape[1]}x{input_shape[2]} give {sides[0]}x{sides[1]}: "
            "set auxiliary_weight to 0"
        )


def stems(stem: str, channels_in: int, channels: int) -> list[nn.Sequential]:
    """One 3×3 convolution, or two of stride 2 and a third that only the second input of the first cell passes."""
    first = [nn.Conv2d(channels_in, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)]
    if stem == "cifar":
        return [nn.Sequential(*first)]
    if channels % 2:
        raise ValueError(f"the imagenet stem needs an even number of channels, not {channels}")
    return [
        nn.Sequential(
            nn.Conv2d(channels_in, channels // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
        ),
        nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)),
    ]


def plan(
    stem: str, channels: int, layers: int, widths: dict[bool, int]
) -> list[tuple[tuple[int, int], int, bool, bool]]:
    """Of every cell: channels of its two inputs, its width, whether it reduces, and whether its first input is halved.

    Args:
        stem: `"cifar"` or `"imagenet"`.
        channels: C.
        layers: L, at least 3.
        widths: how many nodes the output of a normal (`False`) and of a reduction cell (`True`) has.
    """
    first = 3 * channels if stem == "cifar" else channels
    inputs, halve, width, cells = (first, first), stem == "imagenet", channels, []
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        width *= 2 if reduction else 1
        cells.append((inputs, width, reduction, halve))
        inputs, halve = (inputs[1], widths[reduction] * width), reduction
    return cells


def classifier(channels: int, outputs: int) -> nn.Sequential:
    """Global average pooling and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def stemmed(stems: nn.ModuleList, x: Tensor) -> tuple[Tensor, Tensor]:
    """The two inputs of the first cell: the output of the stem twice, or of both of its parts."""
    first: Tensor = stems[0](x)
    return first, stems[1](first) if len(stems) > 1 else first


class Network(nn.Module):
    """The network of one architecture.

    Args:
        normal: operations of the normal cell, as triples of operation, node and input.
        reduce: operations of the reduction cell.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        channels: C; 36 in the published CIFAR networks, 48 on ImageNet.
        layers: L; 20 in the published CIFAR networks, 14 on ImageNet.
        stem: `"cifar"`, or `"imagenet"` for images that are first made 8 times smaller.
        affine: whether the batch norms inside cells have a scale and a shift, true in the published networks.
        normed_pools: whether a batch norm follows each pooling, which only search networks have.
        auxiliary: whether to add an auxiliary classifier after cell ⌊2L/3⌋; in training mode the network then returns
            a pair of outputs.
        narrow: whether nodes without inputs leave the output of their cell, where others remain; if not, they are zero.
    """

    def __init__(
        self,
        normal: Operations,
        reduce: Operations,
        input_shape: tuple[int, int, int],
        outputs: int,
        channels: int = 16,
        layers: int = 8,
        stem: str = "cifar",
        affine: bool = True,
        normed_pools: bool = False,
        auxiliary: bool = False,
        narrow: bool = True,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "normal": [tuple(item) for item in normal],
            "reduce": [tuple(item) for item in reduce],
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "channels": channels,
            "layers": layers,
            "stem": stem,
            "affine": affine,
            "normed_pools": normed_pools,
            "auxiliary": auxiliary,
            "narrow": narrow,
        }
        operations = {False: normal, True: reduce}
        nodes = {reduction: output_nodes(found) if narrow else NODES for reduction, found in operations.items()}
        widths = {reduction: len(found) for reduction, found in nodes.items()}
        planned = plan(stem, channels, layers, widths)
        self.stems = nn.ModuleList(stems(stem, input_shape[0], channels))
        self.cells = nn.ModuleList(
            Cell(operations[reduction], inputs, width, reduction, halve, affine, normed_pools, nodes[reduction])
            for inputs, width, reduction, halve in planned
        )
        self.head = classifier(widths[planned[-1][2]] * planned[-1][1], outputs)
        self.second_reduction = 2 * layers // 3
        self.auxiliary: AuxiliaryHead | None = None
        if auxiliary:
            check_auxiliary(input_shape, stem)
            self.auxiliary = AuxiliaryHead(widths[True] * planned[self.second_reduction][1], outputs, stem)

    def set_drop_path(self, probability: float) -> None:
        """Drop each edge's output (other than a skip connection) with this probability while training."""
        for module in self.modules():
            if isinstance(module, Cell):
                module.drop_path_probability = probability

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map images to class scores `(n, outputs)`."""
        before, last = stemmed(self.stems, x)
        auxiliary: Tensor | None = None
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if index == self.second_reduction and self.auxiliary is not None and self.training:
                auxiliary = self.auxiliary(last)
        outputs: Tensor = self.head(last)
        return outputs if auxiliary is None else (outputs, auxiliary)
