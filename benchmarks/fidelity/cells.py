"""The cells of DARTS a second time, in plain tensor arithmetic: what `plain` is for NAS-Bench-201.

A normal and two reduction cells; every edge sums its operations one by one, on 1/K of the channels, with kernels nested
in each other and with a weight of its own where the method asks for that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.fidelity.plain import Draw, Norm, Search, Weights, affine_norm, leaf, softmax

OPTIONS = (
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
EDGES = [(source, target) for target in range(2, 6) for source in range(target)]
ROWS = 2 * len(EDGES)
"""Of θ: the edges of the normal cell, then of the reduction cell; eight rows more weigh the edges into nodes."""

KINDS = (False, True, True)
"""Whether each of three cells reduces."""

JOINS = tuple(tuple(i for i, (_, end) in enumerate(EDGES) if end == node) for node in range(3, 6))
"""The edges of a cell that lead to a node, where they are more than two."""


def reduced(w: Weights, name: str, x: Tensor, norm: Norm) -> Tensor:
    """Two strided 1×1 convolutions of the rectified image, the second one pixel further."""
    x = x.clamp_min(0)
    halves = [x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]]
    kernels = [w[f"{name}.{half}.weight"][:, :, 0, 0] for half in ("first", "second")]
    mixed = [torch.einsum("oc,nchw->nohw", kernel, half) for kernel, half in zip(kernels, halves, strict=True)]
    return norm(name, torch.cat(mixed, 1))


def separable(w: Weights, name: str, place: int, x: Tensor, stride: int, dilation: int, norm: Norm) -> Tensor:
    within = f"{name}.{place}"
    return norm(within, deep(x, w[f"{within}.weight"], w[f"{name}.{place + 1}.weight"], stride, dilation))


def deep(x: Tensor, kernel: Tensor, point: Tensor, stride: int, dilation: int) -> Tensor:
    """A kernel per channel of the rectified image, then a 1×1 convolution."""
    padding = dilation * (kernel.shape[-1] // 2)
    channels = F.conv2d(x.clamp_min(0), kernel, None, stride, padding, dilation, groups=x.shape[1])
    return torch.einsum("oc,nchw->nohw", point[:, :, 0, 0], channels)


def operation(w: Weights, name: str, option: str, x: Tensor, stride: int, norm: Norm) -> Tensor:
    """One candidate operation other than `none`."""
    if option == "max_pool_3x3":
        return norm(f"{name}.{option}", F.max_pool2d(x, 3, stride, 1))
    if option == "avg_pool_3x3":
        return norm(f"{name}.{option}", F.avg_pool2d(x, 3, stride, 1) / F.avg_pool2d(torch.ones_like(x), 3, stride, 1))
    if option == "skip_connect":
        return x if stride == 1 else reduced(w, f"{name}.skip_connect.1", x, norm)
    name = f"{name}.{option}"
    first = separable(w, name, 1, x, stride, 1 if option.startswith("sep") else 2, norm)
    return separable(w, name, 5, first, 1, 1, norm) if option.startswith("sep") else first


def entangled(
    w: Weights, name: str, family: str, x: Tensor, draw: Draw, row: int, stride: int, published: bool, norm: Norm
) -> Tensor:
    """m · op(x) with every depthwise kernel Σ_k (g_k / m) W_k of a family, the 3×3 one the centre of the 5×5 one.

    The published form leaves the mass m = Σ_k g_k out.
    """
    places, dilation = ((1, 5), 1) if family == "sep_conv" else ((1,), 2)
    shares = {size: draw.gates[row, option] for option, size in _sizes(family) if draw.executed[row, option]}
    if not shares:
        return torch.zeros(())
    mass = torch.ones(()) if published else sum(shares.values(), torch.zeros(()))
    for place in places:
        whole = w[f"{name}.groups.{family}.layers.layers.{place}.weight"]
        nested = {5: whole, 3: F.pad(whole[..., 1:4, 1:4], (1, 1, 1, 1))}
        kernel = sum((share / mass * nested[size] for size, share in shares.items()), torch.zeros(()))
        point = w[f"{name}.groups.{family}.layers.layers.{place + 1}.weight"]
        mixed = deep(x, kernel, point, stride if place == places[0] else 1, dilation)
        x = norm(f"{name}.{family}.{place}", mixed)
    return mass * x


def _sizes(family: str) -> list[tuple[int, int]]:
    """Option and kernel of the convolutions of a family."""
    return [(OPTIONS.index(f"{family}_{size}x{size}"), size) for size in (3, 5)]


def edge(
    w: Weights, name: str, x: Tensor, draw: Draw, row: int, stride: int, parts: int, sharing: str, norm: Norm
) -> Tensor:
    """Σ_o g_o o(x[: C/K]), the rest around it, and the channels of K groups interleaved."""
    size, total, inside = x.shape[1] // parts, torch.zeros(()), f"{name}.operations"
    seen, alone = x[:, :size], OPTIONS[-draw.gates.shape[1] :]  # without `none` in the space of Fair-DARTS
    if sharing != "disjoint":
        for family in ("sep_conv", "dil_conv"):
            total = total + entangled(w, name, family, seen, draw, row, stride, sharing == "published", norm)
        alone, inside = tuple(option for option in alone if "conv" not in option), f"{name}.others.operations"
    for index, option in enumerate(alone):
        if option != "none" and draw.executed[row, index]:
            total = total + draw.gates[row, index] * operation(w, inside, option, seen, stride, norm)
    if parts == 1:
        return total
    rest = x[:, size:] if stride == 1 else F.max_pool2d(x[:, size:], 2)
    whole = torch.cat([total, rest], 1)
    return whole[:, [group * size + channel for channel in range(size) for group in range(parts)]]


def network(w: Weights, x: Tensor, draw: Draw, parts: int, norm: Norm, sharing: str) -> Tensor:
    """Class scores of three cells."""
    before = last = affine_norm(w, "stems.0.1", F.conv2d(x, w["stems.0.0.weight"], padding=1), norm)
    halve = False
    for number, reduction in enumerate(KINDS):
        name = f"cells.{number}"
        nodes = [preprocessed(w, f"{name}.preprocess0.1", before, halve, norm)]
        nodes.append(preprocessed(w, f"{name}.preprocess1.1", last, False, norm))
        for target in range(2, 6):
            node = torch.zeros(())
            for index, (source, end) in enumerate(EDGES):
                if end == target:
                    row = index + len(EDGES) * reduction
                    path = f"{name}.edges.{source}_{end}" + ".edge" * ((draw.edges is not None) + (parts > 1))
                    stride = 2 if reduction and source < 2 else 1
                    term = edge(w, path, nodes[source], draw, row, stride, parts, sharing, norm)
                    node = node + (term if draw.edges is None else draw.edges[row] * term)
            nodes.append(node)
        before, last, halve = last, torch.cat(nodes[2:], 1), reduction
    return last.mean((2, 3)) @ w["head.2.weight"].T + w["head.2.bias"]


def preprocessed(w: Weights, name: str, x: Tensor, halve: bool, norm: Norm) -> Tensor:
    if halve:
        return reduced(w, name, x, norm)
    return norm(name, torch.einsum("oc,nchw->nohw", w[f"{name}.weight"][:, :, 0, 0], x.clamp_min(0)))


def widen(s: Search, parts: int) -> None:
    """New channels copy random ones, edge by edge and layer by layer, with their momentum; one seed makes them all.

    A 1×1 convolution behind a kernel per channel reads the copies that this one has written; every other layer, and the
    norm behind a pooling, draws its own.
    """
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=s.noise["widening"])))

    def copies(size: int) -> Tensor:
        more = size * s.parts // parts - size
        return torch.cat([torch.arange(size), torch.randint(size, (more,), generator=generator)])

    def grow(name: str, outputs: Tensor, inputs: Tensor | None) -> None:
        for values in (s.w, s.buffers):
            if name in values:
                value = values[name].detach()[outputs]
                values[name] = value if inputs is None else value[:, inputs]
        s.w[name] = leaf(s.w[name])

    def widen_norm(name: str, outputs: Tensor) -> None:
        if name in s.running.found:
            mean, variance = s.running.found[name]
            s.running.found[name] = mean[outputs], variance[outputs]

    for number, reduction in enumerate(KINDS):
        width = len(s.w[f"cells.{number}.preprocess1.1.weight"])
        for (source, end), option in ((e, o) for e in EDGES for o in OPTIONS[1:]):
            name = f"cells.{number}.edges.{source}_{end}.edge.operations.{option}"
            if "pool" in option:
                widen_norm(name, copies(width // s.parts))
            elif option == "skip_connect" and reduction and source < 2:
                halves = []
                for half in ("first", "second"):
                    value = s.w[f"{name}.1.{half}.weight"]
                    halves.append(copies(len(value)))
                    grow(f"{name}.1.{half}.weight", halves[-1], copies(value.shape[1]))
                widen_norm(f"{name}.1", torch.cat([halves[0], halves[1] + width // s.parts // 2]))
            elif "conv" in option:
                for place in (1, 5) if option.startswith("sep") else (1,):
                    written = copies(len(s.w[f"{name}.{place}.weight"]))
                    grow(f"{name}.{place}.weight", written, None)
                    point = f"{name}.{place + 1}.weight"
                    outputs = copies(len(s.w[point]))
                    grow(point, outputs, written)
                    widen_norm(f"{name}.{place}", outputs)
    s.parts = parts


def drawn(of_row: Callable[[Tensor], Tensor], weighed: bool) -> Callable[[Search, str], list[Draw]]:
    """Gates and weights of edges as a function of rows of θ.

    Args:
        of_row: softmax, or the row itself on the simplex.
        weighed: whether θ has rows that weigh the edges into nodes.
    """

    def draw(s: Search, role: str) -> list[Draw]:
        theta, executed = s.theta["theta"], s.executed
        rows = range(ROWS, len(theta)) if weighed else ()
        edges = [of_row(theta[row, : 2 + (row - ROWS) % 4]) for row in rows]
        options = theta[:ROWS] if s.mask.all() else theta[:ROWS].masked_fill(~s.mask, -torch.inf)
        gates = of_row(options)
        return [Draw(gates, executed, edges=torch.cat(edges) if weighed else None)]

    return draw


mixture, weighed_mixture = drawn(softmax, weighed=False), drawn(softmax, weighed=True)
weighed_simplex_mixture = drawn(lambda row: row, weighed=True)
