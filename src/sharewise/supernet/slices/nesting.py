"""Survival: what superposes the slices of a searched dimension, as pure functions of tables and gates.

For choice sizes o_1 < … < o_k with gate g ≥ 0, the superposition of all slices of a weight is the largest weight scaled
by the *survival* vector s_j = Σ_{i : o_i > j} g_i (0-based position j). More generally, with combinations c of options
of weight g_c that each cover some positions, the scale at a position is Σ_c g_c · 1[c covers it] (`superposition`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gate, Gates
from sharewise.supernet.slices.dimension import combinations

__all__ = ["active_columns", "full_precision", "is_slice", "joint_weights", "leading", "superposition", "survival"]


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


def is_slice(decisions: Iterable[Decision], gates: Gates) -> bool:
    """Whether every decision takes one option with a constant weight of one, so that nothing needs a scale."""
    return all(gates[d.name].unit and len(gates[d.name].active) == 1 for d in decisions)


Part = TypeVar("Part", Tensor, Tensor | None)
"""Of a layer, which may lack it."""


def leading(tensor: Part, size: int, axis: int = 0) -> Part:
    """The leading positions along an axis: the tensor itself where these are all.

    The gradient of a slice is copied into zeros of the whole, which costs two passes over a weight.

    Args:
        tensor: with that axis, or `None`.
        size: how many positions; of fewer, all.
        axis: along which.

    Example:
        >>> leading(torch.arange(4).view(2, 2), 1, axis=1).tolist()
        [[0], [2]]
    """
    return tensor if tensor is None or tensor.shape[axis] <= size else tensor.narrow(axis, 0, size)


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


def active_columns(reach: Tensor, decisions: Iterable[Decision], gates: Gates) -> Tensor:
    """The columns of a table that belong to active combinations.

    Args:
        reach: shape `(…, combinations)`, the last decision varying fastest.
        decisions: whose options the combinations are.
        gates: of these decisions.
    """
    columns = combinations(decisions, gates)
    if len(columns) == reach.shape[-1]:
        return reach
    return torch.stack([reach[..., column] for column in columns], dim=-1)


def superposition(reach: Tensor, decisions: Sequence[Decision], gates: Gates) -> Tensor | None:
    """The scale Σ_c g_c · 1[c covers the position] that superposes nested parts of one tensor.

    g_c is the product of the weights of the combination's options. For leading parts it is the survival vector, for
    centred kernels the weight of each ring, for groups that of each block on the diagonal.

    Args:
        reach: boolean, shape `(…, combinations)`: which positions each combination of options covers.
        decisions: whose options are combined, the last one varying fastest.
        gates: of these decisions.

    Returns:
        Shape `(…,)`, differentiable with respect to the gates; `None` where it would be ones within a slice.

    Example:
        >>> reach = torch.tensor([[True, True], [False, True]])
        >>> superposition(reach, (Decision("d", ("a", "b")),), {"d": Gate(torch.tensor([0.25, 0.75]), (0, 1))})
        tensor([1.0000, 0.7500])

    References:
        R. Sukthanker et al., *Weight-Entanglement Meets Gradient-Based Neural Architecture Search*, AutoML 2024 (arXiv
        2312.10440), algorithm 2.
    """
    if is_slice(decisions, gates):
        return None
    return torch.where(active_columns(reach, decisions, gates), joint_weights(decisions, gates), 0.0).sum(dim=-1)
