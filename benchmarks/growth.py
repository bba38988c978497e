"""How time and memory of a step grow: with options per edge, edges, cells, batch, and architectures that are scored.

A weight step of a mixture on NAS-Bench-201, in process CPU seconds on one thread: one size grows, the others stay;
sizes come in turn within each round. Memory is what two steps add to the peak of a fresh process, in which a first step
was made. Growth is the slope between the two largest sizes in logarithms, which is 1 where time or memory is
proportional and less where something is shared; medians over rounds. `--figure FILE` draws both.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.search_step import AT_ONCE, added, images, search_state
from sharewise.engine import Scorer
from sharewise.space import Decision, sample
from sharewise.spaces import load
from sharewise.supernet import BatchStatistics, Gate, Gates

CHANNELS, CELLS, BATCH, SIDE = 16, 1, 32, 32
Step = Callable[[], object]


ORDER = ("edge_0_3", "edge_0_1", "edge_1_3", "edge_0_2", "edge_2_3", "edge_1_2")
"""Edges in an order in which 1, 3, 5 or 6 of them all lead from the input to the output."""
OPTIONS = ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect")


def gates(decisions: Sequence[Decision], edges: int, options: int) -> Gates:
    """So many options active, on so many edges."""
    found = {}
    for decision in decisions:
        words = OPTIONS[:options] if decision.name in ORDER[:edges] else ()
        active = tuple(sorted(decision.options.index(word) for word in words))
        found[decision.name] = Gate(torch.full((decision.size,), 1 / options), active)
    return found


def step(edges: int = 6, options: int = 4, cells: int = CELLS, batch: int = BATCH) -> Step:
    """Forward and backward to the weights."""
    state = search_state("darts", CHANNELS, cells, data=images(128, SIDE))
    chosen = gates(state.supernet.relaxation.decisions, edges, options)
    x, targets = torch.randn(batch, 3, SIDE, SIDE), torch.arange(batch) % 10
    x = x.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        state.supernet.zero_grad(set_to_none=True)
        torch.autograd.backward(F.cross_entropy(state.supernet(x, chosen), targets))

    return run


def scored(count: int) -> Step:
    """Random architectures with batch statistics, on one batch."""
    state, rng = search_state("spos", CHANNELS, CELLS, data=images(128, SIDE)), np.random.default_rng(0)
    drawn = [sample(load("nasbench201"), rng) for _ in range(count)]
    scorer = Scorer(state, BatchStatistics(), [state.next_batch("weights")])

    def run() -> None:
        with scorer.opened() as score:
            for architecture in drawn:
                score(scorer.gates(architecture))

    return run


SIZES: Mapping[str, tuple[Callable[[int], Step], Sequence[int]]] = {
    "options per edge": (lambda n: step(options=n), (1, 2, 4)),
    "edges": (lambda n: step(edges=n), (1, 3, 6)),
    "cells a stage": (lambda n: step(cells=n), (1, 2, 4)),
    "batch": (lambda n: step(batch=n), (16, 32, 64)),
    "architectures scored": (scored, (8, 16, 32)),
}


def seconds(steps: Mapping[int, Step], rounds: int) -> dict[int, list[float]]:
    """CPU seconds by size, after a round that is not counted."""
    found: dict[int, list[float]] = {size: [] for size in steps}
    for number in range(rounds + 1):
        for size, run in steps.items():
            start = time.process_time()
            run()
            if number:
                found[size].append(time.process_time() - start)
    return found


def memory(name: str, size: int) -> int:
    """Bytes that two steps add to the peak of this fresh process."""
    run = SIZES[name][0](size)
    run()
    return added(run)


def mebibytes(name: str, rounds: int) -> dict[int, list[float]]:
    """What steps add, by size; each number is one process."""
    found: dict[int, list[float]] = {size: [] for size in SIZES[name][1]}
    for _ in range(rounds):
        for size, values in found.items():
            program = f"from benchmarks.growth import memory; print(memory({name!r}, {size}))"
            words = [sys.executable, "-c", f"import torch; torch.set_num_threads(1); {program}"]
            done = subprocess.run(words, check=True, capture_output=True, text=True, env={**os.environ, **AT_ONCE})
            values.append(float(done.stdout) / 2**20)
    return found


def growth(found: Mapping[int, list[float]]) -> float:
    """d log(value) / d log(size) between the two largest sizes."""
    (a, first), (b, second) = islice(reversed(list(found.items())), 2)
    return math.log(statistics.median(first) / statistics.median(second)) / math.log(a / b)


Results = Mapping[str, Mapping[str, Mapping[int, list[float]]]]
"""Values by quantity, what grows, and size."""


def draw(results: Results, path: str) -> None:
    """Time and memory beside the smallest size, a column for each size that grows; dashed what is proportional."""
    from matplotlib.figure import Figure

    names = list(SIZES)
    figure = Figure(figsize=(3 * len(names), 2.4 * len(results) + 0.4), layout="constrained")
    panels = figure.subplots(len(results), len(names), squeeze=False, sharex="col")
    for row, (quantity, of_quantity) in zip(panels, results.items(), strict=True):
        for axis, found in zip(row, of_quantity.values(), strict=True):
            sizes, middle = list(found), [statistics.median(values) for values in found.values()]
            axis.plot(sizes, [value / middle[0] for value in middle], "o-")
            axis.plot(sizes, [size / sizes[0] for size in sizes], "--", color="0.6")
            axis.set_xticks(sizes)
        row[0].set_ylabel(f"{quantity}, of the smallest")
    for axis, name in zip(panels[-1], names, strict=True):
        axis.set_xlabel(name)
    figure.savefig(path)


def line(name: str, found: Mapping[int, list[float]], factor: float) -> str:
    """Medians by size, and the growth."""
    row = ", ".join(f"{size}: {factor * statistics.median(values):.0f}" for size, values in found.items())
    return f"  {name:<22}{row:<34} growth {growth(found):.2f}"


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the last line is JSON. The exit code says whether all growth is linear or less (1.1)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--figure", metavar="FILE", help="where to draw it")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[int, list[float]]]] = {"time": {}, "memory": {}}
    print(f"torch {torch.__version__}, 1 thread, n = {options.rounds}; CPU ms, medians")
    for name, (make, sizes) in SIZES.items():
        results["time"][name] = found = seconds({size: make(size) for size in sizes}, options.rounds)
        print(line(name, found, 1e3), flush=True)
    print("MiB that two steps add to the peak of a process, medians")
    for name in SIZES:
        results["memory"][name] = found = mebibytes(name, options.rounds)
        print(line(name, found, 1), flush=True)
    if options.figure:
        draw(results, options.figure)
    print(json.dumps(results))
    return 0 if all(growth(found) <= 1.1 for of in results.values() for found in of.values()) else 1
