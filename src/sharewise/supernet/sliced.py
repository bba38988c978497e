"""Entangled sharing: nested slices of one largest weight.

For choice sizes o_1 < … < o_k with gate g ≥ 0, the superposition of all slices is the largest weight scaled by the
*survival* vector s_j = Σ_{i : o_i > j} g_i (0-based position j). Its cost does not depend on k.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gate, Gates
from sharewise.supernet.supernet import Shared

__all__ = ["SlicedLinear", "survival"]


def survival(gate: Gate, sizes: tuple[int, ...]) -> Tensor:
    """The survival vector s of a gate over sizes: s_j is the weight of all choices larger than position j.

    Only active options count. The length is the largest active size, so that a one-hot gate is a true slice of ones.

    Args:
        gate: of k options.
        sizes: k ascending sizes.

    Returns:
        Shape `(largest active size,)`, differentiable with respect to the gate.

    Raises:
        ConfigurationError: when no option is active.

    Example:
        >>> survival(Gate(torch.tensor([0.25, 0.75]), active=(0, 1)), (1, 3))
        tensor([1.0000, 0.7500, 0.7500])
    """
    if not gate.active:
        raise ConfigurationError("a sliced layer needs at least one active option")
    positions = torch.arange(sizes[gate.active[-1]], device=gate.weights.device)
    reaches = torch.stack([positions < sizes[i] for i in gate.active], dim=1)
    return torch.where(reaches, gate.weights[list(gate.active)], 0.0).sum(dim=1)


@final
class SlicedLinear(Shared):
    """A linear layer whose leading input and output features are chosen by decisions.

    Executes only the largest active slice. The layer itself does not scale: where a decision is dense, whoever owns the
    dimension multiplies the activation by `survival` once, *after* the non-linearity, so that a dimension tied between
    two layers is not scaled twice.

    Args:
        in_features: of the largest choice.
        out_features: of the largest choice.
        inputs: decision over input sizes, or `None` for a fixed dimension.
        outputs: decision over output sizes, or `None`.

    Example:
        >>> layer = SlicedLinear(2, 4, outputs=Decision("width", (2, 4)))
        >>> layer(torch.ones(1, 2), {"width": Gate(torch.tensor([1.0, 0.0]), (0,))}).shape
        torch.Size([1, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        inputs: Decision | None = None,
        outputs: Decision | None = None,
    ) -> None:
        super().__init__()
        plain = nn.Linear(in_features, out_features)
        self.weight, self.bias = plain.weight, plain.bias
        self.inputs, self.outputs = inputs, outputs

    def _slice(self, gates: Gates) -> tuple[Tensor, Tensor]:
        rows = _largest(self.outputs, gates, self.weight.shape[0])
        columns = _largest(self.inputs, gates, self.weight.shape[1])
        return self.weight[:rows, :columns], self.bias[:rows]

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Outputs of shape `(…, largest active output size)`."""
        return F.linear(x, *self._slice(gates))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The leading slice of weight and bias."""
        weight, bias = self._slice(gates)
        return {"weight": weight.detach(), "bias": bias.detach()}


def _largest(decision: Decision | None, gates: Gates, full: int) -> int:
    if decision is None:
        return full
    if not gates[decision.name].active:
        raise ConfigurationError(f"decision {decision.name!r} has no active option; a sliced layer needs at least one")
    size = decision.options[gates[decision.name].active[-1]]
    assert isinstance(size, int)
    return size
