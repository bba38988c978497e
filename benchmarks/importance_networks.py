"""Small trained networks that are shrunk by half, in plain torch: other libraries' environments import it too.

Their classifiers are convolutions of one position before the mean over positions, which is the same function as a
linear layer behind it: NVIDIA's model optimizer does not follow a width through a flattened mean.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SUBJECTS", "Digits", "Subject", "accuracy", "calibrated", "fitted"]


@dataclass(frozen=True)
class Digits:
    """Scaled images and classes.

    Args:
        images: of the training part, shape (n, 1, 8, 8).
        labels: of them.
        test_images: of the test part.
        test_labels: of them.
        calibration: places of the training examples by which importance and statistics are judged.
    """

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    calibration: Tensor

    def batches(self, size: int = 128) -> list[tuple[Tensor, Tensor]]:
        """The calibration examples."""
        return [(self.images[rows], self.labels[rows]) for rows in self.calibration.split(size)]


@dataclass(frozen=True)
class Subject:
    """A network, how it is trained, and which widths are halved.

    Args:
        build: the network.
        steps: of its training.
        widths: the full sizes that are halved, by path of the layers that write them; layers of one `tied` width are
            named once.
        cut: paths of all layers whose outputs are halved, for libraries that are told so.
    """

    build: Callable[[], nn.Module]
    steps: int
    widths: Mapping[str, int]
    cut: Sequence[str]


def convolutions() -> nn.Module:
    """Two convolutions with batch norms."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


class Basic(nn.Module):
    """The basic block of a ResNet."""

    def __init__(self, before: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.shortcut: nn.Module = nn.Identity()
        if before != features:
            self.shortcut = nn.Sequential(nn.Conv2d(before, features, 1, stride, bias=False), nn.BatchNorm2d(features))

    def forward(self, x: Tensor) -> Tensor:
        """Halve the image where the stride is two."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class ResNet(nn.Module):
    """Two stages of two basic blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(Basic(16, 16, 1), Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 32, 1))
        self.head = nn.Conv2d(32, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        scores: Tensor = self.head(self.blocks(self.stem(x))).mean((2, 3))
        return scores


class Attention(nn.Module):
    """Self-attention of heads of eight features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.qkv, self.projection = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, tokens, features) to the same."""
        query, key, value = (part.unflatten(-1, (-1, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        mixed: Tensor = self.projection(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = Attention(features)
        self.fc1, self.fc2 = nn.Linear(features, 4 * features), nn.Linear(4 * features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, tokens, features) to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Sixteen patches, three blocks."""

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, features, 2, stride=2)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, features))
        self.blocks = nn.Sequential(Block(features), Block(features), Block(features))
        self.norm, self.head = nn.LayerNorm(features), nn.Linear(features, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2) + self.positions)
        scores: Tensor = self.head(self.norm(x).mean(1))
        return scores


SUBJECTS: Mapping[str, Subject] = {
    "CNN": Subject(convolutions, 300, {"0": 32, "4": 64}, ("0", "4")),
    "ResNet": Subject(
        ResNet,
        300,
        {"stem.0": 16, "blocks.2.shortcut.0": 32, **{f"blocks.{i}.conv1": (16, 16, 32, 32)[i] for i in range(4)}},
        ("stem.0", *(f"blocks.{i}.conv{j}" for i in range(4) for j in (1, 2)), "blocks.2.shortcut.0"),
    ),
    "ViT": Subject(
        VisionTransformer, 1500, {f"blocks.{i}.fc1": 128 for i in range(3)}, tuple(f"blocks.{i}.fc1" for i in range(3))
    ),
}
"""The hidden widths of the ViT alone: all three libraries follow them, and its features not all of them."""


def fitted(network: nn.Module, digits: Digits, steps: int, *, rate: float, seed: int) -> nn.Module:
    """Train in place with AdamW, whose rate falls to zero, on 64 examples a step; in evaluation mode afterwards."""
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    drawn = random.Random(seed)
    network.train()
    for _ in range(steps):
        rows = torch.tensor(drawn.choices(range(len(digits.images)), k=64))
        loss = F.cross_entropy(network(digits.images[rows]), digits.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, digits: Digits) -> float:
    """In per cent of the test part."""
    return 100 * float((network.eval()(digits.test_images).argmax(1) == digits.test_labels).double().mean())


@torch.no_grad()
def calibrated(network: nn.Module, digits: Digits) -> nn.Module:
    """Statistics of batch norms by the plain average over the calibration batches, in place."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for images, _ in digits.batches():
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()
