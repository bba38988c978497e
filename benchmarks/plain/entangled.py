"""Entangled weights in the style of TangleNAS: every combination of choices is sliced, padded, weighed and added.

A layer mixes its weight W first, Σ_c g_c · pad(W[slice of c]) over all combinations c of its choices, with g_c the
product of their weights, and likewise shifts and norms; it then runs once. Both dimensions of every layer are scaled
(`published=True` of the sliced layers).

References:
    R. Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search*, AutoML 2024 (arXiv
    2312.10440), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Choices", "convolutional", "transformer"]

Weights = Sequence[Tensor]
"""Of every decision, in the order of the network's list."""


@dataclass(frozen=True)
class Choices:
    """Sizes along one dimension, chosen by one decision; of a kernel, which is centred, or leading ones."""

    decision: int
    sizes: Sequence[int]
    centred: bool = False


Axes = Sequence[Choices | None]


def superposed(tensor: Tensor, axes: Axes, g: Weights) -> Tensor:
    """Σ_c g_c · pad(slice of c), one combination after the other."""
    found = [axis for axis in axes if axis is not None]
    if not found:
        return tensor
    total: Tensor | None = None
    for combination in product(*(range(len(axis.sizes)) for axis in found)):
        part, margins, scale = tensor, [0, 0] * tensor.dim(), torch.ones((), dtype=tensor.dtype)
        options = iter(combination)
        for place, axis in enumerate(axes):
            if axis is None:
                continue
            option = next(options)
            size, scale = axis.sizes[option], scale * g[axis.decision][option]
            for dimension in (2, 3) if axis.centred else (place,):
                left = (tensor.shape[dimension] - size) // 2 if axis.centred else 0
                part = part.narrow(dimension, left, size)
                at = 2 * (tensor.dim() - 1 - dimension)
                margins[at : at + 2] = [left, tensor.shape[dimension] - size - left]
        term = scale * F.pad(part, margins)
        total = term if total is None else total + term
    assert total is not None
    return total


class Mixed(nn.Module):
    """A layer whose tensors are superposed, or a module without choices.

    Args:
        layer: of the largest size.
        axes: choices along each dimension of the weight; of a bias, of the first.
        stacks: blocks of outputs, each with choices of its own.
    """

    def __init__(self, layer: nn.Module, axes: Axes = (), stacks: int = 1) -> None:
        super().__init__()
        self.layer, self.axes, self.stacks = layer, axes, stacks

    def forward(self, x: Tensor, g: Weights) -> Tensor:
        layer, tensors = self.layer, []
        for tensor, axes in ((layer.weight, self.axes), (layer.bias, self.axes[:1])):
            if tensor is None:
                tensors.append(None)
                continue
            blocks = [superposed(block, axes, g) for block in tensor.chunk(self.stacks)]
            tensors.append(torch.cat(blocks) if self.stacks > 1 else blocks[0])
        weight, bias = tensors
        if isinstance(layer, nn.Conv2d):
            return F.conv2d(x, weight, bias, layer.stride, layer.padding)
        if isinstance(layer, nn.BatchNorm2d):
            layer.num_batches_tracked.add_(1)
            return F.batch_norm(x, layer.running_mean, layer.running_var, weight, bias, True, 0.1, layer.eps)
        if isinstance(layer, nn.LayerNorm):
            return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
        return F.linear(x, weight, bias)


class Attention(nn.Module):
    def __init__(self, features: int, width: Choices, heads: int, size: int, chosen: Choices) -> None:
        super().__init__()
        inner = Choices(chosen.decision, [number * size for number in chosen.sizes])
        self.heads = heads
        self.qkv = Mixed(nn.Linear(features, 3 * heads * size), (inner, width), stacks=3)
        self.projection = Mixed(nn.Linear(heads * size, features), (width, inner))

    def forward(self, x: Tensor, g: Weights) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x, g).chunk(3, -1))
        mixed: Tensor = self.projection(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), g)
        return mixed


