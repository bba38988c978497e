"""The plain language model of one architecture, on `torch` alone.

The form of GPT-2 as nanoGPT writes it: embeddings of tokens and of absolute positions are added; layers of causal
attention and a perceptron, each behind a norm and beside a residual connection; a last norm, and a head whose weights
are those of the embedding of tokens. Without biases by default, in linear layers as in norms.

References:
    A. Radford et al., *Language Models are Unsupervised Multitask Learners*, 2019; automl/TangleNAS,
    `search_spaces/nanoGPT/model_base.py`, commit 20aa4b1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Heads", "Layer", "Network"]


class Heads(nn.Module):
    """Causal attention within each of several heads.

    Feature f of queries, keys and values belongs to head f mod `heads`: the leading features of all heads are the
    leading features, however many heads there are.
    """

    def __init__(self, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Map three tensors `(n, length, features)` to one of the same shape."""
        n, length, _ = queries.shape
        q, k, v = (self._split(x) for x in (queries, keys, values))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        return y.permute(0, 2, 3, 1).reshape(n, length, -1)

    def _split(self, x: Tensor) -> Tensor:
        """From `(n, length, features)` to `(n, heads, length, features / heads)`."""
        if self.heads == 1:  # of a view the stride of a single head is 1, which CUDA's kernels take for misaligned
            return x.unsqueeze(1)
        return x.view(*x.shape[:2], -1, self.heads).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Queries, keys and values, attention, and a projection of what it found."""

    def __init__(self, features: int, heads: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(features, features, bias=bias) for _ in range(3))
        self.heads = Heads(heads, dropout)
        self.project = nn.Linear(features, features, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, length, features)` to tokens of the same shape."""
        outputs: Tensor = self.dropout(self.project(self.heads(self.query(x), self.key(x), self.value(x))))
        return outputs


class Layer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, features: int, ratio: int, heads: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(features, bias=bias)
        self.attention = Attention(features, heads, bias, dropout)
        self.perceptron_norm = nn.LayerNorm(features, bias=bias)
        self.perceptron = nn.Sequential(
            nn.Linear(features, ratio * features, bias=bias),
            nn.GELU(approximate="tanh"),
            nn.Linear(ratio * features, features, bias=bias),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, length, features)` to tokens of the same shape."""
        x = x + self.attention(self.attention_norm(x))
        outputs: Tensor = x + self.perceptron(self.perceptron_norm(x))
        return outputs


class Network(nn.Module):
    """The language model of one architecture.

    Args:
        features: of every token.
        ratios: of hidden to outer features, by layer.
        heads: by layer; each divides the features.
        length: of the longest text.
        vocabulary: number of different tokens.
        dropout: probability with which weights of attention, outputs of layers and embeddings are zeroed.
        bias: whether linear layers and norms have biases, as GPT-2 has.
    """

    def __init__(
        self,
        features: int,
        ratios: Sequence[int],
        heads: Sequence[int],
        length: int,
        vocabulary: int,
        dropout: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "features": features,
            "ratios": tuple(ratios),
            "heads": tuple(heads),
            "length": length,
            "vocabulary": vocabulary,
            "dropout": dropout,
            "bias": bias,
        }
        self.tokens = nn.Embedding(vocabulary, features)
        self.positions = nn.Embedding(length, features)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            *(Layer(features, ratio, number, bias, dropout) for ratio, number in zip(ratios, heads, strict=True))
        )
        self.norm = nn.LayerNorm(features, bias=bias)
        self.head = nn.Linear(features, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        self._initialise(0.02 / math.sqrt(2 * len(heads)))

    def _initialise(self, residual: float) -> None:
        """Normal numbers of deviation 0.02, of less for what is added to the residual stream; zero biases."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                continue  # norms keep torch's ones and zeros
            added = name.endswith(("attention.project.weight", "perceptron.2.weight"))
            nn.init.normal_(parameter, std=residual if added else 0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `(n, length)` to scores of the next token at each place, `(n, length, vocabulary)`."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.tokens(tokens) + self.positions(places))
        outputs: Tensor = self.head(self.norm(self.layers(x)))
        return outputs
