"""A vision transformer: heads and hidden widths of every block and the number of blocks are searched by one path.

The sizes that are searched are written as -1 in `view`, so that the code fits every architecture::

    python examples/vision_transformer.py
    sharewise inspect examples/vision_transformer.py:factory
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw


class Attention(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.head_size = features // heads
        self.qkv = nn.Linear(features, 3 * features)
        self.projection = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        heads = (part.unflatten(-1, (-1, self.head_size)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        return self.projection(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(features), nn.LayerNorm(features)])
        self.attention = Attention(features, heads)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class VisionTransformer(nn.Module):
    def __init__(self, features: int = 32, heads: int = 4, blocks: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, features, 2, stride=2)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, features))
        self.blocks = nn.ModuleList(Block(features, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(features)
        self.classifier = nn.Linear(features, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.norm(x).mean(1))


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {
        "patches": sw.width([16, 32], name="features"),
        "blocks.*.attention": sw.heads([2, 4]),
        "blocks.*.mlp": sw.width([32, 64, 128]),
        "blocks.*": sw.depth([1, 2, 3], name="depth"),
    }
    return sw.elastic(VisionTransformer(), choices, example=torch.randn(2, 1, 8, 8))


def main() -> None:
    recipe = sw.methods.spos(epochs=3, candidates=8, optimizer="adam", learning_rate=2e-3)
    result = sw.search(factory(), recipe, sw.data.digits().limited(600, seed=0), device="cpu")
    network = sw.extract(result.supernet, result.architecture)
    print(f"found {result.architecture}: {sum(p.numel() for p in network.parameters()):,} parameters")


if __name__ == "__main__":
    main()
