"""The gate: the only thing that crosses from a distribution to a network.

A gate holds one weight per option of a decision and says which options are executed. A discrete architecture is the
one-hot special case, so every algorithm and every extracted path runs through the same line of a mixed operation:
`sum(gate.weights[i] * operations[i](x) for i in gate.active)`.

The graph is cut here: the supernet sees leaf gates (`cut`), the level collects the gradient with respect to them, and
`Distribution.pullback` carries it to the architecture parameters by one vector-Jacobian product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Encoding

__all__ = ["Gate", "Gates", "add", "cut", "discrete", "to_device", "weighted"]


@dataclass(frozen=True)
class Gate:
    """The weights of one decision for one batch.

    Args:
        weights: shape `(k,)`, differentiable; one vector per batch.
        active: indices of the options that are executed, ascending; no other option is touched.
        log_prob: shape `()`, the log-probability of the draw, for score-function estimators.
        unit: promises that every active weight is exactly one and that no gradient with respect to it is wanted, so
            that a layer may leave out the multiplication. Multiplying by one is exact, so results do not change.

    Raises:
        ConfigurationError: for per-sample gates of shape `(n, k)`, or active indices that do not ascend within it.

    Example:
        >>> gate = Gate(torch.tensor([0.25, 0.75]), active=(0, 1))
        >>> gate.size
        2
    """

    weights: Tensor
    active: tuple[int, ...]
    log_prob: Tensor | None = None
    unit: bool = False

    def __post_init__(self) -> None:
        if self.weights.dim() != 1:
            raise ConfigurationError(
                f"a gate has one weight vector of shape (k,) per batch, got shape {tuple(self.weights.shape)}; "
                "per-sample gates are not supported"
            )
        if any(a >= b for a, b in pairwise((-1, *self.active, self.size))):
            raise ConfigurationError(
                f"active options {self.active} of a gate with {self.size} options: they must ascend within it"
            )

    @property
    def size(self) -> int:
        """The number k of options."""
        return self.weights.shape[0]


Gates = Mapping[str, Gate]
"""Gates by decision name; two layers that read the same name share one decision."""


def discrete(encoding: Encoding, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Gates:
    """Gates of one architecture, from its encoding: constant, and active only where the weight is not zero.

    Args:
        encoding: weights by decision, as `Relaxation.encode` returns them.
        dtype: of the weights.
        device: of the weights.

    Example:
        >>> gates = discrete({"edge": (0.0, 1.0, 0.0)})
        >>> gates["edge"].active, gates["edge"].unit
        ((1,), True)
    """
    gates = {}
    for name, weights in encoding.items():
        active = tuple(i for i, weight in enumerate(weights) if weight != 0)
        unit = all(weights[i] == 1 for i in active)
        gates[name] = Gate(torch.tensor(weights, dtype=dtype, device=device), active, unit=unit)
    return gates


def cut(gates: Gates, *, differentiable: bool) -> Gates:
    """Gates of equal value that are leaves of a new graph.

    Args:
        gates: as drawn.
        differentiable: whether the leaves ask for a gradient (an architecture step) or not (a weight step).

    Returns:
        New gates; `log_prob` stays with the drawn ones.

    Example:
        >>> theta = torch.tensor([0.5, 0.5], requires_grad=True)
        >>> leaf = cut({"edge": Gate(theta * 1, (0, 1))}, differentiable=True)["edge"].weights
        >>> leaf.is_leaf, leaf.requires_grad
        (True, True)
    """
    return {
        name: Gate(
            gate.weights.detach().requires_grad_(differentiable),
            gate.active,
            unit=gate.unit and not differentiable,
        )
        for name, gate in gates.items()
    }


def to_device(gates: Gates, device: torch.device, dtype: torch.dtype | None = None) -> Gates:
    """Gates with weights on `device` (and of `dtype`), by differentiable copies that need no synchronisation.

    Unit gates stay where they are, since no layer reads their weights.
    """
    return {
        name: gate
        if gate.unit
        else replace(gate, weights=gate.weights.to(device=device, dtype=dtype, non_blocking=True))
        for name, gate in gates.items()
    }


def weighted(gate: Gate, index: int, output: Tensor) -> Tensor:
    """`gate.weights[index] * output`, without the multiplication where the gate promises a constant one."""
    return output if gate.unit else gate.weights[index].to(output.dtype) * output


def add(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    """The sum of two terms of which each may be absent, absent meaning zero."""
    if total is None or more is None:
        return more if total is None else total
    return total + more
