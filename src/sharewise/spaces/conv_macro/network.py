"""The plain conv-macro network of one architecture, on `torch` alone.

Four convolutions with ReLU that keep the resolution, 2×2 max pooling after the second and the third, a fifth
convolution of kernel 7 and padding 2 to a fixed number of channels, four linear layers. No batch norm.

References:
    R. Sukthanker et al., AutoML 2024 (arXiv 2312.10440), appendix D; automl/TangleNAS, `toy_search_spaces/conv_macro`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Network", "classifier", "closing_convolution", "flat_features"]


def closing_convolution(channels_in: int, divisor: int) -> nn.Conv2d:
    """The fifth convolution, which is not searched but for its inputs."""
    return nn.Conv2d(channels_in, 256 // divisor, 7, padding=2)


def flat_features(input_shape: tuple[int, int, int], divisor: int) -> int:
    """What the first linear layer reads: two poolings halve the resolution, the closing convolution takes 2 off."""
    height, width = (size // 4 - 2 for size in input_shape[1:])
    return 256 // divisor * height * width


def classifier(features: int, outputs: int, divisor: int) -> nn.Sequential:
    """Four linear layers with ReLU between them."""
    sizes = [features, 256 // divisor, 128 // divisor, 64 // divisor]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Network(nn.Module):
    """The network of one architecture.

    Args:
        channels: of the four convolutions, as they are built.
        kernels: of the four convolutions, odd.
        input_shape: channels, height and width of one image; height and width of at least 12.
        outputs: number of classes.
        divisor: divides the 256 channels of the closing convolution and the sizes of the classifier; 1 in the paper.
        dropout: probability with which whole channels are dropped after the third and the closing convolution.
    """

    def __init__(
        self,
        channels: tuple[int, int, int, int],
        kernels: tuple[int, int, int, int],
        input_shape: tuple[int, int, int],
        outputs: int,
        divisor: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "channels": tuple(channels),
            "kernels": tuple(kernels),
            "input_shape": tuple(input_shape),
            "outputs": outputs,
            "divisor": divisor,
            "dropout": dropout,
        }
        before = (input_shape[0], *channels[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, kernel, padding=kernel // 2) for a, b, kernel in zip(before, channels, kernels, strict=True)
        )
        self.closing = closing_convolution(channels[-1], divisor)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = classifier(flat_features(input_shape, divisor), outputs, divisor)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to class scores `(n, outputs)`."""
        for layer, convolution in enumerate(self.convolutions):
            x = torch.relu(convolution(x))
            if layer == 2:
                x = self.dropout(x)
            if layer in (1, 2):
                x = F.max_pool2d(x, 2)
        outputs: Tensor = self.classifier(self.dropout(self.closing(x)))
        return outputs
