"""How fast a trained supernet scores architectures, beside the naive loop that most programs have.

The naive loop builds, for every candidate, batches of the held-out images, extracts the plain network, evaluates it,
re-estimates its batch-norm statistics and evaluates it again. Ours lays the batches out once and runs the supernet
under one-hot gates. Both score the same architectures of NAS-Bench-201 on the same images, in turn within each round,
on one thread; figures are architectures per process CPU second, medians over rounds, and wall-clock for several
processes. In the same run both sides must give the same scores.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sharewise.data import Batch, Examples, evaluation_batches
from sharewise.engine import SearchState
from sharewise.run import SearchConfiguration
from sharewise.run.finished import InFolder
from sharewise.space import Architecture, sample
from sharewise.studies.scoring import Scoring, VariantScorer, score
from sharewise.studies.workers import Workers, cores
from sharewise.supernet import extract, recalibrate


def naive(state: SearchState, architecture: Architecture, scoring: Scoring) -> tuple[float, float]:
    """One candidate as a program scores it that thinks of one: with running statistics, then with its own."""
    dataset, weights, held_out = state.data.dataset, state.data.examples("weights"), state.data.examples("selection")
    size = state.recipe.batch_size

    def loader(examples: Examples, batch_size: int) -> list[Batch]:
        batches = evaluation_batches(examples, dataset, batch_size)
        return [state.numerics.arrange(batch) for batch in batches]

    def accuracy() -> float:
        network.eval()
        with torch.no_grad():
            batches = loader(held_out, max(size, 64))
            right = sum(int((network(b.inputs).argmax(dim=1) == b.targets).sum()) for b in batches)
        return right / len(held_out)

    network = state.numerics.place(extract(state.supernet, architecture))
    running = accuracy()
    count = min(scoring.recalibrate * size, len(weights) // size * size)
    some = weights.subset(torch.arange(count) * len(weights) // count)
    recalibrate(network, network, [batch.inputs for batch in loader(some, size)])
    return running, accuracy()


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scoring", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--architectures", type=int, default=40)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scoring = Scoring(recalibrate=4)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "run"
        network = {"channels": options.channels, "cells": options.cells}
        SearchConfiguration(
            method="spos", network=network, recipe={"candidates": 1}, max_steps=40, device="cpu", threads=1
        ).execute(path)
        state, rng = InFolder(path, "cpu").open(), np.random.default_rng(0)
        architectures = [sample(state.supernet.space, rng) for _ in range(options.architectures)]
        seconds: dict[str, list[float]] = {"naive": [], "sharewise": []}
        ours: list[tuple[float, float]] = []
        theirs: list[tuple[float, float]] = []
        for _ in range(options.rounds):
            start = time.process_time()
            theirs = [naive(state, architecture, scoring) for architecture in architectures]
            seconds["naive"].append(time.process_time() - start)
            start = time.process_time()
            with VariantScorer(state, scoring).opened() as here:
                found = [here(architecture).values for architecture in architectures]
            seconds["sharewise"].append(time.process_time() - start)
            ours = [(values["running"], values["recalibrated"]) for values in found]
        jobs, many = cores(), [sample(state.supernet.space, rng) for _ in range(5 * options.architectures)]
        start = time.perf_counter()
        score(InFolder(path, "cpu"), many, scoring, workers=Workers(jobs))
        spread = len(many) / (time.perf_counter() - start)
    difference = float(np.abs(np.array(ours) - np.array(theirs)).max())
    rates = {side: options.architectures / statistics.median(values) for side, values in seconds.items()}
    images = state.data.size("selection")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, n = {options.rounds}")
    print(
        f"NAS-Bench-201 of {options.channels} channels, {options.cells} cells a stage; {images} images of digits; "
        "scores with running and with recalibrated statistics"
    )
    print(f"  naive loop: {rates['naive']:.2f} architectures a CPU second")
    print(f"  sharewise:  {rates['sharewise']:.2f}")
    print(
        f"  ratio ×{rates['sharewise'] / rates['naive']:.2f}; {jobs} processes, start included: {spread:.2f} a second"
    )
    print(f"largest difference of a score: {difference:.1e}")
    print(json.dumps({"seconds": seconds, "rates": {**rates, "processes": spread}, "difference": difference}))
    return 0 if difference <= 1 / images else 1  # an image may lie between two classes to the last bit
