"""Layer norm of mixtures of slices, and its gradients, by compiled kernels. `layer_norm.c` has the equations."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from sharewise.supernet.native.images import LANES, call, is_plain, takes
from sharewise.supernet.native.library import library

__all__ = ["knows_layer_norm", "layer_norm_by_kernel", "layer_norm_gradient", "serves_layer_norm"]


def knows_layer_norm(features: int) -> bool:
    """Whether the kernels know rows of so many features.

    Args:
        features: of a row.
    """
    return features % LANES == 0


def serves_layer_norm(x: Tensor, *others: Tensor | None) -> bool:
    """Whether the kernels are on and know such rows.

    Args:
        x: shape `(…, features)`.
        others: weights of the statistics, a scale and a shift, shape `(features,)`, or `None`.
    """
    if not takes(x) or x.dim() == 0 or not x.is_contiguous() or not knows_layer_norm(x.shape[-1]):
        return False
    return all(other is None or _fits(other, x) for other in others)


def _fits(other: Tensor, x: Tensor) -> bool:
    return other.dtype == x.dtype and is_plain(other) and other.is_contiguous() and other.shape == x.shape[-1:]


def layer_norm_by_kernel(
    x: Tensor, p: Tensor, weight: Tensor | None, shift: Tensor | None, eps: float, centred: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows that are normalised by weighted moments.

    Args:
        x: shape `(…, features)`, of which `serves_layer_norm` holds.
        p: weights of the features, which sum to one.
        weight: of every feature, or `None` for ones.
        shift: of every feature, or `None` for zeros.
        eps: ε.
        centred: whether the mean is taken away.

    Returns:
        y, μ (`None` where it is not taken away) and r, the last two of shape `(…, 1)`.
    """
    y, r = torch.empty_like(x), x.new_empty((*x.shape[:-1], 1))
    mu = torch.empty_like(r) if centred else None
    weight, shift = _given(weight, x, 1), _given(shift, x, 0)
    number = ctypes.c_double(eps)
    call(library(x.dtype).layer_norm, _shape(x), ctypes.addressof(number), x, p, weight, shift, y, mu, r)
    return y, mu, r


def layer_norm_gradient(
    h: Tensor,
    x: Tensor,
    p: Tensor,
    weight: Tensor | None,
    mu: Tensor | None,
    r: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """The gradients by x, p, weight and shift, of which those of vectors are computed that are wanted.

    Args:
        h: of y, contiguous.
        x: as `layer_norm_by_kernel` read it.
        p: as `layer_norm_by_kernel` read it.
        weight: as `layer_norm_by_kernel` read it.
        mu: μ, or `None`.
        r: as `layer_norm_by_kernel` wrote it.
        wanted: of all four.

    Returns:
        dx, dp up to what Σ p = 1 removes, dw and d(shift).
    """
    weight = _given(weight, x, 1)
    dx = torch.empty_like(x)
    dp, dw, shift = (torch.empty_like(p) if wish else None for wish in wanted[1:4])
    call(library(x.dtype).layer_norm_gradient, _shape(x), h, x, p, weight, mu, r, dx, dp, dw, shift)
    return dx, dp, dw, shift


def _given(values: Tensor | None, x: Tensor, otherwise: float) -> Tensor:
    return x.new_full(x.shape[-1:], otherwise) if values is None else values


def _shape(x: Tensor) -> list[int]:
    return [x.numel() // x.shape[-1], x.shape[-1]]
