"""What the searches of `run.py` say about the two geometries; works at any time on those that are finished.

Writes `results.json`, `environment.json`, `figure.png`, `figure.svg` and the generated part of `README.md`. Usage, from
anywhere::

    SHAREWISE_DATA=FOLDER python experiments/geometry/analyse.py [--results DIRECTORY]
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import yaml

from run import DATA, HERE, Plan, all_plans, best_rates, main_plans, none_plans, options_of, truth
from sharewise.appraisal import Interval, compare, difference_interval, mean_interval
from sharewise.spaces.nasbench201 import architecture_at, index_of, nasbench201

TOP = 0.1  # a search has arrived when its cell is, and stays, among this share of the best cells without `none`
COLLAPSED = 5  # skip connections, of 6 edges, that count as a collapse
LOOKS = (200, 500, 1000, 2000)  # steps at which the table compares the geometries
MARKS = "<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->"
GEOMETRIES, LEVELS = ("softmax", "simplex"), ("bilevel", "erm")
PUBLISHED = {"softmax": 0.0003, "simplex": 0.1}  # rates of the papers
LABELS = {"softmax": "softmax + Adam", "simplex": "simplex + EG", "bilevel": "bilevel", "erm": "ERM"}


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_runs(config: Mapping[str, Any], out: Path, table: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The series of every finished search, by its name."""
    runs = {}
    for plan in all_plans(config):
        folder = plan.folder(out)
        if not (folder / "result.json").exists():
            continue
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        epochs = [record for record in map(json.loads, lines) if record["event"] == "epoch"]
        runs[plan.name] = {
            "geometry": plan.geometry,
            "level": plan.level,
            "rate": plan.rate,
            "with_none": plan.with_none,
            "seed": plan.seed,
            "seconds": round(epochs[-1]["seconds"], 1),
            **series(epochs, table),
        }
    return runs


def series(epochs: Sequence[Mapping[str, Any]], table: Mapping[str, float]) -> dict[str, list[Any]]:
    """What the questions need of a history, one list for each quantity.

    Args:
        epochs: records of a run's history.
        table: true test accuracy in percent by architecture.

    Returns:
        `step`; `entropy` of θ in nats, mean over edges; `supernet`, accuracy in percent at the mixture; `gap`, how many
        points the projected cell has less, with the same weights and examples; `cell`, its index in the benchmark;
        `accuracy`, its true one; `skips`, its skip connections; `none`, the weight of `none`, mean over edges.
    """
    found: dict[str, list[Any]] = {
        name: [] for name in ("step", "entropy", "supernet", "gap", "cell", "accuracy", "skips", "none")
    }
    for record in epochs:
        cell = nasbench201().parse(record["architecture"])
        mixture, corner = (100 * record["gap"][name]["accuracy"] for name in ("supernet", "architecture"))
        found["step"].append(record["step"])
        found["entropy"].append(round(record["entropy"], 4))
        found["supernet"].append(round(mixture, 2))
        found["gap"].append(round(mixture - corner, 2))
        found["cell"].append(index_of(cell))
        found["accuracy"].append(round(table[str(cell)], 3))
        found["skips"].append(sum(cell[edge] == "skip_connect" for edge in cell))
        found["none"].append(round(float(np.mean([row[0] for row in record["probabilities"].values()])), 4))
    return found


