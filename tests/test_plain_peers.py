"""The plain stand-ins for peers compute what the steps compute that are compared with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import Gate, Gates

sys.path.insert(0, str(Path(__file__).parents[1]))
try:
    from benchmarks import entanglement, macro_step
    from benchmarks.plain import Peer, darts, entangled, nasbench201
finally:
    sys.path.pop(0)


def leaves(decisions: Any, weights: list[Tensor]) -> Gates:
    """Gates of rows that are leaves."""
    made = [row.detach().requires_grad_() for row in weights]
    return {d.name: Gate(g, tuple(range(d.size))) for d, g in zip(decisions, made, strict=True)}


def same_gradients(peer: Peer, supernet: Any, rows: list[Tensor], side: int) -> None:
    """Loss, ∂w and ∂θ of both; θ is reached from the gates of the supernet by the rows' own graph."""
    generator = torch.Generator().manual_seed(1)
    x, targets = torch.randn(4, 3, side, side, generator=generator, dtype=torch.float64), torch.arange(4)
    theirs = peer.loss(x, targets)
    found = torch.autograd.grad(theirs, [*peer.shared, *peer.theta])
    gates = leaves(supernet.relaxation.decisions, rows)
    loss = F.cross_entropy(supernet(x, gates), targets)
    assert abs(float(loss.detach() - theirs.detach())) < 1e-10
    w = list(supernet.parameters())
    mine = torch.autograd.grad(loss, [*w, *(gate.weights for gate in gates.values())])
    theta = torch.autograd.grad(rows, peer.theta, mine[len(w) :])
    for a, b in zip(found, (*mine[: len(w)], *theta), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def doubled(peer: Peer, supernet: Any) -> None:
    """Both in float64, at the same weights, θ away from zero."""
    supernet.double()
    peer.network.double()
    peer.take(supernet)
    for theta in peer.theta:
        theta.data = 500 * theta.data.double()


def test_nasbench201() -> None:
    supernet = build_supernet(load("nasbench201"), (3, 8, 8), 10, network={"channels": 4, "cells": 1})
    peer = nasbench201.peer(4, 1)
    doubled(peer, supernet)
    same_gradients(peer, supernet, list(torch.softmax(peer.theta[0], -1)), 8)


def test_a_path_of_nasbench201() -> None:
    supernet = build_supernet(load("nasbench201"), (3, 8, 8), 10, network={"channels": 4, "cells": 1})
    peer = nasbench201.peer(4, 1)
    doubled(peer, supernet)
    choice = (3, 1, 2, 4, 0, 3)
    gates = {
        d.name: Gate(torch.eye(5, dtype=torch.float64)[option], (option,), unit=True)
        for d, option in zip(supernet.relaxation.decisions, choice, strict=True)
    }
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(peer.network.path(x, choice), supernet(x, gates), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("parts", [1, 2])
def test_darts_and_pc_darts(parts: int) -> None:
    options = {"channels": 4, "layers": 3, "partial": parts, "edge_weights": parts > 1}
    supernet = build_supernet(load("darts"), (3, 8, 8), 10, network=options)
    peer = darts.peer(4, 3, parts)
    doubled(peer, supernet)
    rows = [row for theta in peer.theta[:2] for row in torch.softmax(theta, -1)]
    for inputs in peer.theta[2:]:
        rows += [torch.softmax(part, -1) for part in inputs.split([2, 3, 4, 5])]
    same_gradients(peer, supernet, rows, 8)


@pytest.mark.parametrize("name", ["convolutional", "transformer"])
def test_entangled(name: str) -> None:
    network, _, x, decisions = entanglement.BUILDERS[name](2, 2, published=True)
    options = [d.options for d in decisions]
    plain: Any
    plain = entangled.convolutional(options) if name == "convolutional" else entangled.transformer(options, 24, 48)
    network.double()
    plain.double()
    for own, theirs in zip(plain.parameters(), network.parameters(), strict=True):
        own.data.copy_(theirs.data)
    gates = entanglement.dense(decisions, differentiable=True, dtype=torch.float64)
    g = [gate.weights for gate in gates.values()]
    outputs = plain(x.double(), g), network(x.double(), gates)
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    both = [
        torch.autograd.grad(y.sin().sum(), [*side.parameters(), *g])
        for y, side in zip(outputs, (plain, network), strict=True)
    ]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:.*nni.*")  # of torch's newer layers
@pytest.mark.parametrize("name", macro_step.BLOCKS)
def test_blocks_of_macro_spaces(name: str) -> None:
    """With `PEERS` in the environment, those of the checkouts too."""
    torch.manual_seed(0)
    sides = macro_step.BLOCKS[name]()
    assert macro_step.exactness(sides) < 1e-10
    next(sides.peers[macro_step.STAND_IN].parameters()).data *= 1.001
    assert macro_step.exactness(sides) > 1e-8


def test_the_unrolled_step_of_a_peer_is_its_finite_difference() -> None:
    """∂θ of L(w − ξ ∂L/∂w, θ), differentiated exactly; and the weights are what they were."""
    peer = nasbench201.peer(4, 1)
    doubled(peer, build_supernet(load("nasbench201"), (3, 8, 8), 10, network={"channels": 4, "cells": 1}))
    generator = torch.Generator().manual_seed(1)
    batches = [(torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64), torch.arange(4)) for _ in range(2)]
    w = dict(peer.network.named_parameters())
    gradients = torch.autograd.grad(peer.loss(*batches[0]), list(w.values()), create_graph=True)
    ahead = {name: p - peer.rate * (g + 3e-4 * p.detach()) for (name, p), g in zip(w.items(), gradients, strict=True)}
    scores = functional_call(peer.network, ahead, (batches[1][0], *peer.theta))
    [exact] = torch.autograd.grad(F.cross_entropy(scores, batches[1][1]), peer.theta)
    before = [p.detach().clone() for p in w.values()]
    [found] = peer.unrolled_step(batches[0], batches[1], radius=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before, w.values(), strict=True))
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-7)
