"""What one search step costs: darts, gdas and spos on the full-size NAS-Bench-201 supernet, beside the plain network.

darts in first and second order. All take compiled kernels where a run would. Supernet of 16 channels and 5 cells a
stage, batch 32, random 32×32 images, float32, on one thread. All sides run in turn within each round, so that a slow
moment hits them alike; times are process CPU seconds, medians over rounds with the quartiles, and ratios of medians to
the plain network's weight step. spos and gdas run one architecture per step; in each round spos runs exactly the
architecture of that round's plain network, gdas one of its own. Peak memory is that of a fresh process per side, above
the same process before its first step, where the C library gives back at once what is no longer needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.kernels import as_in_a_run
from sharewise.data import Dataset, Examples, Sealed, classification
from sharewise.distribution import host_rng
from sharewise.engine import SearchState, architecture_step, numerics, prepare, stream, unrolled_step, weight_step
from sharewise.methods import build
from sharewise.run import build_network, build_supernet
from sharewise.run.standalone import Standalone, TrainingRecipe
from sharewise.space import sample
from sharewise.spaces import load
from sharewise.supernet import discrete, extract
from sharewise.supernet.native import can_be_compiled

AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": "0"}
"""The C library gives back at once what a step no longer needs: memory is what is held, and not what is scattered."""

SIDES = ("plain", "spos", "gdas", "darts", "darts-second-order")
BATCH = 32


def images(count: int = 128, side: int = 32) -> Dataset:
    """Random images and labels: the arithmetic does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    examples = Examples(inputs, torch.arange(count) % 10)
    return Dataset("random images", classification(10), "image", examples, Sealed(examples))


def search_state(
    method: str, channels: int, cells: int, dtype: str = "float32", fused: bool = True, data: Dataset | None = None
) -> SearchState:
    """A search at step 0."""
    data, recipe = data or images(), build(method, {"batch_size": BATCH, "epochs": 100})
    network = {"channels": channels, "cells": cells, "fused": fused}
    supernet = build_supernet(load("nasbench201"), data.input_shape, 10, network=network)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, roles, numerics=numerics("cpu", dtype))


def plain_state(architecture: Any, channels: int, cells: int, data: Dataset | None = None) -> SearchState:
    """The training of one plain network at step 0."""
    data, recipe = data or images(), TrainingRecipe(batch_size=BATCH).recipe(architecture)
    network = build_network(
        architecture, load("nasbench201"), data.input_shape, 10, network={"channels": channels, "cells": cells}
    )
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(Standalone(network), recipe, roles, numerics=numerics("cpu"))


def upcoming(state: SearchState) -> Any:
    """The architecture that the sampler's next weight step will draw."""
    generator = torch.Generator()
    generator.set_state(state.generators["weights"].get_state())
    return sample(state.distribution.relaxation.space, host_rng(generator))


