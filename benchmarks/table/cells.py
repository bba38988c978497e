"""Rows of the DARTS cells: weight steps of DARTS and of PC-DARTS beside their authors' form, and their memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.checkouts import checkouts, real
from benchmarks.kernels import as_in_a_run
from benchmarks.plain import Peer, darts
from benchmarks.search_step import added as two_steps
from benchmarks.search_step import images
from benchmarks.table.exact import same_gradients
from benchmarks.table.row import AtLeast, AtMost, Row, Size, Step, alternating
from benchmarks.table.steps import FORMATS, LAST, OURS, WRITTEN
from sharewise.engine import SearchState, numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.spaces import load

__all__ = ["ROWS", "trained"]

PARTS = {"darts": 1, "pc-darts": 4}
REPOSITORIES = {"darts": ("darts", "ConfigurableOptimizer"), "pc-darts": ("PC-DARTS",)}


def _state(method: str, size: Size) -> SearchState:
    """DARTS takes half a batch, PC-DARTS a whole one."""
    batch = size.batch // 2 if method == "darts" else size.batch
    data, recipe, space = images(4 * batch, size.side), build(method, {"batch_size": batch}), load("darts")
    network = asked_network(space, recipe, {"channels": size.channels, "layers": size.layers})
    supernet = build_supernet(space, data.input_shape, 10, network=network)
    state = prepare(supernet, recipe, data.assign(recipe.roles, generator=stream(0, "data")), numerics=numerics("cpu"))
    state.supernet.train()
    return state


def _side(method: str, side: str, size: Size) -> Step:
    """One weight step of a side."""
    if side == OURS:
        return trained(method, size)
    state = _state(method, size)
    others = real(side, size.channels, size.layers)
    peer = others[side] if others else darts.peer(size.channels, size.layers, PARTS[method])
    layout = FORMATS.get(side, torch.contiguous_format)
    peer.network.to(memory_format=layout)  # type: ignore[call-overload]
    one = state.next_batch("weights")
    x = one.inputs.contiguous(memory_format=layout)
    return lambda: peer.weight_step(x, one.targets)


def trained(method: str, size: Size, native: bool | None = None) -> Step:
    """One weight step of ours, with compiled kernels or without; `None` for those that a run takes by itself."""
    state = _state(method, size)
    return as_in_a_run(state, lambda: weight_step(state), native)


def _steps(method: str, size: Size) -> Mapping[str, Step]:
    return {side: _side(method, side, size) for side in (OURS, WRITTEN, LAST, *_real(method))}


def _real(method: str) -> list[str]:
    """The repositories of a method of which there is a checkout."""
    return [name for name in REPOSITORIES[method] if name in checkouts()]


def _rows(peer: Peer) -> Sequence[Tensor]:
    found = [row for theta in peer.theta[:2] for row in torch.softmax(theta, -1)]
    return found + [torch.softmax(part, -1) for inputs in peer.theta[2:] for part in inputs.split([2, 3, 4, 5])]


def _same(method: str) -> float:
    parts = PARTS[method]
    options = {"channels": 4, "layers": 3, "partial": parts, "edge_weights": parts > 1}
    supernet = build_supernet(load("darts"), (3, 8, 8), 10, network=options)
    peers = [darts.peer(4, 3, parts), *(real(name, 4, 3)[name] for name in _real(method))]
    return max(same_gradients(peer, supernet, _rows) for peer in peers)


def added(method: str, side: str, numbers: Sequence[int]) -> int:
    """Bytes that two weight steps add to the peak of this fresh process, in which a first step was made."""
    channels, layers, batch, pixels = numbers
    step = _side(method, side, Size(channels, 1, layers, batch, pixels, 1, (), full=True))
    return two_steps(step)


def _memory(method: str) -> Callable[[Size, int], Mapping[str, list[float]]]:
    def measure(size: Size, rounds: int) -> Mapping[str, list[float]]:
        numbers = (size.channels, size.layers, size.batch, size.side)
        found: dict[str, list[float]] = {OURS: [], WRITTEN: []}
        for _ in range(3 if size.full else 1):
            for side, values in found.items():
                program = f"from benchmarks.table.cells import added; print(added({method!r}, {side!r}, {numbers!r}))"
                environment = [sys.executable, "-c", f"import torch; torch.set_num_threads(1); {program}"]
                done = subprocess.run(environment, check=True, capture_output=True, text=True)
                values.append(float(done.stdout))
        return found

    return measure


def _pair(method: str, title: str, goals: tuple[float, float | None]) -> tuple[Row, Row]:
    written, last = goals
    claims = [AtLeast(side, written) for side in (WRITTEN, *REPOSITORIES[method])] + (
        [] if last is None else [AtLeast(LAST, last)]
    )
    time = alternating(partial(_steps, method))
    memory = _memory(method)
    return (
        Row(f"{title}, weight step", time, claims, partial(_same, method)),
        Row(f"{title}, memory of a weight step", memory, [AtMost(0.6, WRITTEN)], unit="MiB", factor=2**-20),
    )


ROWS = (*_pair("darts", "DARTS cells", (2.5, 1.35)), *_pair("pc-darts", "PC-DARTS", (2.5, None)))
