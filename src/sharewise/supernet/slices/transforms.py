"""Learned transforms between nested kernels: a smaller kernel is the centre of the next larger one times a matrix.

With sizes k_1 < … < k_n, weights W_n and matrices T_i ∈ R^{k_i^a × k_i^a} for kernels that extend in a directions, the
kernel of size k_i is W_i = T_i · centre(W_{i+1}, k_i), position by position, the same matrix for all channels. Matrices
start as identities, with which kernels are plain centres. Under a gate g the kernel is Σ_i g_i pad(W_i).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.supernet.gate import Gate, add, weighted
from sharewise.supernet.slices.kernels import centre
from sharewise.supernet.slices.nesting import full_precision

__all__ = ["KernelTransforms"]


@final
@dataclass(frozen=True)
class KernelTransforms:
    """The transforms between the kernels of one convolution, which holds the matrices.

    Args:
        sizes: of the kernels, ascending.
        axes: in how many directions they extend.

    Example:
        >>> transforms, layer = KernelTransforms((3, 5, 7), axes=2), nn.Conv2d(4, 4, 7, groups=4)
        >>> transforms.register(layer)
        >>> [(name, tuple(matrix.shape)) for name, matrix in layer.named_parameters()][2:]
        [('transform_7_to_5', (25, 25)), ('transform_5_to_3', (9, 9))]
        >>> torch.equal(transforms.kernel(layer, layer.weight, 3), layer.weight[:, :, 2:5, 2:5])
        True

    References:
        H. Cai et al., *Once-for-All*, ICLR 2020 (arXiv 1908.09791), section 3.3; mit-han-lab/once-for-all,
        `dynamic_op.py`.

    Deviations:
        The paper trains one kernel size at a time. Mixtures, which gradient-based search needs, are superposed as those
        of plain nested kernels are.
    """

    sizes: tuple[int, ...]
    axes: int

    @cached_property
    def names(self) -> dict[int, str]:
        """What the matrix is called that makes the kernel of a size."""
        return {small: f"transform_{large}_to_{small}" for small, large in reversed(list(pairwise(self.sizes)))}

    def register(self, convolution: nn.Module) -> None:
        """Give a convolution the matrices, as identities."""
        weight = convolution.get_parameter("weight")
        for small, name in self.names.items():
            identity = torch.eye(small**self.axes, dtype=weight.dtype, device=weight.device)
            convolution.register_parameter(name, nn.Parameter(identity))

    def kernel(self, convolution: nn.Module, weight: Tensor, size: int) -> Tensor:
        """The kernel of one size.

        Args:
            convolution: which holds the matrices.
            weight: the largest kernels, `(…, K, …, K)`, of the channels that are executed.
            size: one of `sizes`.
        """
        return self._down(convolution, weight, self.sizes[-1], size)

    def superposed(self, convolution: nn.Module, weight: Tensor, gate: Gate) -> Tensor:
        """Σ_i g_i pad(W_i) over the active sizes, as large as the largest of them; other arguments as in `kernel`."""
        above, largest, total = self.sizes[-1], self.sizes[gate.active[-1]], None
        for option in reversed(gate.active):
            weight = self._down(convolution, weight, above, self.sizes[option])
            above = self.sizes[option]
            margin = (largest - above) // 2
            total = add(total, weighted(gate, option, F.pad(weight, [margin] * 2 * self.axes) if margin else weight))
        assert total is not None
        return total

    def _down(self, convolution: nn.Module, weight: Tensor, above: int, size: int) -> Tensor:
        """From the kernel of one size to that of a smaller one, through all sizes between them."""
        with full_precision(weight.device):
            for small, name in self.names.items():
                if size <= small < above:
                    positions = centre(weight, small, self.axes).flatten(-self.axes)
                    matrix: Tensor = getattr(convolution, name)  # no parameter, where it is called at other weights
                    weight = F.linear(positions, matrix).reshape(*weight.shape[: -self.axes], *[small] * self.axes)
        return weight
