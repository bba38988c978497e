"""Blocks of macro spaces: plain, and as NNI's mutable layers and Once-for-All's dynamic ones execute them.

Stand-ins, written from their equations in their style and executed as they execute them. A sampled size slices every
tensor that it touches anew in every call. NNI mixes sizes by a mask over the whole tensor, W ⊙ Σ_c g_c 1_c, with one
mask of zeros and ones for each option, for every tensor that depends on the decision; so what is written scaled is
scaled again where it is read. Once-for-All makes a smaller kernel of the centre of the next larger one by a matrix.

References:
    microsoft/nni @ 60c9459, `nni/nas/oneshot/pytorch/supermodule`; mit-han-lab/once-for-all @ 80a2e26,
    `ofa/imagenet_classification/elastic_nn/modules/dynamic_op.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["HEAD", "Bottleneck", "Classified", "DynamicBottleneck", "MutableTransformer", "Sizes", "Transformer"]

HEAD = 64
"""Features of a head."""


class Attention(nn.Module):
    """Attention with heads of a fixed size."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(features, HEAD * heads) for _ in range(3))
        self.project = nn.Linear(HEAD * heads, features)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(n, tokens, features)` to such."""
        n, tokens, _ = x.shape
        q, k, v = (layer(x).view(n, tokens, -1, HEAD).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, features: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(features), Attention(features, heads)
        self.perceptron_norm = nn.LayerNorm(features)
        self.perceptron = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, features))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens to tokens."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.perceptron(self.perceptron_norm(x))


class Bottleneck(nn.Module):
    """1×1 convolution to many channels, depthwise convolution, 1×1 convolution to few, and the input."""

    def __init__(self, channels: int, middle: int, kernel: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, middle, 1, bias=False)
        self.depthwise = nn.Conv2d(middle, middle, kernel, padding=kernel // 2, groups=middle, bias=False)
        self.project = nn.Conv2d(middle, channels, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in (middle, middle, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Images to images."""
        y = F.relu(self.norms[0](self.expand(x)))
        y = F.relu(self.norms[1](self.depthwise(y)))
        return x + self.norms[2](self.project(y))


class Classified(nn.Module):
    """A block under a classifier of the mean over tokens or pixels."""

    def __init__(self, block: nn.Module, features: int) -> None:
        super().__init__()
        self.block, self.classifier = block, nn.Linear(features, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of classes."""
        y = self.block(x)
        return self.classifier(y.mean((2, 3)) if y.dim() == 4 else y.mean(1))


Sizes = tuple[int, int]
"""Options of the two decisions of a block, by number."""

Choice = int | Mapping[int, Tensor]
"""A sampled size, or the weight of each."""


def _sliced(tensor: Tensor, axis: int, size: Choice) -> Tensor:
    """A slice of a size, or the tensor under the masks of all sizes."""
    if isinstance(size, int):
        return tensor if size == tensor.shape[axis] else tensor.narrow(axis, 0, size)
    masks = []
    for each, weight in size.items():
        with torch.no_grad():
            mask = torch.zeros_like(tensor)
            mask.narrow(axis, 0, each).fill_(1)
        masks.append(mask * weight)
    return sum(masks[1:], masks[0]) * tensor


class MutableTransformer(nn.Module):
    """A block with heads and hidden features as NNI's mutable layers have them.

    Args:
        network: of the largest sizes; the weights of the block are its own.
        heads: that there are, ascending.
        hidden: features of the perceptron, ascending.
    """

    def __init__(self, network: Classified, heads: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        self.network, self.options = network, ([HEAD * each for each in heads], hidden)
        self.alphas = nn.ParameterList(torch.linspace(0, 1, len(options)) for options in self.options)

    def forward(self, x: Tensor, sizes: Sizes | None = None) -> Tensor:
        """Scores of a path, or without sizes of all options in shares that are learned."""
        heads, hidden = (
            options[sizes[i]] if sizes else dict(zip(options, torch.softmax(alpha, 0), strict=True))
            for i, (options, alpha) in enumerate(zip(self.options, self.alphas, strict=True))
        )
        block: Transformer = self.network.block  # type: ignore[assignment]
        attention, (first, _, second) = block.attention, block.perceptron
        n, tokens, _ = x.shape
        y = block.attention_norm(x)
        q, k, v = (
            F.linear(y, _sliced(layer.weight, 0, heads), _sliced(layer.bias, 0, heads))
            .view(n, tokens, -1, HEAD)
            .transpose(1, 2)
            for layer in (attention.query, attention.key, attention.value)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + F.linear(y, _sliced(attention.project.weight, 1, heads), attention.project.bias)
        y = block.perceptron_norm(x)
        y = F.gelu(F.linear(y, _sliced(first.weight, 0, hidden), _sliced(first.bias, 0, hidden)))
        x = x + F.linear(y, _sliced(second.weight, 1, hidden), second.bias)
        return self.network.classifier(x.mean(1))


class DynamicBottleneck(nn.Module):
    """A block with middle channels and a kernel as Once-for-All's dynamic layers have them.

    Args:
        network: of the largest sizes; the weights of the block are its own.
        middle: channels that there are, ascending.
        kernels: of the depthwise convolution, ascending.
        matrices: by kernel the matrix that makes it of the next larger one.
    """

    def __init__(
        self, network: Classified, middle: Sequence[int], kernels: Sequence[int], matrices: Mapping[int, Tensor]
    ) -> None:
        super().__init__()
        self.network, self.middle, self.kernels = network, middle, kernels
        self.matrices = nn.ParameterDict({str(size): matrix.clone() for size, matrix in matrices.items()})

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:
        """Scores of a path."""
        block: Bottleneck = self.network.block  # type: ignore[assignment]
        middle, kernel = self.middle[sizes[0]], self.kernels[sizes[1]]
        y = F.conv2d(x, block.expand.weight[:middle].contiguous())
        y = F.relu(_dynamic_norm(block.norms[0], y, middle))  # type: ignore[arg-type]
        filters = block.depthwise.weight[:middle]
        for larger, size in zip(self.kernels[::-1], self.kernels[-2::-1], strict=False):
            if size < kernel:
                break
            margin = (larger - size) // 2
            start = filters[:, :, margin : margin + size, margin : margin + size].contiguous().view(middle, -1)
            filters = F.linear(start, self.matrices[str(size)]).view(middle, 1, size, size)
        y = F.conv2d(y, filters.contiguous(), padding=kernel // 2, groups=middle)
        y = F.relu(_dynamic_norm(block.norms[1], y, middle))  # type: ignore[arg-type]
        y = F.conv2d(y, block.project.weight[:, :middle].contiguous())
        x = x + block.norms[2](y)
        return self.network.classifier(x.mean((2, 3)))


def _dynamic_norm(norm: nn.BatchNorm2d, x: Tensor, channels: int) -> Tensor:
    if channels == norm.num_features:
        return norm(x)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    if norm.training:
        norm.num_batches_tracked += 1
    statistics = norm.running_mean[:channels], norm.running_var[:channels]
    return F.batch_norm(x, *statistics, norm.weight[:channels], norm.bias[:channels], norm.training, 0.1, norm.eps)
