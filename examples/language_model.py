"""A GPT with tied embeddings: its embedding width, heads, hidden widths and depth are searched.

It reads the tiny Shakespeare text below `$SHAREWISE_DATA/text` if there is one, and a few embedded lines otherwise::

    python examples/language_model.py
    sharewise inspect examples/language_model.py:factory
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw

LENGTH = 32
LINES = """The quick brown fox jumps over the lazy dog, and the dog sleeps on.
Pack my box with five dozen liquor jugs, said the fox to the dog.
How vexingly quick daft zebras jump, thought the dog in its sleep.
"""


def text() -> sw.data.Dataset:
    if os.environ.get("SHAREWISE_DATA"):
        return sw.data.text(length=LENGTH).limited(512, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "lines.txt").write_text(LINES * 40, encoding="utf-8")
        return sw.data.text(folder, length=LENGTH)


class Attention(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads  # found to be a number of heads, and adjusted in smaller networks
        self.query, self.key, self.value = (nn.Linear(features, features, bias=False) for _ in range(3))
        self.projection = nn.Linear(features, features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = (f(x).view(n, length, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.projection(y.transpose(1, 2).reshape(n, length, -1))


class Block(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.RMSNorm(features), nn.RMSNorm(features)
        self.attention = Attention(features, heads)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class GPT(nn.Module):
    def __init__(self, vocabulary: int, features: int = 32, heads: int = 4, blocks: int = 3) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, features)
        self.positions = nn.Embedding(LENGTH, features)
        self.blocks = nn.ModuleList(Block(features, heads) for _ in range(blocks))
        self.norm = nn.RMSNorm(features)
        self.head = nn.Linear(features, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.05)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    data = text()
    choices = {
        "tokens": sw.width([16, 24, 32], name="features"),
        "blocks.*.attention": sw.heads([2, 4], name="heads"),
        "blocks.*.mlp": sw.width([32, 64, 128]),
        "blocks.*": sw.depth([1, 2, 3], name="depth"),
    }
    return sw.elastic(GPT(data.task.outputs), choices, example=data.train.inputs[:2])


def main() -> None:
    recipe = sw.methods.gaea_darts(learning_rate=0.1, epochs=2)
    result = sw.search(factory(), recipe, text(), device="cpu")
    network = sw.extract(result.supernet, result.architecture)
    print(f"found {result.architecture}: {sum(p.numel() for p in network.parameters()):,} parameters")
    print(f"the embedding is still tied: {network.head.weight is network.tokens.weight}")


if __name__ == "__main__":
    main()
