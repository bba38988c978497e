"""Kernels that nest about a centre: a smaller kernel is the middle of a larger one.

The positions that a size adds to the next smaller one form a ring. With sizes k_1 < … < k_n of one parity and gate g,
the superposition of all kernels is the largest one scaled, ring by ring, by Σ_{i : k_i covers the ring} g_i.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sharewise.errors import ConfigurationError

__all__ = ["centre", "padding_of", "require_nested", "rings"]


def require_nested(sizes: Sequence[int]) -> None:
    """Refuse kernels that have no common centre.

    Raises:
        ConfigurationError: when some sizes are odd and others even.
    """
    if len({size % 2 for size in sizes}) > 1:
        raise ConfigurationError(f"kernels nest about a centre only if all are odd or all even: {tuple(sizes)}")


def rings(sizes: Sequence[int], axes: int = 2) -> Tensor:
    """Which positions of the largest kernel each size covers, as `superposition` reads it.

    Position x is covered by size k of K where it is at least (K − k) / 2 away from every border.

    Args:
        sizes: of kernels, all odd or all even.
        axes: in how many directions a kernel extends.

    Returns:
        Boolean, shape `(K, …, K, sizes)` on the host.

    Example:
        >>> rings((1, 3), axes=1).int().tolist()
        [[0, 1], [1, 1], [0, 1]]
    """
    largest = max(sizes)
    line = torch.arange(largest, device="cpu")
    border = torch.minimum(line, largest - 1 - line)
    inside = border[:, None] >= torch.tensor([(largest - size) // 2 for size in sizes], device="cpu")
    covered = inside
    for _ in range(axes - 1):
        covered = covered.unsqueeze(-2) & inside
    return covered


def centre(kernel: Tensor, size: int, axes: int = 2) -> Tensor:
    """The middle of a kernel: `size` positions along each of its axes.

    Args:
        kernel: shape `(…, K, …, K)`.
        size: of the part, of the parity of K.
        axes: in how many directions the kernel extends.

    Example:
        >>> centre(torch.arange(9).view(3, 3), 1)
        tensor([[4]])
    """
    for axis in range(kernel.dim() - axes, kernel.dim()):
        margin = (kernel.shape[axis] - size) // 2
        kernel = kernel if margin == 0 else kernel.narrow(axis, margin, size)
    return kernel


def padding_of(padding: int, dilation: int, largest: int, size: int) -> int:
    """The padding with which a smaller kernel writes what the centre of the largest one would.

    Args:
        padding: of the largest kernel.
        dilation: of the convolution.
        largest: K.
        size: k ≤ K.

    Returns:
        padding − dilation · (K − k) / 2; negative where no padding can do that.

    Example:
        >>> padding_of(3, 1, largest=7, size=3)
        1
    """
    return padding - dilation * (largest - size) // 2
