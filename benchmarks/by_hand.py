"""Supernets written by hand with sliced layers, as twins of what `elastic` makes of plain networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.space import Decision, Space
from sharewise.spaces.conv_macro.network import classifier, flat_features
from sharewise.spaces.conv_macro.space import CHANNELS
from sharewise.supernet import (
    Dimension,
    Gates,
    SlicedAttention,
    SlicedConv2d,
    SlicedDepth,
    SlicedLayerNorm,
    SlicedLinear,
    SlicedMLP,
    SlicedResidual,
    SlicedSequential,
)


class ConvMacroByHand(nn.Module):
    """All networks of conv-macro in the largest one.

    Args:
        space: conv-macro.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        options: `ConvMacroOptions`.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: Any) -> None:
        super().__init__()
        decisions, published = {d.name: d for d in space.relaxation.decisions}, options.published
        layers: list[nn.Module] = []
        before: int | Dimension = input_shape[0]
        for number, channels in enumerate(CHANNELS, start=1):
            sizes = tuple(c // options.divisor for c in channels)
            after = Dimension.over(decisions[f"channels_{number}"], sizes)
            layers.append(SlicedConv2d(before, after, decisions[f"kernel_{number}"], published=published))
            before = after
        self.convolutions = nn.ModuleList(layers)
        self.closing = SlicedConv2d(before, 256 // options.divisor, 7, padding=2, published=published)
        self.dropout = nn.Dropout2d(options.dropout)
        shape = (input_shape[0], input_shape[1], input_shape[2])
        self.classifier = classifier(flat_features(shape, options.divisor), outputs, options.divisor)

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Class scores."""
        for layer, convolution in enumerate(self.convolutions):
            x = torch.relu(convolution(x, gates))
            if layer == 2:
                x = self.dropout(x)
            if layer in (1, 2):
                x = F.max_pool2d(x, 2)
        outputs: Tensor = self.classifier(self.dropout(self.closing(x, gates)))
        return outputs


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        total: Tensor = x + self.branch(x)
        return total


class Attention(nn.Module):
    """Attention of heads of a fixed size, as users write it."""

    def __init__(self, features: int, heads: int, size: int) -> None:
        super().__init__()
        self.size, self.qkv = size, nn.Linear(features, 3 * heads * size)
        self.projection = nn.Linear(heads * size, features)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, tokens, features)` to the same shape."""
        q, k, v = (part.unflatten(-1, (-1, self.size)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        outputs: Tensor = self.projection(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return outputs


class Pooled(nn.Module):
    """The mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, tokens, features)` to `(n, features)`."""
        return x.mean(1)


def transformer(features: int, blocks: int, heads: int = 8) -> tuple[nn.Module, SlicedSequential, list[Decision]]:
    """A plain transformer, its hand-written supernet, and the decisions.

    Width, heads, hidden sizes and depth are searched.

    Args:
        features: of a token.
        blocks: their number.
        heads: in every block.
    """
    size = features // heads
    width = Decision("features", (features // 2, features))
    depth = Decision("depth", tuple(range(1, blocks + 1))[-3:])
    decisions, plain, shared = [width, depth], [], []
    for index in range(blocks):
        number = Decision(f"heads_{index}", (heads // 2, heads))
        hidden = Decision(f"hidden_{index}", (features, 2 * features, 4 * features))
        decisions += [number, hidden]
        perceptron = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))
        plain.append(
            nn.Sequential(
                Residual(nn.LayerNorm(features), Attention(features, heads, size)),
                Residual(nn.LayerNorm(features), perceptron),
            )
        )
        shared.append(
            SlicedSequential(
                SlicedResidual(SlicedLayerNorm(width), SlicedAttention(width, number, size)),
                SlicedResidual(SlicedLayerNorm(width), SlicedMLP(width, Dimension.over(hidden))),
            )
        )
    network = nn.Sequential(
        nn.Linear(48, features), nn.Sequential(*plain), nn.LayerNorm(features), Pooled(), nn.Linear(features, 10)
    )
    by_hand = SlicedSequential(
        SlicedLinear(48, width), SlicedDepth(depth, shared), SlicedLayerNorm(width), Pooled(), SlicedLinear(width, 10)
    )
    return network, by_hand, decisions
