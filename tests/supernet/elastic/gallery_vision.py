"""Models of images: classification, segmentation, detection, generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw

__all__ = ["REQUESTS"]


def image(channels: int = 3, size: int = 16, n: int = 2) -> Tensor:
    return torch.randn(n, channels, size, size)


class UNet(nn.Module):
    """Two levels with transposed convolutions and skips."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.down1, self.down2 = self.block(3, 8), self.block(8, 16)
        self.bottom = self.block(16, 32)
        self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, stride=2), nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.merge2, self.merge1 = self.block(32, 16), self.block(16, 8)
        self.head = nn.Conv2d(8, classes, 1)

    @staticmethod
    def block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        y = self.bottom(F.max_pool2d(b, 2))
        y = self.merge2(torch.cat([b, self.up2(y)], dim=1))
        y = self.merge1(torch.cat([a, self.up1(y)], dim=1))
        return self.head(y)


class ResidualBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if stride != 1 or i != o:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(ResidualBlock(8, 8), ResidualBlock(8, 8))
        self.layer2 = nn.Sequential(ResidualBlock(8, 16, 2), ResidualBlock(16, 16))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn(self.stem(x)))))
        return self.fc(F.avg_pool2d(x, 8).view(x.size(0), -1))


class VGG(nn.Module):
    """Features, flattened into two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Linear(16 * 16, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        hidden = channels * ratio
        self.expand = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish()
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(hidden, 8, 1), nn.ReLU(), nn.Conv2d(8, hidden, 1), nn.Hardsigmoid()
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        return x + self.project(y * self.squeeze(y))


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(InvertedResidual(8, 4) for _ in range(3)))
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean([2, 3]))


class ShuffleUnit(nn.Module):
    """Grouped pointwise convolutions with a shuffle between them."""

    def __init__(self, channels: int, hidden: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.conv1 = nn.Conv2d(channels, hidden, 1, groups=groups)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.conv2 = nn.Conv2d(hidden, channels, 1, groups=groups)
        self.bn = nn.BatchNorm2d(hidden)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x))
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return F.relu(x + self.conv2(self.bn(self.depthwise(y))))


class ShuffleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.units = nn.ModuleList([ShuffleUnit(16, 16, 2) for _ in range(2)])
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for unit in self.units:
            x = unit(x)
        return self.head(x.mean((2, 3)))


class LayerNorm2d(nn.LayerNorm):
    """Over channels, which come first."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(1e-1 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), LayerNorm2d(8))
        self.blocks = nn.Sequential(*(ConvNeXtBlock(8) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x)).mean([-2, -1])))