def peak_gflops(size: int = 1024, repeats: int = 8) -> float:
    """The best measured rate of a float32 matrix product, in 10^9 floating-point operations a CPU second."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        a @ b
        best = min(best, time.process_time() - start)
    return 2 * size**3 / best / 1e9


def timed(step: Callable[[SearchState], object], state: SearchState) -> tuple[float, int]:
    """CPU seconds and passes × multiply-accumulates of one step."""
    before, start = state.ledger.multiply_accumulates, time.process_time()
    step(state)
    return time.process_time() - start, state.ledger.multiply_accumulates - before


def unrolled(state: SearchState, radius: float | None = None) -> object:
    """A second-order architecture step."""
    return unrolled_step(state, state.next_batch("weights"), radius=radius)


def measure(rounds: int, channels: int, cells: int) -> dict[str, Any]:
    """Times of every side, round by round."""
    states = {method: search_state(method, channels, cells) for method in SIDES[1:]}
    steps: dict[str, tuple[Callable[[SearchState], object], str]] = {
        "spos: weight step": (weight_step, "spos"),
        "gdas: weight step": (weight_step, "gdas"),
        "gdas: architecture step": (architecture_step, "gdas"),
        "darts: weight step": (weight_step, "darts"),
        "darts: architecture step": (architecture_step, "darts"),
        "second order: exact": (unrolled, "darts-second-order"),
        "second order: difference": (partial(unrolled, radius=0.01), "darts-second-order"),
    }
    steps = {name: (as_in_a_run(states[method], step), method) for name, (step, method) in steps.items()}
    seconds: dict[str, list[float]] = {"plain: weight step": [], **{name: [] for name in steps}}
    work: dict[str, list[int]] = {name: [] for name in seconds}
    for number in range(rounds + 1):
        plain = plain_state(upcoming(states["spos"]), channels, cells)
        alone = as_in_a_run(plain, weight_step)
        alone(plain)  # warm: a plain network is new in every round
        turns = [("plain: weight step", alone, plain)]
        turns += [(name, step, states[method]) for name, (step, method) in steps.items()]
        for name, step, state in turns:
            spent, macs = timed(step, state)
            if number:  # the first round is not counted
                seconds[name].append(spent)
                work[name].append(macs)
    return {"seconds": seconds, "multiply_accumulates": work, "peak_gflops": peak_gflops()}


def exactness() -> dict[str, float]:
    """In this same process: the fused cell against the readable one, and one-hot gates against the plain network."""
    fused, readable = (search_state("darts", 4, 2, "float64", fused=flag) for flag in (True, False))
    losses = [float(weight_step(state)) for state in (fused, readable)]
    gradients = [[p.grad for p in state.supernet.parameters() if p.grad is not None] for state in (fused, readable)]
    difference = max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True))
    supernet = fused.supernet.eval()
    architecture = sample(load("nasbench201"), np.random.default_rng(0))
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    gates = discrete(supernet.relaxation.encode(architecture), dtype=torch.float64)
    with torch.no_grad():
        gap = float((supernet(x, gates) - extract(supernet, architecture)(x)).abs().max())
    return {"fused loss": abs(losses[0] - losses[1]), "fused gradient": difference, "one-hot output": gap}


def memory(side: str, channels: int, cells: int) -> int:
    """Peak resident bytes that two steps add, in this fresh process."""
    architecture = load("nasbench201").parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    state = plain_state(architecture, channels, cells) if side == "plain" else search_state(side, channels, cells)
    kernels = True if can_be_compiled() else None  # no choice by time, which depends on what memory costs
    return added(as_in_a_run(state, lambda: state.recipe.level.step(state, architecture=True), kernels))


def peak(side: str, channels: int, cells: int) -> int:
    """The same of a process of its own, whose C library gives back at once what is no longer needed."""
    command = [sys.executable, "-m", "benchmarks", "search_step", "--memory", side]
    command += ["--channels", str(channels), "--cells", str(cells)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | AT_ONCE)
    return int(done.stdout)


def resident(field: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024


def added(step: Callable[[], object]) -> int:
    """Bytes that two steps add to the peak of this process, which should be fresh."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of importing and building (Linux)
    before = resident("VmRSS")
    for _ in range(2):
        step()
    return resident("VmHWM") - before


def main(arguments: list[str]) -> int:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks search_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--memory", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.memory:
        print(memory(options.memory, options.channels, options.cells))
        return 0
    errors = exactness()
    result = measure(options.rounds, options.channels, options.cells)
    peaks = {side: peak(side, options.channels, options.cells) for side in SIDES}
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, n = {options.rounds}")
    print(f"{options.channels} channels, {options.cells} cells a stage, batch {BATCH}; CPU ms: median [quartiles]")
    base = statistics.median(result["seconds"]["plain: weight step"])
    for name, values in result["seconds"].items():
        middle = statistics.median(values)
        low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (middle, middle, middle)
        rates = [2 * macs / s / 1e9 for macs, s in zip(result["multiply_accumulates"][name], values, strict=True)]
        print(
            f"  {name:<26}{middle * 1e3:8.0f} [{low * 1e3:.0f}, {high * 1e3:.0f}]   ×{middle / base:5.2f} of plain   "
            f"{statistics.median(rates):5.1f} GFLOP/s"
        )
    print(f"  best matrix product: {result['peak_gflops']:.1f} GFLOP/s")
    paired = [
        s / p
        for s, p in zip(result["seconds"]["spos: weight step"], result["seconds"]["plain: weight step"], strict=True)
    ]
    print(f"  spos / plain on the same architecture, by round: median ×{statistics.median(paired):.2f}")
    print("peak memory added by two steps: " + ", ".join(f"{s} {b / 2**20:.0f} MiB" for s, b in peaks.items()))
    print("exactness, largest difference in float64: " + ", ".join(f"{k} {v:.1e}" for k, v in errors.items()))
    print(json.dumps({**result, "memory_bytes": peaks, "exactness": errors}))
    return 0 if max(errors.values()) < 1e-10 else 1
