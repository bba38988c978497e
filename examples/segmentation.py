"""A class for every pixel: widths, a kernel and an operation of a small network that finds discs and frames.

Images are cropped and flipped together with their masks, since the task says that they move; a pixel that comes from
beyond the border counts nowhere. Architectures are compared by mean intersection over union::

    python examples/segmentation.py
    sharewise inspect examples/segmentation.py:factory
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import sharewise as sw

SIZE = 16


def shapes(examples: int = 400, seed: int = 0) -> sw.data.Dataset:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(1, 3, (examples, 1, 1), generator=generator)
    centre = torch.randint(4, SIZE - 4, (2, examples, 1, 1), generator=generator)
    pixels = torch.arange(SIZE)
    dy, dx = pixels.view(1, -1, 1) - centre[0], pixels.view(1, 1, -1) - centre[1]
    disc, frame = dy**2 + dx**2 <= 12, torch.maximum(dy.abs(), dx.abs()) // 2 == 1
    inside = torch.where(kind == 1, disc, frame)
    masks = torch.where(inside, kind, 0)
    grey = 90 + 60 * inside + 25 * torch.randn(examples, SIZE, SIZE, generator=generator)
    rows = sw.data.Examples(grey.clamp(0, 255).byte()[:, None], masks)
    return sw.data.Dataset(
        name="shapes",
        task=sw.data.segmentation(3),
        input_kind="image",
        train=rows.subset(torch.arange(300)),
        test=sw.data.Sealed(rows.subset(torch.arange(300, examples))),
        class_names=("ground", "disc", "frame"),
        augmentation=sw.data.Augmentation(before=(sw.data.RandomCrop(2), sw.data.HorizontalFlip())),
    )


class Network(nn.Module):
    """Three convolutions at full size; the last dimension of the output holds the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 5, padding=2)
        self.norm = nn.BatchNorm2d(16)
        self.activation = sw.Choose({"relu": nn.ReLU(), "gelu": nn.GELU()}, name="activation")
        self.body = nn.Conv2d(16, 16, 5, padding=2)
        self.body_norm = nn.BatchNorm2d(16)
        self.classifier = nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.stem(x)))
        x = self.body_norm(self.body(x)).relu()
        return self.classifier(x).movedim(1, -1)


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    choices = {"stem": sw.width([4, 8, 16]), "body": sw.kernel([1, 3, 5])}
    return sw.elastic(Network(), choices, example=torch.randn(2, 1, SIZE, SIZE))


def main() -> None:
    data = shapes()
    result = sw.search(factory(), sw.methods.spos(epochs=8, batch_size=32), data, device="cpu")
    training = sw.TrainingRecipe(epochs=6, batch_size=32, learning_rate=0.1)
    trained = sw.train(result.supernet, result.architecture, data, training=training, device="cpu")
    assert trained.test is not None
    print(f"found {result.architecture}")
    print(f"trained from scratch: mean IoU {trained.test['mean_iou']:.2f}, pixels {trained.test['pixel_accuracy']:.2f}")


if __name__ == "__main__":
    main()
