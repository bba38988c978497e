"""Should norms inside the cells of a single-path supernet be affine, and how many batches does recalibration need?

The supernets are those of the study in `norms.yaml`. Each that is finished is scored once, in `norms_scores.json` of
its folder: the same cells with running statistics, and with statistics estimated again from 1, 4, 20 and 64 training
batches. `norms.json` and a part of `README.md` are written. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER python experiments/own_supernets/norms.py --run --jobs 2
    SHAREWISE_DATA=FOLDER python experiments/own_supernets/norms.py
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scipy.stats import kendalltau, spearmanr

import sharewise as sw
from sharewise.appraisal import Interval, mean_interval
from sharewise.atomic import replacing
from sharewise.engine import selection_scorer
from sharewise.run.finished import InFolder
from sharewise.spaces.nasbench201 import architecture_at
from sharewise.supernet import NormPolicy, RecalibratedStatistics, RunningStatistics

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import insert, options_of, plan_of  # noqa: E402

ARMS = ("plain", "affine")
BATCHES = (0, 1, 4, 20, 64)  # of recalibration; 0 stands for running statistics
CELLS, EXAMPLES = 150, 2048  # scored, and on how many held-out examples each
MARKS = "<!-- written by norms.py: begin -->", "<!-- written by norms.py: end -->"


def chosen_cells() -> list[int]:
    """The same random cells for every supernet, by their index in the benchmark."""
    return sorted(int(row) for row in np.random.default_rng(0).choice(15_625, CELLS, replace=False))


def policy_of(batches: int) -> NormPolicy:
    """Running statistics, or those of some batches."""
    return RecalibratedStatistics(batches) if batches else RunningStatistics()


def score(folder: Path) -> dict[str, list[float]]:
    """Accuracy of the chosen cells by number of batches; scored once, and read from the folder after that."""
    path = folder / "norms_scores.json"
    if not path.exists():
        state, cells = InFolder(folder).open(), [architecture_at(index) for index in chosen_cells()]
        found = {}
        for batches in BATCHES:
            scorer = selection_scorer(state, policy_of(batches), EXAMPLES)
            with scorer.opened() as scored:
                found[str(batches)] = [scored(scorer.gates(cell))["accuracy"] for cell in cells]
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")
    scores: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))
    return scores


def truth(data_root: Path) -> list[float]:
    """Mean test accuracy of the chosen cells after 200 epochs, in percent."""
    with gzip.open(data_root / "nasbench201" / "nasbench201.csv.gz", "rt", encoding="utf-8", newline="") as file:
        column = {int(row["index"]): float(row["cifar10_test_200"]) for row in csv.DictReader(file)}
    return [column[index] for index in chosen_cells()]


def agreement(scores: Sequence[float], true: Sequence[float]) -> dict[str, float]:
    """Rank agreement over all chosen cells, and over the better half of them."""
    half = [index for index, value in enumerate(true) if value >= np.median(true)]
    better = spearmanr([scores[index] for index in half], [true[index] for index in half]).statistic
    return {
        "spearman": float(spearmanr(scores, true).statistic),
        "kendall": float(kendalltau(scores, true).statistic),
        "spearman of the better half": float(better),
        "mean accuracy": float(np.mean(scores)),
    }


def plain(interval: Interval) -> list[float]:
    """Mean and ends, rounded."""
    return [round(value, 4) for value in (interval.mean, interval.low, interval.high)]


def summarise(runs: Mapping[str, Mapping[int, Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """Means with intervals by arm and batches, and differences paired by seed."""
    seeds = sorted(set(runs["plain"]) & set(runs["affine"]))
    names = ("spearman", "kendall", "spearman of the better half", "mean accuracy")
    arms = {
        arm: {
            str(batches): {
                name: plain(mean_interval([run[str(batches)][name] for run in runs[arm].values()])) for name in names
            }
            for batches in BATCHES
        }
        for arm in ARMS
        if runs[arm]
    }
    affine = {
        str(batches): plain(
            mean_interval(
                [
                    runs["affine"][s][str(batches)]["spearman"] - runs["plain"][s][str(batches)]["spearman"]
                    for s in seeds
                ]
            )
        )
        for batches in BATCHES
        if len(seeds) > 1
    }
    recalibration = {
        arm: {
            f"{more} less {fewer}": plain(
                mean_interval([run[str(more)]["spearman"] - run[str(fewer)]["spearman"] for run in runs[arm].values()])
            )
            for fewer, more in itertools.pairwise(BATCHES)
        }
        for arm in ARMS
        if len(runs[arm]) > 1
    }
    counts = {arm: len(runs[arm]) for arm in ARMS}
    return {"n": counts, "arms": arms, "affine less plain": affine, "recalibration": recalibration}


def written(values: Sequence[float]) -> str:
    """A mean with its interval."""
    mean, low, high = values
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def markdown(summary: Mapping[str, Any], planned: int) -> str:
    """The generated part of the README."""
    finished = sum(summary["n"].values())
    lines = [f"**Partial: {finished} of {planned} supernets are scored.**", ""] if finished < planned else []
    lines += [
        "| norms in the cells | n | batches of recalibration | Spearman | of the better half | Kendall | mean score |"
    ]
    lines += ["| --- " * 7 + "|"]
    for arm, batches in itertools.product(summary["arms"], BATCHES):
        row = summary["arms"][arm][str(batches)]
        shown = [written(row[name]) for name in ("spearman", "spearman of the better half", "kendall", "mean accuracy")]
        lines.append(f"| {arm} | {summary['n'][arm]} | {batches or 'none'} | {' | '.join(shown)} |")
    if summary["affine less plain"]:
        lines += ["", "Affine less plain, Spearman, paired by seed:", ""]
        lines += [
            f"- {batches if batches != '0' else 'no'} batches: {written(row)}"
            for batches, row in summary["affine less plain"].items()
        ]
    for arm, rows in summary["recalibration"].items():
        lines += ["", f"More batches of recalibration, Spearman, paired by seed, {arm} norms:", ""]
        lines += [f"- {name}: {written(row)}" for name, row in rows.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data="cifar10 and nasbench201")
    options.set_defaults(config=HERE / "norms.yaml", out=HERE / "runs" / "norms")
    options.add_argument("--results", type=Path, default=HERE, help="where the results are written")
    options.add_argument("--run", action="store_true", help="run what is not finished first")
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    plan = plan_of(yaml.safe_load(chosen.config.read_text(encoding="utf-8")), chosen.data_root)
    if chosen.run:
        sw.study(plan, out=chosen.out, jobs=chosen.jobs)
    true = truth(chosen.data_root)
    scores: dict[str, dict[int, dict[str, list[float]]]] = {arm: {} for arm in ARMS}
    for arm, seed in itertools.product(ARMS, plan["seeds"]):
        folder = chosen.out / "runs" / f"{plan['methods'][0]['method']}-{arm}-seed{seed}"
        if (folder / "result.json").exists():
            scores[arm][seed] = score(folder)
    if not any(scores.values()):
        raise SystemExit(f"no search in {chosen.out} is finished")
    runs = {
        arm: {
            seed: {batches: agreement(values, true) for batches, values in by_batches.items()}
            for seed, by_batches in by_seed.items()
        }
        for arm, by_seed in scores.items()
    }
    planned = len(ARMS) * len(plan["seeds"])
    results = {"planned": planned, "summary": summarise(runs), "cells": chosen_cells(), "runs": runs, "scores": scores}
    with replacing(chosen.results / "norms.json") as temporary:
        temporary.write_text(json.dumps(results) + "\n", encoding="utf-8")
    text = markdown(results["summary"], planned)
    insert(chosen.results / "README.md", text, MARKS)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
