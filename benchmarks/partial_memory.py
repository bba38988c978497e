"""What partial channels save: the memory that a weight step of PC-DARTS adds to a fresh process, beside whole channels.

The supernet of the DARTS cells with edge weights, K = 4 and K = 1, with shared work among edges and edge by edge;
batches of random 32×32 images in float32 on one thread. A side is one process: it builds everything, makes one weight
step with a batch of two (which loads what torch loads late), and then reports by how much the peak of its resident
memory grows in two weight steps at full size. Figures are medians over fresh processes; sides come in turn.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

import torch

from benchmarks.search_step import added, images
from sharewise.engine import SearchState, numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.spaces import load

SIDES = {
    "K = 4": {"partial": 4},
    "K = 1": {"partial": 1},
    "K = 4, edge by edge": {"partial": 4, "fused": False},
    "K = 1, edge by edge": {"partial": 1, "fused": False},
}
TARGET = 0.35


def state_of(side: str, channels: int, layers: int, batch: int) -> SearchState:
    data, recipe, space = images(4 * batch), build("pc-darts", {"batch_size": batch}), load("darts")
    network = asked_network(space, recipe, {"channels": channels, "layers": layers, **SIDES[side]})
    supernet = build_supernet(space, data.input_shape, 10, network=network)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cpu"))
    state.supernet.train()
    return state


def memory(side: str, channels: int, layers: int, batch: int) -> int:
    """Bytes that two weight steps add to the peak of this process."""
    state = state_of(side, channels, layers, batch)
    whole = state.next_batch("weights")
    small = type(whole)(whole.inputs[:2], whole.targets[:2])
    weight_step(state, small)
    return added(lambda: weight_step(state))


def main(arguments: list[str]) -> int:
    """Measure and print; the last line is JSON. The exit status says whether the ratio keeps its target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks partial_memory", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--memory", choices=tuple(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = {"channels": options.channels, "layers": options.layers, "batch": options.batch}
    if options.memory:
        print(memory(options.memory, **size))
        return 0
    words = [word for name, value in size.items() for word in (f"--{name}", str(value))]
    found: dict[str, list[int]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side, values in found.items():
            command = [sys.executable, "-m", "benchmarks", "partial_memory", "--memory", side, *words]
            values.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, n = {options.rounds}")
    whole = statistics.median(found["K = 1"])
    for side, values in found.items():
        middle, spread = statistics.median(values), f"[{min(values) / 2**20:.0f}, {max(values) / 2**20:.0f}]"
        print(f"  {side:22s} {middle / 2**20:7.0f} MiB {spread:>14s}   ×{middle / whole:.3f}")
    ratio = statistics.median(found["K = 4"]) / whole
    print(f"K = 4 over K = 1, both with shared work: {ratio:.3f} (target at most {TARGET})")
    print(json.dumps({"bytes": found, "ratio": ratio}))
    return 0 if ratio <= TARGET else 1
