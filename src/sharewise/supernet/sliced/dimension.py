"""Searched dimensions: which sizes a decision offers, and the survival vector that superposes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gate, Gates

__all__ = [
    "Axis",
    "Dimension",
    "Mask",
    "Size",
    "combinations",
    "dimension",
    "full_precision",
    "is_slice",
    "joint_weights",
    "survival",
]


def survival(gate: Gate, sizes: tuple[int, ...]) -> Tensor:
    """The survival vector s of a gate over sizes: s_j is the weight of all choices larger than position j.

    Only active options count. The length is the largest active size, so that a one-hot gate is a true slice of ones.

    Args:
        gate: of k options.
        sizes: k sizes.

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
    positions = torch.arange(max(sizes[i] for i in gate.active), device=gate.weights.device)
    reaches = torch.stack([positions < sizes[i] for i in gate.active], dim=1)
    return torch.where(reaches, _active_weights(gate), 0.0).sum(dim=1)


@final
@dataclass(frozen=True)
class Dimension:
    """A dimension of activations, of fixed size or with sizes that decisions choose among.

    Slices are leading: a choice of size o keeps positions 0 … o − 1.

    Args:
        decisions: whose options together choose the size; none for a fixed one.
        sizes: one size per combination of options, the last decision varying fastest.

    Raises:
        ConfigurationError: for sizes that are not positive or not as many as combinations.

    Example:
        >>> ratio, width = Decision("ratio", (2, 4)), Decision("width", (8, 16))
        >>> Dimension.over(width).sizes, Dimension.over(width, [24, 48]).sizes
        ((8, 16), (24, 48))
        >>> Dimension.product((width, ratio), lambda w, r: w * r).sizes
        (16, 32, 32, 64)
    """

    decisions: tuple[Decision, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        expected = math.prod(d.size for d in self.decisions)
        if len(self.sizes) != expected:
            raise ConfigurationError(
                f"{self._name} has {expected} combinations of options, got {len(self.sizes)} sizes"
            )
        for size in self.sizes:
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ConfigurationError(f"sizes of {self._name} must be positive integers, got {size!r}")

    @property
    def _name(self) -> str:
        return "dimension over " + (", ".join(repr(d.name) for d in self.decisions) or "no decision")

    @classmethod
    def over(cls, decision: Decision, sizes: Sequence[int] | None = None) -> Dimension:
        """The dimension of one decision; its options are the sizes unless `sizes` are given."""
        return cls((decision,), tuple(decision.options if sizes is None else sizes))  # type: ignore[arg-type]

    @classmethod
    def product(cls, decisions: Sequence[Decision], size: Callable[..., int]) -> Dimension:
        """The dimension of several decisions, with the size of a combination as a function of its options."""
        return cls(tuple(decisions), tuple(size(*options) for options in product(*(d.options for d in decisions))))

    @property
    def largest(self) -> int:
        """The size of the largest choice."""
        return max(self.sizes)

    def size(self, gates: Gates) -> int:
        """The largest size among active options, which is what a layer executes.

        Raises:
            ConfigurationError: when a decision has no active option.
        """
        return max(self.sizes[i] for i in combinations(self.decisions, gates))


Size = int | Decision | Dimension
"""A fixed size, a decision whose options are sizes, or a dimension."""


def dimension(size: Size) -> Dimension:
    """Read what users write for a size.

    Example:
        >>> dimension(3)
        Dimension(decisions=(), sizes=(3,))
    """
    if isinstance(size, Dimension):
        return size
    return Dimension.over(size) if isinstance(size, Decision) else Dimension((), (size,))


def combinations(decisions: Iterable[Decision], gates: Gates) -> list[int]:
    """Indices of the active combinations of options, the last decision varying fastest."""
    indices = [0]
    for decision in decisions:
        active = gates[decision.name].active
        if not active:
            raise ConfigurationError(
                f"decision {decision.name!r} has no active option; a sliced layer needs at least one"
            )
        indices = [index * decision.size + option for index in indices for option in active]
    return indices


def is_slice(decisions: Iterable[Decision], gates: Gates) -> bool:
    """Whether every decision takes one option with a constant weight of one, so that nothing needs a scale."""
    return all(gates[d.name].unit and len(gates[d.name].active) == 1 for d in decisions)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context without automatic mixed precision, for products of weights with weights."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _active_weights(gate: Gate) -> Tensor:
    # Indexing by integers needs no copy of a list of indices to the device, which would make the host wait.
    return gate.weights if len(gate.active) == gate.size else torch.stack([gate.weights[i] for i in gate.active])


def joint_weights(decisions: Iterable[Decision], gates: Gates) -> Tensor:
    """The products of weights of the active combinations, in the order of `combinations`; not all may be slices."""
    # A promised one is not read: it may even be on another device.
    first, *others = (_active_weights(gates[d.name]) for d in decisions if not is_slice((d,), gates))
    for other in others:
        first = (first[:, None] * other).flatten()
    return first


@final
class Mask(nn.Module):
    """The superposition Σ_c g_c · 1[position belongs to combination c] of several decisions, for any nested parts.

    Args:
        decisions: of whose options g_c is the product of weights.
        reach: boolean, shape `(…, combinations)`: which positions each combination covers.

    Example:
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
        columns = combinations(self.decisions, gates)
        if len(columns) == self.reach.shape[-1]:
            return self.reach
        return torch.stack([self.reach[..., column] for column in columns], dim=-1)

    def forward(self, gates: Gates) -> Tensor | None:
        """Shape `(…,)`, differentiable with respect to the gates; `None` where it would be ones within a slice."""
        if is_slice(self.decisions, gates):
            return None
        return torch.where(self.active(gates), self.weights(gates), 0.0).sum(dim=-1)


@final
class Axis(nn.Module):
    """A dimension together with what its survival vector is computed from, on the device of its layer.

    Args:
        size: of the dimension.

    Example:
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
        return None if s is None else s[: self.size(gates)]
