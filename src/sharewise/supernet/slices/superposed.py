"""Linear layers and convolutions whose superposed weight nobody keeps between the forward and the backward pass.

A network of such layers would hold every weight twice in between. W ⊙ M is computed again in the backward pass instead,
which costs one product of weights with weights. Small convolutions that compiled kernels train are the exception.

The gradient of a mask is that of the weights, times these. Where a mask scales what is read alone, M_ij = s_j, it is
Σ x_j (Wᵀ dy)_j over rows as well, so that an architecture step computes no gradient of weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.supernet.convolution import convolve, is_compiled
from sharewise.supernet.layout import innermost, is_channels_last
from sharewise.supernet.trilinear import convolution_gradients
from sharewise.supernet.twice import expects_second

__all__ = ["Window", "scales_inputs", "superposed", "superposed_convolution", "superposed_linear"]


_AS_STORED, _AS_WRITTEN = (0, 2, 3, 1), (0, 3, 1, 2)
"""Dimensions of channels last, outermost first, and back."""


@final
class Window(NamedTuple):
    """How a convolution moves over images: in both directions alike."""

    stride: int
    padding: int
    dilation: int
    groups: int

    @property
    def settings(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
        """Stride, padding and dilation in both directions, and groups."""
        return (self.stride,) * 2, (self.padding,) * 2, (self.dilation,) * 2, self.groups


def superposed(weight: Tensor, mask: Tensor) -> Tensor:
    """W ⊙ M, in the order in which W lies in memory.

    Torch takes up to thirty times as long to sum the gradient of a mask over kernels with channels last as they are
    written as it does in the order of their memory.

    Args:
        weight: W.
        mask: M, of as many dimensions, of which those that it repeats have one position.

    Example:
        >>> superposed(torch.eye(2), torch.tensor([[1.0, 0.5]]))
        tensor([[1.0000, 0.0000],
                [0.0000, 0.5000]])
    """
    if not is_channels_last(weight) or mask.dim() != weight.dim():
        return weight * mask
    return (weight.permute(_AS_STORED) * mask.permute(_AS_STORED)).permute(_AS_WRITTEN)


def scales_inputs(weight: Tensor, mask: Tensor) -> bool:
    """Whether a mask scales what a layer reads, and nothing else.

    Args:
        weight: shape `(outputs, inputs, …)`.
        mask: of a shape that extends to that of the weight.

    Example:
        >>> scales_inputs(torch.ones(3, 2), torch.ones(1, 2)), scales_inputs(torch.ones(3, 2), torch.ones(3, 1))
        (True, False)
    """
    return mask.dim() == weight.dim() and mask.numel() == mask.shape[1] == weight.shape[1]


def superposed_linear(x: Tensor, weight: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """y = (W ⊙ M) x + b.

    Args:
        x: shape `(…, inputs)`.
        weight: W, shape `(outputs, inputs)`.
        mask: M, of a shape that extends to that of W, in its precision; `None` for ones.
        bias: b, shape `(outputs,)`, or `None` for zeros.

    Returns:
        Shape `(…, outputs)`; twice differentiable.

    Example:
        >>> superposed_linear(torch.ones(1, 2), torch.eye(2), torch.tensor([[1.0, 0.5]]), None)
        tensor([[1.0000, 0.5000]])
    """
    if mask is None or not _alike(x, weight):
        return F.linear(x, weight if mask is None else superposed(weight, mask), bias)
    return _superposed(_Matrix(), x, weight, mask, bias)


def superposed_convolution(
    x: Tensor, weight: Tensor, mask: Tensor | None, bias: Tensor | None, window: Window
) -> Tensor:
    """y = (W ⊙ M) ⋆ x + b.

    Args:
        x: shape `(n, inputs, height, width)`.
        weight: W, shape `(outputs, inputs / groups, k, k)`.
        mask: M, of a shape that extends to that of W, in its precision; `None` for ones.
        bias: b, shape `(outputs,)`, or `None` for zeros.
        window: stride, padding, dilation and groups.

    Returns:
        Shape `(n, outputs, …)`; twice differentiable.

    Example:
        >>> x, mask = torch.ones(1, 1, 3, 3), torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]]]])
        >>> superposed_convolution(x, torch.ones(1, 1, 3, 3), mask, None, Window(1, 0, 1, 1)).item()
        1.5
    """
    compiled = bias is None and is_compiled(x, weight, *window.settings)
    if mask is None or window.groups > 1 or expects_second() or compiled or not _alike(x, weight):
        return convolve(x, weight if mask is None else superposed(weight, mask), bias, *window.settings)
    if mask.dim() == weight.dim() and is_channels_last(weight):
        mask = innermost(mask)
    return _superposed(_Kernels(window), x, weight, mask, bias)


def _alike(x: Tensor, weight: Tensor) -> bool:
    """Whether both are numbers of one kind; automatic mixed precision would round them."""
    return not x.is_meta and x.dtype == weight.dtype and not torch.is_autocast_enabled(x.device.type)


class _Layer(ABC):
    """How a layer that is linear in its inputs and in its weight computes, by functions that torch differentiates."""

    @abstractmethod
    def value(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What it writes."""

    @abstractmethod
    def input_gradient(self, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Of x, whose shape counts alone."""

    @abstractmethod
    def parameter_gradients(self, dy: Tensor, x: Tensor, weight: Tensor, shifts: bool) -> tuple[Tensor, Tensor | None]:
        """Of the weight, whose shape counts alone, and of a bias where one shifts."""


@final
@dataclass(frozen=True)
class _Matrix(_Layer):
    def value(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def input_gradient(self, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return dy @ weight

    def parameter_gradients(self, dy: Tensor, x: Tensor, weight: Tensor, shifts: bool) -> tuple[Tensor, Tensor | None]:
        rows = dy.reshape(-1, dy.shape[-1])
        return rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(0) if shifts else None


@final
@dataclass(frozen=True)
class _Kernels(_Layer):
    window: Window

    def value(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, *self.window)

    def input_gradient(self, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return convolution_gradients(dy, x, weight, self.window.settings, [True, False, False])[0]

    def parameter_gradients(self, dy: Tensor, x: Tensor, weight: Tensor, shifts: bool) -> tuple[Tensor, Tensor | None]:
        _, dweight, dbias = convolution_gradients(dy, x, weight, self.window.settings, [False, True, shifts])
        return dweight, dbias if shifts else None


def _superposed(layer: _Layer, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
    """What a layer writes with the weight W ⊙ M."""
    if not torch.is_grad_enabled():
        return layer.value(x, weight * mask, bias)
    y: Tensor
    if not (mask.requires_grad and scales_inputs(weight, mask)):
        y = _Superposed.apply(x, weight, mask, bias, layer)  # type: ignore[no-untyped-call]
        return y
    with torch.no_grad():
        y = layer.value(x, weight * mask, bias)
    place = _Parameters.apply(weight, bias, (x, mask, y), layer)  # type: ignore[no-untyped-call]
    y = _Inputs.apply(x, mask, weight, place, (y,), layer)  # type: ignore[no-untyped-call]
    return y


def _unmasked(both: Tensor, weight: Tensor, mask: Tensor, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of W and M from that of W ⊙ M, in its place where nobody differentiates it."""
    dmask = _summed(both * weight, mask.shape) if wanted[2] else None
    if not wanted[1]:
        return None, dmask
    return both * mask if torch.is_grad_enabled() else both.mul_(mask), dmask


def _summed(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The sum over the dimensions that have one position in a shape."""
    if not is_channels_last(x) or len(shape) != x.dim():
        return x.sum_to_size(shape)
    return x.permute(_AS_STORED).sum_to_size([shape[axis] for axis in _AS_STORED]).permute(_AS_WRITTEN)


@final
class _Superposed(torch.autograd.Function):
    """y, as a function of everything."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, layer: _Layer) -> Tensor:
        ctx.save_for_backward(x, weight, mask)
        ctx.layer = layer
        return layer.value(x, weight * mask, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, weight, mask = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        dx = dweight = dmask = dbias = None
        if wanted[0]:  # first, so that W ⊙ M and its gradient need not be there at once
            dx = ctx.layer.input_gradient(dy, x, weight * mask)
        if any(wanted[1:4]):
            both, dbias = ctx.layer.parameter_gradients(dy, x, weight, wanted[3])
            dweight, dmask = _unmasked(both, weight, mask, wanted)
        return dx, dweight, dmask, dbias, None


@final
class _Inputs(torch.autograd.Function):
    """y, as a function of inputs and their scale, and of the place where the parameters wait for what comes back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, weight: Tensor, place: Tensor | None, made: tuple[Tensor], layer: _Layer
    ) -> Tensor:
        ctx.save_for_backward(x, scale, weight)
        ctx.layer = layer
        return made[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, scale, weight = ctx.saved_tensors
        scaled = ctx.layer.input_gradient(dy, x, weight)
        dscale = _summed(scaled * x, scale.shape)
        dx = scaled * scale if torch.is_grad_enabled() else scaled.mul_(scale)
        wanted = ctx.needs_input_grad
        return dx if wanted[0] else None, dscale, None, dy if wanted[3] else None, None, None


@final
class _Parameters(torch.autograd.Function):
    """y, which nobody reads here: what arrives as its gradient goes on to the parameters.

    A node of its own, since torch executes a node for all of its inputs or not at all.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor | None, given: tuple[Tensor, Tensor, Tensor], layer: _Layer
    ) -> Tensor:
        x, scale, y = given
        ctx.save_for_backward(x, scale, weight)
        ctx.layer = layer
        return y.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, scale, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        both, dbias = ctx.layer.parameter_gradients(dy, x, weight, wanted[1])
        dweight = both * scale if torch.is_grad_enabled() else both.mul_(scale)
        return dweight if wanted[0] else None, dbias, None, None
