"""Convolutions that compute their gradients by themselves, to any order.

A convolution is linear in images x and in kernels w, so that t(x, w, dy) = ⟨dy, x ⋆ w⟩ is linear in each of three. Its
three derivatives are what there is to compute,

    y = ∂t/∂dy = x ⋆ w,   dx = ∂t/∂x,   dw = ∂t/∂w,

each of which is linear in the other two, and has the other two of these three for derivatives: with cotangents G of dx
and h of dw, d(dy) = G ⋆ w + x ⋆ h, and so on.

A rectification before it, max(x, 0) ⋆ w, can be part of it: dx is zero then where x is not positive, and dw is that of
max(x, 0). Where these are differentiated again, torch masks and rectifies, and the convolution is one by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any, final

import torch
from torch import Tensor

from sharewise.supernet.layout import innermost

__all__ = ["Trilinear", "convolution_gradients", "in_both_directions"]


class Trilinear(ABC):
    """How a convolution computes its value and its gradients; what it is given asks for no gradient."""

    @abstractmethod
    def value(self, x: Tensor, kernel: Tensor) -> Tensor:
        """x ⋆ w.

        Args:
            x: shape `(n, inputs, height, width)`.
            kernel: w, shape `(outputs, inputs / groups, k, k)`.
        """

    @abstractmethod
    def image_gradient(self, dy: Tensor, kernel: Tensor) -> Tensor:
        """dx.

        Args:
            dy: of the shape of x ⋆ w, channels innermost.
            kernel: w.
        """

    @abstractmethod
    def kernel_gradient(self, x: Tensor, dy: Tensor, kernel: Tensor) -> Tensor:
        """dw.

        Args:
            x: images.
            dy: of the shape of x ⋆ w, channels innermost.
            kernel: w, whose shape counts, and not its values.
        """

    def rectified_value(self, x: Tensor, kernel: Tensor) -> Tensor:
        """max(x, 0) ⋆ w."""
        return self.value(x.relu(), kernel)

    def masked_image_gradient(self, dy: Tensor, kernel: Tensor, x: Tensor) -> Tensor:
        """dx where x is positive, and zero elsewhere."""
        return _masked(self.image_gradient(dy, kernel), x)

    def rectified_kernel_gradient(self, x: Tensor, dy: Tensor, kernel: Tensor) -> Tensor:
        """dw of max(x, 0) ⋆ w."""
        return self.kernel_gradient(x.relu(), dy, kernel)

    @final
    def __call__(self, x: Tensor, kernel: Tensor, *, rectified: bool = False) -> Tensor:
        """x ⋆ w, or max(x, 0) ⋆ w, of whose gradients those are computed that are asked for."""
        return _image(self, x, kernel, turned=False, rectified=rectified)


def in_both_directions(*settings: Any) -> list[tuple[int, ...]]:
    """Settings of a convolution, each of which is a number for both directions or two.

    Example:
        >>> in_both_directions(1, (2, 3))
        [(1, 1), (2, 3)]
    """
    return [(int(value),) * 2 if isinstance(value, Integral) else tuple(value) for value in settings]


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


def _masked(dx: Tensor, x: Tensor) -> Tensor:
    found: Tensor = torch.ops.aten.threshold_backward(dx, x, 0)
    return found


def _image(form: Trilinear, x: Tensor, kernel: Tensor, *, turned: bool, rectified: bool = False) -> Tensor:
    """x ⋆ w, or max(x, 0) ⋆ w; turned, what dy in the place of x gives for dx."""
    straight = form.rectified_value if rectified else form.value
    compute = form.image_gradient if turned else straight
    if not torch.is_grad_enabled():
        return compute(x, kernel)
    with torch.no_grad():
        y = compute(x, kernel)
    place: Tensor | None = None
    if kernel.requires_grad:
        place = _Place.apply(kernel, (x, y), form, turned, rectified)  # type: ignore[no-untyped-call]
    made: Tensor = _Image.apply(x, kernel, place, (y,), form, turned, rectified)  # type: ignore[no-untyped-call]
    return made


@final
class _Image(torch.autograd.Function):
    """x ⋆ w or dx, as a function of the images, and of the place where the kernel waits for what comes back."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernel: Tensor,
        place: Tensor | None,
        made: tuple[Tensor],
        form: Trilinear,
        turned: bool,
        rectified: bool,
    ) -> Tensor:
        ctx.save_for_backward(kernel, x if rectified else None)  # which says where dx is zero
        ctx.form, ctx.turned = form, turned
        return made[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        kernel, x = ctx.saved_tensors
        back = innermost(gradients[0])
        wanted, dx = ctx.needs_input_grad, None
        if wanted[0] and x is not None and not torch.is_grad_enabled():
            dx = ctx.form.masked_image_gradient(back, kernel, x)
        elif wanted[0]:
            dx = _image(ctx.form, back, kernel, turned=not ctx.turned)
            dx = dx if x is None else _masked(dx, x)
        return dx, None, back if wanted[2] else None, None, None, None, None


@final
class _Place(torch.autograd.Function):
    """What `_Image` makes, which nobody reads here: what arrives as its gradient goes on to the kernel.

    A node of its own, since torch executes a node for all of its inputs or not at all, and an architecture step asks
    for no gradient of kernels; for the same reason images come in a tuple, as no input of the node. It holds them as
    long as there is the graph, also where it was left out.
    """

    @staticmethod
    def forward(
        ctx: Any, kernel: Tensor, images: tuple[Tensor, Tensor], form: Trilinear, turned: bool, rectified: bool
    ) -> Tensor:
        x, y = images
        ctx.save_for_backward(x, kernel)
        ctx.form, ctx.turned, ctx.rectified = form, turned, rectified
        return y.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        back = innermost(gradients[0])
        read, written = (back, x) if ctx.turned else (x, back)
        dw = _kernel(ctx.form, read, written, kernel.detach(), rectified=ctx.rectified)
        return dw, None, None, None, None


def _kernel(form: Trilinear, x: Tensor, dy: Tensor, kernel: Tensor, *, rectified: bool) -> Tensor:
    """dw, of x or of max(x, 0)."""
    if torch.is_grad_enabled():
        made: Tensor = _Kernel.apply(x.relu() if rectified else x, dy, kernel, form)  # type: ignore[no-untyped-call]
        return made
    return (form.rectified_kernel_gradient if rectified else form.kernel_gradient)(x, dy, kernel)


@final
class _Kernel(torch.autograd.Function):
    """dw, as a function of x and dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dy: Tensor, kernel: Tensor, form: Trilinear) -> Tensor:
        ctx.save_for_backward(x, dy)
        ctx.form = form
        return form.kernel_gradient(x, dy, kernel)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [h] = gradients
        x, dy = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        dx = _image(ctx.form, dy, h, turned=True) if wanted[0] else None
        return dx, _image(ctx.form, x, h, turned=False) if wanted[1] else None, None, None
