"""What a node hands on by skips and poolings, to all nodes that read it at once.

The terms s_jk x_k of edges that scale an image and do nothing else to it are

    y_j = Σ_k s_jk x_k,   dx_k = Σ_j s_jk dy_j,   ds_jk = ⟨dy_j, x_k⟩,

for the nodes j to which these edges lead. By themselves each is a pass over images, in both directions, and each of
their sums is another; compiled kernels read every image once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from sharewise.supernet import native
from sharewise.supernet.layout import innermost
from sharewise.supernet.twice import expects_second

__all__ = ["combined", "is_on", "serves"]


def is_on() -> bool:
    """Whether there may be images that `combined` serves: within compiled kernels, for one derivative."""
    return native.enabled() and torch.is_grad_enabled() and not expects_second()


def serves(images: Sequence[Tensor]) -> bool:
    """Whether `combined` is faster than the terms by themselves: where compiled kernels know several images.

    Of one image alone it takes as long.

    Args:
        images: that are read.
    """
    return len(images) > 1 and is_on() and native.serves_combined(images)


def combined(scales: Tensor, images: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """y_j for every j; differentiable to any order.

    Args:
        scales: s, shape `(outputs, images)`, in the precision of the images.
        images: x, of which `serves` holds.
    """
    made: tuple[Tensor, ...] = _Combined.apply(scales, *images)  # type: ignore[no-untyped-call]
    return made


@final
class _Combined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scales: Tensor, *images: Tensor) -> tuple[Tensor, ...]:
        asks = ctx.needs_input_grad[0]
        ctx.save_for_backward(scales, *(images if asks else ()))
        return tuple(native.combined_by_kernel(scales, images))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scales, *images = ctx.saved_tensors
        back = [innermost(gradient) for gradient in gradients]
        if torch.is_grad_enabled() or native.is_watched():
            return _by_torch(scales, images, back, ctx.needs_input_grad)
        of_scales = native.products_by_kernel(back, [innermost(x) for x in images]) if images else None
        wanted = any(ctx.needs_input_grad[1:])
        of_images = native.combined_by_kernel(scales.T, back) if wanted else [None] * scales.shape[1]
        return of_scales, *of_images


def _by_torch(
    scales: Tensor, images: Sequence[Tensor], back: Sequence[Tensor], wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """By functions that torch differentiates."""
    of_scales = None
    if images:
        of_scales = torch.stack([torch.stack([(dy * x).sum() for x in images]) for dy in back])
    of_images: list[Tensor | None] = [None] * scales.shape[1]
    if any(wanted[1:]):
        of_images = [sum(s * dy for s, dy in zip(column, back, strict=True)) for column in scales.T]
    return of_scales, *of_images
