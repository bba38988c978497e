"""What the searches of `run.py` say about the entropy of θ; works at any time on those that are finished.

Writes `results.json`, `figure.png`, `figure.svg` and a part of `README.md`, and prints that. Usage, from anywhere::

    python experiments/darts_space/analyse.py [--results DIRECTORY]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import yaml

from run import HERE, insert, options_of
from sharewise.appraisal import difference_interval, mean_interval

PAIRS = (("darts", "gaea-darts"), ("pc-darts", "gaea-pc-darts"))
"""Softmax with Adam, and the simplex with exponentiated gradient."""
MARKS = "<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->"
UNIFORM = math.log(8)
"""The entropy of a decision over eight operations that has not begun to decide."""
COLOURS = {"darts": "#4c72b0", "gaea-darts": "#c44e52", "pc-darts": "#4c72b0", "gaea-pc-darts": "#c44e52"}


def entropy(rows: Sequence[Sequence[float]]) -> float:
    """Mean entropy of rows, in nats."""
    return float(np.mean([-sum(p * math.log(p) for p in row if p > 0) for row in rows]))


def read_run(folder: Path) -> dict[str, Any]:
    """The series of a finished search.

    Returns:
        `epoch`; `operations` and `edges`, the mean entropy of both kinds of decisions in nats; `architecture`, what θ
        stood for; `seconds` in all.
    """
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [record for record in map(json.loads, lines) if record["event"] == "epoch" and "probabilities" in record]
    found: dict[str, Any] = {"epoch": [], "operations": [], "edges": [], "architecture": [], "seconds": 0.0}
    for record in epochs:
        rows = record["probabilities"]
        edges = [row for name, row in rows.items() if "inputs_of" in name]
        found["epoch"].append(record["epoch"])
        found["operations"].append(entropy([row for name, row in rows.items() if "inputs_of" not in name]))
        found["edges"].append(entropy(edges) if edges else None)
        found["architecture"].append(record["architecture"])
        found["seconds"] = round(record["seconds"], 1)
    return found


def read_study(config: Mapping[str, Any], out: Path) -> dict[str, dict[str, Any]]:
    """Every finished search that has a θ, by arm and seed."""
    runs: dict[str, dict[str, Any]] = {}
    for arm in [name for pair in PAIRS for name in pair]:
        for seed in config["seeds"]:
            folder = out / "runs" / f"{arm}-seed{seed}"
            if (folder / "result.json").exists():
                runs[f"{arm}-seed{seed}"] = {"arm": arm, "seed": seed, **read_run(folder)}
    return runs


def read_accuracies(out: Path) -> dict[str, dict[str, float]]:
    """By arm and seed the test accuracy of what was found, trained from scratch; none before the study has ended."""
    page = out / "study.json"
    if not page.exists():
        return {}
    (panel,) = json.loads(page.read_text(encoding="utf-8"))["panels"].values()
    return {arm: found["values"] for arm, found in panel["arms"].items() if found["n"]}


def summarise(
    config: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]], accuracies: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Entropy at the end by arm, and its difference within each pair, and accuracies, with 95 % t intervals."""
    last = {
        arm: [run["operations"][-1] for run in runs.values() if run["arm"] == arm] for pair in PAIRS for arm in pair
    }
    arms = {arm: interval(mean_interval(values)) for arm, values in last.items() if len(values) > 1}
    pairs = {
        f"{simplex} - {softmax}": interval(difference_interval(last[simplex], last[softmax]))
        for softmax, simplex in PAIRS
        if min(len(last[simplex]), len(last[softmax])) > 1
    }
    planned = sum(arm["name"] in last for arm in config["methods"]) * len(config["seeds"])
    trained = {
        arm: interval(mean_interval(list(values.values()))) for arm, values in accuracies.items() if len(values) > 1
    }
    return {
        "planned": planned,
        "finished": len(runs),
        "seconds": sum(run["seconds"] for run in runs.values()),
        "single": {arm: [round(value, 4) for value in values] for arm, values in last.items() if len(values) == 1},
        "final_entropy": arms,
        "difference": pairs,
        "accuracy": trained,
    }


def interval(found: Any) -> dict[str, float]:
    """An interval as plain numbers."""
    return {**{name: round(float(getattr(found, name)), 4) for name in ("mean", "low", "high")}, "n": found.n}


def draw(runs: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Entropy over epochs, a panel per pair; thin lines are seeds, thick ones their mean."""
    mpl.rcParams.update({"svg.hashsalt": "darts_space", "font.size": 10})
    figure, grid = plt.subplots(1, len(PAIRS), figsize=(10, 4), sharey=True)
    for axes, pair in zip(grid, PAIRS, strict=True):
        for arm in pair:
            members = [run for run in runs.values() if run["arm"] == arm]
            for run in members:
                axes.plot(run["epoch"], run["operations"], color=COLOURS[arm], linewidth=0.7, alpha=0.5)
            if members:
                mean = np.mean([run["operations"] for run in members], axis=0)
                axes.plot(
                    members[0]["epoch"], mean, color=COLOURS[arm], linewidth=2.2, label=f"{arm}, n = {len(members)}"
                )
        axes.axhline(UNIFORM, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9)
    grid[0].set_ylabel("mean entropy of the operations, nats")
    figure.suptitle("Entropy of θ on the cells of DARTS, at the published rates; dotted: uniform")
    figure.tight_layout()
    figure.savefig(folder / "figure.png", dpi=110, metadata={"Software": None})
    figure.savefig(folder / "figure.svg", metadata={"Date": None})
    plt.close(figure)


def markdown(summary: Mapping[str, Any]) -> str:
    """The generated part of the README: what was measured, with n, and what it would take to settle the rest."""
    finished, planned = summary["finished"], summary["planned"]
    lines = [f"{finished} of {planned} searches are finished.", ""]
    lines += ["| arm, or difference of two | entropy of the operations at the end, nats | n |", "| --- | --- | --- |"]
    for name, values in summary["single"].items():
        lines.append(f"| {name} | {values[0]:.4f}, without an interval | 1 |")
    for name, found in {**summary["final_entropy"], **summary["difference"]}.items():
        lines.append(f"| {name} | {found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}] | {found['n']} |")
    lines += [
        "",
        f"Undecided is {UNIFORM:.4f}, the entropy of eight equal operations. Intervals: 95 % t intervals over seeds.",
        "",
    ]
    if summary["accuracy"]:
        lines += ["| arm | test accuracy of found cells, trained from scratch | n |", "| --- | --- | --- |"]
        for name, found in summary["accuracy"].items():
            lines.append(f"| {name} | {found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}] | {found['n']} |")
    else:
        lines.append(
            "Found cells are trained from scratch once all searches are finished: nothing is said of them yet."
        )
    if finished < planned:
        cost = summary["seconds"] / max(finished, 1)
        lines += [
            "",
            f"**What is open.** {planned - finished} searches, of {cost:.0f} seconds each as they ran here",
            "beside other work; below n = 5 an arm says nothing about a difference. The command above runs them.",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=None)
    options.add_argument("--results", type=Path, default=HERE, help="where the results are written")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    runs = read_study(config, chosen.out)
    if not runs:
        raise SystemExit(f"no search in {chosen.out} is finished")
    summary = summarise(config, runs, read_accuracies(chosen.out))
    chosen.results.mkdir(parents=True, exist_ok=True)
    results = {"config": config, "summary": summary, "runs": runs}
    (chosen.results / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(runs, chosen.results)
    text = markdown(summary)
    insert(chosen.results / "README.md", text, MARKS)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
