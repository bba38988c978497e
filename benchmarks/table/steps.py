"""Rows of NAS-Bench-201: steps of DARTS and of single paths, and scores, beside AutoDL-Projects as it is written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from benchmarks.checkouts import real
from benchmarks.kernels import as_in_a_run, where_possible
from benchmarks.plain import Peer, nasbench201
from benchmarks.search_step import images, peak, search_state, timed, upcoming
from benchmarks.table.exact import difference, doubled, same_gradients
from benchmarks.table.row import AtLeast, AtMost, Row, Size, Step, alternating
from sharewise.data import Batch
from sharewise.engine import Scorer, SearchState, Unrolled, architecture_step, unrolled_step, weight_step
from sharewise.run import build_supernet
from sharewise.space import Architecture, sample
from sharewise.spaces import load
from sharewise.supernet import BatchStatistics, discrete
from sharewise.supernet.layout import innermost

__all__ = ["FORMATS", "LAST", "OURS", "ROWS", "WRITTEN", "trained"]

OURS, WRITTEN, LAST = "ours", "peer as written", "peer, channels last"
FORMATS = {WRITTEN: torch.contiguous_format, LAST: torch.channels_last}
AUTODL = "AutoDL-Projects"
FASTEST = "the fastest convolution"
FIRST = "steps of first order"
RADIUS = 0.01
"""Of the finite difference, as published."""
_NONE: Mapping[str, Peer] = MappingProxyType({})


def _state(size: Size, method: str) -> SearchState:
    return search_state(method, size.channels, size.cells, data=images(4 * size.batch, size.side))


def _peers(
    size: Size, state: SearchState, others: Mapping[str, Peer] = _NONE
) -> dict[str, tuple[Peer, list[tuple[Tensor, Tensor]]]]:
    """Peers at our weights, each with two batches: the stand-in in both formats, and others as they are written."""
    found = {}
    sides = {name: (nasbench201.peer(size.channels, size.cells), layout) for name, layout in FORMATS.items()}
    sides |= {name: (peer, torch.contiguous_format) for name, peer in others.items()}
    for name, (peer, layout) in sides.items():
        peer.take(state.supernet)
        peer.network.to(memory_format=layout)  # type: ignore[call-overload]
        batches = [state.next_batch("weights") for _ in range(2)]
        found[name] = (peer, [(b.inputs.contiguous(memory_format=layout), b.targets) for b in batches])
    return found


def _real(size: Size) -> dict[str, Peer]:
    return real(AUTODL, size.channels, size.cells)


def trained(size: Size, native: bool) -> Step:
    """One weight step of DARTS, with compiled kernels or without."""
    state = _state(size, "darts")
    return as_in_a_run(state, lambda: weight_step(state), native)


def _weight(size: Size) -> Mapping[str, Step]:
    state = _state(size, "darts")
    sides: dict[str, Step] = {OURS: as_in_a_run(state, lambda: weight_step(state))}
    for name, (peer, [batch, _]) in _peers(size, state, _real(size)).items():
        sides[name] = lambda peer=peer, batch=batch: peer.weight_step(*batch)
    return sides


def _first_order(size: Size) -> Mapping[str, Step]:
    state = _state(size, "darts")
    sides: dict[str, Step] = {OURS: as_in_a_run(state, lambda: (weight_step(state), architecture_step(state)))}
    for name, (peer, [one, two]) in _peers(size, state, _real(size)).items():
        sides[name] = lambda peer=peer, one=one, two=two: (peer.weight_step(*one), peer.architecture_step(*two))
    return sides


def _second_order(size: Size, radius: float | None = None) -> Mapping[str, Step]:
    """Ours exact, or by the finite difference as the peers."""
    state = _state(size, "darts-second-order")
    state.recipe = replace(state.recipe, level=Unrolled(radius=radius))
    sides: dict[str, Step] = {OURS: as_in_a_run(state, lambda: state.recipe.level.architecture_step(state))}
    for name, (peer, [one, two]) in _peers(size, state, _real(size)).items():
        sides[name] = lambda peer=peer, one=one, two=two: peer.unrolled_step(one, two)
    return sides


def _peaks(size: Size, rounds: int) -> Mapping[str, list[float]]:
    """What two steps of both orders add to a fresh process."""
    count = min(rounds, 3) if size.full else 1
    sides = {OURS: "darts-second-order", FIRST: "darts"}
    return {name: [float(peak(side, size.channels, size.cells)) for _ in range(count)] for name, side in sides.items()}


def _choice(architecture: Architecture) -> list[int]:
    return [nasbench201.OPTIONS.index(str(option)) for option in architecture.values()]


def _path(size: Size) -> Mapping[str, Step]:
    """All sides train the same architecture in a round."""
    state = _state(size, "spos")
    now: list[list[int]] = [[]]

    def ours() -> object:
        now[0] = _choice(upcoming(state))
        return weight_step(state)

    sides: dict[str, Step] = {OURS: as_in_a_run(state, ours)}
    for name, (peer, [batch, _]) in _peers(size, state).items():
        sides[name] = lambda peer=peer, batch=batch: peer.path_step(lambda x: peer.network.path(x, now[0]), *batch)
    return sides


def _paths(size: Size, rounds: int) -> Mapping[str, list[float]]:
    """More rounds than elsewhere, since architectures differ."""
    return alternating(_path)(size, PATHS * rounds)


def _scored(size: Size) -> Mapping[str, Step]:
    """The same random architectures on the same two batches, each normalised by itself."""
    state, rng = _state(size, "spos"), np.random.default_rng(0)
    drawn = [sample(load("nasbench201"), rng) for _ in range(size.architectures)]
    batches = [state.next_batch("weights") for _ in range(2)]

    def ours() -> object:
        scorer = Scorer(state, BatchStatistics(), batches)
        with scorer.opened() as score:
            return [score(scorer.gates(architecture)) for architecture in drawn]

    sides: dict[str, Step] = {OURS: as_in_a_run(state, ours)}
    for name, (peer, pairs) in _peers(size, state).items():
        sides[name] = lambda peer=peer, pairs=pairs: [_plain_score(peer, a, pairs) for a in drawn]
    return sides


def _plain_score(peer: Peer, architecture: Architecture, batches: list[tuple[Tensor, Tensor]]) -> float:
    with torch.no_grad():
        losses = [F.cross_entropy(peer.network.path(x, _choice(architecture)), targets) for x, targets in batches]
    return float(torch.stack(losses).mean())


PATHS = 5
"""Times as many rounds: an architecture of nothing but 3×3 takes six times as long as one of nothing."""

CHANNELS = 16
"""Of the small networks that are compared: as many as compiled kernels know."""


def small() -> tuple[Peer, Any]:
    """A peer and a supernet of the same weights' shapes."""
    return nasbench201.peer(CHANNELS, 1), build_supernet(
        load("nasbench201"), (3, 8, 8), 10, network={"channels": CHANNELS, "cells": 1}
    )


