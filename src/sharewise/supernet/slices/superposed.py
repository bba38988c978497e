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
from sharewise.supernet.layout import AS_STORED, AS_WRITTEN, innermost, is_channels_last
from sharewise.supernet.trilinear import convolution_gradients
from sharewise.supernet.twice import expects_second

__all__ = ["Window", "scales_inputs", "superposed", "superposed_convolution", "superposed_linear"]


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
    if mask.dim() != weight.dim() or not _is_channels_last(weight):
        return weight * mask
    return (weight.permute(AS_STORED) * mask.permute(AS_STORED)).permute(AS_WRITTEN)


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
    plain = window.groups > 1 or expects_second() or compiled or x.dim() != weight.dim()
    if mask is None or plain or not _alike(x, weight):
        return convolve(x, weight if mask is None else superposed(weight, mask), bias, *window.settings)
    if mask.dim() == weight.dim() and _is_channels_last(weight):
        mask = innermost(mask)
    return _superposed(_Kernels(window), x, weight, mask, bias)


def _alike(x: Tensor, weight: Tensor) -> bool:
    """Whether both are numbers of one kind; automatic mixed precision would round them."""
    if x.is_meta or x.is_nested or x.layout != torch.strided or x.dtype != weight.dtype:
        return False
    return not torch.is_autocast_enabled(x.device.type)


_Two = tuple[Tensor | None, Tensor | None]
"""Of a weight and of a bias."""


class _Layer(ABC):
    """How a layer that is linear in its inputs and in its weight computes, by functions that torch differentiates."""

    @abstractmethod
    def value(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What it writes, as no view of anything: such could not be changed in place."""

    @abstractmethod
    def input_gradient(self, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """Of x, whose shape counts alone."""

    @abstractmethod
    def parameter_gradients(self, dy: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> _Two:
        """Of the weight, whose shape counts alone, and of a bias, where they are wanted."""


@final
@dataclass(frozen=True)
class _Matrix(_Layer):
    def value(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = F.linear(x, weight, bias)
        return torch.ops.aten._unsafe_view(y, y.shape) if y._is_view() else y

    def input_gradient(self, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return dy @ weight

    def parameter_gradients(self, dy: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> _Two:
        rows = dy.reshape(-1, dy.shape[-1])
        return rows.T @ x.reshape(-1, x.shape[-1]) if wanted[0] else None, rows.sum(0) if wanted[1] else None


@final
@dataclass(frozen=True)
class _Kernels(_Layer):
    window: Window

    def value(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, *self.window)

    def input_gradient(self, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return convolution_gradients(dy, x, weight, self.window.settings, [True, False, False])[0]

    def parameter_gradients(self, dy: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> _Two:
        if not any(wanted):
            return None, None
        _, dweight, dbias = convolution_gradients(dy, x, weight, self.window.settings, [False, *wanted])
        return dweight if wanted[0] else None, dbias if wanted[1] else None


def _superposed(layer: _Layer, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
    """What a layer writes with the weight W ⊙ M."""
    if not torch.is_grad_enabled():
        return layer.value(x, weight * mask, bias)
    asks = weight.requires_grad and mask.requires_grad and not torch.compiler.is_compiling()
    if asks and weight.is_leaf:
        weight = weight.view_as(weight)  # the engine says of nodes whether it will execute them, and not of leaves
    y: Tensor = _Superposed.apply(x, weight, mask, bias, layer, asks)  # type: ignore[no-untyped-call]
    return y


@final
class _Superposed(torch.autograd.Function):
    """y, as a function of everything.

    Torch executes a node for all of its inputs or not at all, whatever is asked for; whether the weight is among that
    says the engine.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, layer: _Layer, asks: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mask)
        ctx.layer, ctx.asks = layer, asks
        return layer.value(x, weight * mask, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, weight, mask = ctx.saved_tensors
        layer, wanted = ctx.layer, ctx.needs_input_grad
        weighs = wanted[1] and not (ctx.asks and not _is_executed(ctx.next_functions[1][0]))
        dx = dweight = dmask = None
        alone = wanted[2] and not weighs and scales_inputs(weight, mask) and x.dim() > 1
        if alone:
            scaled = layer.input_gradient(dy, x, weight)
            dmask = _summed(scaled * x, mask, x)
            if wanted[0]:
                dx = scaled * mask if torch.is_grad_enabled() else scaled.mul_(mask)
        elif wanted[0]:  # first, so that W ⊙ M and its gradient need not be there at once
            dx = layer.input_gradient(dy, x, weight * mask)
        both, dbias = layer.parameter_gradients(dy, x, weight, (not alone and (weighs or wanted[2]), wanted[3]))
        if both is not None:
            keep = torch.is_grad_enabled()
            if wanted[2]:
                dmask = _summed(both * weight if keep or weighs else both.mul_(weight), mask, weight)
            if weighs:
                dweight = both * mask if keep else both.mul_(mask)
        return dx, dweight, dmask, dbias, None, None


def _is_executed(node: torch.autograd.graph.Node) -> bool:
    """Whether the backward pass that is running now will execute a node, which is that of no leaf."""
    executed: bool = torch._C._will_engine_execute_node(node)
    return executed


def _summed(x: Tensor, mask: Tensor, like: Tensor) -> Tensor:
    """The sum over the dimensions of which a mask has one position, of a tensor that lies in memory as another does."""
    if mask.dim() != x.dim() or not _is_channels_last(like):
        return x.sum_to_size(mask.shape)
    return x.permute(AS_STORED).sum_to_size(mask.permute(AS_STORED).shape).permute(AS_WRITTEN)


def _is_channels_last(x: Tensor) -> bool:
    """The same; of tensors that `torch.func` batches torch does not say how they lie."""
    return not torch._C._are_functorch_transforms_active() and is_channels_last(x)
