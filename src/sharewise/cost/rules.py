"""Rules: how many multiply-accumulates an operation of torch does, by the shapes that it meets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["RULES", "Rule", "costs_unknown"]

Rule = Callable[[tuple[Any, ...], Any], int]
"""From the positional arguments and the output of an operation to its multiply-accumulates."""


def _linear(arguments: tuple[Any, ...], output: Tensor) -> int:
    """in · out, and out for a bias, as the published figures of NAS-Bench-201 count."""
    biased = len(arguments) > 2 and arguments[2] is not None
    return int(output.numel() * (arguments[0].shape[-1] + biased))


def _product(left: int, right: int) -> Rule:
    """A matrix product of two of the arguments: every output is a sum over the last dimension of the left one."""

    def rule(arguments: tuple[Any, ...], output: Tensor) -> int:
        a, b = arguments[left], arguments[right]
        rows = a.numel() if a.dim() > 1 else a.shape[-1]
        return int(rows * (b.shape[-1] if b.dim() > 1 else 1))

    return rule


def _convolution(arguments: tuple[Any, ...], output: Tensor) -> int:
    """Every output reads a kernel; under transposition every input writes one."""
    transposed = arguments[6]
    ends = arguments[0] if transposed else output
    return int(ends.numel() * math.prod(arguments[1].shape[1:]))


def _attention(arguments: tuple[Any, ...], output: Any) -> int:
    """Queries with keys, and weights with values; a causal mask saves nothing, as in torch's own counter."""
    queries, keys, values = arguments[:3]
    pairs = queries.numel() // queries.shape[-1] * keys.shape[-2]
    return int(pairs * (queries.shape[-1] + values.shape[-1]))


def _bilinear(arguments: tuple[Any, ...], output: Tensor) -> int:
    """x W for every output, and the product with y."""
    first, weight = arguments[0], arguments[2]
    rows = first.numel() // first.shape[-1]
    return int(rows * weight.shape[0] * (weight.shape[1] * weight.shape[2] + weight.shape[2]))


def _rules() -> dict[str, Rule]:
    rules: dict[str, Rule] = {
        "linear": _linear,
        "mm": _product(0, 1),
        "bmm": _product(0, 1),
        "mv": _product(0, 1),
        "dot": _product(0, 1),
        "vdot": _product(0, 1),
        "_int_mm": _product(0, 1),
        "bilinear": _bilinear,
        "convolution": _convolution,
        "_convolution": _convolution,
    }
    rules |= dict.fromkeys(("addmm", "addbmm", "baddbmm", "addmv", "addmm_", "addbmm_", "baddbmm_"), _product(1, 2))
    attentions = [name for name in dir(torch.ops.aten) if name.startswith("_scaled_dot_product_")]
    attentions += ["scaled_dot_product_attention"]
    rules |= dict.fromkeys((name for name in attentions if not name.endswith("_backward")), _attention)
    return rules


RULES: Mapping[str, Rule] = _rules()
"""By the name of the operation without its overload; biases of convolutions, and all else that is added, are free."""

_COSTLY = (
    "_fft_",
    "linalg_",
    "_linalg_",
    "_cdist",
    "_native_multi_head_attention",
    "_transformer_encoder_layer",
    "_sparse_",
    "sparse_",
    "cholesky",
    "triangular_solve",
    "_trilinear",
    "mkldnn_",
    "_addmm_activation",
    "_grouped_mm",
    "_scaled_mm",
)


def costs_unknown(namespace: str, name: str) -> bool:
    """Whether an operation without a rule may do more than look at each number once.

    Args:
        namespace: of the operation; what others than torch define is never known.
        name: without overload.

    Example:
        >>> costs_unknown("aten", "relu"), costs_unknown("aten", "linalg_inv_ex"), costs_unknown("mine", "scan")
        (False, True, True)
    """
    return namespace not in ("aten", "prim", "prims", "profiler") or name.startswith(_COSTLY)
