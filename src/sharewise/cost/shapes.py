"""Shapes of the commonest outputs, which torch finds out a hundred times more slowly when tensors have no values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["SHAPES", "Shape"]

Shape = Callable[[tuple[Any, ...]], Tensor | None]
"""From positional arguments to an output of the right shape; `None` where torch is to be asked."""


def _like(arguments: tuple[Any, ...]) -> Tensor:
    return _shaped(arguments[0])


def _shaped(tensor: Tensor) -> Tensor:
    if tensor.is_contiguous():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return torch.empty_like(tensor)


def _linear(arguments: tuple[Any, ...]) -> Tensor | None:
    inputs, weight = arguments[:2]
    if inputs.dim() < 2 or inputs.shape[-1] != weight.shape[-1] or inputs.dtype != weight.dtype:
        return None  # and so be told what is wrong
    return torch.empty((*inputs.shape[:-1], weight.shape[0]), dtype=inputs.dtype, device="meta")


def _attention(arguments: tuple[Any, ...]) -> Tensor | None:
    queries, keys, values = arguments[:3]
    if queries.dim() != 4 or keys.shape[-1] != queries.shape[-1] or keys.shape[:2] != queries.shape[:2]:
        return None
    heads_last = torch.empty(
        (queries.shape[0], queries.shape[2], queries.shape[1], values.shape[-1]), dtype=queries.dtype, device="meta"
    )
    return heads_last.transpose(1, 2)  # as kernels lay it out


def _convolution(arguments: tuple[Any, ...]) -> Tensor | None:
    inputs, weight, _, stride, padding, dilation, transposed, _, groups = arguments
    if transposed or inputs.dim() != weight.dim() or inputs.shape[1] != weight.shape[1] * groups:
        return None
    moves = zip(inputs.shape[2:], weight.shape[2:], stride, padding, dilation, strict=False)
    sizes = [(size + 2 * p - d * (kernel - 1) - 1) // s + 1 for size, kernel, s, p, d in moves]
    if len(sizes) != inputs.dim() - 2 or min(sizes, default=1) < 1 or inputs.dtype != weight.dtype:
        return None
    return torch.empty((inputs.shape[0], weight.shape[0], *sizes), dtype=inputs.dtype, device="meta")


def _average_pool(arguments: tuple[Any, ...]) -> Tensor | None:
    defaults: list[Any] = [[], [0], False]  # of stride, padding and ceil_mode
    inputs, kernel, stride, padding, ceil, *_ = [*arguments, *defaults[max(0, len(arguments) - 2) :]]
    kernel, stride, padding = (list(value) * (2 // len(value)) for value in (kernel, stride or kernel, padding))
    if inputs.dim() != 4 or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    moves = zip(inputs.shape[2:], kernel, stride, padding, strict=True)
    places = [divmod(size + 2 * p - k, s) for size, k, s, p in moves]
    if any(steps < 0 or (ceil and rest) for steps, rest in places):
        return None
    sizes = [steps + 1 for steps, _ in places]
    return torch.empty((*inputs.shape[:2], *sizes), dtype=inputs.dtype, device="meta")


def _mean(arguments: tuple[Any, ...]) -> Tensor | None:
    if len(arguments) < 2 or not isinstance(arguments[1], list | tuple) or not arguments[0].is_floating_point():
        return None
    inputs, gone = arguments[0], {axis % arguments[0].dim() for axis in arguments[1]}
    kept = len(arguments) > 2 and arguments[2]
    sizes = [1 if axis in gone else size for axis, size in enumerate(inputs.shape) if kept or axis not in gone]
    return torch.empty(sizes, dtype=inputs.dtype, device="meta") if gone else None


def _pointwise(arguments: tuple[Any, ...]) -> Tensor | None:
    first, second = arguments[:2]
    if not isinstance(second, Tensor):
        plain = isinstance(second, int | float) and isinstance(first, Tensor) and first.is_floating_point()
        return _shaped(first) if plain else None
    if not isinstance(first, Tensor) or first.dtype != second.dtype or not first.is_floating_point():
        return None
    if first.shape == second.shape:
        return _shaped(first)
    shape: torch.Size = torch.broadcast_shapes(first.shape, second.shape)  # type: ignore[no-untyped-call]
    return _shaped(first) if shape == first.shape else torch.empty(shape, dtype=first.dtype, device="meta")


def _dropout(arguments: tuple[Any, ...]) -> Tensor | None:
    return arguments[0] if arguments[2] is False else None


SHAPES: Mapping[str, Shape] = {
    "linear": _linear,
    "convolution": _convolution,
    "scaled_dot_product_attention": _attention,
    "dropout": _dropout,
    "avg_pool2d": _average_pool,
    "mean": _mean,
    **dict.fromkeys(("add", "sub", "mul", "div"), _pointwise),
    **dict.fromkeys(("layer_norm", "batch_norm", "group_norm", "rms_norm"), _like),
    **dict.fromkeys(("relu", "gelu", "silu", "sigmoid", "tanh", "elu", "leaky_relu", "mish"), _like),
    **dict.fromkeys(("hardswish", "hardsigmoid", "hardtanh", "relu6"), _like),
}
"""By the name of the operation without its overload; consulted where all tensors are without values."""
