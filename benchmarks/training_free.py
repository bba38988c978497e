"""Training-free scores of NAS-Bench-201 against the published columns of NASWOT and SynFlow, and against accuracies.

``python -m benchmarks training_free --data-root FOLDER --store FILE`` scores architectures drawn by seed 0 at the
benchmark's network size (16 channels, 5 cells a stage, 32×32 images of CIFAR-10) on one batch and prints Spearman
correlations with their intervals. Scores are kept in the store as they come, so that a sitting that was cut off goes
on; the published columns do not state their batch.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RECORDED = {"naswot": "cifar10_naswot", "synflow": "cifar10_synflow"}


def read_column(path: Path, name: str) -> Floats:
    """A column of a published table, by index of the benchmark."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = {int(row["index"]): float(row[name]) for row in csv.DictReader(file)}
    return np.array([rows[index] for index in range(len(rows))])


def read_store(store: Path, facts: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """What an earlier sitting has scored; a last line that was cut off is dropped."""
    if not store.exists():
        store.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        return {}
    head, *lines = store.read_text(encoding="utf-8").splitlines()
    if json.loads(head) != facts:
        raise SystemExit(f"{store} holds scores of {head}, not of {json.dumps(facts)}")
    whole = [line for line in lines if line.endswith("}")]
    store.write_text("\n".join([head, *whole]) + "\n", encoding="utf-8")
    return {found.pop("index"): found for found in map(json.loads, whole)}


def score(data_root: Path, store: Path, facts: Mapping[str, Any], device: str) -> dict[int, dict[str, float]]:
    """Score what is not in the store yet."""
    import sharewise as sw
    from sharewise.studies.training_free import SCORES, TrainingFreeOracle

    known = read_store(store, facts)
    space = sw.spaces.nasbench201()
    rng = np.random.default_rng(facts["seed"])
    drawn = rng.choice(space.size, size=facts["architectures"], replace=False).tolist()
    missing = [index for index in drawn if index not in known]
    if missing:
        data = sw.data.load("cifar10", data_root / "cifar10")
        size = facts["batch_size"]
        oracles = {n: TrainingFreeOracle(space, data, n, batch_size=size, device=device) for n in SCORES}
        with store.open("a", encoding="utf-8") as file:
            for index in missing:
                found = {n: oracle.evaluate(space.listing.at(index), 0, rng).value for n, oracle in oracles.items()}
                file.write(json.dumps({"index": index, **found}) + "\n")
                file.flush()
                known[index] = found
    return {index: known[index] for index in drawn}


def ranked(values: Floats) -> Floats:
    """The values, with those that are −∞ below all others, since correlations of ranks need numbers."""
    finite = values[np.isfinite(values)]
    return np.where(np.isfinite(values), values, finite.min() - 1)


def report(scores: Mapping[int, Mapping[str, float]], data_root: Path) -> None:
    """Print the correlations."""
    from sharewise.appraisal import rank_agreement

    folder, indices = data_root / "nasbench201", list(scores)
    accuracy = read_column(folder / "nasbench201.csv.gz", "cifar10_test_200")[indices]
    for name in next(iter(scores.values())):
        column = ranked(np.array([scores[index][name] for index in indices]))
        against = {"CIFAR-10 test accuracy": accuracy}
        if name in RECORDED:
            recorded = read_column(folder / "nasbench201_proxies.csv.gz", RECORDED[name])[indices]
            against[f"recorded {RECORDED[name]}"] = ranked(recorded)
        for what, truth in against.items():
            found = rank_agreement(column, truth, generator=np.random.default_rng(0), tops=[], resamples=1000)
            print(f"{name:<20} against {what:<26} {found.spearman}")


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks training_free", description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with cifar10 and nasbench201")
    parser.add_argument("--store", type=Path, required=True, help="file of the scores, made or continued")
    parser.add_argument("--architectures", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(list(words))
    facts = {"architectures": options.architectures, "batch_size": options.batch_size, "seed": 0}
    began = time.process_time()
    scores = score(options.data_root, options.store, facts, options.device)
    spent = time.process_time() - began
    print(f"NAS-Bench-201, {len(scores)} architectures, one batch of {options.batch_size}; {spent:.0f} s of processor")
    report(scores, options.data_root)
    return 0
