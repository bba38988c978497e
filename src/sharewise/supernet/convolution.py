"""Depthwise convolutions whose backward pass costs what their forward pass does.

On a CPU torch runs some gradients of a depthwise convolution in code that is 5 to 12 times slower than its forward
pass: that of inputs under dilation, and that of kernels under dilation or wider than three columns. All of them are
depthwise convolutions themselves, or sums of such that are fast. With ⋆ for the convolution of stride 1 that keeps the
resolution, K for the gradient of its kernel and w' for a kernel turned by 180 degrees,

    y = x ⋆ w,   dx = dy ⋆ w',   dw = K(x, dy);   for a cotangent h of dw:   dx = dy ⋆ h',   d(dy) = x ⋆ h,

so that these functions are closed under differentiation, to any order. Where the stride is the dilation, the pixels
that are read are an image that is convolved without either. K is taken three columns of the kernel at a time, without
dilation, image by image: pixels are sorted by their place modulo the dilation, and images stand side by side as
channels, whose gradients are then added. One long sum over a batch would lose more digits than torch does.
"""

from __future__ import annotations

from functools import cache
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet import native

__all__ = ["averaged", "convolution_gradients", "convolve", "convolved", "depthwise", "kernel_gradient"]

_PIXELS = 256
"""Of an image, below which torch's average pooling is as fast."""

_COLUMNS = 3
"""Of a kernel, as wide as torch's fast gradient goes."""


def convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution computes, by `convolve` where nobody has to be told that it was called.

    Args:
        layer: of torch's own class; others are called as they are.
        x: shape `(n, channels, height, width)`.
    """
    if type(layer) is not nn.Conv2d or layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        y: Tensor = layer(x)
        return y
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return layer(x)  # type: ignore[no-any-return]
    stride, padding, dilation = layer.stride, layer.padding, layer.dilation
    return convolve(x, layer.weight, layer.bias, stride, padding, dilation, layer.groups)


def averaged(layer: nn.AvgPool2d, x: Tensor) -> Tensor:
    """What an average pooling computes: in training a convolution with ones, where that is faster, over their number.

    Torch takes 1.5 to 2.8 times as long for float32 images on a CPU. In evaluation mode the layer is called as it is,
    since the last bits could differ.

    Args:
        layer: the pooling.
        x: shape `(n, channels, height, width)`.
    """
    if not (layer.training and _is_centred_average(layer)) or layer._forward_hooks or layer._forward_pre_hooks:
        y: Tensor = layer(x)
        return y
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    channels, height, width = x.shape[-3:]
    if not plain or channels == 1 or height * width < _PIXELS or not x.is_contiguous(memory_format=torch.channels_last):
        return layer(x)  # type: ignore[no-any-return]
    return convolve(x, _ones(channels), None, (1, 1), (1, 1), (1, 1), channels) / _inside(height, width)


def _is_centred_average(layer: nn.AvgPool2d) -> bool:
    """Whether it averages 3×3 pixels about each, of those that exist."""
    settings = [layer.kernel_size, layer.stride, layer.padding]
    kernel, stride, padding = (value if isinstance(value, int) else set(value) for value in settings)
    shape = kernel in (3, {3}) and stride in (1, {1}) and padding in (1, {1})
    return shape and not (layer.ceil_mode or layer.count_include_pad or layer.divisor_override)


@cache
def _ones(channels: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(channels, 1, 3, 3)


@cache
def _inside(height: int, width: int) -> Tensor:
    """How many of the nine pixels about each exist."""
    with torch.inference_mode(False):
        return F.conv2d(torch.ones(1, 1, height, width), torch.ones(1, 1, 3, 3), None, 1, 1)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """`torch.nn.functional.conv2d`, with a faster backward pass where it is depthwise.

    The forward pass is torch's own, and equal to it in every bit, but where compiled kernels train (`native_kernels`).

    Args:
        x: shape `(n, channels, height, width)`.
        weight: shape `(outputs, channels / groups, k, k)`.
        bias: shape `(outputs,)`, or `None`.
        stride: in both directions.
        padding: in both directions.
        dilation: in both directions.
        groups: as many as channels for a depthwise convolution.

    Example:
        >>> x, w = torch.ones(1, 2, 5, 5), torch.ones(2, 1, 3, 3)
        >>> convolve(x, w, None, (1, 1), (2, 2), (2, 2), 2)[0, 0, 2]
        tensor([6., 6., 9., 6., 6.])
    """
    same = _centred(weight, stride, padding, dilation) and x.shape[-1] > padding[-1]
    if bias is None and same and _pays(x, weight, dilation[0], groups):
        return depthwise(x, weight, dilation[0], stride[0])
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def convolution_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, settings: Any, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a convolution by x, weight and bias, of which those are computed that are wanted.

    Args:
        dy: of what it wrote.
        x: what it read; its values count for the gradient of the weight alone.
        weight: its values count for the gradient of x alone.
        settings: stride, padding and dilation in both directions, and groups.
        wanted: of x, weight and bias.
    """
    stride, padding, dilation, groups = settings
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        dy, x, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, wanted
    )
    return found