class Block(nn.Module):
    def __init__(self, features: int, width: Choices, size: int, heads: Choices, hidden: Choices) -> None:
        super().__init__()
        most = hidden.sizes[-1]
        self.norm1 = Mixed(nn.LayerNorm(features), (width,))
        self.attention = Attention(features, width, heads.sizes[-1], size, heads)
        self.norm2 = Mixed(nn.LayerNorm(features), (width,))
        self.expand = Mixed(nn.Linear(features, most), (hidden, width))
        self.contract = Mixed(nn.Linear(most, features), (width, hidden))

    def forward(self, x: Tensor, g: Weights) -> Tensor:
        x = x + self.attention(self.norm1(x, g), g)
        branch: Tensor = self.contract(F.gelu(self.expand(self.norm2(x, g), g)), g)
        return x + branch


class Convolutions(nn.Module):
    def __init__(self, widths: Sequence[Choices], kernels: Sequence[Choices]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before: Choices | None = None
        for width, kernel in zip(widths, kernels, strict=True):
            into, largest = 3 if before is None else before.sizes[-1], kernel.sizes[-1]
            layer = nn.Conv2d(into, width.sizes[-1], largest, padding=largest // 2, bias=False)
            layers += [Mixed(layer, (width, before, kernel)), Mixed(nn.BatchNorm2d(width.sizes[-1]), (width,))]
            before = width
        assert before is not None
        self.layers = nn.ModuleList(layers)
        self.classifier = Mixed(nn.Linear(before.sizes[-1], 10), (None, before))

    def forward(self, x: Tensor, g: Weights) -> Tensor:
        """Class scores under the weights of all decisions."""
        for number, layer in enumerate(self.layers):
            x = layer(x, g)
            x = F.max_pool2d(x.relu(), 2) if number % 2 else x
        scores: Tensor = self.classifier(x.mean((2, 3)), g)
        return scores


class Tokens(nn.Module):
    def __init__(self, into: int, width: Choices, blocks: Sequence[Block], depth: Choices) -> None:
        super().__init__()
        features = width.sizes[-1]
        self.embedding = Mixed(nn.Linear(into, features), (width, None))
        self.blocks, self.depth = nn.ModuleList(blocks), depth
        self.norm = Mixed(nn.LayerNorm(features), (width,))
        self.classifier = Mixed(nn.Linear(features, 10), (None, width))

    def forward(self, x: Tensor, g: Weights) -> Tensor:
        """Class scores; the depths are mixed as Σ_d g_d · x^(d)."""
        x = self.embedding(x, g)
        prefixes = [x]
        for block in self.blocks:
            x = block(x, g)
            prefixes.append(x)
        weights = g[self.depth.decision]
        x = sum(w * prefixes[d] for w, d in zip(weights, self.depth.sizes, strict=True))  # type: ignore[assignment]
        scores: Tensor = self.classifier(self.norm(x, g).mean(1), g)
        return scores


def convolutional(options: Sequence[Sequence[int]]) -> Convolutions:
    """Convolutions in a row.

    Args:
        options: of every decision: kernels and widths of the layers in turn.
    """
    choices = [Choices(number, sizes, centred=number % 2 == 0) for number, sizes in enumerate(options)]
    return Convolutions(choices[1::2], choices[::2])


def transformer(options: Sequence[Sequence[int]], head_size: int, into: int) -> Tokens:
    """Transformer blocks of one width.

    Args:
        options: of every decision: the width, heads and hidden size of every block in turn, the depth.
        head_size: of every head.
        into: features of a token.
    """
    width, *inner, depth = [Choices(number, sizes) for number, sizes in enumerate(options)]
    blocks = [
        Block(width.sizes[-1], width, head_size, heads, hidden)
        for heads, hidden in zip(inner[::2], inner[1::2], strict=True)
    ]
    return Tokens(into, width, blocks, depth)
