"""Blocks of macro spaces of the layers of NNI and Once-for-All themselves, where checkouts are given.

They take and give what the stand-ins of `benchmarks/plain/macro.py` do, with the weights of the same plain network. A
step on a path of NNI sets every layer to the path first, as NNI's trainer does in every step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain.macro import HEAD, Bottleneck, Classified, Sizes, Transformer

__all__ = ["DynamicBottleneck", "MutableTransformer"]


class MutableTransformer(nn.Module):
    """The plain block with NNI's mixed linear layers in place of its six, written as in NNI's AutoFormer.

    Args:
        layers: of the checkout.
        plain: whose weights are copied.
        heads: that there are, ascending.
        hidden: features of the perceptron, ascending.
        mixes: all options in learned shares (its policy of DARTS), not one path (its policy of ENAS and SPOS).
    """

    def __init__(
        self, layers: SimpleNamespace, plain: Classified, heads: Sequence[int], hidden: Sequence[int], *, mixes: bool
    ) -> None:
        super().__init__()
        self.network, self.options = copy.deepcopy(plain), {"heads": heads, "hidden": hidden}
        policy = layers.MixedOpDifferentiablePolicy if mixes else layers.MixedOpPathSamplingPolicy
        alphas = {name: nn.Parameter(torch.linspace(0, 1, len(options))) for name, options in self.options.items()}

        def mixed(linear: nn.Linear, **sizes: Any) -> Any:
            fixed = {"in_features": linear.in_features, "out_features": linear.out_features}
            layer = layers.MutableLinear(**fixed | sizes)
            made = layers.MixedLinear.mutate(layer, "", alphas, {"mixed_op_sampling": policy})
            made.weight.data.copy_(linear.weight)
            made.bias.data.copy_(linear.bias)
            self.layers.append(made)
            return made

        self.layers: list[Any] = []
        block: Transformer = self.network.block  # type: ignore[assignment]
        attention, perceptron = block.attention, block.perceptron
        with layers.frozen_context({"heads": heads[-1], "hidden": hidden[-1]}):  # in which layers are made
            features = HEAD * layers.Categorical(list(heads), label="heads")
            for name in ("query", "key", "value"):
                setattr(attention, name, mixed(getattr(attention, name), out_features=features))
            attention.project = mixed(attention.project, in_features=features)
            width = layers.Categorical(list(hidden), label="hidden")
            perceptron[0] = mixed(perceptron[0], out_features=width)
            perceptron[2] = mixed(perceptron[2], in_features=width)

    def forward(self, x: Tensor, sizes: Sizes | None = None) -> Tensor:
        """Scores of a path, or without sizes of all options."""
        if sizes:
            sample = {name: options[i] for (name, options), i in zip(self.options.items(), sizes, strict=True)}
            for layer in self.layers:
                layer.resample(sample)
        return self.network(x)


class DynamicBottleneck(nn.Module):
    """Once-for-All's dynamic layer beside its input, under the classifier of the plain network.

    Args:
        layers: of the checkout.
        plain: whose weights are copied.
        middle: channels that there are, ascending.
        kernels: of the depthwise convolution, ascending.
        matrices: by kernel the matrix that makes it of the next larger one.
    """

    def __init__(
        self,
        layers: SimpleNamespace,
        plain: Classified,
        middle: Sequence[int],
        kernels: Sequence[int],
        matrices: Mapping[int, Tensor],
    ) -> None:
        super().__init__()
        block: Bottleneck = plain.block  # type: ignore[assignment]
        channels = block.expand.in_channels
        self.ratios, self.kernels = [size // channels for size in middle], kernels
        make: Callable[..., Any] = layers.DynamicMBConvLayer
        self.layer = make([channels], [channels], list(kernels), self.ratios, act_func="relu")
        self.classifier = copy.deepcopy(plain.classifier)
        parts = self.layer.inverted_bottleneck, self.layer.depth_conv, self.layer.point_linear
        convolutions = block.expand, block.depthwise, block.project
        for part, convolution, norm in zip(parts, convolutions, block.norms, strict=True):
            part.conv.conv.load_state_dict(convolution.state_dict())
            part.bn.bn.load_state_dict(norm.state_dict())
        for size, larger in pairwise(kernels):
            getattr(self.layer.depth_conv.conv, f"{larger}to{size}_matrix").data.copy_(matrices[size])

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:
        """Scores of a path."""
        self.layer.active_expand_ratio, self.layer.active_kernel_size = self.ratios[sizes[0]], self.kernels[sizes[1]]
        return self.classifier((x + self.layer(x)).mean((2, 3)))