def _same_gradients() -> float:
    peers = [small()[0], *real(AUTODL, CHANNELS, 1).values()]
    return max(same_gradients(peer, small()[1], lambda p: list(torch.softmax(p.theta[0], -1)), 32) for peer in peers)


def _beside() -> tuple[SearchState, Peer, list[Batch]]:
    """A search and a peer in float64 at equal w and θ, and a batch for each of its roles."""
    state = search_state("darts-second-order", CHANNELS, 1, "float64", data=images(side=16))
    peer = nasbench201.peer(CHANNELS, 1)
    doubled(peer, state.supernet)
    batches = [state.next_batch(role) for role in ("weights", "architecture")]
    with torch.no_grad():
        peer.theta[0].copy_(next(state.distribution.parameters()))
    return state, peer, batches


def _ahead(state: SearchState, batches: list[Batch], radius: float | None) -> Tensor:
    """Our gradient of θ."""
    state.next_batch = lambda role: batches[1]  # type: ignore[method-assign]
    state.recipe = replace(state.recipe, penalties=())  # the decay of θ, which the peer leaves to its optimiser
    with where_possible(state.supernet):
        unrolled_step(state, batches[0], radius=radius)
    gradient = next(state.distribution.parameters()).grad
    assert gradient is not None
    return gradient


def _same_difference() -> float:
    """Ours by the finite difference, beside the peer's."""
    state, peer, batches = _beside()
    peer.rate = state.weight_optimizer.param_groups[0]["lr"]
    return difference([_ahead(state, batches, RADIUS)], peer.unrolled_step(*map(_pair, batches), radius=RADIUS))


def _same_second_order() -> float:
    """Ours, exact, beside the derivative of the peer's loss at weights that depend on θ."""
    state, peer, batches = _beside()
    w = dict(peer.network.named_parameters())
    gradients = torch.autograd.grad(peer.loss(*_pair(batches[0])), list(w.values()), create_graph=True)
    decay = state.weight_optimizer.param_groups[0]["weight_decay"]
    rate = state.weight_optimizer.param_groups[0]["lr"]
    ahead = {n: p - rate * (g + decay * p.detach()) for (n, p), g in zip(w.items(), gradients, strict=True)}
    inputs, targets = _pair(batches[1])
    scores = functional_call(peer.network, ahead, (inputs, *peer.theta))
    expected = torch.autograd.grad(F.cross_entropy(scores, targets), peer.theta)
    return difference([_ahead(state, batches, None)], list(expected))


def _pair(batch: Batch) -> tuple[Tensor, Tensor]:
    return batch.inputs, batch.targets


