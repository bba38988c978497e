"""What the searches of `run.py` found and cost, beside random cells; works at any time on those that are finished.

Writes `results.json`, `environment.json`, `figure.png`, `figure.svg` and the generated part of `README.md`. Usage, from
anywhere::

    SHAREWISE_DATA=FOLDER python experiments/all_methods/analyse.py [--table FILE] [--results DIRECTORY]
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

from run import DATA, HERE, PARTS, Plan, all_plans, method_options, options_of, truth
from sharewise.appraisal import Interval, mean_interval
from sharewise.methods import build
from sharewise.spaces.nasbench201 import index_of, nasbench201

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of random cells
COSTS = ("weights", "architecture", "selection")  # parts of a search that are charged to it
MARKS = "<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->"


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_runs(config: Mapping[str, Any], out: Path, table: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """What every finished search found and cost, by its name."""
    runs = {}
    for plan in all_plans(config):
        folder = plan.folder(out)
        if not (folder / "cell.json").exists():  # what a study writes last
            continue
        result, noted = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("result.json", "cell.json")
        )
        last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        runs[plan.name] = {
            "part": plan.part,
            "method": plan.method,
            "seed": plan.seed,
            **judged(result["architecture"], table),
            "inherited": round(100 * result["inherited"]["accuracy"], 2),
            "entropy": round(last["entropy"], 4) if "entropy" in last else None,
            **spent(result["ledger"]),
            "processor_seconds": noted["processor_seconds"],
        }
    return runs


def judged(cell: str, table: Mapping[str, float]) -> dict[str, Any]:
    """What the table says of a cell.

    Args:
        cell: the architecture's string.
        table: true test accuracy in percent by architecture.

    Returns:
        `index` in the benchmark; `cell`; `accuracy`; `rank`, the percentage of all other cells that are worse, equal
        ones counted half; `skips` and `none`, how often these options are among its 6 edges.
    """
    architecture, accuracy = nasbench201().parse(cell), table[cell]
    values = np.array(list(table.values()))
    below = float(np.sum(values < accuracy) + 0.5 * (np.sum(values == accuracy) - 1))
    options = [architecture[edge] for edge in architecture]
    return {
        "index": index_of(architecture),
        "cell": cell,
        "accuracy": round(accuracy, 3),
        "rank": round(100 * below / (len(values) - 1), 2),
        "skips": options.count("skip_connect"),
        "none": options.count("none"),
    }


def spent(ledger: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Passes × multiply-accumulates of the parts of a search, and its seconds without any measurement."""
    return {
        "multiply_accumulates": {part: ledger.get(part, {}).get("multiply_accumulates", 0) for part in COSTS},
        "seconds": round(sum(entry["seconds"] for part, entry in ledger.items() if part != "measurement"), 1),
    }


def populations(table: Mapping[str, float]) -> dict[str, list[float]]:
    """The cells that a random draw may be made of."""
    return {"whole": list(table.values()), "without_none": [a for name, a in table.items() if "none" not in name]}


def facts_of(values: Sequence[float]) -> dict[str, Any]:
    """Exact facts of a population of cells."""
    return {
        "cells": len(values),
        "mean": round(float(np.mean(values)), 3),
        "deviation": round(float(np.std(values, ddof=1)), 3),
        "quantiles": {f"{q:g}": round(float(np.quantile(values, q)), 3) for q in QUANTILES},
        "best": round(max(values), 3),
    }


# ---------------------------------------------------------------------------------------------------------------------
# The summary


def plain(interval: Interval) -> dict[str, Any]:
    """For JSON; ends that too few values cannot tell are null."""
    low, high = (round(end, 4) if math.isfinite(end) else None for end in (interval.low, interval.high))
    return {"mean": round(interval.mean, 4), "low": low, "high": high, "n": interval.n}


def summarise(
    config: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]], table: Mapping[str, float]
) -> dict[str, Any]:
    """The populations and one arm for each part and method of which a search is finished."""
    baselines = {name: facts_of(values) for name, values in populations(table).items()}
    arms = []
    for part, method in itertools.product(PARTS, config["methods"]):
        members = [run for run in runs.values() if (run["part"], run["method"]) == (part, method)]
        if members:
            arms.append(describe(config, members, baselines))
    finished = {part: sum(run["part"] == part for run in runs.values()) for part in PARTS}
    return {
        "finished": finished,
        "planned": {part: len(all_plans(config, [part])) for part in PARTS},
        "baselines": baselines,
        "arms": arms,
    }