class VisionTransformer(nn.Module):
    """Patches, a class token, torch's own encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.cls = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 17, 16) * 0.1)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.encoder(x)[:, 0])


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.token_mlp = nn.Sequential(nn.Linear(tokens, 8), nn.GELU(), nn.Linear(8, tokens))
        self.channel_mlp = nn.Sequential(nn.Linear(channels, 32), nn.GELU(), nn.Linear(32, channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mlp(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.blocks = nn.ModuleList(MixerBlock(16, 16) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


class DenseLayer(nn.Module):
    def __init__(self, i: int, growth: int) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(i), nn.Conv2d(i, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], 1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.Sequential(*(DenseLayer(8 + 4 * i, 4) for i in range(3)))
        self.bn, self.head = nn.BatchNorm2d(20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.bn(self.layers(self.stem(x)))).mean((2, 3)))


class ResNeXtBlock(nn.Module):
    def __init__(self, channels: int, hidden: int, groups: int) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups), nn.BatchNorm2d(hidden))
        self.c = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.c(F.relu(self.b(self.a(x)))))


class Detector(nn.Module):
    """A pyramid of two levels, with one head for classes and boxes that both share."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.c3 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.c4 = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.lateral3, self.lateral4 = nn.Conv2d(8, 8, 1), nn.Conv2d(16, 8, 1)
        self.tower = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.classes, self.boxes = nn.Conv2d(16, classes, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        c3 = self.c3(x)
        p4 = self.lateral4(self.c4(c3))
        p3 = self.lateral3(c3) + F.interpolate(p4, scale_factor=2.0, mode="nearest")
        towers = [self.tower(p) for p in (p3, p4)]
        scores = [self.classes(t).flatten(2).transpose(1, 2) for t in towers]
        boxes = [self.boxes(t).flatten(2).transpose(1, 2).exp() for t in towers]
        return {"scores": torch.cat(scores, 1), "boxes": torch.cat(boxes, 1)}


class SuperResolution(nn.Module):
    """Residual blocks without norms, then a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)) for _ in range(2)
        )
        self.tail = nn.Sequential(nn.Conv2d(16, 3 * 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        y = skip = self.head(x)
        for block in self.body:
            y = y + 0.1 * block(y)
        return self.tail(y + skip)


class ConvolutionalVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(16 * 4, 6), nn.Linear(16 * 4, 6)
        self.decode = nn.Linear(6, 16 * 4)
        self.generate = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encode(x).flatten(1)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean
        if self.training:
            z = z + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.generate(self.decode(z).view(len(x), -1, 2, 2)), mean, log_variance


class Discriminator(nn.Module):
    """Spectral norm on every layer."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.conv1, self.conv2 = norm(nn.Conv2d(3, 8, 4, 2, 1)), norm(nn.Conv2d(8, 16, 4, 2, 1))
        self.fc = norm(nn.Linear(16 * 16, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(x), 0.2)
        return self.fc(F.leaky_relu(self.conv2(x), 0.2).flatten(1))


class Generator(nn.Module):
    """A residual generator with instance norms."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, 8, 7), nn.InstanceNorm2d(8), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.InstanceNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.InstanceNorm2d(16), nn.ReLU())
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(16, 8, 3, padding=1), nn.InstanceNorm2d(8))
        self.leave = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(8, 3, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(self.enter(x))
        return self.leave(F.relu(self.up(y + self.block(y))))


class Siamese(nn.Module):
    """One encoder for two images, compared by their distance."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten()
        )
        self.embed = nn.Linear(16 * 4, 12)
        self.compare = nn.Linear(12, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = self.embed(self.encoder(left)), self.embed(self.encoder(right))
        return self.compare((a - b).abs())


class Contrastive(nn.Module):
    """A projection head whose outputs are normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.projector = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.projector(self.backbone(x).squeeze(-1).squeeze(-1)), dim=-1)


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.b1 = nn.Conv2d(8, 4, 1)
        self.b3 = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1))
        self.b5 = nn.Sequential(nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 5, padding=2))
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.Conv2d(8, 4, 1))
        self.head = nn.Linear(20, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([self.b1(x), self.b3(x), self.b5(x), self.pool(x)], 1)
        return self.head(F.adaptive_avg_pool2d(x, (1, 1))[:, :, 0, 0])


class AttentionGate(nn.Module):
    """Attention over places, with the size of keys written by a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.query, self.key, self.value = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 1)
        self.gamma, self.head = nn.Parameter(torch.tensor(0.5)), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        n, c, h, w = x.shape
        q, k = self.query(x).view(n, -1, h * w), self.key(x).view(n, -1, h * w)
        v = self.value(x).view(n, -1, h * w)
        attention = torch.softmax(torch.bmm(q.transpose(1, 2), k), dim=-1)
        return self.head(x + self.gamma * torch.bmm(v, attention.transpose(1, 2)).view(n, c, h, w))


REQUESTS: dict[str, Callable[[], tuple[nn.Module, dict[str, Any], Any]]] = {
    "unet": lambda: (
        UNet(),
        {
            "down1.0": sw.width([4, 8]),
            "down2.0": sw.width([8, 16]),
            "bottom.0": sw.width([16, 32]),
            "up2": sw.width([8, 16]),
        },
        image(),
    ),
    "resnet": lambda: (
        ResNet(),
        {"stem": sw.width([4, 8]), "layer2.0.conv2": sw.width([8, 16])}
        | {"layer2.*.conv1": sw.width([8, 16]), "layer1.*.conv1": sw.width([4, 8]), "layer1.*": sw.depth([1, 2])},
        image(),
    ),
    "vgg": lambda: (
        VGG(),
        {"features.0": sw.width([4, 8]), "features.3": sw.width([8, 16]), "classifier.0": sw.width([16, 32])},
        image(),
    ),
    "mobilenet": lambda: (
        MobileNet(),
        {"stem": sw.width([4, 8]), "blocks.*.expand.0": sw.width([16, 32]), "blocks.*.depthwise.0": sw.kernel([1, 3])}
        | {"blocks.*": sw.depth([1, 2, 3])},
        image(),
    ),
    "shufflenet": lambda: (ShuffleNet(), {"units.*.conv1": sw.width([8, 16]), "units.*": sw.depth([1, 2])}, image()),
    "convnext": lambda: (
        ConvNeXt(),
        {"stem.0": sw.width([4, 8]), "blocks.*.pwconv1": sw.width([16, 32]), "blocks.*.dwconv": sw.kernel([3, 5, 7])},
        image(),
    ),
    "vision transformer": lambda: (
        VisionTransformer(),
        {
            "patch": sw.width([8, 16]),
            "encoder.layers.*.linear1": sw.width([16, 32]),
            "encoder.layers.*": sw.depth([1, 2]),
        },
        image(),
    ),
    "mixer": lambda: (
        Mixer(),
        {"patch": sw.width([8, 16]), "blocks.*.token_mlp": sw.width([4, 8]), "blocks.*.channel_mlp": sw.width([16, 32])}
        | {"blocks.*": sw.depth([1, 2, 3])},
        image(),
    ),
    "densenet": lambda: (DenseNet(), {"stem": sw.width([4, 8]), "layers.*.conv": sw.width([2, 4])}, image()),
    "resnext": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            ResNeXtBlock(8, 16, 4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
        {"0": sw.width([4, 8]), "1.a.0": sw.width([8, 12, 16])},
        image(),
    ),
    "detector": lambda: (
        Detector(),
        {
            "c3.0": sw.width([4, 8]),
            "c4.0": sw.width([8, 16]),
            "lateral4": sw.width([4, 8]),
            "tower.0": sw.width([8, 16]),
        },
        image(),
    ),
    "super-resolution": lambda: (
        SuperResolution(),
        {"head": sw.width([8, 16]), "body.*.0": sw.width([8, 16])},
        image(size=8),
    ),
    "convolutional vae": lambda: (
        ConvolutionalVAE(),
        {"encode.0": sw.width([4, 8]), "encode.2": sw.width([8, 16]), "generate.0": sw.width([4, 8])},
        image(1, 8),
    ),
    "discriminator": lambda: (Discriminator(), {"conv1": sw.width([4, 8]), "conv2": sw.width([8, 16])}, image()),
    "generator": lambda: (
        Generator(),
        {"enter.1": sw.width([4, 8]), "down.0": sw.width([8, 16]), "up.1": sw.width([4, 8])},
        image(),
    ),
    "siamese": lambda: (
        Siamese(),
        {"encoder.0": sw.width([4, 8]), "encoder.3": sw.width([8, 16]), "embed": sw.width([6, 12])},
        {"left": image(1, 8), "right": image(1, 8)},
    ),
    "contrastive": lambda: (Contrastive(), {"backbone.0": sw.width([4, 8]), "projector.0": sw.width([8, 16])}, image()),
    "inception": lambda: (
        Inception(),
        {"stem": sw.width([4, 8]), "b1": sw.width([2, 4]), "b3.0": sw.width([2, 4]), "b3.2": sw.width([4, 8])}
        | {"b5.2": sw.kernel([3, 5]), "pool.1": sw.width([2, 4])},
        image(),
    ),
    "attention over places": lambda: (
        AttentionGate(),
        {"stem": sw.width([4, 8]), "query": sw.width([2, 4])},
        image(size=6),
    ),
}
