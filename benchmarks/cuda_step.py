"""What one search step costs on a CUDA device: darts, gdas and spos on the full-size NAS-Bench-201 supernet.

Supernet of 16 channels and 5 cells a stage, random 32×32 images, beside the weight step of the extracted plain network
and its largest one (all 3×3 convolutions). Weight steps whose active options never change are measured once more with
forward and backward pass as one CUDA graph, after a check in float64 that both leave the same weights. All sides run in
turn within each round; times are wall milliseconds between two synchronisations around a block of steps, medians over
rounds with the quartiles, in float32 and in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from functools import partial
from typing import Any

import torch

from benchmarks.captured import CapturedPass, captured_step, largest_difference
from benchmarks.search_step import images
from sharewise.data import Dataset
from sharewise.engine import SearchState, architecture_step, numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_network, build_supernet
from sharewise.run.standalone import Standalone, TrainingRecipe
from sharewise.spaces import load

LARGEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def search_state(method: str, precision: str, data: Dataset, batch: int, network: dict[str, int]) -> SearchState:
    recipe = build(method, {"batch_size": batch, "epochs": 100})
    supernet = build_supernet(load("nasbench201"), data.input_shape, 10, network=network)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(supernet, recipe, roles, numerics=numerics("cuda", precision))
    state.supernet.train()
    return state


def plain_state(precision: str, data: Dataset, batch: int, network: dict[str, int]) -> SearchState:
    space = load("nasbench201")
    architecture = space.parse(LARGEST)
    recipe = TrainingRecipe(batch_size=batch).recipe(architecture)
    model = build_network(architecture, space, data.input_shape, 10, network=network)
    roles = data.assign(recipe.roles, generator=stream(0, "data"))
    state = prepare(Standalone(model), recipe, roles, numerics=numerics("cuda", precision))
    state.supernet.train()
    return state


def measure(rounds: int, steps: int, batch: int, network: dict[str, int], precision: str) -> dict[str, Any]:
    data = images(4 * batch)
    sides: dict[str, Any] = {
        "largest plain network: weight step": (plain_state(precision, data, batch, network), weight_step)
    }
    for method in ("spos", "gdas", "darts"):
        state = search_state(method, precision, data, batch, network)
        sides[f"{method}: weight step"] = (state, weight_step)
        if state.recipe.level.learns:
            sides[f"{method}: architecture step"] = (state, architecture_step)
    passes: dict[int, CapturedPass] = {}
    captured = partial(captured_step, passes=passes)
    whole = plain_state(precision, data, batch, network)
    sides["largest plain network: weight step, captured"] = (whole, captured)
    sides["darts: weight step, captured"] = (search_state("darts", precision, data, batch, network), captured)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds + 1):
        for name, (state, step) in sides.items():
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
        }
        for name, values in seconds.items()
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="per block")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=5)
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
    one, two = (search_state("darts", "float64", images(64), 16, {"channels": 4, "cells": 1}) for _ in range(2))
    result["largest difference of captured steps in float64"] = difference = largest_difference(one, two)
    print(f"captured and plain steps of darts in float64 differ by at most {difference:.1e} in any weight")
    torch.backends.cudnn.deterministic = False
    for precision in ("float32", "bfloat16"):
        result[precision] = measure(options.rounds, options.steps, options.batch, network, precision)
        print(f"{precision}, n = {options.rounds} rounds of {options.steps} steps of {options.batch} images")
        for name, row in result[precision].items():
            low, high = row["quartiles"]
            rate = row["images per second"]
            print(f"  {name:46s} {row['milliseconds']:8.2f} ms [{low:.2f}, {high:.2f}]  {rate:9.0f} images/s")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
