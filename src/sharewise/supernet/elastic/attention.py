"""Attention whose heads have a searched size: a mixture of the scores of all sizes.

With sizes d_i of a head and gates g the scores of queries against keys are superposed exactly,

    Σ_i g_i (q_{<d_i} · k_{<d_i}) / √d_i = Σ_j s_j q_j k_j,   s_j = Σ_{i : j alive under option i} g_i / √d_i,

by scaling the queries by s. A module's own code calls torch's attention, so the call is met there for as long as the
module runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sharewise.space import Decision
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.nesting import active_columns, is_slice, joint_weights

__all__ = ["attending", "scores"]


def scores(reach: Tensor, decisions: Sequence[Decision], gates: Gates) -> Tensor | None:
    """The scale s of queries, at all positions of a head, and `None` within a slice.

    Args:
        reach: boolean, shape `(positions, combinations)`: what each combination of options keeps of a head.
        decisions: whose options are combined, the last one varying fastest.
        gates: of these decisions.

    Returns:
        Shape `(positions,)`, differentiable with respect to the gates.

    Example:
        >>> from sharewise.supernet.gate import Gate
        >>> reach = torch.tensor([[True, True], [False, True], [False, True], [False, True]])
        >>> scores(reach, [Decision("size", (1, 4))], {"size": Gate(torch.tensor([0.5, 0.5]), (0, 1))})
        tensor([0.7500, 0.2500, 0.2500, 0.2500])
    """
    if is_slice(decisions, gates):
        return None
    kept, weights = active_columns(reach, decisions, gates), joint_weights(decisions, gates)
    return torch.where(kept, weights * kept.sum(0).to(weights.dtype).rsqrt(), 0.0).sum(-1)


def attending(forward: Callable[..., Any], scales: Mapping[int, Tensor], /, *args: Any, **kwargs: Any) -> Any:
    """Run a module whose attention has heads of a searched size.

    Args:
        forward: of the module.
        scales: s by the size that a head has in this call.
        args: of the module.
        kwargs: of the module.
    """
    with _Superposed(scales):
        return forward(*args, **kwargs)


@final
class _Superposed(TorchFunctionMode):
    """Scales the queries of torch's attention in place of its own scale."""

    def __init__(self, scales: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._scales = scales

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is F.scaled_dot_product_attention:
            kwargs |= dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False))
            scale = self._scales.get(kwargs["query"].shape[-1])
            if scale is not None:
                kwargs |= {"query": kwargs["query"] * scale.to(kwargs["query"].dtype), "scale": 1.0}
            return function(**kwargs)
        return function(*args, **kwargs)
