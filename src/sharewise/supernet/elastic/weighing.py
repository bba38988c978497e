"""Sums over searched dimensions, weighed by survival: what a mixture of sizes is where no weight reads them.

With s_j the survival of position j, Σ_j x_j becomes Σ_j s_j x_j, and a mean Σ_j s_j x_j / Σ_j s_j. Where s is one up to
a position and zero beyond, each is the sum or the mean over a slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sharewise.supernet.slices.norms import weighted_layer_norm, weighted_rms_norm

__all__ = ["FORMULAS", "Scale"]


@final
@dataclass(frozen=True, eq=False)
class Scale:
    """The survival of one axis of one operand.

    Args:
        operand: which.
        axis: of the operand.
        s: shape `(positions,)`.
    """

    operand: int
    axis: int
    s: Tensor

    def along(self, x: Tensor) -> Tensor:
        """The survival in the shape that multiplies the operand."""
        return self.s.to(x.dtype).reshape([-1 if i == self.axis else 1 for i in range(x.dim())])


Again = Callable[[list[Tensor]], Any]
"""The call itself on other operands."""

Formula = Callable[
    [Again, list[Tensor], Sequence[Scale], Mapping[str, Any], tuple[Sequence[Any], Mapping[str, Any]]], Any
]
"""From the call, its operands, what weighs them, options of the operation and all other arguments to its result."""


def _scaled(operands: list[Tensor], scales: Sequence[Scale]) -> list[Tensor]:
    changed = list(operands)
    for scale in scales:
        changed[scale.operand] = changed[scale.operand] * scale.along(operands[scale.operand])
    return changed


def _sum(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    return again(_scaled(operands, scales))


def _mean(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    total: Tensor = again(_scaled(operands, scales))
    for scale in scales:
        total = total * (len(scale.s) / scale.s.sum()).to(total.dtype)
    return total


def _weights(x: Tensor, scales: Sequence[Scale]) -> Tensor:
    return math.prod((scale.along(x) for scale in scales), start=torch.ones((), dtype=x.dtype, device=x.device))


def _dims(x: Tensor, options: Mapping[str, Any]) -> list[int]:
    dims = options.get("dim")
    return list(range(x.dim())) if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)


def _centred(x: Tensor, w: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    """x less its weighted mean, and the sum of weights."""
    total = w.expand_as(x).sum(dims, keepdim=True)
    return x - (x * w).sum(dims, keepdim=True) / total, total


def _variance(operands: list[Tensor], scales: Sequence[Scale], options: Mapping[str, Any]) -> Tensor:
    [x], dims = operands, _dims(operands[0], options)
    w, correction = _weights(x, scales), options.get("correction")
    if "unbiased" in options:
        correction = 1 if options["unbiased"] else 0
    centred, total = _centred(x, w, dims)
    value = (centred.square() * w).sum(dims, keepdim=True) / (total - (1 if correction is None else correction))
    return value if options.get("keepdim") else value.squeeze(dims)


def _var(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Mapping[str, Any], rest: Any) -> Any:
    return _variance(operands, scales, options)


def _std(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Mapping[str, Any], rest: Any) -> Any:
    return _variance(operands, scales, options).sqrt()


def _norm(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Mapping[str, Any], rest: Any) -> Any:
    [x], dims = operands, _dims(operands[0], options)
    return (x.square() * _weights(x, scales)).sum(dims, keepdim=bool(options.get("keepdim"))).sqrt()


def _normalize(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    [x], (given, named) = operands, rest
    eps, dims = given[2] if len(given) > 2 else named.get("eps", 1e-12), _argument(rest, 1, "dim", 1)
    norm = (x.square() * _weights(x, scales)).sum(dims, keepdim=True).sqrt()
    return x / norm.clamp_min(eps)


def _softmax(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    [x], [scale] = operands, scales
    dtype = next((value for value in (*rest[0], *rest[1].values()) if isinstance(value, torch.dtype)), None)
    x = x if dtype is None else x.to(dtype)
    weighed = torch.exp(x - x.amax(scale.axis, keepdim=True)) * scale.along(x)
    return weighed / weighed.sum(scale.axis, keepdim=True)


def _argument(rest: tuple[Sequence[Any], Mapping[str, Any]], place: int, name: str, default: Any) -> Any:
    given, named = rest
    return given[place] if len(given) > place else named.get(name, default)


def _layer_norm(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    [x], [scale] = operands, scales
    weight, bias = _argument(rest, 1, "weight", None), _argument(rest, 2, "bias", None)
    return weighted_layer_norm(x, scale.s, weight, bias, _argument(rest, 3, "eps", 1e-5)).to(x.dtype)


def _rms_norm(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    [x], [scale] = operands, scales
    eps = _argument(rest, 2, "eps", None)
    weight, eps = _argument(rest, 1, "weight", None), torch.finfo(x.dtype).eps if eps is None else eps
    return weighted_rms_norm(x, scale.s, weight, eps).to(x.dtype)


def _group_norm(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    """Of one group, whose statistics are those of all channels and places."""
    [x], dims = operands, list(range(1, operands[0].dim()))
    w, channels = _weights(x, scales), [1, -1] + [1] * (operands[0].dim() - 2)
    centred, total = _centred(x, w, dims)
    variance = (centred.square() * w).sum(dims, keepdim=True) / total
    y = centred * torch.rsqrt(variance + _argument(rest, 3, "eps", 1e-5))
    weight, bias = _argument(rest, 1, "weight", None), _argument(rest, 2, "bias", None)
    y = y if weight is None else y * weight.reshape(channels)
    return y if bias is None else y + bias.reshape(channels)


def _weight_norm(again: Again, operands: list[Tensor], scales: Sequence[Scale], options: Any, rest: Any) -> Any:
    [v], magnitude, dim = operands, _argument(rest, 0, "g", None), _argument(rest, 1, "dim", 0)
    dims = [axis for axis in range(v.dim()) if dim == -1 or axis != dim % v.dim()]
    return v * (magnitude / (v.square() * _weights(v, scales)).sum(dims, keepdim=True).sqrt())


FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("sum", "linear", "matmul", "bmm", "mm", "mv", "dot", "vdot", "einsum"), _sum),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _sum),
    "mean": _mean,
    "var": _var,
    "std": _std,
    "norm": _norm,
    "linalg_vector_norm": _norm,
    "normalize": _normalize,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "_weight_norm": _weight_norm,
}
"""By name of the function of torch."""
