"""A U-Net finds discs and frames: the widths of both scales and of the way up are searched, with its skip connection.

Concatenated channels follow the widths of both layers that write them::

    python examples/unet.py
    sharewise inspect examples/unet.py:factory
"""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from torch import Tensor, nn

import sharewise as sw

SHAPES = runpy.run_path(str(Path(__file__).with_name("segmentation.py")))


def block(before: int, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, features, 3, padding=1), nn.BatchNorm2d(features), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, features: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.down, self.bottom = block(1, features), block(features, 2 * features)
        self.up = nn.ConvTranspose2d(2 * features, features, 2, stride=2)
        self.merge = block(2 * features, features)
        self.head = nn.Conv2d(features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        coarse = self.bottom(nn.functional.max_pool2d(fine, 2))
        return self.head(self.merge(torch.cat([fine, self.up(coarse)], 1))).movedim(1, -1)


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {
        "down.0": sw.width([4, 8, 16]),
        "bottom.0": sw.width([8, 16, 32]),
        "up": sw.width([4, 8, 16]),
        "merge.0": sw.width([4, 8, 16]),
    }
    return sw.elastic(UNet(), choices, example=torch.randn(2, 1, 16, 16))


def main() -> None:
    recipe = sw.methods.spos(epochs=3, candidates=6, optimizer="adam", learning_rate=3e-3)
    result = sw.search(factory(), recipe, SHAPES["shapes"](), device="cpu")
    network = sw.extract(result.supernet, result.architecture)
    print(f"found {result.architecture}: {sum(p.numel() for p in network.parameters()):,} parameters")


if __name__ == "__main__":
    main()
