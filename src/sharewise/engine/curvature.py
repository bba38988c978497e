"""Curvature: the spectrum of ∂²L_val/∂θ², by exact Hessian-vector products.

θ becomes mixture weights and these a loss, at the present w, in one graph; differentiating its gradient once more along
a vector gives the product with the Hessian, without finite differences and without the Hessian itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sharewise.distribution import Factored
from sharewise.errors import ConfigurationError
from sharewise.ledger import TRAINING
from sharewise.supernet import BatchStatistics, Gate, Gates, to_device
from sharewise.supernet.recomputation import kept

if TYPE_CHECKING:
    from sharewise.engine.state import Measure, SearchState

__all__ = ["architecture_hessian", "curvature", "require_curvature", "spectrum"]

Product = Callable[[Tensor], Tensor]

_WHOLE = 64
"""Up to so many parameters the whole spectrum costs hardly more than its ends."""

_TOLERANCE = 1e-6
"""Of an end of the spectrum, relative to the larger end."""


def curvature(every: int, examples: int = 64) -> Measure | None:
    """Measure the largest and the smallest eigenvalue of ∂²L_val/∂θ² at the end of every few epochs.

    Args:
        every: epochs, beginning with the first; 0 for no measurement.
        examples: of the role `architecture`, the same ones each time.

    Returns:
        A measurement that adds `eigenvalue` (the largest), `smallest_eigenvalue` and, up to 64 architecture parameters,
        the whole `spectrum`; or `None`.

    Raises:
        ConfigurationError: when a number is out of range.

    References:
        A. Zela et al., *Understanding and Robustifying Differentiable Architecture Search*, ICLR 2020
        (arXiv 1909.09656), section 4.

    Deviations:
        The authors take the last mini-batch of the epoch, with drop path; here all measurements read the same examples,
        without it. They add the weight decay of α to the diagonal; here penalties are no part of L_val.
    """
    if every < 0 or examples < 2:
        raise ConfigurationError(
            f"eigenvalues are measured every 0 or more epochs on at least 2 examples, got {every} and {examples}"
        )

    def measure(state: SearchState) -> Mapping[str, Any]:
        return spectrum(state, examples) if state.epoch % every == 0 else {}

    return measure if every else None


def require_curvature(state: SearchState) -> None:
    """Refuse a search without independent architecture parameters.

    Raises:
        ConfigurationError: naming the distribution.
    """
    if not isinstance(state.distribution, Factored):
        raise ConfigurationError(
            "the eigenvalues of ∂²L_val/∂θ² need architecture parameters θ of independent decisions, which the "
            f"distribution {type(state.distribution).__name__} of method {state.recipe.name!r} has not; leave out "
            "--eigenvalue-every, or take a method such as darts"
        )


def spectrum(state: SearchState, examples: int) -> dict[str, Any]:
    """The ends of the spectrum, and all of it where there are few parameters; see `curvature`."""
    with _products(state, examples) as (product, size):
        if size <= _WHOLE:
            values = torch.linalg.eigvalsh(_matrix(product, size))
            ends = float(values[0]), float(values[-1])
            whole = {"spectrum": values.tolist()}
        else:
            ends, whole = _ends(product, size, state.fresh_generator("eigenvalue")), {}
    return {"eigenvalue": ends[1], "smallest_eigenvalue": ends[0], **whole}


def architecture_hessian(state: SearchState, examples: int = 64) -> Tensor:
    """∂²L_val/∂θ² at the present w, shape `(n, n)` over the n options that are not masked, in float64 on the host.

    Args:
        state: of a search with independent architecture parameters; it is left as it was.
        examples: of the role `architecture`.

    Raises:
        ConfigurationError: when the search has none.

    Example:
        >>> import sharewise as sw
        >>> found = sw.search("nasbench201", "darts", "digits", network={"channels": 2, "cells": 1}, max_steps=1,
        ...                   gap_examples=0, device="cpu")
        >>> architecture_hessian(found.state).shape
        torch.Size([30, 30])
    """
    with _products(state, examples) as (product, size):
        return _matrix(product, size)


@contextmanager
def _products(state: SearchState, examples: int) -> Iterator[tuple[Product, int]]:
    """The product of the Hessian with a vector over the unmasked entries of θ, and their number."""
    require_curvature(state)
    distribution = state.distribution
    assert isinstance(distribution, Factored)
    batches = [batch for batch in state.evaluation_batches("architecture", examples) if len(batch.inputs) > 1]
    total = sum(len(batch.inputs) for batch in batches)
    theta, mask = distribution.theta.detach().requires_grad_(), distribution.mask
    gates = _mixture(distribution, theta)
    placed = to_device(gates, state.numerics.device, state.numerics.dtype)

    def charge(passes: int) -> None:
        state.ledger.charge("measurement", examples=total, multiply_accumulates=state.costs.of(gates), passes=passes)

    with BatchStatistics().opened(state.supernet), torch.enable_grad(), kept():
        losses = [state.loss(state.supernet(b.inputs, placed), b.targets) * (len(b.inputs) / total) for b in batches]
        (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), theta, create_graph=True)
        charge(TRAINING)

        def product(vector: Tensor) -> Tensor:
            full = torch.zeros_like(theta)
            full[mask] = vector.to(full)
            charge(2 * state.costs.gate_passes)
            (found,) = torch.autograd.grad(
                gradient, theta, full, retain_graph=True, materialize_grads=True, allow_unused=True
            )
            return found[mask].double().cpu()

        yield product, int(mask.sum())


def _mixture(distribution: Factored, theta: Tensor) -> Gates:
    """The gates of the mixture of all options, with their graph to θ."""
    rows = distribution.geometry.mixture(theta, distribution.mask)
    return {
        d.name: distribution.settled_gate(d)
        if d.name in distribution.settled
        else Gate(row[: d.size], tuple(flags.nonzero().flatten().tolist()))
        for d, row, flags in zip(distribution.relaxation.decisions, rows, distribution.mask.cpu(), strict=True)
    }


def _matrix(product: Product, size: int) -> Tensor:
    """The Hessian column by column, made symmetric against the last bits."""
    columns = torch.stack([product(unit) for unit in torch.eye(size, dtype=torch.float64)])
    return (columns + columns.T) / 2


def _ends(product: Product, size: int, generator: torch.Generator) -> tuple[float, float]:
    """Smallest and largest eigenvalue by Lanczos iteration with full reorthogonalisation.

    After j steps the eigenvalues of the tridiagonal matrix T = Vᵀ H V approximate those of H, its ends first. An end is
    known to within β_j |s_j|, s_j the last entry of its eigenvector of T.
    """
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    basis = [vector / vector.norm()]
    diagonal, off = list[Tensor](), list[Tensor]()
    while True:
        image = product(basis[-1])
        diagonal.append(image @ basis[-1])
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough
            image = image - known.T @ (known @ image)
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, off))
        rest = image.norm()
        allowed = _TOLERANCE * values.abs().max()
        if len(basis) == size or bool((rest * vectors[-1, [0, -1]].abs() <= allowed).all()):
            return float(values[0]), float(values[-1])
        off.append(rest)
        basis.append(image / rest)


def _tridiagonal(diagonal: list[Tensor], off: list[Tensor]) -> Tensor:
    matrix = torch.diag(torch.stack(diagonal))
    if off:
        beside = torch.stack(off)
        matrix += torch.diag(beside, 1) + torch.diag(beside, -1)
    return matrix
