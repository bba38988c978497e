"""A small convolutional network with concatenated branches: widths, kernels and an operation are searched.

Nothing in the network knows of a search; `sharewise.elastic` finds what depends on the widths of the branches::

    python examples/convolutional_network.py
    sharewise inspect examples/convolutional_network.py:factory
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import sharewise as sw


class Branches(nn.Module):
    """Two convolutions side by side, a depthwise one on both, and a residual one."""

    def __init__(self, channels: int, wide: int, narrow: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, wide, 3, padding=1)
        self.narrow = nn.Conv2d(channels, narrow, 5, padding=2)
        self.norm = nn.BatchNorm2d(wide + narrow)
        self.depthwise = nn.Conv2d(wide + narrow, wide + narrow, 5, padding=2, groups=wide + narrow)
        self.residual = nn.Sequential(
            nn.BatchNorm2d(wide + narrow), nn.ReLU(), nn.Conv2d(wide + narrow, wide + narrow, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.cat([self.wide(x), self.narrow(x)], dim=1)).relu()
        x = self.depthwise(x)
        return x + self.residual(x)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = Branches(1, 16, 8)
        self.pool = sw.Choose({"max": nn.AdaptiveMaxPool2d(2), "mean": nn.AdaptiveAvgPool2d(2)}, name="pool")
        self.classifier = nn.Linear(24 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.branches(x)).flatten(1))


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {
        "branches.wide": sw.width([4, 8, 16]),
        "branches.narrow": sw.width([2, 4, 8]),
        "branches.depthwise": sw.kernel([1, 3, 5]),
    }
    return sw.elastic(Network(), choices, example=torch.randn(2, 1, 8, 8))


def main() -> None:
    recipe = sw.methods.tanglenas_drnas(epochs=3)
    result = sw.search(factory(), recipe, sw.data.digits().limited(600, seed=0), device="cpu")
    print(f"found {result.architecture}")
    print(sw.extract(result.supernet, result.architecture).branches)


if __name__ == "__main__":
    main()
