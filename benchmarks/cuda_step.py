"""What one search step costs on a CUDA device: darts, gdas and spos on the full-size NAS-Bench-201 supernet.

Supernet of 16 channels and 5 cells a stage, random 32×32 images, beside the weight step of its largest plain network
(all 3×3 convolutions). Steps whose active options never change are measured once more captured as CUDA graphs, and, if
asked for, compiled and captured, after a check in float64 that captured steps leave the same weights and θ. All sides
run in turn within each round; times are wall milliseconds between two synchronisations around a block of steps, medians
over rounds with the quartiles, in float32 and in bfloat16. Memory is what two steps add to what was allocated.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.search_step import images
from sharewise.data import Dataset
from sharewise.engine import SearchState, architecture_step, numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_network, build_supernet
from sharewise.run.standalone import Standalone, TrainingRecipe
from sharewise.spaces import load

LARGEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def search_state(
    method: str, precision: str, data: Dataset, batch: int, network: dict[str, int], **programs: Any
) -> SearchState:
    recipe = build(method, {"batch_size": batch, "epochs": 100})
    supernet = build_supernet(load("nasbench201"), data.input_shape, 10, network=network)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, roles, numerics=replace(numerics("cuda", precision), **programs))
    state.supernet.train()
    return state


def plain_state(precision: str, data: Dataset, batch: int, network: dict[str, int], **programs: Any) -> SearchState:
    space = load("nasbench201")
    architecture = space.parse(LARGEST)
    recipe = TrainingRecipe(batch_size=batch).recipe(architecture)
    model = build_network(architecture, space, data.input_shape, 10, network=network)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(Standalone(model), recipe, roles, numerics=replace(numerics("cuda", precision), **programs))
    state.supernet.train()
    return state


Side = tuple[str, SearchState, Callable[[SearchState], object]]


def sides_of(batch: int, network: dict[str, int], precision: str, compiled: bool) -> list[Side]:
    data = images(4 * batch)
    forms: dict[str, dict[str, Any]] = {"": {}, ", captured": {"capture": True}}
    if compiled:
        forms[", compiled and captured"] = {"capture": True, "compile": True}
    sides: list[Side] = []
    for form, programs in forms.items():
        plain = plain_state(precision, data, batch, network, **programs)
        sides.append((f"largest plain network: weight step{form}", plain, weight_step))
        for method in ("spos", "gdas", "darts") if not programs else ("darts",):
            state = search_state(method, precision, data, batch, network, **programs)
            sides.append((f"{method}: weight step{form}", state, weight_step))
            if state.recipe.level.learns:
                sides.append((f"{method}: architecture step{form}", state, architecture_step))
    return sides


def measure(rounds: int, steps: int, batch: int, network: dict[str, int], precision: str, compiled: bool) -> Any:
    sides, memory = sides_of(batch, network, precision, compiled), {}
    for name, state, step in sides:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(2):
            step(state)
        torch.cuda.synchronize()
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in sides}
    for index in range(rounds + 1):
        for name, state, step in sides:
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(steps):
                step(state)
            torch.cuda.synchronize()
            if index:  # the first round warms up
                seconds[name].append((time.perf_counter() - start) / steps)
    return {
        name: {
            "milliseconds": 1e3 * statistics.median(values),
            "quartiles": [1e3 * q for q in statistics.quantiles(values, n=4)[::2]],
            "images per second": batch / statistics.median(values),
            "MiB": memory[name],
        }
        for name, values in seconds.items()
    }


def largest_difference(method: str) -> float:
    """Between weights, statistics and θ after three plain and three captured steps of both kinds, in float64."""
    found: list[list[torch.Tensor]] = []
    for captured in (False, True):
        state = search_state(method, "float64", images(64), 16, {"channels": 4, "cells": 1}, capture=captured)
        for _ in range(3):
            state.recipe.level.step(state, architecture=True)
        found.append([*state.supernet.state_dict().values(), *state.distribution.parameters()])
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(*found, strict=True))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="per block")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="also compiled steps, which takes minutes")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("this benchmark needs a CUDA device")
        return 1
    network = {"channels": options.channels, "cells": options.cells}
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **vars(options),
    }
    torch.backends.cudnn.deterministic = True
    result["largest difference of captured steps in float64"] = difference = largest_difference("darts")
    print(
        f"captured and plain steps of darts in float64 differ by at most {difference:.1e} in any weight, statistic or θ"
    )
    torch.backends.cudnn.deterministic = False
    for precision in options.precision:
        result[precision] = measure(options.rounds, options.steps, options.batch, network, precision, options.compile)
        print(f"{precision}, n = {options.rounds} rounds of {options.steps} steps of {options.batch} images")
        for name, row in result[precision].items():
            low, high = row["quartiles"]
            rate = row["images per second"]
            time_taken = f"{row['milliseconds']:8.2f} ms [{low:.2f}, {high:.2f}]"
            print(f"  {name:58s} {time_taken}  {rate:9.0f} images/s  {row['MiB']:8.0f} MiB")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
