"""The plain language model of one architecture of HW-GPT-Bench, on `torch` alone.

The form of GPT-NeoX: embeddings of tokens, no absolute positions; layers whose causal attention and perceptron read
norms of the same input and are added to it together; a last norm, and a head whose weights are those of the embedding.
The leading half of every head is rotated by its place in the text.

References:
    S. Black et al., *GPT-NeoX-20B*, 2022 (arXiv 2204.06745); automl/HW-GPT-Bench, `hwgpt/model/gpt`, commit 1f43ee8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Layer", "Network", "rotations"]

ROTATED = 0.5
"""The part of a head that is rotated."""


def rotations(length: int, features: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles p · 10000^(−2i / features) at places p, each for both halves of the features.

    Args:
        length: of the longest text.
        features: that are rotated, an even number.

    Returns:
        Two tensors of shape `(length, features)`.
    """
    frequencies = 10000.0 ** -(torch.arange(0, features, 2, device="cpu") / features)
    angles = torch.outer(torch.arange(length, device="cpu").float(), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


class Attention(nn.Module):
    """Causal attention with heads of a fixed size, of which the leading part is rotated."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, features: int, heads: int, head_size: int, length: int, bias: bool, dropout: float) -> None:
        super().__init__()
        inner = heads * head_size
        self.query, self.key, self.value = (nn.Linear(features, inner, bias=bias) for _ in range(3))
        self.project = nn.Linear(inner, features, bias=bias)
        self._head_size, self._dropout = head_size, dropout
        cosines, sines = rotations(length, int(ROTATED * head_size))
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def _rotated(self, x: Tensor) -> Tensor:
        """Turn pairs of features, the first and the second half of the leading part, by the angle of their place."""
        quarter = x.shape[-1] // 4
        first, second, rest = x[..., :quarter], x[..., quarter : 2 * quarter], x[..., 2 * quarter :]
        turned = torch.cat((first, second), -1) * self.cosines[: x.shape[-2]]
        turned = turned + torch.cat((-second, first), -1) * self.sines[: x.shape[-2]]
        return torch.cat((turned.to(x.dtype), rest), -1)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, length, features)` to tokens of the same shape."""
        n, length, _ = x.shape
        parts = (layer(x).view(n, length, -1, self._head_size) for layer in (self.query, self.key, self.value))
        q, k, v = (part.transpose(1, 2) for part in parts)
        dropout = self._dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(self._rotated(q), self._rotated(k), v, is_causal=True, dropout_p=dropout)
        outputs: Tensor = self.project(y.transpose(1, 2).flatten(2))
        return outputs


class Layer(nn.Module):
    """x + attention(norm(x)) + perceptron(other norm(x))."""

    def __init__(
        self, features: int, ratio: int, heads: int, head_size: int, length: int, bias: bool, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(features)
        self.attention = Attention(features, heads, head_size, length, bias, dropout)
        self.perceptron_norm = nn.LayerNorm(features)
        self.perceptron = nn.Sequential(
            nn.Linear(features, ratio * features, bias=bias),
            nn.GELU(),
            nn.Linear(ratio * features, features, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, length, features)` to tokens of the same shape."""
        outputs: Tensor = x + self.attention(self.attention_norm(x)) + self.perceptron(self.perceptron_norm(x))
        return outputs


class Network(nn.Module):
    """The language model of one architecture.

    Args:
        features: of every token.
        ratios: of hidden to outer features, by layer.
        heads: by layer.
        bias: whether the linear layers of attention and perceptrons have biases; norms always have.
        length: of the longest text.
        vocabulary: number of different tokens.
        head_size: features of a head, a multiple of 4.
        dropout: probability with which weights of attention are zeroed.
    """

    def __init__(
        self,
        features: int,
        ratios: Sequence[int],
        heads: Sequence[int],
        bias: bool,
        length: int,
        vocabulary: int,
        head_size: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "features": features,
            "ratios": tuple(ratios),
            "heads": tuple(heads),
            "bias": bias,
            "length": length,
            "vocabulary": vocabulary,
            "head_size": head_size,
            "dropout": dropout,
        }
        self.tokens = nn.Embedding(vocabulary, features)
        self.layers = nn.Sequential(
            *(
                Layer(features, ratio, number, head_size, length, bias, dropout)
                for ratio, number in zip(ratios, heads, strict=True)
            )
        )
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        self._initialise()

    def _initialise(self) -> None:
        """Normal numbers of deviation 0.02; zero biases."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `(n, length)` to scores of the next token at each place, `(n, length, vocabulary)`."""
        outputs: Tensor = self.head(self.norm(self.layers(self.tokens(tokens))))
        return outputs
