"""The cells of DARTS a second time, in plain tensor arithmetic: what `plain` is for NAS-Bench-201.

A normal and two reduction cells; every edge sums its eight operations one by one, on 1/K of the channels and with a
weight of its own where the method asks for that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.fidelity.plain import Draw, Norm, Search, Weights, affine_norm, by_batch, softmax

OPTIONS = (
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
EDGES = [(source, target) for target in range(2, 6) for source in range(target)]
ROWS = 2 * len(EDGES)
"""Of θ: the edges of the normal cell, then of the reduction cell; eight rows more weigh the edges into nodes."""

KINDS = (False, True, True)
"""Whether each of three cells reduces."""


def normalised(z: Tensor) -> Tensor:
    return by_batch("", z)


def reduced(w: Weights, name: str, x: Tensor) -> Tensor:
    """Two strided 1×1 convolutions of the rectified image, the second one pixel further."""
    x = x.clamp_min(0)
    halves = [x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]]
    kernels = [w[f"{name}.{half}.weight"][:, :, 0, 0] for half in ("first", "second")]
    mixed = [torch.einsum("oc,nchw->nohw", kernel, half) for kernel, half in zip(kernels, halves, strict=True)]
    return normalised(torch.cat(mixed, 1))


def separable(w: Weights, name: str, place: int, x: Tensor, stride: int, dilation: int) -> Tensor:
    kernel = w[f"{name}.{place}.weight"]
    padding = dilation * (kernel.shape[-1] // 2)
    deep = F.conv2d(x.clamp_min(0), kernel, None, stride, padding, dilation, groups=x.shape[1])
    return normalised(torch.einsum("oc,nchw->nohw", w[f"{name}.{place + 1}.weight"][:, :, 0, 0], deep))


def operation(w: Weights, name: str, option: str, x: Tensor, stride: int) -> Tensor:
    """One candidate operation other than `none`."""
    if option == "max_pool_3x3":
        return normalised(F.max_pool2d(x, 3, stride, 1))
    if option == "avg_pool_3x3":
        return normalised(F.avg_pool2d(x, 3, stride, 1) / F.avg_pool2d(torch.ones_like(x), 3, stride, 1))
    if option == "skip_connect":
        return x if stride == 1 else reduced(w, f"{name}.operations.skip_connect.1", x)
    name = f"{name}.operations.{option}"
    first = separable(w, name, 1, x, stride, 1 if option.startswith("sep") else 2)
    return separable(w, name, 5, first, 1, 1) if option.startswith("sep") else first


def edge(w: Weights, name: str, x: Tensor, gates: Tensor, stride: int, parts: int) -> Tensor:
    """Σ_o g_o o(x[: C/K]), the rest around it, and the channels of K groups interleaved."""
    size = x.shape[1] // parts
    total = sum(
        (gates[i] * operation(w, name, option, x[:, :size], stride) for i, option in enumerate(OPTIONS) if i),
        torch.zeros(()),
    )
    if parts == 1:
        return total
    rest = x[:, size:] if stride == 1 else F.max_pool2d(x[:, size:], 2)
    whole = torch.cat([total, rest], 1)
    return whole[:, [group * size + channel for channel in range(size) for group in range(parts)]]


def network(w: Weights, x: Tensor, draw: Draw, parts: int, norm: Norm) -> Tensor:
    """Class scores of three cells; norms inside cells take the statistics of the batch."""
    before = last = affine_norm(w, "stems.0.1", F.conv2d(x, w["stems.0.0.weight"], padding=1), norm)
    halve = False
    for number, reduction in enumerate(KINDS):
        name = f"cells.{number}"
        nodes = [preprocessed(w, f"{name}.preprocess0.1", before, halve)]
        nodes.append(preprocessed(w, f"{name}.preprocess1.1", last, False))
        for target in range(2, 6):
            node = torch.zeros(())
            for index, (source, end) in enumerate(EDGES):
                if end == target:
                    row = index + len(EDGES) * reduction
                    path = f"{name}.edges.{source}_{end}" + ".edge" * ((draw.edges is not None) + (parts > 1))
                    stride = 2 if reduction and source < 2 else 1
                    term = edge(w, path, nodes[source], draw.gates[row], stride, parts)
                    node = node + (term if draw.edges is None else draw.edges[row] * term)
            nodes.append(node)
        before, last, halve = last, torch.cat(nodes[2:], 1), reduction
    return last.mean((2, 3)) @ w["head.2.weight"].T + w["head.2.bias"]


def preprocessed(w: Weights, name: str, x: Tensor, halve: bool) -> Tensor:
    if halve:
        return reduced(w, name, x)
    return normalised(torch.einsum("oc,nchw->nohw", w[f"{name}.weight"][:, :, 0, 0], x.clamp_min(0)))


def drawn(of_row: Callable[[Tensor], Tensor], weighed: bool) -> Callable[[Search, str], list[Draw]]:
    """Gates and weights of edges as a function of rows of θ.

    Args:
        of_row: softmax, or the row itself on the simplex.
        weighed: whether θ has rows that weigh the edges into nodes.
    """

    def draw(s: Search, role: str) -> list[Draw]:
        theta = s.theta["theta"]
        rows = range(ROWS, len(theta)) if weighed else ()
        edges = [of_row(theta[row, : 2 + (row - ROWS) % 4]) for row in rows]
        gates = of_row(theta[:ROWS])
        return [Draw(gates, torch.ones_like(gates).bool(), edges=torch.cat(edges) if weighed else None)]

    return draw


mixture, weighed_mixture = drawn(softmax, weighed=False), drawn(softmax, weighed=True)
weighed_simplex_mixture = drawn(lambda row: row, weighed=True)