def _centred(weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """Whether the kernel is odd and square, padded so that it is centred, and the stride 1 or the dilation."""
    kernel, step = weight.shape[-1], dilation[0]
    even = tuple(weight.shape[-2:]) == (kernel, kernel) and kernel % 2 == 1
    both = dilation == (step, step) and padding == (step * (kernel // 2),) * 2
    return even and both and stride in ((1, 1), (step, step))


def _pays(x: Tensor, weight: Tensor, dilation: int, groups: int) -> bool:
    """Whether it is depthwise in float32, on a CPU with channels innermost, and torch's own gradient is slow."""
    kernel = weight.shape[-1]
    depthwise = x.dim() == 4 and weight.shape[:2] == (groups, 1) and x.shape[1] == groups > 1
    slow = dilation > 1 or kernel > _COLUMNS or (torch.is_grad_enabled() and native.serves(x, kernel))
    if not depthwise or kernel == 1 or not slow:
        return False
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    single = x.dtype == weight.dtype == torch.float32
    return single and x.is_contiguous(memory_format=torch.channels_last)


def depthwise(x: Tensor, kernel: Tensor, dilation: int, stride: int = 1) -> Tensor:
    """x ⋆ w in any precision, as `convolve` uses it; of its gradients those are computed that are asked for.

    Args:
        x: shape `(n, channels, height, width)`, more than `dilation · (k // 2)` wide, channels innermost.
        kernel: shape `(channels, 1, k, k)`, k odd; padding keeps it centred.
        dilation: in both directions.
        stride: 1, or the dilation.
    """
    place: Tensor | None = None
    if kernel.requires_grad:
        place = _Place.apply(kernel, (x,), dilation, stride)  # type: ignore[no-untyped-call]
    # Only in training: what is evaluated is torch's own, wherever that happens.
    compiled = stride == 1 and torch.is_grad_enabled() and native.serves(x, kernel.shape[-1])
    y: Tensor = _Depthwise.apply(x, kernel, place, dilation, stride, compiled)  # type: ignore[no-untyped-call]
    return y


def _turned(kernel: Tensor) -> Tensor:
    return kernel.flip(2, 3)


@final
class _Place(torch.autograd.Function):
    """Nothing, in the shape of y: what arrives here as its gradient is dy, and goes on to the kernel.

    A node of its own, since torch executes a node for all of its inputs or not at all, and an architecture step asks
    for no gradient of kernels; for the same reason x comes in a tuple, as no input of the node.
    """

    @staticmethod
    def forward(ctx: Any, kernel: Tensor, images: tuple[Tensor], dilation: int, stride: int) -> Tensor:
        [x] = images
        ctx.save_for_backward(x)
        ctx.size, ctx.dilation, ctx.stride = kernel.shape[-1], dilation, stride
        return x.new_zeros(()).expand(*x.shape[:2], *(-(-side // stride) for side in x.shape[2:]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [x] = ctx.saved_tensors
        dy = gradients[0].contiguous(memory_format=torch.channels_last)
        read, dilation = (x, ctx.dilation) if ctx.stride == 1 else (_read(x, ctx.stride), 1)
        return kernel_gradient(read, dy, ctx.size, dilation), None, None, None


@final
class _Depthwise(torch.autograd.Function):
    """x ⋆ w as a function of x, and of the place where the kernel waits for dy."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, place: Tensor | None, dilation: int, stride: int, compiled: bool
    ) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.dilation, ctx.stride, ctx.shape = dilation, stride, x.shape
        if compiled:
            return native.depthwise_by_kernel(x, kernel, dilation)
        return F.conv2d(x, kernel, None, stride, dilation * (kernel.shape[-1] // 2), dilation, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [kernel] = ctx.saved_tensors
        dy = gradients[0].contiguous(memory_format=torch.channels_last)
        dx: Tensor | None = None
        if ctx.needs_input_grad[0]:
            dx = _transposed(dy, kernel, ctx.dilation if ctx.stride == 1 else 1)
            dx = dx if ctx.stride == 1 else _spread(dx, ctx.shape, ctx.stride)
        return dx, None, dy if ctx.needs_input_grad[2] else None, None, None, None


def _transposed(dy: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """dy ⋆ w'."""
    if native.serves(dy, kernel.shape[-1]) and not torch.is_grad_enabled():
        return native.depthwise_by_kernel(dy, _turned(kernel), dilation)
    return depthwise(dy, _turned(kernel), dilation)


def _read(x: Tensor, step: int) -> Tensor:
    """The pixels that a stride reads."""
    return x[:, :, ::step, ::step].contiguous(memory_format=torch.channels_last)


def _spread(x: Tensor, shape: torch.Size, step: int) -> Tensor:
    """An image of zeros with x where a stride reads it."""
    whole = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last).zero_()
    whole[:, :, ::step, ::step] = x
    return whole


def kernel_gradient(x: Tensor, dy: Tensor, size: int, dilation: int) -> Tensor:
    """K(x, dy) of stride 1, for a kernel of a size that is centred on every pixel, channels innermost."""
    dw: Tensor = _KernelGradient.apply(x, dy, size, dilation)  # type: ignore[no-untyped-call]
    return dw


@final
class _KernelGradient(torch.autograd.Function):
    """K(x, dy): the gradient of a kernel of a size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dy: Tensor, size: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, dy)
        ctx.dilation = dilation
        if native.serves(x, size):
            return native.kernel_gradient(x, dy, size, dilation)
        found = _by_columns(_sorted(x, dilation), _sorted(dy, dilation), size)
        return found.view(-1, x.shape[1], 1, size, size).sum(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [h] = gradients
        x, dy = ctx.saved_tensors
        dx = depthwise(dy, _turned(h), ctx.dilation) if ctx.needs_input_grad[0] else None
        ddy = depthwise(x, h, ctx.dilation) if ctx.needs_input_grad[1] else None
        return dx, ddy, None, None


def _sorted(x: Tensor, dilation: int) -> Tensor:
    """All images as channels of one, and in each the pixels at the same place modulo the dilation, in its order.

    Where the dilation does not divide a side, zeros complete it.
    """
    n, channels, height, width = x.shape
    margins = (-width % dilation, -height % dilation)
    if any(margins):
        x = F.pad(x, (0, margins[0], 0, margins[1]))
    rows, columns = x.shape[2] // dilation, x.shape[3] // dilation
    places = x.view(n, channels, rows, dilation, columns, dilation).permute(2, 4, 3, 5, 0, 1)
    return places.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)


def _by_columns(x: Tensor, dy: Tensor, size: int) -> Tensor:
    """The gradient of a kernel without dilation, a few of its columns at a time."""
    reach, channels = size // 2, x.shape[1]
    parts = []
    for start in range(0, size, _COLUMNS):
        columns = min(_COLUMNS, size - start)
        left = reach - start  # column j of the kernel reads the image j − reach pixels to the right
        moved = F.pad(x, (left, columns - 1 - left, reach, reach))
        like = x.new_empty((channels, 1, size, columns))
        settings = ([1, 1], [0, 0], [1, 1], channels)
        parts.append(convolution_gradients(dy, moved, like, settings, [False, True, False])[1])
    return torch.cat(parts, dim=-1)
