"""Images and masks brought to another size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["bilinear", "nearest"]


def bilinear(images: Tensor, size: int) -> Tensor:
    """Resize images by antialiased bilinear interpolation.

    Args:
        images: uint8 of shape `(n, channels, height, width)`.
        size: new height and width in pixels.

    Returns:
        uint8 of shape `(n, channels, size, size)`.

    Example:
        >>> bilinear(torch.tensor([[[[0, 200]]]], dtype=torch.uint8), 1)
        tensor([[[[100]]]], dtype=torch.uint8)
    """

    def change(chunk: Tensor) -> Tensor:
        resized = F.interpolate(chunk.float(), (size, size), mode="bilinear", antialias=True)
        return resized.round().clamp(0, 255).to(torch.uint8)

    return torch.cat([change(images[start : start + 1024]) for start in range(0, len(images), 1024)])


def nearest(masks: Tensor, size: int) -> Tensor:
    """Resize masks: each new pixel takes the class of the old pixel on which its centre lies.

    Args:
        masks: integers of shape `(n, height, width)`.
        size: new height and width in pixels.

    Returns:
        Shape `(n, size, size)`, of the same type.

    Example:
        >>> nearest(torch.tensor([[[1, 2], [3, 4]]]), 4).tolist()
        [[[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]]
    """
    rows, columns = (((torch.arange(size) + 0.5) * side / size).long() for side in masks.shape[1:])
    return masks[:, rows][:, :, columns]
