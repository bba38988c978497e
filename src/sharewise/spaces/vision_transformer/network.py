"""The plain vision transformer of one architecture, on `torch` alone.

Patches by a convolution, a class token, absolute positions; layers of pre-norm attention and a perceptron; the mean of
all patches (not of the class token) is classified. Attention compares queries with keys and with a vector for the place
of one patch relative to the other, and sums values and such vectors:

    a_qk = softmax_k (q_q · (k_k + r_qk) / √64),   o_q = Σ_k a_qk (v_k + r'_qk),

where r_qk is the sum of a row of a vertical and a row of a horizontal table of its layer, which all heads share. Row 0
is for the class token; distances beyond 14 share a row.

References:
    M. Chen et al., *AutoFormer*, ICCV 2021 (arXiv 2107.00651); microsoft/Cream, `AutoFormer/model`, commit 4a13c40.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Layer", "Network", "RelativePositions", "drop_path"]

HEAD = 64
"""Features of a head."""
REACH = 14
"""The largest distance of patches that has a row of its own."""


def distances(patches: int) -> Tensor:
    """By places of two patches in a row of so many, the row of a table for their distance: shape `(patches, patches)`.

    Args:
        patches: in one direction.
    """
    places = torch.arange(patches)
    return (places[None, :] - places[:, None]).clamp(-REACH, REACH) + REACH + 1


def rows_of_tables(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The rows of the vertical and of the horizontal table for all pairs of tokens, the class token first.

    Args:
        height: patches from top to bottom.
        width: patches from left to right.

    Returns:
        Two index tensors of shape `(tokens, tokens)`, with zeros for the class token.
    """
    vertical = distances(height).repeat_interleave(width, 0).repeat_interleave(width, 1)
    horizontal = distances(width).repeat(height, height)
    return F.pad(vertical, (1, 0, 1, 0)), F.pad(horizontal, (1, 0, 1, 0))


class RelativePositions(nn.Module):
    """A vector for each pair of tokens, by their distance in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.vertical = nn.Parameter(torch.empty(2 * REACH + 2, HEAD))
        self.horizontal = nn.Parameter(torch.empty(2 * REACH + 2, HEAD))
        nn.init.trunc_normal_(self.vertical, std=0.02)
        nn.init.trunc_normal_(self.horizontal, std=0.02)

    def forward(self, vertical: Tensor, horizontal: Tensor) -> Tensor:
        """Map rows of the tables, each `(tokens, tokens)`, to vectors `(tokens, tokens, HEAD)`."""
        return self.vertical[vertical] + self.horizontal[horizontal]


class Attention(nn.Module):
    """Attention with relative positions; the rows i, i + 3, i + 6, … of `qkv` are queries, keys and values."""

    def __init__(self, features: int, heads: int, grid: tuple[int, int], dropout: float, attention_dropout: float):
        super().__init__()
        self.qkv = nn.Linear(features, 3 * HEAD * heads)
        self.project = nn.Linear(HEAD * heads, features)
        self.of_keys, self.of_values = RelativePositions(), RelativePositions()
        self.attention_dropout, self.dropout = nn.Dropout(attention_dropout), nn.Dropout(dropout)
        vertical, horizontal = rows_of_tables(*grid)
        self.register_buffer("vertical", vertical, persistent=False)
        self.register_buffer("horizontal", horizontal, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, tokens, features)` to tokens of the same shape."""
        parts = self.qkv(x).view(x.shape[0], x.shape[1], -1, HEAD, 3).unbind(-1)
        q, k, v = (part.transpose(1, 2) for part in parts)
        keys = self.of_keys(self.vertical, self.horizontal)
        scores = q @ k.transpose(-2, -1) + torch.einsum("nhqd,qkd->nhqk", q, keys)
        weights = self.attention_dropout((scores * HEAD**-0.5).softmax(-1))
        values = self.of_values(self.vertical, self.horizontal)
        heads = weights @ v + torch.einsum("nhqk,qkd->nhqd", weights, values)
        outputs: Tensor = self.dropout(self.project(heads.transpose(1, 2).flatten(2)))
        return outputs


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole examples with the given probability and scale the others up, keeping the expectation."""
    kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= probability
    return x * (kept.to(x.dtype) / (1 - probability))


class Layer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(
        self,
        features: int,
        hidden: int,
        heads: int,
        grid: tuple[int, int],
        dropout: float,
        attention_dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(features)
        self.attention = Attention(features, heads, grid, dropout, attention_dropout)
        self.perceptron_norm = nn.LayerNorm(features)
        self.perceptron = nn.Sequential(
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, features),
            nn.Dropout(dropout),
        )
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, tokens, features)` to tokens of the same shape."""
        x = x + self._dropped(self.attention(self.attention_norm(x)))
        return x + self._dropped(self.perceptron(self.perceptron_norm(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        return drop_path(x, self.drop_path) if self.training and self.drop_path > 0 else x


class Network(nn.Module):
    """The network of one architecture.

    Args:
        features: of every token.
        ratios: of hidden to outer features, by layer.
        heads: by layer.
        input_shape: channels, height and width of one image.
        outputs: number of classes.
        patch_size: height and width of a patch, which divides those of the image.
        dropout: probability with which outputs of linear layers in a layer, and patches, are zeroed.
        attention_dropout: probability with which weights of attention are zeroed.
        drop_path: by layer the probability with which its two branches are left out for an example.
    """

    def __init__(
        self,
        features: int,
        ratios: Sequence[float],
        heads: Sequence[int],
        input_shape: tuple[int, int, int],
        outputs: int,
        patch_size: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "features": features,
            "ratios": tuple(ratios),
            "heads": tuple(heads),
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "patch_size": patch_size,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "drop_path": tuple(drop_path),
        }
        grid = (input_shape[1] // patch_size, input_shape[2] // patch_size)
        self.patches = nn.Conv2d(input_shape[0], features, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.empty(1, 1, features))
        self.positions = nn.Parameter(torch.empty(1, grid[0] * grid[1] + 1, features))
        self.dropout = nn.Dropout(dropout)
        rates = tuple(drop_path) or (0.0,) * len(heads)
        self.layers = nn.Sequential(
            *(
                Layer(features, int(features * ratio), number, grid, dropout, attention_dropout, rate)
                for ratio, number, rate in zip(ratios, heads, rates, strict=True)
            )
        )
        self.norm = nn.LayerNorm(features)
        self.classifier = nn.Linear(features, outputs)
        self._initialise()

    def _initialise(self) -> None:
        """Normal numbers of deviation 0.02, cut off at 2, for all linear weights and tokens; zero biases."""
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), 1)
        x = self.norm(self.layers(self.dropout(x + self.positions)))
        outputs: Tensor = self.classifier(x[:, 1:].mean(1))
        return outputs