def describe(
    config: Mapping[str, Any], members: Sequence[Mapping[str, Any]], baselines: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The seeds of one method."""
    first = members[0]
    recipe = build(first["method"], method_options(config, Plan(first["part"], first["method"], first["seed"])))
    accuracies = [run["accuracy"] for run in members]
    against = "without_none" if "none" in {*recipe.exclude, *recipe.selection.exclude} else "whole"
    entropies = [run["entropy"] for run in members if run["entropy"] is not None]
    processor = [run["processor_seconds"] for run in members if run["processor_seconds"] is not None]
    return {
        "part": first["part"],
        "method": first["method"],
        "seeds": [run["seed"] for run in members],
        "accuracies": accuracies,
        "accuracy": plain(mean_interval(accuracies)),
        "against": against,  # the cells that the method may return
        "less_random": plain(mean_interval([value - baselines[against]["mean"] for value in accuracies])),
        "ranks": [run["rank"] for run in members],
        "rank": plain(mean_interval([run["rank"] for run in members])),
        "different_cells": len({run["cell"] for run in members}),
        "skips": [run["skips"] for run in members],
        "none": [run["none"] for run in members],
        "masked": "none" in recipe.exclude,  # throughout the search
        "entropy": plain(mean_interval(entropies)) if entropies else None,
        "uniform_entropy": round(math.log(5 - ("none" in recipe.exclude)), 4),
        "multiply_accumulates": {
            part: round(float(np.mean([run["multiply_accumulates"][part] for run in members]))) for part in COSTS
        },
        "seconds": round(float(np.mean([run["seconds"] for run in members])), 1),
        "processor_seconds": round(float(np.mean(processor)), 1) if processor else None,
    }


# ---------------------------------------------------------------------------------------------------------------------
# Words


def written(interval: Mapping[str, Any] | None, digits: int = 2) -> str:
    """A mean with its interval, for a table."""
    if interval is None:
        return "-"
    if interval["low"] is None:
        return f"{interval['mean']:.{digits}f} (no interval)"
    return f"{interval['mean']:.{digits}f} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"


def listed(values: Sequence[float | str], form: str = "") -> str:
    return ", ".join(format(value, form) for value in values)


def label_of(arm: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The method, and for the second part the factor of its learning rate."""
    name: str = arm["method"]
    return name if arm["part"] == "defaults" else f"{name} ×{config['faster']['factor']}"


def markdown(results: Mapping[str, Any]) -> str:
    """The generated part of the README: nothing in it is typed by hand."""
    summary, config = results["summary"], results["config"]
    finished, planned = summary["finished"], summary["planned"]
    lines = []
    if finished["defaults"] < planned["defaults"]:
        lines += [f"**Partial: {finished['defaults']} of {planned['defaults']} searches are finished.**", ""]
    if 0 < finished["faster"] < planned["faster"]:
        lines += [f"**Second part, partial: {finished['faster']} of {planned['faster']} are finished.**", ""]
    lines += ["| random cells (exact) | cells | mean, % | standard deviation | best, % | "]
    lines[-1] += " | ".join("median, %" if q == 0.5 else f"{100 * q:g}th percentile, %" for q in QUANTILES) + " |"
    lines.append("| --- " * (5 + len(QUANTILES)) + "|")
    for key, name in (("whole", "whole space"), ("without_none", "without `none`")):
        facts = summary["baselines"][key]
        values = (facts["mean"], facts["deviation"], facts["best"], *facts["quantiles"].values())
        lines.append(f"| {name} | {facts['cells']:,} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    for part in PARTS:
        arms = [arm for arm in summary["arms"] if arm["part"] == part]
        if arms:
            lines += ["", f"### {titles(config)[part]}", "", *sentences(arms), "", *found_table(arms, config)]
            lines += ["", f"### What it cost{'' if part == 'defaults' else ', second part'}", ""]
            lines += cost_table(arms, config)
    lines += ["", "### Every cell", "", *cell_table(results)]
    return "\n".join(lines)


def titles(config: Mapping[str, Any]) -> dict[str, str]:
    return {
        "defaults": f"What {config['steps']:,} weight steps found",
        "faster": f"The same with {config['faster']['factor']} times the learning rate of Adam on the architecture",
    }


def sentences(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Counts over all methods."""
    able = [arm for arm in arms if arm["against"] == "whole"]
    holding, runs = (sum(sum(n > 0 for n in arm["none"]) for arm in able), sum(len(arm["none"]) for arm in able))
    groups: dict[str, list[str]] = {"above": [], "below": [], "no difference": []}
    for arm in arms:
        low, high = arm["less_random"]["low"], arm["less_random"]["high"]
        sign = "no difference" if low is None or low <= 0 <= high else "above" if low > 0 else "below"
        groups[sign].append(f"`{arm['method']}`")
    words = {sign: listed(names) or "no method" for sign, names in groups.items()}
    return [
        f"- Of the {runs} cells of the {len(able)} methods that may return `none`, {holding} hold it.",
        f"- Interval above the mean of the random cells that the method may return: {words['above']}.",
        f"- Interval below it: {words['below']}.",
        f"- No difference can be claimed: {words['no difference']}.",
    ]


def found_table(arms: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    columns = ["method", "n", "true accuracy, %", "less a random cell, points", "random cell of"]
    columns += ["rank percentile: mean; each", "different cells", "skips of 6 edges", "`none` of 6 edges"]
    columns += ["entropy, nats (uniform)"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for arm in arms:
        population = {"whole": "whole space", "without_none": "without `none`"}[arm["against"]]
        masked = " (masked)" if arm["masked"] else " (never picked)" if arm["against"] == "without_none" else ""
        entropy = "-" if arm["entropy"] is None else f"{arm['entropy']['mean']:.4f} ({arm['uniform_entropy']:.4f})"
        cells = [label_of(arm, config), str(len(arm["seeds"])), written(arm["accuracy"]), written(arm["less_random"])]
        cells += [population, f"{arm['rank']['mean']:.1f}; {listed(arm['ranks'], '.1f')}", str(arm["different_cells"])]
        cells += [listed(arm["skips"]), listed(arm["none"]) + masked, entropy]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def cost_table(arms: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    columns = ["method", *(f"{part}, 10¹² MACs" for part in COSTS), "all, 10¹² MACs", "processor, s", "clock, s"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for arm in arms:
        parts = [value / 1e12 for value in arm["multiply_accumulates"].values()]
        cells = [label_of(arm, config), *(f"{value:.3f}" for value in (*parts, sum(parts)))]
        cells += ["-" if arm["processor_seconds"] is None else f"{arm['processor_seconds']:.0f}"]
        lines.append(f"| {' | '.join([*cells, format(arm['seconds'], '.0f')])} |")
    return lines


def cell_table(results: Mapping[str, Any]) -> list[str]:
    columns = ["method", "seed", "cell", "index", "true accuracy, %", "rank percentile", "with shared weights, %"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    order = {name: place for place, name in enumerate(results["config"]["methods"])}
    for run in sorted(results["runs"].values(), key=lambda r: (PARTS.index(r["part"]), order[r["method"]], r["seed"])):
        cell = "`" + run["cell"].replace("|", "\\|") + "`"
        values = (f"{run['accuracy']:.2f}", f"{run['rank']:.1f}", f"{run['inherited']:.1f}")
        lines.append(
            f"| {label_of(run, results['config'])} | {run['seed']} | {cell} | {run['index']} | {' | '.join(values)} |"
        )
    return lines


def insert(page: str, text: str) -> str:
    """Replace the part of a page between the marks."""
    begin, end = MARKS
    head, rest = page.split(begin)
    return f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


# ---------------------------------------------------------------------------------------------------------------------
# The figure

COLOURS = {"weights": "#0072B2", "architecture": "#E69F00", "selection": "#009E73"}  # Okabe and Ito's


def draw(results: Mapping[str, Any], folder: Path) -> None:
    """What every method found, beside quantiles of random cells, and what it cost."""
    summary, config = results["summary"], results["config"]
    arms = summary["arms"]
    places = list(range(len(arms)))[::-1]
    mpl.rcParams.update({"svg.hashsalt": "all_methods", "font.size": 10})
    height = 2.2 + 0.36 * max(len(arms), 6)
    ratios = {"width_ratios": (2.2, 1, 1)}
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, height), sharey=True, gridspec_kw=ratios)
    draw_accuracies(left, arms, places, summary["baselines"])
    start = np.zeros(len(arms))
    for part in COSTS:
        widths = np.array([arm["multiply_accumulates"][part] / 1e12 for arm in arms])
        middle.barh(places, widths, left=start, height=0.62, color=COLOURS[part], label=part)
        start += widths
    middle.set_xlabel("passes × multiply-accumulates, 10¹²")
    middle.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1)
    middle.get_legend().set_in_layout(False)
    seconds = [math.nan if arm["processor_seconds"] is None else arm["processor_seconds"] for arm in arms]
    right.barh(places, seconds, height=0.62, color="0.55")
    right.set_xlabel("seconds of one processor core")
    for axes in (left, middle, right):
        axes.grid(True, axis="x", color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(places, [label_of(arm, config) for arm in arms])
    left.set_ylim(-0.7, len(arms) - 0.3)
    shown = {arm["part"] for arm in arms}
    done, planned = (sum(summary[key][part] for part in shown) for key in ("finished", "planned"))
    partial = "" if done == planned else f" (partial: {done} of {planned} searches)"
    figure.suptitle(f"Every method with its defaults, {config['steps']:,} weight steps of one small supernet{partial}")
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(folder / "figure.png", dpi=110, metadata={"Software": None})
    figure.savefig(folder / "figure.svg", metadata={"Date": None})
    plt.close(figure)


def draw_accuracies(
    axes: Any, arms: Sequence[Mapping[str, Any]], places: Sequence[float], baselines: Mapping[str, Mapping[str, Any]]
) -> None:
    """Seeds as points, means with their intervals; what lies to the left of the frame is marked at its edge."""
    whole, fewer = baselines["whole"], baselines["without_none"]
    quantiles = [whole["quantiles"][f"{q:g}"] for q in QUANTILES]
    low = quantiles[0] - 3
    axes.axvspan(quantiles[0], quantiles[-1], color="0.95", linewidth=0, label="random cells: 5 % to 95 %")
    axes.axvspan(quantiles[1], quantiles[-2], color="0.88", linewidth=0, label="25 % to 75 %")
    axes.axvline(quantiles[2], color="0.45", linewidth=1, label="median")
    axes.axvline(fewer["quantiles"]["0.5"], color="0.45", linewidth=1, linestyle=":", label="median without none")
    axes.axvline(whole["best"], color="0.2", linewidth=1, linestyle="--", label="best cell")
    for arm, place in zip(arms, places, strict=True):
        accuracy = arm["accuracy"]
        if accuracy["low"] is not None:
            axes.plot([accuracy["low"], accuracy["high"]], [place, place], color="#0072B2", linewidth=1.6, alpha=0.6)
        axes.plot(accuracy["mean"], place, "|", color="#0072B2", markersize=13, markeredgewidth=2.2)
        inside = [value for value in arm["accuracies"] if value >= low]
        outside = [value for value in arm["accuracies"] if value < low]
        axes.plot(inside, [place] * len(inside), "o", color="#D55E00", markersize=5, markeredgecolor="white")
        if outside:
            axes.annotate(f"◁ {listed(outside, '.1f')}", (low, place), fontsize=8, color="#D55E00", va="bottom")
    axes.set_xlim(low, whole["best"] + 1)
    axes.set_xlabel("true test accuracy of the found cell, %\n(points: seeds; bar and line: mean and 95% t interval)")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=5, columnspacing=1)
    axes.get_legend().set_in_layout(False)


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


def save(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--table", type=Path, help="of trained networks; by default the one below the data root")
    options.add_argument("--results", type=Path, default=HERE, help="where the results are written")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    table = truth(config, chosen.table or chosen.data_root / config["table"]["file"])
    runs = read_runs(config, chosen.out, table)
    if not runs:
        raise SystemExit(f"no search in {chosen.out} is finished")
    results = {"config": config, "summary": summarise(config, runs, table), "runs": runs}
    chosen.results.mkdir(parents=True, exist_ok=True)
    save(chosen.results / "results.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    facts = environment([plan.folder(chosen.out) for plan in all_plans(config) if plan.name in runs])
    save(chosen.results / "environment.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    draw(results, chosen.results)
    text = markdown(results)
    page = chosen.results / "README.md"
    if page.exists():
        save(page, insert(page.read_text(encoding="utf-8"), text))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
