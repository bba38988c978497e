"""Linear layers and convolutions whose superposed weight nobody keeps between the forward and the backward pass.

A network of such layers would hold every weight twice in between. W ⊙ M is computed again in the backward pass instead,
which costs one product of weights with weights. Small convolutions that compiled kernels train are the exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.supernet.convolution import convolve, is_compiled
from sharewise.supernet.trilinear import convolution_gradients
from sharewise.supernet.twice import expects_second

__all__ = ["Window", "superposed_convolution", "superposed_linear"]


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
        return F.linear(x, weight if mask is None else weight * mask, bias)
    y: Tensor = _Linear.apply(x, weight, mask, bias)  # type: ignore[no-untyped-call]
    return y


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
        return convolve(x, weight if mask is None else weight * mask, bias, *window.settings)
    if mask.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        mask = mask.contiguous(memory_format=torch.channels_last)
    y: Tensor = _Convolution.apply(x, weight, mask, bias, window)  # type: ignore[no-untyped-call]
    return y


def _alike(x: Tensor, weight: Tensor) -> bool:
    """Whether both are numbers of one kind; automatic mixed precision would round them."""
    return not x.is_meta and x.dtype == weight.dtype and not torch.is_autocast_enabled(x.device.type)


def _unmasked(both: Tensor, weight: Tensor, mask: Tensor, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of W and M from that of W ⊙ M, in its place where nobody differentiates it."""
    dmask = (both * weight).sum_to_size(mask.shape) if wanted[2] else None
    if not wanted[1]:
        return None, dmask
    return both * mask if torch.is_grad_enabled() else both.mul_(mask), dmask


@final
class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, mask)
        return F.linear(x, weight * mask, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, weight, mask = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        dx = dy @ (weight * mask) if wanted[0] else None
        rows = dy.reshape(-1, dy.shape[-1])
        dweight = dmask = None
        if wanted[1] or wanted[2]:
            dweight, dmask = _unmasked(rows.T @ x.reshape(-1, x.shape[-1]), weight, mask, wanted)
        return dx, dweight, dmask, rows.sum(0) if wanted[3] else None


@final
class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor | None, window: Window) -> Tensor:
        ctx.save_for_backward(x, weight, mask)
        ctx.window = window
        return F.conv2d(x, weight * mask, bias, *window)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [dy] = gradients
        x, weight, mask = ctx.saved_tensors
        wanted, settings = ctx.needs_input_grad, ctx.window.settings
        dx = dweight = dmask = dbias = None
        if wanted[0]:  # by itself, so that W ⊙ M and its gradient need not be there at once
            dx = convolution_gradients(dy, x, weight * mask, settings, [True, False, False])[0]
        if any(wanted[1:4]):
            both, dbias = convolution_gradients(dy, x, weight, settings, [False, True, wanted[3]])[1:]
            dweight, dmask = _unmasked(both, weight, mask, wanted)
        return dx, dweight, dmask, dbias if wanted[3] else None, None
