"""Searched depth: the mixture of the outputs of the prefixes of a row of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gate, add, weighted

__all__ = ["active_depths", "with_prefix"]


def active_depths(depths: Sequence[int], gate: Gate, name: str) -> dict[int, int]:
    """The active depths, each with the index of its option.

    Args:
        depths: numbers of leading blocks, one per option.
        gate: of the decision.
        name: of the decision, for the message.

    Raises:
        ConfigurationError: when no option is active.
    """
    if not gate.active:
        raise ConfigurationError(f"decision {name!r} has no active option; a stack needs a depth")
    return {depths[index]: index for index in gate.active}


def with_prefix(total: Tensor | None, x: Tensor, depth: int, options: Mapping[int, int], gate: Gate) -> Tensor | None:
    """One step of the sum Σ_i g_i · x^(d_i), with x^(d) what the first d blocks compute.

    Folded over the blocks in their order, all depths together cost one pass through the deepest.

    Args:
        total: the sum so far, `None` for nothing.
        x: x^(depth).
        depth: how many blocks have been executed.
        options: the active depths with the indices of their options.
        gate: g.

    Returns:
        The new sum; `total` itself where no option ends here.

    Example:
        >>> import torch
        >>> gate, total = Gate(torch.tensor([0.25, 0.75]), (0, 1)), None
        >>> for depth, x in enumerate((torch.tensor(8.0), torch.tensor(4.0), torch.tensor(2.0))):
        ...     total = with_prefix(total, x, depth, {1: 0, 2: 1}, gate)
        >>> total
        tensor(2.5000)
    """
    return add(total, weighted(gate, options[depth], x)) if depth in options else total
