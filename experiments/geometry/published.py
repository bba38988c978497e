"""The two geometries at their published rates, after ten seeds an arm: what the study of `published.yaml` says.

The searches are a study of sharewise; `--run` starts it, or goes on with it. Without, those that are finished are
analysed: `published.json`, `published.png` and their part of `README.md` are written. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER python experiments/geometry/published.py --run --jobs 2
    SHAREWISE_DATA=FOLDER python experiments/geometry/published.py
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from analyse import (
    COLOURS,
    GEOMETRIES,
    LABELS,
    LEVELS,
    PUBLISHED,
    ROWS,
    baselines,
    compact,
    comparison_table,
    contrast,
    describe,
    insert,
    plt,
    save,
    series,
    steps_of,
    written,
)

from run import DATA, HERE, options_of, plan_of, truth
from sharewise.appraisal import mean_interval

MARKS = "<!-- written by published.py: begin -->", "<!-- written by published.py: end -->"


def arms_of(plan: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Geometry, level and options of every arm, by its name."""
    arms = {}
    for method in plan["methods"]:
        geometry, level, *rest = method["name"].split("-")
        arms[method["name"]] = {
            "geometry": geometry,
            "level": level,
            "rate": PUBLISHED[geometry],
            "with_none": rest == ["with", "none"],
        }
    return arms


def read(plan: Mapping[str, Any], out: Path, table: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The series of every finished search, by its name."""
    runs = {}
    for (arm, facts), seed in itertools.product(arms_of(plan).items(), plan["seeds"]):
        folder = out / "runs" / f"{arm}-seed{seed}"
        if (folder / "result.json").exists():
            lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            epochs = [record for record in map(json.loads, lines) if record["event"] == "epoch"]
            runs[folder.name] = {**facts, "seed": seed, **series(epochs, table)}
    return runs


def summarise(runs: Mapping[str, Mapping[str, Any]], table: Mapping[str, float]) -> dict[str, Any]:
    """Arms at the end, and simplex less softmax."""
    threshold = baselines(table)["without_none"]["top"]
    arms, comparisons = [], []
    for with_none, level in itertools.product((False, True), LEVELS):
        members = {
            geometry: [
                run
                for run in runs.values()
                if (run["geometry"], run["level"], run["with_none"]) == (geometry, level, with_none)
            ]
            for geometry in GEOMETRIES
        }
        arms += [describe(found, threshold) for found in members.values() if found]
        if all(members.values()):
            facts = {"with_none": with_none, "level": level}
            comparisons.append(facts | contrast(members["simplex"], members["softmax"]))
    return {"finished": len(runs), "arms": arms, "comparisons": comparisons}


def markdown(summary: Mapping[str, Any], planned: int) -> str:
    """The generated part of the README."""
    lines = []
    if summary["finished"] < planned:
        lines += [f"**Partial: {summary['finished']} of {planned} searches are finished.**", ""]
    columns = ["geometry", "level", "`none`", "n", "entropy, nats", "rounding gap, points", "skip connections"]
    columns += ["runs with ≥ 5 skips: at the end; ever", "true accuracy, %", "in the top 10% from step"]
    lines += [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for arm in summary["arms"]:
        cells = [LABELS[arm["geometry"]], LABELS[arm["level"]], "with" if arm["with_none"] else "without"]
        cells += [str(len(arm["seeds"])), written(arm["entropy"], 3), written(arm["gap"], 1), written(arm["skips"], 1)]
        cells += [f"{arm['collapsed_at_end']}; {arm['collapsed_ever']}", written(arm["accuracy"])]
        cells += [steps_of(arm["arrived"])]
        lines.append(f"| {' | '.join(cells)} |")
    if summary["comparisons"]:
        lines += ["", "Simplex less softmax (Welch's intervals):", "", *comparison_table(summary["comparisons"])]
    return "\n".join(lines)


def draw(runs: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Every quantity over the steps, without `none` drawn through and with it dashed."""
    figure, grid = plt.subplots(len(ROWS), len(LEVELS), figsize=(10, 13), sharex=True, sharey="row", squeeze=False)
    for (row, name), (column, level) in itertools.product(enumerate(ROWS), enumerate(LEVELS)):
        axes = grid[row, column]
        for geometry, with_none in itertools.product(GEOMETRIES, (False, True)):
            wanted = {"geometry": geometry, "level": level, "with_none": with_none}
            members = [run for run in runs.values() if wanted.items() <= run.items()]
            if not members:
                continue
            steps, values = members[0]["step"], np.array([run[name] for run in members], dtype=float)
            label = f"{LABELS[geometry]}, {'with' if with_none else 'without'} none, n = {len(members)}"
            line = "--" if with_none else "-"
            axes.plot(steps, values.mean(axis=0), color=COLOURS[geometry], linestyle=line, label=label)
            if len(members) > 2:
                intervals = [mean_interval(at.tolist()) for at in values.T]
                low, high = np.array([[i.low, i.high] for i in intervals]).T
                axes.fill_between(steps, low, high, color=COLOURS[geometry], alpha=0.12, linewidth=0)
        axes.grid(True, color="0.92", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        if row == 0:
            axes.set_title(LABELS[level])
            axes.legend(frameon=False, fontsize=8, loc="lower left")
        if column == 0:
            axes.set_ylabel(ROWS[name])
    for axes in grid[-1]:
        axes.set_xlabel("weight steps")
    figure.suptitle("The published rates: Adam at 3e-4 with weight decay, exponentiated gradient at 0.1")
    figure.tight_layout()
    figure.savefig(folder / "published.png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.set_defaults(config=HERE / "published.yaml")
    options.add_argument("--run", action="store_true", help="run what is not finished first")
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    options.add_argument("--results", type=Path, default=HERE, help="where the results are written")
    chosen = options.parse_args(arguments)
    plan, out = (
        plan_of(yaml.safe_load(chosen.config.read_text(encoding="utf-8")), chosen.data_root),
        chosen.out / "published",
    )
    if chosen.run:
        import sharewise as sw

        sw.study(plan, out=out, jobs=chosen.jobs)
    config = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    table = truth(config, chosen.data_root)
    runs = read(plan, out, table)
    if not runs:
        raise SystemExit(f"no search in {out} is finished")
    planned = len(plan["methods"]) * len(plan["seeds"])
    results = {"planned": planned, "summary": summarise(runs, table), "runs": runs}
    chosen.results.mkdir(parents=True, exist_ok=True)
    save(chosen.results / "published.json", compact(results) + "\n")
    draw(runs, chosen.results)
    text = markdown(results["summary"], planned)
    page = chosen.results / "README.md"
    if page.exists():
        save(page, insert(page.read_text(encoding="utf-8"), text, MARKS))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
