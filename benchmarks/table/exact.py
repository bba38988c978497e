"""Whether a supernet and the stand-in of a peer compute the same: losses and gradients in float64, at small sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.kernels import where_possible
from benchmarks.plain import Peer
from sharewise.supernet import Gate
from sharewise.supernet.layout import innermost

__all__ = ["difference", "doubled", "same_gradients"]

Rows = Callable[[Peer], Sequence[Tensor]]
"""The weights of every decision, from the architecture parameters of a peer."""


def difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """The largest difference of two lists of tensors, in units of one and of the second's own size."""
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in zip(first, second, strict=True))


def doubled(peer: Peer, supernet: Any) -> None:
    """Both in float64, at the same weights, θ away from zero."""
    supernet.double()
    peer.network.double()
    peer.take(supernet)
    for theta in peer.theta:
        theta.data = 500 * theta.data.double()


def same_gradients(peer: Peer, supernet: Any, rows: Rows, side: int = 8) -> float:
    """Loss, ∂w and ∂θ of both; θ is reached from the gates of the supernet by the rows' own graph.

    Compiled kernels are on, where there are such, so that those of 3×3 are judged whose time is measured, on images of
    32×32 in all stages; depthwise ones compute float32 alone within a network, and have their own tests.
    """
    doubled(peer, supernet)
    generator = torch.Generator().manual_seed(1)
    x, targets = torch.randn(4, 3, side, side, generator=generator, dtype=torch.float64), torch.arange(4)
    theirs = peer.loss(x, targets)
    expected = torch.autograd.grad(theirs, [*peer.shared, *peer.theta])
    weights, decisions = rows(peer), supernet.relaxation.decisions
    made = [row.detach().requires_grad_() for row in weights]
    gates = {d.name: Gate(g, tuple(range(d.size))) for d, g in zip(decisions, made, strict=True)}
    w = list(supernet.parameters())
    with where_possible(supernet):
        loss = F.cross_entropy(supernet(innermost(x), gates), targets)
        mine = torch.autograd.grad(loss, [*w, *made])
    theta = torch.autograd.grad(list(weights), peer.theta, mine[len(w) :])
    return difference([loss.detach(), *mine[: len(w)], *theta], [theirs.detach(), *expected])
