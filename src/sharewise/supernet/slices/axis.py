"""What a sliced layer keeps of a searched dimension: tables on its device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.dimension import Size, dimension
from sharewise.supernet.slices.nesting import active_columns, joint_weights, leading, superposition

__all__ = ["Axis", "Mask"]


@final
class Mask(nn.Module):
    """A table of what combinations of options cover, on the device of its layer, and its `superposition`.

    Args:
        decisions: of whose options g_c is the product of weights.
        reach: boolean, shape `(…, combinations)`: which positions each combination covers.

    Example:
        >>> from sharewise.supernet import Gate
        >>> mask = Mask((Decision("d", ("a", "b")),), torch.tensor([[True, True], [False, True]]))
        >>> mask({"d": Gate(torch.tensor([0.25, 0.75]), (0, 1))})
        tensor([1.0000, 0.7500])
    """

    reach: Tensor

    def __init__(self, decisions: Sequence[Decision], reach: Tensor) -> None:
        super().__init__()
        self.decisions = tuple(decisions)
        self.register_buffer("reach", reach, persistent=False)

    def weights(self, gates: Gates) -> Tensor:
        """The weight g_c of every active combination."""
        return joint_weights(self.decisions, gates)

    def active(self, gates: Gates) -> Tensor:
        """The columns of `reach` that belong to active combinations."""
        return active_columns(self.reach, self.decisions, gates)

    def forward(self, gates: Gates) -> Tensor | None:
        """Shape `(…,)`, differentiable with respect to the gates; `None` where it would be ones within a slice."""
        return superposition(self.reach, self.decisions, gates)


@final
class Axis(nn.Module):
    """A dimension together with what its survival vector is computed from, on the device of its layer.

    Args:
        size: of the dimension.

    Example:
        >>> from sharewise.supernet import Gate
        >>> axis = Axis(Decision("width", (1, 3)))
        >>> gates = {"width": Gate(torch.tensor([0.25, 0.75]), (0, 1))}
        >>> axis.size(gates), axis.survival(gates)
        (3, tensor([1.0000, 0.7500, 0.7500]))
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.dimension = dimension(size)
        sizes = torch.tensor(self.dimension.sizes, device="cpu")
        self.mask = Mask(self.decisions, torch.arange(self.dimension.largest, device="cpu")[:, None] < sizes)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those that choose the size."""
        return self.dimension.decisions

    @property
    def largest(self) -> int:
        """The size of the largest choice."""
        return self.dimension.largest

    def size(self, gates: Gates) -> int:
        """The largest size among active options."""
        return self.dimension.size(gates)

    def survival(self, gates: Gates) -> Tensor | None:
        """Shape `(size,)`, or `None` where the dimension is fixed or a true slice."""
        s: Tensor | None = self.mask(gates)
        return leading(s, self.size(gates))
