"""What reading ahead is worth: the time of a weight step on images in memory, read ahead, and read when asked for.

JPEG pictures in a folder that is made for it are brought to the size of the network. A round takes some weight steps of
spos on NAS-Bench-201 with each of the three, by turns, on one computing thread; the four threads that decode have the
other cores. Times are by the clock: what is read ahead costs no less, but is not waited for. All three end with the
same weights, which is checked. Printed are medians and quartiles over rounds of milliseconds a step and of ratios
within a round, and the milliseconds in which one batch is read.

    python -m benchmarks reading --rounds 9
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.table.row import spread_of
from sharewise.data import Dataset, Examples
from sharewise.data.image_files import folder_on_disk
from sharewise.data.on_disk import Ahead, OnDisk
from sharewise.engine import SearchState, numerics, prepare, stream, weight_step
from sharewise.methods import build
from sharewise.run import build_supernet
from sharewise.spaces import load

BATCH, CLASSES = 32, 4
SIDES = ("in memory", "read ahead", "when asked")


def make_folder(root: Path, images: int, pixels: int) -> None:
    """Smooth pictures under noise, which compress about as photographs do."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("test", CLASSES)):
        for number in range(count):
            path = root / split / f"class{number % CLASSES}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((pixels, pixels))
            noisy = np.asarray(coarse, np.float32) + rng.normal(0, 8, (pixels, pixels, 1)).astype(np.float32)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def when_asked(self: Ahead, rows: Tensor, *, then: Tensor | None) -> Tensor:
    """`Ahead.take` with nothing ahead."""
    return self._read(rows)


def state_on(data: Dataset, channels: int) -> SearchState:
    """A search before its first step."""
    torch.manual_seed(0)
    recipe = build("spos", {"batch_size": BATCH, "epochs": 1000})
    network = {"channels": channels, "cells": 1}
    supernet = build_supernet(load("nasbench201"), data.input_shape, CLASSES, network=network)
    parts = data.assign(recipe.roles, generator=stream(0, "data"))
    return prepare(supernet, recipe, parts, numerics=numerics("cpu"))


def weights(state: SearchState) -> Tensor:
    """All of them, in a row."""
    return torch.cat([value.detach().flatten() for value in state.supernet.parameters()])


def rounds_of(states: Sequence[SearchState], rounds: int, steps: int) -> list[list[float]]:
    """Milliseconds a step by side and round; the first round, in which everything is new, is left out."""
    taken: list[list[float]] = [[] for _ in states]
    for number in range(rounds + 1):
        for place in (np.arange(len(states)) + number) % len(states):
            took = Ahead.take if SIDES[place] == "read ahead" else when_asked
            with patch.object(Ahead, "take", took):
                began = time.perf_counter()
                for _ in range(steps):
                    weight_step(states[place])
                taken[place].append(1e3 * (time.perf_counter() - began) / steps)
    return [times[1:] for times in taken]


def compare(pixels: int, options: argparse.Namespace) -> bool:
    """Print the three sides for pictures of one size; whether they ended with the same weights."""
    with tempfile.TemporaryDirectory() as place:
        make_folder(Path(place), 2 * BATCH * options.steps, pixels)
        disk = folder_on_disk(place, options.size)
        images = disk.train.inputs
        assert isinstance(images, OnDisk)
        memory = replace(disk, train=Examples(images[torch.arange(len(images))].to("cpu"), disk.train.targets))
        began = time.perf_counter()
        for start in range(0, 4 * BATCH, BATCH):
            images[torch.arange(start, start + BATCH)].to("cpu")
        batch = 1e3 * (time.perf_counter() - began) / 4
        states = [state_on(data, options.channels) for data in (memory, disk, disk)]
        times = rounds_of(states, options.rounds, options.steps)
    print(f"\npictures of {pixels} x {pixels}, brought to {options.size}: a batch is read in {batch:.1f} ms")
    for side, took in zip(SIDES, times, strict=True):
        ratio = [a / b for a, b in zip(took, times[0], strict=True)]
        print(f"  {side:<11} {spread_of(took, 1):>24} ms a step, {spread_of(ratio, 2)} times one in memory")
    equal = all(torch.equal(weights(states[0]), weights(state)) for state in states[1:])
    print(f"  weights afterwards: {'equal to the bit' if equal else 'FAIL: they differ'}")
    return equal


def main(words: list[str]) -> int:
    """Measure and print; 1 where weights differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds (default: 9)")
    parser.add_argument("--steps", type=int, default=10, help="a side and round (default: 10)")
    parser.add_argument("--pixels", type=int, nargs="+", default=[128, 512], help="of the pictures (default: 128 512)")
    parser.add_argument("--size", type=int, default=32, help="pixels that the network sees (default: 32)")
    parser.add_argument("--channels", type=int, default=16, help="of the network (default: 16)")
    options = parser.parse_args(words)
    if options.rounds < 5 or options.steps < 2:
        parser.error(f"--rounds must be at least 5 and --steps 2, got {options.rounds} and {options.steps}")
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, torch {torch.__version__}, batches of {BATCH}, n = {options.rounds}")
    equal = [compare(pixels, options) for pixels in options.pixels]
    return 0 if all(equal) else 1