def baselines(table: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Exact facts of the table: what a random cell is worth, and the best one."""
    parts = {"without_none": [a for name, a in table.items() if "none" not in name], "whole": list(table.values())}
    return {
        name: {
            "cells": len(values),
            "mean": round(float(np.mean(values)), 3),
            "deviation": round(float(np.std(values, ddof=1)), 3),
            "median": round(float(np.median(values)), 3),
            "top": round(float(np.quantile(values, 1 - TOP)), 3),
            "best": round(max(values), 3),
        }
        for name, values in parts.items()
    }


# ---------------------------------------------------------------------------------------------------------------------
# Questions to a series, or to the series of several seeds


def stays_from(steps: Sequence[int], holds: Sequence[bool]) -> int | None:
    """The first step from which something holds at every later record; `None` where it does not at the end."""
    found = None
    for step, here in zip(reversed(steps), reversed(holds), strict=True):
        if not here:
            break
        found = step
    return found


def settled(run: Mapping[str, Any]) -> int:
    """The first recorded step from which the projected cell does not change any more."""
    found = stays_from(run["step"], [cell == run["cell"][-1] for cell in run["cell"]])
    assert found is not None
    return found


def arrived(run: Mapping[str, Any], threshold: float) -> int | None:
    """The first recorded step from which the true accuracy of the projected cell stays at a threshold or above."""
    return stays_from(run["step"], [accuracy >= threshold for accuracy in run["accuracy"]])


def separated(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], name: str, sign: int) -> Any:
    """The first step from which the interval of `first - second` keeps to one side of zero.

    Args:
        first: runs of one arm, a seed each.
        second: runs of another.
        name: of the series.
        sign: +1 where `first` should be larger, -1 where smaller.

    Returns:
        The step, or `None` where the interval holds zero at the end, or a side has one seed.
    """
    columns = [np.array([run[name] for run in side], dtype=float).T for side in (first, second)]
    intervals = [difference_interval(a.tolist(), b.tolist()) for a, b in zip(*columns, strict=True)]
    return stays_from(first[0]["step"], [(i.low if sign > 0 else -i.high) > 0 for i in intervals])


def at_step(run: Mapping[str, Any], name: str, step: int) -> float:
    """A series at a step at which it was recorded."""
    return float(run[name][run["step"].index(step)])


def plain(interval: Interval) -> dict[str, Any]:
    """For JSON; ends that too few values cannot tell are null."""
    low, high = (round(end, 4) if math.isfinite(end) else None for end in (interval.low, interval.high))
    return {"mean": round(interval.mean, 4), "low": low, "high": high, "n": interval.n}


# ---------------------------------------------------------------------------------------------------------------------
# The summary


def summarise(
    config: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]], table: Mapping[str, float]
) -> dict[str, Any]:
    """Arms, the best rates, and the comparisons between them.

    While searches are missing, the best rates are those of the seeds of which all searches without `none` are finished.
    """
    exact = baselines(table)
    without_none = [accuracy for name, accuracy in table.items() if "none" not in name]
    whole = [s for s in config["seeds"] if all(p.name in runs for p in main_plans({**config, "seeds": [s]}))]
    rates = {}
    if whole:
        rates = best_rates({**config, "seeds": whole}, lambda plan: runs[plan.name]["accuracy"][-1])
    wanted = main_plans(config) + (none_plans(config, rates) if rates else [])

    def of(geometry: str, level: str, rate: float, with_none: bool) -> list[Mapping[str, Any]]:
        names = [Plan(geometry, level, rate, with_none, seed).name for seed in config["seeds"]]
        return [runs[name] for name in names if name in runs]

    arms, comparisons, levels, against = [], [], [], []
    for with_none, geometry, level in itertools.product((False, True), GEOMETRIES, LEVELS):
        for rate in config["geometries"][geometry]["rates"]:
            if members := of(geometry, level, rate, with_none):
                best = rates.get((geometry, level)) == rate
                arms.append(describe(members, exact["without_none"]["top"]) | {"best": best})
                if best:
                    facts = {"geometry": geometry, "level": level, "with_none": with_none}
                    against.append(facts | {"sentence": against_random(members, without_none)})
    published = []
    for level in LEVELS:
        simplex, softmax = (of(geometry, level, PUBLISHED[geometry], False) for geometry in ("simplex", "softmax"))
        if simplex and softmax:
            published.append({"with_none": False, "level": level} | contrast(simplex, softmax))
    for with_none in (False, True) if rates else ():
        best_of = {(g, level): of(g, level, rate, with_none) for (g, level), rate in rates.items()}
        for level in LEVELS:
            simplex, softmax = best_of["simplex", level], best_of["softmax", level]
            if simplex and softmax:
                comparisons.append({"with_none": with_none, "level": level} | contrast(simplex, softmax))
        for geometry in GEOMETRIES:
            erm, bilevel = (finals(best_of[geometry, level], "accuracy") for level in ("erm", "bilevel"))
            if erm and bilevel:
                facts = {"with_none": with_none, "geometry": geometry}
                levels.append(facts | {"erm_less_bilevel": plain(difference_interval(erm, bilevel))})
    return {
        "finished": sum(plan.name in runs for plan in wanted),
        "planned": len(main_plans(config)) + len(config["seeds"]) * len(GEOMETRIES) * len(LEVELS),
        "seeds_of_the_rates": whole,
        "best_rates": {"-".join(key): rate for key, rate in rates.items()},
        "baselines": exact,
        "arms": arms,
        "published": published,
        "comparisons": comparisons,
        "levels": levels,
        "against_random": against,
    }


def finals(members: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """The last value of a series in each run."""
    return [float(run[name][-1]) for run in members]


def describe(members: Sequence[Mapping[str, Any]], threshold: float) -> dict[str, Any]:
    """The seeds of one geometry, level, rate and set of options at the end, and how they came there."""
    first = members[0]
    return {
        **{key: first[key] for key in ("geometry", "level", "rate", "with_none")},
        "seeds": [run["seed"] for run in members],
        **{name: plain(mean_interval(finals(members, name))) for name in ("accuracy", "entropy", "gap", "skips")},
        "accuracies": finals(members, "accuracy"),
        "supernet": plain(mean_interval(finals(members, "supernet"))),
        "none": plain(mean_interval(finals(members, "none"))),
        "settled": [settled(run) for run in members],
        "arrived": [arrived(run, threshold) for run in members],
        "collapsed_at_end": sum(run["skips"][-1] >= COLLAPSED for run in members),
        "collapsed_ever": sum(max(run["skips"]) >= COLLAPSED for run in members),
        "cells": [str(architecture_at(run["cell"][-1])) for run in members],
    }


def contrast(simplex: Sequence[Mapping[str, Any]], softmax: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Simplex less softmax on one level, each at one rate: Welch's intervals, and paired ones by seed."""
    shared = sorted({run["seed"] for run in simplex} & {run["seed"] for run in softmax})
    found: dict[str, Any] = {"rates": {"simplex": simplex[0]["rate"], "softmax": softmax[0]["rate"]}}
    for name, sign in (("accuracy", 1), ("entropy", -1), ("gap", -1), ("skips", -1)):
        looks = {}
        for step in (step for step in LOOKS if step in simplex[0]["step"]):
            ours, theirs = ([at_step(run, name, step) for run in side] for side in (simplex, softmax))
            looks[str(step)] = plain(difference_interval(ours, theirs))
        by_seed = [{run["seed"]: run[name][-1] for run in side} for side in (simplex, softmax)]
        pairs = [by_seed[0][seed] - by_seed[1][seed] for seed in shared]
        found[name] = {
            "looks": looks,
            "paired_at_end": plain(mean_interval(pairs)) if pairs else None,
            "separated_from": separated(simplex, softmax, name, sign),
        }
    return found


def against_random(members: Sequence[Mapping[str, Any]], population: Sequence[float]) -> str:
    """The sentence of `appraisal.compare` for the final cells against all cells without `none`."""
    return compare(finals(members, "accuracy"), population, metric="true test accuracy in percent").sentence


# ---------------------------------------------------------------------------------------------------------------------
# Words


def written(interval: Mapping[str, Any] | None, digits: int = 2) -> str:
    """A mean with its interval, for a table."""
    if interval is None:
        return "-"
    if interval["low"] is None:
        return f"{interval['mean']:.{digits}f} (no interval)"
    return f"{interval['mean']:.{digits}f} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"


def steps_of(values: Sequence[int | None]) -> str:
    return ", ".join("never" if value is None else str(value) for value in values)


def markdown(results: Mapping[str, Any]) -> str:
    """The generated part of the README: nothing in it is typed by hand."""
    summary, config = results["summary"], results["config"]
    total, exact = summary["planned"], summary["baselines"]
    lines = []
    if summary["finished"] < total:
        lines += [f"**Partial: {summary['finished']} of {total} searches are finished.**", ""]
    names = {"without_none": "without `none`", "whole": "the whole space"}
    for key, name in names.items():
        part = exact[key]
        lines.append(
            f"- Random cell, {name} ({part['cells']:,} cells, exact): mean {part['mean']:.2f} %, median "
            f"{part['median']:.2f} %, standard deviation {part['deviation']:.2f}; the best {part['best']:.2f} %."
        )
    threshold = exact["without_none"]["top"]
    lines.append(f"- The best {TOP:.0%} of the cells without `none` begin at {threshold:.2f} %.")
    for with_none in (False, True):
        arms = [arm for arm in summary["arms"] if arm["with_none"] == with_none]
        if arms:
            lines += ["", f"### Every arm after {config['steps']:,} steps, {'with' if with_none else 'without'} `none`"]
            lines += ["", *arms_table(arms, with_none)]
    if summary["published"]:
        lines += ["", "### Simplex less softmax, each at its published rate (Welch's intervals)", ""]
        lines += comparison_table(summary["published"])
    if summary["comparisons"]:
        lines += ["", "### Simplex less softmax, each at its best rate (Welch's intervals)", ""]
        lines += comparison_table(summary["comparisons"])
        lines += ["", "### ERM less bilevel at the best rates, true accuracy in points", ""]
        for row in summary["levels"]:
            options = "with" if row["with_none"] else "without"
            lines.append(f"- {LABELS[row['geometry']]}, {options} `none`: {written(row['erm_less_bilevel'])}")
    if summary["against_random"]:
        lines += ["", "### The found cells against random ones without `none`", ""]
        for row in summary["against_random"]:
            options = "with" if row["with_none"] else "without"
            sentence = " ".join(row["sentence"].split())
            lines.append(f"- {LABELS[row['geometry']]}, {LABELS[row['level']]}, {options} `none`: {sentence}.")
    return "\n".join(lines)


def arms_table(arms: Sequence[Mapping[str, Any]], with_none: bool) -> list[str]:
    columns = ["geometry", "level", "rate", "n", "true accuracy, %", "entropy, nats", "rounding gap, points"]
    columns += ["skip connections", f"runs with ≥ {COLLAPSED} skips: at the end; ever", "cell settled at step"]
    columns += [f"in the top {TOP:.0%} from step"] + ["weight of `none`"] * with_none
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for arm in arms:
        mark = "**" if arm["best"] else ""
        cells = [LABELS[arm["geometry"]], LABELS[arm["level"]], f"{mark}{arm['rate']:g}{mark}", str(len(arm["seeds"]))]
        cells += [written(arm["accuracy"]), written(arm["entropy"], 3), written(arm["gap"], 1)]
        cells += [written(arm["skips"], 1), f"{arm['collapsed_at_end']}; {arm['collapsed_ever']}"]
        cells += [steps_of(arm["settled"]), steps_of(arm["arrived"])] + [written(arm["none"])] * with_none
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def comparison_table(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    steps = [str(step) for step in LOOKS if str(step) in comparisons[0]["accuracy"]["looks"]]
    columns = ["quantity", "level", "`none`", *(f"step {step}" for step in steps), "paired, at the end"]
    columns += ["as claimed from step"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    units = {"accuracy": ("true accuracy, points", 2), "entropy": ("entropy, nats", 3)}
    units |= {"gap": ("rounding gap, points", 1), "skips": ("skip connections", 1)}
    for (name, (label, digits)), row in itertools.product(units.items(), comparisons):
        entry = row[name]
        cells = [label, LABELS[row["level"]], "with" if row["with_none"] else "without"]
        cells += [written(entry["looks"][step], digits) for step in steps]
        cells += [written(entry["paired_at_end"], digits), steps_of([entry["separated_from"]])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def insert(page: str, text: str, marks: tuple[str, str] = MARKS) -> str:
    """Replace the part of a page between the marks."""
    begin, end = marks
    head, rest = page.split(begin)
    return f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


# ---------------------------------------------------------------------------------------------------------------------
# The figure

COLOURS = {"softmax": "#E69F00", "simplex": "#0072B2"}  # Okabe and Ito's
DASHES = (":", "--", "-")  # of the lowest, the middle, the highest rate
ROWS = {
    "entropy": "entropy of θ, nats",
    "gap": "rounding gap, points",
    "accuracy": "true accuracy of the cell, %",
    "skips": "skip connections in the cell",
}


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """Every quantity over the steps; without `none`."""
    summary = results["summary"]
    mpl.rcParams.update({"svg.hashsalt": "geometry", "font.size": 10})
    figure, grid = plt.subplots(len(ROWS), len(LEVELS), figsize=(10, 13), sharex=True, sharey="row", squeeze=False)
    for row, name in enumerate(ROWS):
        shown: list[float] = []
        for axes, level in zip(grid[row], LEVELS, strict=True):
            shown += draw_panel(axes, name, level, results)
            axes.grid(True, color="0.92", linewidth=0.7)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        shown += references(grid[row], name, summary["baselines"]["without_none"])
        margin = 0.15 * (max(shown) - min(shown)) + 1e-3  # wide intervals must not flatten the means
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
        grid[row, 0].set_ylabel(ROWS[name])
    for axes, level in zip(grid[0], LEVELS, strict=True):
        axes.set_title(LABELS[level])
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc="lower left")
    for axes in grid[-1]:
        axes.set_xlabel("weight steps")
    lines = "mean over seeds, n = {}; thick: the best rate, with its 95% t interval at each step (cut off at the frame)"
    seeds = max((len(arm["seeds"]) for arm in summary["arms"]), default=0)
    figure.suptitle("Softmax and Adam against exponentiated gradient on the simplex\n" + lines.format(seeds))
    figure.tight_layout()
    figure.savefig(folder / "figure.png", dpi=110, metadata={"Software": None})
    figure.savefig(folder / "figure.svg", metadata={"Date": None})
    plt.close(figure)


def draw_panel(axes: Any, name: str, level: str, results: Mapping[str, Any]) -> list[float]:
    """All rates of both geometries on one level; returns the means that are drawn."""
    shown: list[float] = []
    for geometry, colour in COLOURS.items():
        best = results["summary"]["best_rates"].get(f"{geometry}-{level}")
        for rate, dashes in zip(results["config"]["geometries"][geometry]["rates"], DASHES, strict=True):
            facts = {"geometry": geometry, "level": level, "rate": rate, "with_none": False}
            members = [run for run in results["runs"].values() if facts.items() <= run.items()]
            if not members:
                continue
            steps, values = members[0]["step"], np.array([run[name] for run in members], dtype=float)
            look = {"linewidth": 2.4} if rate == best else {"linewidth": 0.9, "alpha": 0.75}
            label = f"{LABELS[geometry]}, rate {rate:g}"
            axes.plot(steps, values.mean(axis=0), color=colour, linestyle=dashes, label=label, **look)
            shown += values.mean(axis=0).tolist()
            if rate == best and len(members) > 1:
                intervals = [mean_interval(at.tolist()) for at in values.T]
                low, high = np.array([[i.low, i.high] for i in intervals]).T
                axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    return shown


def references(row: Sequence[Any], name: str, exact: Mapping[str, Any]) -> list[float]:
    """Mark what a random cell without `none` has; returns the heights of the lines."""
    lines = {
        "accuracy": [("random", exact["mean"]), ("best", exact["best"])],
        "skips": [("random", 6 / 4)],
        "entropy": [("uniform", math.log(4))],
    }.get(name, [])
    for axes, (label, height) in itertools.product(row, lines):
        axes.axhline(height, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)))
        axes.annotate(label, (1.0, height), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="bottom")
    return [height for _, height in lines]


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def environment(folders: Sequence[Path]) -> dict[str, Any]:
    """What the runs had in common, and every value of what they had not; paths of the machine are not among it."""
    records = [json.loads((folder / "environment.json").read_text(encoding="utf-8")) for folder in folders]
    facts: dict[str, Any] = {}
    for key in dict.fromkeys(itertools.chain.from_iterable(records)):
        if key == "started" or key.startswith("data "):
            continue
        values = sorted({str(record.get(key)) for record in records})
        facts[key] = records[0][key] if len(values) == 1 else values
    starts = sorted(record["started"] for record in records)
    return facts | {"first_start": starts[0], "last_start": starts[-1]}


def compact(value: Any, indent: str = "") -> str:
    """JSON in which lists of plain values, and mappings of a few, take one line."""
    inside = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    short = isinstance(value, list) or len(inside) <= 4
    if not inside or (short and not any(isinstance(item, Mapping | list) for item in inside)):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = indent + " "
    names = [f"{json.dumps(key)}: " for key in value] if isinstance(value, Mapping) else [""] * len(inside)
    rows = [f"{deeper}{name}{compact(item, deeper)}" for name, item in zip(names, inside, strict=True)]
    begin, end = "{}" if isinstance(value, Mapping) else "[]"
    return begin + "\n" + ",\n".join(rows) + "\n" + indent + end


def save(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--results", type=Path, default=HERE, help="where the results are written")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    table = truth(config, chosen.data_root)
    runs = read_runs(config, chosen.out, table)
    again = not runs and not chosen.out.exists() and (chosen.results / "results.json").exists()
    if again:  # the series that were kept are analysed anew
        runs = json.loads((chosen.results / "results.json").read_text(encoding="utf-8"))["runs"]
    if not runs:
        raise SystemExit(f"no search in {chosen.out} is finished")
    results = {"config": config, "summary": summarise(config, runs, table), "runs": runs}
    chosen.results.mkdir(parents=True, exist_ok=True)
    save(chosen.results / "results.json", compact(results) + "\n")
    if not again:
        seconds = {"search_seconds": round(sum(run["seconds"] for run in runs.values()))}
        facts = environment([plan.folder(chosen.out) for plan in all_plans(config) if plan.name in runs]) | seconds
        save(chosen.results / "environment.json", compact(facts) + "\n")
    draw(results, chosen.results)
    text = markdown(results)
    page = chosen.results / "README.md"
    if page.exists():
        save(page, insert(page.read_text(encoding="utf-8"), text))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
