"""What the ledger costs: CPU time of entering a step's price beside the step itself, on every kind of supernet.

One weight step of spos a row (and of darts and gdas on NAS-Bench-201), float32, on one thread, on data of the smallest
sizes at which a search makes sense. The first steps are left out: they trace patterns of active options and build the
tables of the layers, which is done once and stated as its own column. Times are CPU seconds of the thread, medians over
the rest. `entries` counts all that the prices remember after the run.

A last row takes the steps of a search on a model of one's own with and without the charge: two searches with the same
seed, and so the same paths and batches, by turns, and the one that begins by turns as well. Printed are the median and
the quartiles of CPU seconds over rounds, and of their ratio within a round.

    python -m benchmarks charging --steps 60 --rounds 15
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.engine import SearchState, numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.spaces import load
from sharewise.supernet import Supernet

BATCH = 64
SIDES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nasbench201": ("spos", "nasbench201", {"channels": 8, "cells": 2}),
    "nasbench201 gdas": ("gaea-gdas", "nasbench201", {"channels": 8, "cells": 2}),
    "nasbench201 darts": ("darts", "nasbench201", {"channels": 8, "cells": 2}),
    "nasbench201 entangled": ("spos", "nasbench201", {"channels": 8, "cells": 2, "sharing": "entangled"}),
    "nasbench101:A_2": ("spos", "nasbench101:A_2", {"channels": 16, "cells": 1}),
    "conv-macro": ("spos", "conv-macro", {"divisor": 4}),
    "toy-separable-cell": ("spos", "toy-separable-cell", {"channels": 8}),
    "toy-tied-width": ("spos", "toy-tied-width", {}),
    "toy-two-inputs": ("spos", "toy-two-inputs", {}),
    "own transformer": ("spos", "", {}),
}


class Attention(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.head_size = features // heads
        self.qkv, self.projection = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = (part.unflatten(-1, (-1, self.head_size)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        return self.projection(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(features), nn.LayerNorm(features)])
        self.attention = Attention(features, heads)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class Transformer(nn.Module):
    """A small vision transformer, all of whose widths, heads and depths are searched."""

    def __init__(self, features: int = 64, heads: int = 4, blocks: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, features, 2, stride=2)
        self.blocks = nn.ModuleList(Block(features, heads) for _ in range(blocks))
        self.classifier = nn.Linear(features, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(1))


def own(shape: tuple[int, ...]) -> Supernet:
    choices = {
        "patches": sw.width([32, 48, 64], name="features"),
        "blocks.*.attention": sw.heads([1, 2, 4]),
        "blocks.*.mlp": sw.width([64, 128, 256]),
        "blocks.*": sw.depth([4, 6, 8], name="depth"),
    }
    return sw.elastic(Transformer(), choices, example=torch.randn(2, *shape))


def state_of(method: str, space: str, network: dict[str, Any]) -> SearchState:
    data = sw.data.load("digits", image_size=12) if space == "conv-macro" else sw.data.digits()
    recipe = build(method, {"batch_size": BATCH, "epochs": 1000})
    shape = data.input_shape
    supernet = build_supernet(load(space), shape, 10, network=network) if space else own(shape)
    return prepare(supernet, recipe, data.assign(recipe.roles, generator=stream(0, "data")), numerics=numerics("cpu"))


def entries(state: SearchState) -> int:
    """Everything that the prices of steps remember."""
    return state.costs.remembered


def measured(state: SearchState, steps: int, warm: int) -> dict[str, float]:
    charging: list[float] = []
    charge = state.charge

    def timed(*arguments: Any) -> None:
        start = time.thread_time()
        charge(*arguments)
        charging.append(time.thread_time() - start)

    state.charge = timed  # type: ignore[method-assign]
    whole = []
    for _ in range(warm + steps):
        start = time.thread_time()
        weight_step(state)
        whole.append(time.thread_time() - start)
    step = statistics.median(a - b for a, b in zip(whole[warm:], charging[warm:], strict=True))
    later = charging[warm:]
    return {
        "step_ms": 1e3 * step,
        "charge_us": 1e6 * statistics.median(later),
        "charge_mean_us": 1e6 * statistics.fmean(later),
        "percent": 100 * statistics.fmean(later) / step,
        "warm_up_s": sum(charging[:warm]),
        "entries": entries(state),
    }


def paired(rounds: int, steps: int, warm: int) -> dict[str, list[float]]:
    """Quartiles over rounds: milliseconds of a step with and without the charge, and their ratio."""
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        states.append(state_of(*SIDES["own transformer"]))
    states[1].charge = lambda *arguments: None  # type: ignore[method-assign]
    taken: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            start, count = time.thread_time(), steps if number else warm
            for _ in range(count):
                weight_step(states[side])
            taken[side].append(1e3 * (time.thread_time() - start) / count)
    with_charge, without = (times[1:] for times in taken)  # the first round warms up
    ratios = [a / b for a, b in zip(with_charge, without, strict=True)]
    rows = {"with_ms": with_charge, "without_ms": without, "ratio": ratios}
    return {name: statistics.quantiles(row, n=4, method="inclusive") for name, row in rows.items()}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="measured steps (default: 60)")
    parser.add_argument("--warm", type=int, default=40, help="steps before them (default: 40)")
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES), help="which supernets")
    parser.add_argument("--rounds", type=int, default=15, help="of the row with and without the charge (default: 15)")
    options = parser.parse_args(words)
    if options.rounds < 5:
        parser.error(f"--rounds must be at least 5, got {options.rounds}")
    torch.set_num_threads(1)
    results = {}
    for name in options.sides:
        torch.manual_seed(0)
        results[name] = found = measured(state_of(*SIDES[name]), options.steps, options.warm)
        print(
            f"{name:24s} step {found['step_ms']:9.2f} ms   charge {found['charge_us']:7.1f} us (mean "
            f"{found['charge_mean_us']:7.1f}, {found['percent']:5.2f} %)   warm-up {found['warm_up_s']:6.2f} s   "
            f"entries {found['entries']:6.0f}",
            flush=True,
        )
    found = paired(options.rounds, max(options.steps // 6, 1), options.warm)
    (a, with_charge, b), (c, without, d), (low, ratio, high) = found.values()
    print(
        f"own transformer, a step of spos with the charge {with_charge:.2f} ms [{a:.2f}, {b:.2f}], without "
        f"{without:.2f} ms [{c:.2f}, {d:.2f}], ratio {ratio:.4f} [{low:.4f}, {high:.4f}], {options.rounds} rounds"
    )
    summary = {"processor": platform.processor(), "torch": torch.__version__, "results": results, "paired": found}
    print(json.dumps(summary))
    return 0