def _same_paths() -> float:
    """Class scores of random architectures, normalised by the batch."""
    peer, supernet = small()
    doubled(peer, supernet)
    x = innermost(torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    rng, found = np.random.default_rng(0), 0.0
    for _ in range(8):
        architecture = sample(supernet.space, rng)
        gates = discrete(supernet.relaxation.encode(architecture), dtype=torch.float64)
        with torch.no_grad(), where_possible(supernet):
            found = max(found, difference([supernet(x, gates)], [peer.network.path(x, _choice(architecture))]))
    return found


def _same_scores() -> float:
    """Losses of random architectures, of which ours leaves out what is dead and evaluates those alike once."""
    state = search_state("spos", CHANNELS, 1, "float64", data=images(side=16))
    peer = nasbench201.peer(CHANNELS, 1)
    doubled(peer, state.supernet)
    batches, rng = [state.next_batch("weights") for _ in range(2)], np.random.default_rng(0)
    scorer, found = Scorer(state, BatchStatistics(), batches), 0.0
    with where_possible(state.supernet), scorer.opened() as score:
        for _ in range(24):
            architecture = sample(state.supernet.space, rng)
            own = score(scorer.gates(architecture))["loss"]
            found = max(found, abs(own - _plain_score(peer, architecture, [_pair(batch) for batch in batches])))
    return found


def _dispatched(size: Size, rounds: int) -> Mapping[str, list[float]]:
    """Operations of one weight step, as the profiler lists them."""
    return {name: [float(_operations(step))] for name, step in _weight(size).items() if name != LAST}


_MULTIPLY_ADD = 2e-9
"""10⁹ floating-point operations of a multiply-accumulate."""


def _limit(size: Size, rounds: int) -> Mapping[str, list[float]]:
    """Seconds for 10⁹ operations of a weight step, beside the fastest convolution of this machine, round by round."""
    state = _state(size, "darts")
    step = as_in_a_run(state, weight_step)
    found: dict[str, list[float]] = {OURS: [], FASTEST: []}
    for number in range(rounds + 1):
        seconds, work = timed(step, state)
        if number:
            found[OURS].append(seconds / (_MULTIPLY_ADD * work))
            found[FASTEST].append(min(_convolution(channels) for channels in (16, 64, 128)))
    return found


def _convolution(channels: int) -> float:
    """Of 3×3 kernels on 32 images of 16×16, the fastest of five."""
    x = torch.randn(32, channels, 16, 16).contiguous(memory_format=torch.channels_last)
    weight, taken = torch.randn(channels, channels, 3, 3), []
    for _ in range(5):
        start = time.process_time()
        F.conv2d(x, weight, None, 1, 1)
        taken.append(time.process_time() - start)
    return min(taken) / (_MULTIPLY_ADD * 32 * 256 * weight.numel())


def _operations(step: Step) -> int:
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    counts = Counter({event.key: event.count for event in profile.key_averages()})
    return sum(count for key, count in counts.items() if key.startswith("aten::"))


ROWS = (
    Row(
        "DARTS, weight step",
        alternating(_weight),
        [AtLeast(WRITTEN, 2.6), AtLeast(LAST, 1.65), AtLeast(AUTODL, 2.6)],
        _same_gradients,
    ),
    Row(
        "limit of the machine, beside a weight step of DARTS",
        _limit,
        [AtMost(1 / 0.37, FASTEST)],
        unit="CPU ms for 10⁹ operations",
    ),
    Row(
        "DARTS, step of first order (w and θ)",
        alternating(_first_order),
        [AtLeast(WRITTEN, 3.0), AtLeast(LAST, 1.9), AtLeast(AUTODL, 3.0)],
        _same_gradients,
    ),
    Row(
        "DARTS, θ step of second order, exact",
        alternating(_second_order),
        [AtLeast(WRITTEN, 2.0), AtLeast(LAST, 1.3), AtLeast(AUTODL, 2.0)],
        _same_second_order,
    ),
    Row("DARTS, memory of steps of second order", _peaks, [AtMost(2.0, FIRST)], unit="MiB", factor=2**-20),
    Row(
        "DARTS, θ step of second order by the finite difference, as all peers take it",
        alternating(partial(_second_order, radius=RADIUS)),
        [AtLeast(WRITTEN, 2.0), AtLeast(LAST, 1.3), AtLeast(AUTODL, 2.0)],
        _same_difference,
    ),
    Row("single path, weight step", _paths, [AtLeast(WRITTEN, 2.8), AtLeast(LAST, 1.5)], _same_paths),
    Row(
        "random architectures scored with batch statistics",
        alternating(_scored),
        [AtLeast(WRITTEN, 4.0), AtLeast(LAST, 2.0)],
        _same_scores,
    ),
    Row(
        "operations of a DARTS weight step",
        _dispatched,
        [AtMost(0.5, WRITTEN), AtMost(0.5, AUTODL)],
        unit="operations",
        factor=1,
    ),
)
