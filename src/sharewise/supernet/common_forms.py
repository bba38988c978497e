"""Forms of layers that compute many networks at once.

A value holds rows, one for each of several layers of several networks, side by side as channels: `(n, rows · channels,
…)`, channels innermost in memory. A rule makes one operation of the layers of all rows: a grouped convolution of
convolutions, a product of batches of matrices of linear layers. What treats channels one by one, or does not look at
them, is its own form.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet.convolution import convolve, is_between_zeros

__all__ = [
    "ABSENT",
    "CONSTANT",
    "FUNCTIONS",
    "LAYERS",
    "NORMS",
    "Apply",
    "Rule",
    "Stack",
    "apart",
    "fits",
    "folded",
    "inner",
    "itself",
]

Apply = Callable[..., Tensor]
Stack = Callable[[Sequence[Tensor]], Tensor]
"""Makes one tensor of those of all rows, which become views of it."""

Rule = Callable[[Sequence[Any], Stack], Apply]
"""From the layers of the rows of an operation to the operation, on images `(n, rows · channels, …)`."""


def inner(x: Tensor, rows: int) -> Tensor:
    """As `(n, …, rows, channels)`."""
    last = x if x.dim() == 2 else x.movedim(1, -1)
    return apart(last, -1, rows)


def apart(x: Tensor, dim: int, rows: int) -> Tensor:
    """A dimension of rows · channels as two."""
    y: Tensor = x.unflatten(dim, (rows, -1))  # type: ignore[no-untyped-call]
    return y


def folded(x: Tensor) -> Tensor:
    """Back from `(n, …, rows, channels)`."""
    whole = x.flatten(-2)
    return whole if whole.dim() == 2 else whole.movedim(-1, 1)


def itself(layers: Sequence[Any], stack: Stack) -> Apply:
    """A layer that treats channels one by one, or does not look at them."""
    apply: Apply = layers[0]
    return apply


def _convolution(layers: Sequence[Any], stack: Stack) -> Apply:
    one, rows = layers[0], len(layers)
    weight = stack([layer.weight for layer in layers])
    bias = None if one.bias is None else stack([layer.bias for layer in layers])

    def apply(x: Tensor) -> Tensor:
        shift = None if bias is None else bias.flatten()
        return convolve(x, weight.flatten(0, 1), shift, one.stride, one.padding, one.dilation, rows * one.groups)

    return apply


def _linear(layers: Sequence[Any], stack: Stack) -> Apply:
    one, rows = layers[0], len(layers)
    weight = stack([layer.weight for layer in layers])
    bias = None if one.bias is None else stack([layer.bias for layer in layers])

    def apply(x: Tensor) -> Tensor:
        each = apart(x, 1, rows).transpose(0, 1)
        turned = weight.transpose(1, 2)
        y = each @ turned if bias is None else torch.baddbmm(bias[:, None], each, turned)
        return y.transpose(0, 1).flatten(1)

    return apply


def _batch_norm(layers: Sequence[Any], stack: Stack) -> Apply:
    one = layers[0]

    def of(name: str) -> Tensor | None:
        return None if getattr(one, name) is None else stack([getattr(layer, name) for layer in layers])

    weight, bias, mean, variance, counted = map(
        of, ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    )

    def apply(x: Tensor) -> Tensor:
        own = one.training or mean is None
        if one.training and counted is not None:
            counted.add_(1)
        flat = [None if tensor is None else tensor.view(-1) for tensor in (mean, variance, weight, bias)]
        return F.batch_norm(x, flat[0], flat[1], flat[2], flat[3], own, one.momentum, one.eps)

    return apply


def _concatenation(layers: Sequence[Any], stack: Stack) -> Apply:
    rows = len(layers)

    def apply(*parts: Tensor) -> Tensor:
        return folded(torch.cat([inner(part, rows) for part in parts], dim=-1))

    return apply


LAYERS: Mapping[type[nn.Module], Rule] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid), itself),
    **dict.fromkeys((nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten), itself),
}
"""Layers, and how many of a kind run as one."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

ABSENT = (nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers that do nothing; dropout where its probability is zero."""

FUNCTIONS: Mapping[Any, tuple[Rule, tuple[tuple[Any, ...], ...]]] = {
    **dict.fromkeys((operator.add, torch.add, torch.relu, F.relu, "relu", torch.zeros_like), (itself, ((),))),
    **dict.fromkeys((torch.flatten, "flatten"), (itself, ((1,),))),
    **dict.fromkeys((torch.mean, "mean"), (itself, (((2, 3),),))),
    torch.cat: (_concatenation, ((1,),)),
}
"""Functions and methods, how many of a kind run as one, and with which arguments besides tensors."""

CONSTANT = (torch.zeros_like,)
"""Functions through which no gradient goes."""


_DIMENSIONS: Mapping[type[nn.Module], int] = {
    nn.Linear: 1,
    **dict.fromkeys((nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d), 3),
}


def fits(layer: nn.Module, dimensions: int) -> bool:
    """Whether the form of a layer does what the layer does to examples of so many dimensions, and no more."""
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    if hooks or "forward" in vars(layer) or getattr(layer, "inplace", False):
        return False
    if isinstance(layer, nn.Conv2d) and not is_between_zeros(layer):
        return False
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        return False
    if isinstance(layer, NORMS) and (
        layer.momentum is None or layer.track_running_stats != (layer.running_mean is not None)
    ):
        return False
    return _DIMENSIONS.get(type(layer), dimensions) == dimensions
