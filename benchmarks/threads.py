"""From which size of a step a second thread pays: wall and CPU seconds of steps on one thread and on all.

Weight steps of darts and of one plain network on NAS-Bench-201, from networks of the demo to the full size; both
numbers of threads in turn within each round. With `--busy N`, N processes that do nothing but compute hold the cores
meanwhile, which is when threads wait for each other. What a step is worth is counted as `sharewise.run.threads` does,
whose limit these figures are for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from benchmarks.search_step import images, plain_state, search_state
from sharewise.engine import SearchState, weight_step
from sharewise.run.threads import step_size
from sharewise.spaces import load

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SIZES = ((4, 1, 8), (8, 1, 8), (16, 1, 16), (8, 2, 32), (16, 2, 32), (16, 5, 32), (32, 3, 32))
"""Channels, cells a stage and side of the images."""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute and do nothing else, within the block."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def seconds(state: SearchState, threads: int, steps: int) -> tuple[float, float]:
    """Wall and CPU seconds of a weight step."""
    torch.set_num_threads(threads)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        weight_step(state)
    return (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps


def measure(state: SearchState, threads: Sequence[int], rounds: int) -> dict[int, list[tuple[float, float]]]:
    """Seconds by number of threads, round by round."""
    once = seconds(state, 1, 2)[0]
    steps = max(1, min(50, round(0.2 / once)))
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in threads}
    for _ in range(rounds):
        for count in threads:
            seconds(state, count, 1)
            found[count].append(seconds(state, count, steps))
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks threads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="processes that hold the cores")
    options = parser.parse_args(arguments)
    most, rows = torch.get_num_threads(), []
    print(f"torch {torch.__version__}, 1 and {most} threads, {options.busy} busy processes, n = {options.rounds}")
    print(f"  {'network and step':<44}{'GMAC a step':>12}{'1 thread, ms':>14}{f'{most}, ms':>9}{'faster':>8}{'CPU':>7}")
    with busy(options.busy):
        for channels, cells, side in SIZES:
            data = images(side=side)
            plain = plain_state(load("nasbench201").parse(CELL), channels, cells, data)
            for name, state in {"plain": plain, "darts": search_state("darts", channels, cells, data=data)}.items():
                found = measure(state, (1, most), options.rounds)
                one, many = ([statistics.median(v) for v in zip(*found[n], strict=True)] for n in (1, most))
                size = step_size(state)
                rows.append({"channels": channels, "cells": cells, "side": side, "step": name, "size": size, **found})
                words = f"{channels} channels, {cells} cells, {side}×{side}, {name}"
                print(
                    f"  {words:<44}{size / 1e9:>12.2f}{one[0] * 1e3:>14.1f}{many[0] * 1e3:>9.1f}"
                    f"{one[0] / many[0]:>8.2f}{many[1] / one[1]:>7.2f}",
                    flush=True,
                )
    print(json.dumps(rows))
    return 0
