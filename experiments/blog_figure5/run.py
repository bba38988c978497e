"""GAEA against standard search on NAS-Bench-201, in one unit of cost: what `sharewise compare --runs` makes of finished
searches.

Writes `results.json`, `environment.json`, `figure.png`, `figure.svg` and the generated part of `README.md`. Usage, from
anywhere::

    SHAREWISE_DATA=FOLDER python experiments/blog_figure5/run.py --searches experiments/geometry/runs
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sharewise.cli import main as sharewise
from sharewise.oracle import Table, open_table
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.tabulated import final_accuracies
from sharewise.sealed_json import unsealed

HERE = Path(__file__).resolve().parent
MARKS = "<!-- written by run.py: begin -->", "<!-- written by run.py: end -->"
DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
NAMES = {"darts": "DARTS", "darts-erm": "DARTS (ERM)", "gaea-darts": "GAEA DARTS", "gaea-erm": "GAEA DARTS (ERM)"}


def finished(root: Path, pattern: str, rate: float) -> list[Path]:
    """The folders of the searches of an arm that have ended, by seed."""
    return sorted(path.parent for path in root.glob(pattern.format(rate=f"{rate:g}") + "/result.json"))


def of_other_rates(config: Mapping[str, Any], root: Path, table: Table) -> list[dict[str, Any]]:
    """True test accuracies of every search of every rate."""
    tests = {name: final_accuracies(table, name, table.space) for name in DATASETS}
    rows = []
    for method, arm in config["searches"].items():
        for rate in (arm["published"], *arm["others"]):
            cells = [
                json.loads((folder / "result.json").read_text(encoding="utf-8"))["architecture"]
                for folder in finished(root, arm["runs"], rate)
            ]
            places = [table.row(cell) for cell in cells]
            found = {name: [float(test[place]) for place in places] for name, test in tests.items()}
            rows.append({"method": method, "rate": rate, "cells": cells, "test": found})
    return rows


def random_cells(table: Table) -> dict[str, dict[str, float]]:
    """The mean test accuracy of a cell drawn uniformly, without and with `none` among its options; exact."""
    without = np.array(["none" not in str(table.space.listing.at(row)) for row in range(table.rows)])
    tests = {name: final_accuracies(table, name, table.space) for name in DATASETS}
    return {
        name: {"without none": float(test[without].mean()), "whole space": float(test.mean())}
        for name, test in tests.items()
    }


def reached(panel: Mapping[str, Any], strategy: str, regret: float) -> float | None:
    """The first cost shown, in mean trainings, at which a strategy's mean regret is not above a value."""
    curve = panel["strategies"][strategy]["mean"]
    for cost, value in zip(panel["checkpoints"], curve, strict=True):
        if value is not None and value <= regret:
            return float(cost) / float(panel["scale"])
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Words


def header(columns: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]


def spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return " ".join(f"{value:.2f}" for value in values) or "none finished"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def published(config: Mapping[str, Any], name: str, dataset: str) -> str:
    if name not in config["published"]:
        return "—"
    mean, deviation = config["published"][name][dataset]
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of the page."""
    config, panels = results["config"], results["comparison"]["datasets"]
    lines = [
        f"n = {config['repeats']} repeats of each strategy. A *training*: {config['signal_epochs']} epochs of a mean",
        "cell in the benchmark's network.",
        "",
        "### True test accuracy in percent, mean ± deviation",
        "",
        *header(["search", "data", "n", "cost in trainings", "test accuracy", "regret, 95 % interval", "published"]),
    ]
    for dataset, panel in panels.items():
        best, scale = panel["best_test"], panel["scale"]
        lines.append(f"| the best cell | {dataset} | | | {best:.2f} | 0 | |")
        for strategy, curve in panel["strategies"].items():
            low, high = curve["mean_interval"][-1]
            accuracy = f"{curve['final_test_mean']:.2f} ± {curve['final_deviation']:.2f}"
            lines.append(
                f"| {strategy} | {dataset} | {curve['n']} | {curve['mean_cost'] / scale:.0f} | {accuracy} "
                f"| {curve['mean'][-1]:.2f} [{low:.2f}, {high:.2f}] | {published(config, strategy, dataset)} |"
            )
        for method, found in panel["methods"].items():
            accuracies = [best - run["regret"] for run in panel["runs"] if run["method"] == method]
            ends = found["interval"]
            interval = "" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
            lines.append(
                f"| **{NAMES[method]}** | {dataset} | {found['n']} | {found['mean_cost'] / scale:.3f} "
                f"| {spread(accuracies)} | {found['mean']:.2f}{interval} | {published(config, method, dataset)} |"
            )
    lines += [
        "",
        "### What a standard search pays for the same regret",
        "",
        f"Trainings, of {config['trainings']}, until the mean regret of a strategy is not above that of the searches.",
        "No number is below 3, by which every repeat has finished a training.",
        "",
        *header(["search", "data", "cost", *config["strategies"]]),
    ]
    for dataset, panel in panels.items():
        for method, found in panel["methods"].items():
            costs = [reached(panel, name, found["mean"]) for name in config["strategies"]]
            shown = [f"more than {config['trainings']}" if cost is None else f"{cost:.0f}" for cost in costs]
            lines.append(
                f"| {NAMES[method]} | {dataset} | {found['mean_cost'] / panel['scale']:.3f} | {' | '.join(shown)} |"
            )
    lines += [
        "",
        "### Every learning rate of θ",
        "",
        "Test accuracy of the cells that were found on CIFAR-10, in percent; bold: the published rate, in the figure.",
        "",
        *header(["search", "rate", "n", *DATASETS]),
    ]
    for row in results["rates"]:
        rate = f"{row['rate']:g}"
        rate = f"**{rate}**" if row["rate"] == config["searches"][row["method"]]["published"] else rate
        shown = " | ".join(spread(row["test"][name]) for name in DATASETS)
        lines.append(f"| {NAMES[row['method']]} | {rate} | {len(row['cells'])} | {shown} |")
    means = results["random_cells"]
    for kind in ("without none", "whole space"):
        shown = " | ".join(f"{means[name][kind]:.2f}" for name in DATASETS)
        lines.append(f"| mean of a random cell, {kind} | | exact | {shown} |")
    return "\n".join(lines)


def insert(page: str, text: str) -> str:
    """Replace the part of a page between the marks."""
    begin, end = MARKS
    head, rest = page.split(begin)
    return f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


# ---------------------------------------------------------------------------------------------------------------------
# Running


def run(config: Mapping[str, Any], searches: Path, data_root: Path, folder: Path) -> dict[str, Any]:
    """Compare, and put the results, the figure and the environment into a folder."""
    runs = [path for arm in config["searches"].values() for path in finished(searches, arm["runs"], arm["published"])]
    if not runs:
        raise SystemExit(f"{searches} holds no finished search of the published rates; run experiments/geometry first")
    with tempfile.TemporaryDirectory() as temporary:
        path, out = Path(temporary) / "nb201.table", Path(temporary) / "comparison"
        import_benchmark(data_root / "nasbench201", path)
        words = ["compare", "--oracle", path, "--strategies", ",".join(config["strategies"])]
        words += ["--signal-epochs", config["signal_epochs"], "--cost-trainings", config["trainings"]]
        words += ["--repeats", config["repeats"], "--seed", config["seed"], "--out", out, "--runs", *runs]
        if sharewise([str(word) for word in words]) != 0:
            raise SystemExit("the comparison failed; its message is above")
        table = open_table(path)
        results = {
            "config": dict(config),
            "command": "sharewise compare " + " ".join(str(word) for word in words[3 : -len(runs) - 3]) + " --runs …",
            "comparison": unsealed(json.loads((out / "results.json").read_text(encoding="utf-8")))[0],
            "rates": of_other_rates(config, searches, table),
            "random_cells": random_cells(table),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("figure.png", "figure.svg", "environment.json"):
            shutil.copyfile(out / name, folder / name)
    save(folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return results


def save(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument(
        "--searches", type=Path, default=HERE.parent / "geometry" / "runs", help="folder of run folders"
    )
    root = os.environ.get("SHAREWISE_DATA")
    parser.add_argument("--data-root", type=Path, default=root, required=root is None, help="or $SHAREWISE_DATA")
    options = parser.parse_args(arguments)
    config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    results = run(config, options.searches, Path(options.data_root), options.out)
    text, page = markdown(results), options.out / "README.md"
    if page.exists():
        save(page, insert(page.read_text(encoding="utf-8"), text))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
