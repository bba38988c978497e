"""What processes that share a search tell each other in a step, beside a `DistributedDataParallel` wrapper.

Every process joins a group of gloo that counts what enters a collective call: the same instrument counts ours and those
that the wrapper makes in C++. A side makes one weight step on the same rows along the same gates; gradients are
compared. The wrapper has `find_unused_parameters=True`, without which it waits for ever for options that no path uses.
Bytes are what one process puts into calls; a ring moves 2 (N - 1) / N times as many over each link.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import distributed as dist

from sharewise.data import digits
from sharewise.engine import Ranks, SearchState, numerics, prepare, stream, weight_step
from sharewise.engine.loop import begin_epoch
from sharewise.engine.step import leaves_of, weight_draws
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.run.networks import asked_network
from sharewise.spaces import load

ROWS = (
    ("nasbench201", "spos", {"channels": 16, "cells": 1}, 8),
    ("nasbench201", "darts", {"channels": 16, "cells": 1}, 8),
    ("darts", "gdas", {"channels": 8, "layers": 5}, 8),
    ("conv-macro", "spos", {"divisor": 4, "dropout": 0.0}, 12),
)
"""Space, method, network, pixels."""
SIDES = ("per-rank", "synchronised", "wrapper")


class Counting(dist.ProcessGroup):
    """A group of gloo that notes the bytes of every call."""

    calls: list[tuple[str, int]] = []  # noqa: RUF012 - of the one group of this process

    def __init__(self, store: Any, rank: int, size: int, timeout: Any) -> None:
        super().__init__(rank, size)
        self.inner = dist.ProcessGroupGloo(store, rank, size, timeout)

    def allreduce(self, tensors: Any, options: Any = None) -> Any:
        self._note("all-reduce", tensors)
        return self.inner.allreduce(tensors, options or dist.AllreduceOptions())

    def broadcast(self, tensors: Any, options: Any = None) -> Any:
        self._note("broadcast", tensors)
        return self.inner.broadcast(tensors, options or dist.BroadcastOptions())

    def allgather(self, outputs: Any, tensors: Any, options: Any = None) -> Any:
        self._note("all-gather", tensors)
        return self.inner.allgather(outputs, tensors, options or dist.AllgatherOptions())

    def _note(self, name: str, tensors: Any) -> None:
        self.calls.append((name, sum(tensor.numel() * tensor.element_size() for tensor in tensors)))

    def getBackendName(self) -> str:  # noqa: N802 - the name that torch calls
        return "counting"


def state_of(row: int, batch_norm: Any, batch: int) -> SearchState:
    name, method, network, pixels = ROWS[row]
    recipe, space = build(method, {"batch_size": batch}), load(name)
    recipe = replace(recipe, weights=replace(recipe.weights, gradient_clip=None))  # gradients are compared as they are
    data = digits() if pixels == 8 else digits().resized(pixels)
    supernet = build_supernet(space, data.input_shape, 10, network=asked_network(space, recipe, network))
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), batch_norm)
    state = prepare(supernet, recipe, roles, numerics=replace(numerics("cpu"), ranks=ranks))
    state.supernet.train()
    begin_epoch(state)
    return state


def wrapped_step(state: SearchState) -> None:
    """A weight step of a wrapper, up to its gradients."""
    batch = state.next_batch("weights")
    wrapper = torch.nn.parallel.DistributedDataParallel(state.supernet, find_unused_parameters=True)
    [gates] = weight_draws(state)
    Counting.calls.clear()  # what making the wrapper sends
    outputs = wrapper(batch.inputs, leaves_of(state, gates, differentiable=False))
    state.loss(outputs, batch.targets).backward()


def measured(row: int, side: str, batch: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Calls and bytes of a step, and its gradients."""
    state = state_of(row, "per-rank" if side == "wrapper" else side, batch)
    Counting.calls.clear()
    (wrapped_step if side == "wrapper" else weight_step)(state)
    found: dict[str, Any] = {"calls": len(Counting.calls), "bytes": sum(size for _, size in Counting.calls)}
    gradients = {n: p.grad for n, p in state.supernet.named_parameters() if p.grad is not None}
    used = sum(g.numel() * g.element_size() for g in gradients.values())
    everything = sum(p.numel() * p.element_size() for p in state.supernet.parameters())
    return {**found, "gradients": used, "weights": everything}, gradients


def inside(batch: int) -> None:
    """One of the processes; the first one prints."""
    dist.Backend.register_backend("counting", Counting, devices=["cpu"])
    dist.init_process_group("counting")
    rows = []
    for row, (space, method, network, _) in enumerate(ROWS):
        sides, gradients = {}, {}
        for side in SIDES:
            sides[side], gradients[side] = measured(row, side, batch)
        ours, theirs = gradients["per-rank"], gradients["wrapper"]
        away = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
        scale = max(float(value.abs().max()) for value in ours.values())
        rows.append({"space": space, "method": method, "network": network, **sides, "away": away / scale})
    if dist.get_rank() == 0:
        print(json.dumps({"processes": dist.get_world_size(), "batch": batch, "rows": rows}))
    dist.destroy_process_group()


def main(arguments: list[str]) -> int:
    """Measure and print; the last line is JSON. The exit status says whether no search sends more."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks bytes_sent", description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args(arguments)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={options.processes}", "-m", "benchmarks.bytes_sent", str(options.batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return 2
    line = done.stdout.splitlines()[-1]
    found = json.loads(line)
    print(
        f"torch {torch.__version__}, gloo, {options.processes} processes, {options.batch} examples in a step, float32"
    )
    print(f"  {'':24s} {'all weights':>12s} {'used':>10s}  " + "".join(f"{side:>26s}" for side in SIDES))
    for row in found["rows"]:
        cells = "".join(f"{row[side]['bytes']:>14,d} in {row[side]['calls']:>4d} calls" for side in SIDES)
        sizes = f"{row['per-rank']['weights']:>12,d} {row['per-rank']['gradients']:>10,d}  "
        print(f"  {row['space'] + ' ' + row['method']:24s} {sizes}{cells}")
        ratio = row["wrapper"]["bytes"] / row["per-rank"]["bytes"]
        print(f"  {'':24s} the wrapper sends ×{ratio:.2f}; gradients differ by {row['away']:.0e} of the largest")
    print(line)
    return int(any(row["wrapper"]["bytes"] < row["per-rank"]["bytes"] for row in found["rows"]))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    inside(int(sys.argv[1]))
