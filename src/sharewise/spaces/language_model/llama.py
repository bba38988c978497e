"""The plain language model in the form of Llama, on `torch` alone.

Embeddings of tokens, no absolute positions; layers of causal attention and a gated perceptron, each behind a norm and
beside a residual connection; a last norm and a head. No biases. Features i and i + size/2 of every head of queries and
keys are turned by the angle p · base^(−2i/size) at place p, and consecutive heads of queries share a head of keys and
values:

    perceptron(x) = down(silu(gate(x)) ⊙ up(x)),   norm(x) = γ ⊙ x / √(mean(x²) + ε).

References:
    H. Touvron et al., *LLaMA*, 2023 (arXiv 2302.13971); N. Shazeer, *GLU Variants Improve Transformer*, 2020 (arXiv
    2002.05202); J. Su et al., *RoFormer*, 2021 (arXiv 2104.09864); J. Ainslie et al., *GQA*, 2023 (arXiv 2305.13245).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Layer", "Llama", "Perceptron"]


def _turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn features i and i + size/2 by the angle of their place."""
    first, second = x.chunk(2, -1)
    return (x * cosines + torch.cat((-second, first), -1) * sines).to(x.dtype)


class Attention(nn.Module):
    """Causal attention with heads of a fixed size, rotated, of which several share keys and values."""

    frequencies: Tensor

    def __init__(self, features: int, heads: int, groups: int, size: int, base: float) -> None:
        super().__init__()
        self.query = nn.Linear(features, heads * size, bias=False)
        self.project = nn.Linear(heads * size, features, bias=False)
        self.key, self.value = (nn.Linear(features, groups * size, bias=False) for _ in range(2))
        self.size, self.shared = size, heads // groups
        self.register_buffer("frequencies", base ** -(torch.arange(0, size, 2, device="cpu") / size), persistent=False)

    def _rotations(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines at all places; a table of them would be large where texts may be long."""
        dtype = torch.promote_types(self.frequencies.dtype, torch.float32)  # halves would round places beyond 256
        places = torch.arange(length, device=self.frequencies.device, dtype=dtype)
        angles = torch.outer(places, self.frequencies.to(dtype)).repeat(1, 2)
        return angles.cos(), angles.sin()

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, length, features)` to tokens of the same shape."""
        n, length, _ = x.shape
        parts = (
            layer(x).view(n, length, -1, self.size).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        q, k, v = parts
        cosines, sines = self._rotations(length)
        q, k = (_turned(part, cosines, sines) for part in (q, k))
        k, v = (part.repeat_interleave(self.shared, 1) for part in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        outputs: Tensor = self.project(y.transpose(1, 2).flatten(2))
        return outputs


class Perceptron(nn.Module):
    """A hidden layer that another one gates."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(features, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, length, features)` to tokens of the same shape."""
        outputs: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return outputs


class Layer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, features: int, hidden: int, heads: int, groups: int, size: int, base: float, eps: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(features, eps)
        self.attention = Attention(features, heads, groups, size, base)
        self.perceptron_norm = nn.RMSNorm(features, eps)
        self.perceptron = Perceptron(features, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(n, length, features)` to tokens of the same shape."""
        x = x + self.attention(self.attention_norm(x))
        outputs: Tensor = x + self.perceptron(self.perceptron_norm(x))
        return outputs


class Llama(nn.Module):
    """A language model in the form of Llama.

    Args:
        features: of every token.
        hidden: features of the perceptrons.
        layers: how many.
        heads: of queries, in every layer.
        groups: heads of keys and values, which divide those of queries.
        vocabulary: number of different tokens.
        head_size: features of a head, an even number; features / heads if not given.
        base: of the frequencies of rotations.
        eps: ε of the norms.
        tied: whether the weights of the head are those of the embedding.
        device: of the parameters; frequencies are on the CPU.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        layers: int,
        heads: int,
        groups: int,
        vocabulary: int,
        *,
        head_size: int | None = None,
        base: float = 10000.0,
        eps: float = 1e-6,
        tied: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        size = features // heads if head_size is None else head_size
        self.configuration: dict[str, Any] = {
            "features": features,
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "groups": groups,
            "vocabulary": vocabulary,
            "head_size": size,
            "base": base,
            "eps": eps,
            "tied": tied,
        }
        with torch.device(device):
            self.tokens = nn.Embedding(vocabulary, features)
            self.layers = nn.Sequential(
                *(Layer(features, hidden, heads, groups, size, base, eps) for _ in range(layers))
            )
            self.norm = nn.RMSNorm(features, eps)
            self.head = nn.Linear(features, vocabulary, bias=False)
        if tied:
            self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `(n, length)` to scores of the next token at each place, `(n, length, vocabulary)`."""
        outputs: Tensor = self.head(self.norm(self.layers(self.tokens(tokens))))
        return outputs
