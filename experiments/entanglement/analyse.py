"""What the searches of `run.py` say about entangled weights; works at any time on those that are finished.

Writes `results.json`, `figure.png`, `figure.svg` and the generated part of `README.md`. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER python experiments/entanglement/analyse.py [--results DIRECTORY]
"""

from __future__ import annotations

import itertools
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
from scipy import stats

from run import DATA, HERE, Plan, all_plans, finished, options_of, spent, truth
from sharewise.appraisal import holm, mean_interval, rank_association, to_plain

FORM_KEYS = {"trained_accuracy": 100.0, "inherited_accuracy": 100.0, "final_loss": 1.0}
QUANTITIES = {
    "trained_accuracy": "test accuracy, retrained, points",
    "inherited_accuracy": "accuracy of the pick with inherited weights, points",
    "anytime_accuracy": "accuracy of the pick with inherited weights, mean over the search, points",
    "final_loss": "loss of random slices at the end",
    "true_accuracy": "true accuracy, points",
}
TITLES = {
    "retrained": "Are the networks better that gradient-based search finds?",
    "supernet": "Are the supernets trained better?",
    "anytime": "Is the search better at any time?",
    "form": "Does the corrected form differ from the published one?",
    "sharing": "Do entangled weights find other cells than disjoint ones?",
}
MARKS = "<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->"


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def environment(out: Path, names: Sequence[str]) -> dict[str, Any]:
    """What the runs had in common, and every value of what they had not; the draw of the examples is not among it."""
    records = [read_json(out / name / "environment.json") for name in names]
    facts: dict[str, Any] = {}
    for key in dict.fromkeys(itertools.chain.from_iterable(records)):
        if key == "started" or key.startswith("data "):
            continue
        values = sorted({str(record.get(key)) for record in records})
        facts[key] = records[0][key] if len(values) == 1 else values
    starts = sorted(record["started"] for record in records)
    return facts | {"first_start": starts[0], "last_start": starts[-1]}


def read_run(plan: Plan, out: Path, table: Mapping[str, float]) -> dict[str, Any]:
    """What a finished plan says."""
    result, folder = read_json(out / plan.name / "result.json"), out / plan.name
    record = {
        "name": plan.name,
        "space": plan.space,
        "variant": plan.variant,
        "form": plan.form,
        "seed": plan.seed,
        "architecture": result["architecture"],
        "parameters": result["cost"]["parameters"],
        "inherited_accuracy": result["inherited"]["accuracy"],
        "search": spent(result["ledger"]),
        "peak_bytes": read_json(folder / "memory.json")["peak_bytes"] if (folder / "memory.json").exists() else None,
    }
    if plan.space == "nasbench201":
        return {**record, "true_accuracy": table[result["architecture"]]}
    lines = (folder / "anytime.jsonl").read_text(encoding="utf-8").splitlines()
    points = {point["step"]: point for point in map(json.loads, lines)}  # a resumed run may repeat one
    trained = read_json(out / plan.training / "result.json")
    return {
        **record,
        "anytime": [points[step] for step in sorted(points)],
        "trained_accuracy": trained["test"]["accuracy"],
        "test_examples": trained["test"]["examples"],
    }


# ---------------------------------------------------------------------------------------------------------------------
# Summaries


def interval(values: Sequence[float], scale: float = 1.0) -> dict[str, Any]:
    """Mean and 95 % t interval over seeds; no interval for a single one."""
    scaled = [scale * value for value in values]
    found: dict[str, Any] = {"n": len(scaled), "mean": float(np.mean(scaled)), "values": scaled}
    if len(scaled) > 1:
        bounds = mean_interval(scaled)
        found |= {"low": bounds.low, "high": bounds.high}
    return found


def summarise(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per space, variant and form."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["space"], run["variant"], run["form"]), []).append(run)
    rows = []
    for (space, variant, form), members in groups.items():
        row: dict[str, Any] = {
            "space": space,
            "variant": variant,
            "form": form,
            "seeds": [member["seed"] for member in members],
            "parameters": interval([m["parameters"] for m in members], 1e-6),
            "inherited": interval([m["inherited_accuracy"] for m in members], 100),
            "multiply_accumulates": interval([m["search"]["multiply_accumulates"] for m in members], 1e-12),
            "seconds": interval([m["search"]["seconds"] for m in members]),
        }
        peaks = [m["peak_bytes"] for m in members if m["peak_bytes"] is not None]
        row["peak_mebibytes"] = interval(peaks, 2**-20) if peaks else None
        key, scale = ("true_accuracy", 1.0) if space == "nasbench201" else ("trained_accuracy", 100.0)
        row["accuracy"] = interval([m[key] for m in members], scale)
        if space != "nasbench201":
            row["supernet_loss"] = interval([m["anytime"][-1]["mean_loss"] for m in members])
        rows.append(row)
    return rows


def differences(runs: Sequence[Mapping[str, Any]], space: str, key: str, first: str, second: str) -> list[float]:
    """Values of one variant and form minus those of another, on the seeds that both have."""

    def by_seed(label: str) -> dict[int, float]:
        chosen = [r for r in runs if r["space"] == space and f"{r['variant']}, {r['form']}" == label]
        return {run["seed"]: run[key] for run in chosen}

    a, b = by_seed(first), by_seed(second)
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def anytime_accuracy(run: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> float:
    """The accuracy of the pick of one search, averaged over the costs at which all searches were measured."""
    curves = [[p["search"]["multiply_accumulates"] for p in other["anytime"]] for other in runs]
    low, high = max(x[0] for x in curves), min(x[-1] for x in curves)
    costs = np.linspace(low, high, 200)
    x = [point["search"]["multiply_accumulates"] for point in run["anytime"]]
    return float(np.interp(costs, x, [point["inherited_accuracy"] for point in run["anytime"]]).mean())


def comparisons(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The questions of the page: families of differences, paired by seed, with p-values of each family after Holm."""
    macro = [run for run in runs if run["space"] == "conv-macro"]
    for run in macro:
        run |= {"anytime_accuracy": anytime_accuracy(run, macro), "final_loss": run["anytime"][-1]["mean_loss"]}
    labels = list(dict.fromkeys(f"{run['variant']}, {run['form']}" for run in macro))
    sampled = [label for label in labels if label.startswith("spos")]
    superposed = [label for label in labels if label not in sampled and label.endswith("corrected")]
    forms = [(label, f"{label.split(',')[0]}, published") for label in superposed]
    rivals = list(itertools.product(superposed, sampled))
    first = [(label, sampled[0]) for label in superposed if sampled]
    cells = [f"{run['variant']}, {run['form']}" for run in runs if run["space"] == "nasbench201"]
    sharings = list(itertools.combinations(dict.fromkeys(cells), 2))
    asked = {
        "retrained": [("conv-macro", "trained_accuracy", 100.0, *pair) for pair in rivals],
        "supernet": [("conv-macro", "final_loss", 1.0, *pair) for pair in first],
        "anytime": [("conv-macro", "anytime_accuracy", 100.0, *pair) for pair in first],
        "form": [("conv-macro", key, scale, *pair) for key, scale in FORM_KEYS.items() for pair in forms],
        "sharing": [("nasbench201", "true_accuracy", 1.0, b, a) for a, b in sharings],
    }
    families = {}
    for family, questions in asked.items():
        rows = []
        for space, key, scale, a, b in questions:
            gaps = [scale * gap for gap in differences(runs, space, key, a, b)]
            if len(gaps) > 1:
                p_value = float(stats.ttest_1samp(gaps, 0.0).pvalue) if np.ptp(gaps) > 1e-12 else math.nan
                rows.append({"first": a, "second": b, "key": key, **interval(gaps), "p_value": p_value})
        judged = [row for row in rows if math.isfinite(row["p_value"])]
        for row, p in zip(judged, holm([row["p_value"] for row in judged]) if judged else [], strict=True):
            row["p_holm"] = float(p)
        families[family] = rows
    return families


def size_and_accuracy(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Do larger networks score better, over all networks that were retrained?"""
    macro = [run for run in runs if run["space"] == "conv-macro"]
    columns = [run["parameters"] for run in macro], [run["trained_accuracy"] for run in macro]
    if len(macro) < 3 or any(len(set(column)) == 1 for column in columns):
        return None
    found: dict[str, Any] = to_plain(rank_association(*columns, names=("size", "test accuracy after retraining")))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def words(value: Mapping[str, Any] | None, digits: int = 2) -> str:
    """Mean and interval."""
    if value is None:
        return "not measured"
    if "low" not in value:
        return f"{value['mean']:.{digits}f}"
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def markdown(runs: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], total: int) -> str:
    """The generated part of the page."""
    lines = [] if len(runs) == total else [f"**Partial: {len(runs)} of {total} searches are finished.**", ""]
    macro = [row for row in rows if row["space"] == "conv-macro"]
    if macro:
        lines += [
            "### conv-macro",
            "",
            (
                "| method | form | n | test accuracy, retrained, % | parameters, M | accuracy, inherited weights, % | "
                "mean loss of random slices | search, 10¹² multiply-accumulates | seconds |"
            ),
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for row in macro:
            cells = [
                row["variant"],
                row["form"],
                str(len(row["seeds"])),
                words(row["accuracy"]),
                words(row["parameters"]),
                words(row["inherited"]),
                words(row["supernet_loss"], 3),
                words(row["multiply_accumulates"], 0),
                words(row["seconds"], 0),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    cell = [row for row in rows if row["space"] == "nasbench201"]
    if cell:
        lines += [
            "### NAS-Bench-201",
            "",
            "| sharing | n | true accuracy of the found cell, % | peak memory, MiB | seconds |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in cell:
            peak, seconds = words(row["peak_mebibytes"], 0), words(row["seconds"], 0)
            lines.append(f"| {row['variant']} | {len(row['seeds'])} | {words(row['accuracy'])} | {peak} | {seconds} |")
        lines.append("")
    for family, found in comparisons(runs).items():
        if not found:
            continue
        lines += [
            f"### {TITLES[family]}",
            "",
            "| first less second | quantity | n | mean, 95 % interval | p | p, Holm |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for row in found:
            known = "p_holm" in row
            tests = f"{row['p_value']:.2g} | {row['p_holm']:.2g}" if known else "— | —"
            name, quantity = f"{plain(row['first'])} less {plain(row['second'])}", QUANTITIES[row["key"]]
            lines.append(f"| {name} | {quantity} | {row['n']} | {words(row)} | {tests} |")
        lines.append("")
    size = size_and_accuracy(runs)
    if size is not None:
        lines += [f"Over all retrained networks of conv-macro: {size['sentence']}.", ""]
    return "\n".join(lines)


def plain(label: str) -> str:
    """A variant with its form where this is the published one."""
    variant, form = label.split(", ")
    return variant if form == "corrected" or variant.endswith(form) else f"{variant} ({form})"


def insert(page: str, text: str) -> str:
    """The page with the generated part replaced."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def draw(runs: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Any-time curves of conv-macro, means over seeds with every seed as a thin line; and size beside accuracy."""
    panels = (
        ("mean_loss", "loss of random slices", 1.0),
        ("inherited_accuracy", "accuracy of the pick with inherited weights, %", 100.0),
    )
    mpl.rcParams.update({"svg.hashsalt": "entanglement", "font.size": 9})
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.8), layout="constrained")
    macro = [run for run in runs if run["space"] == "conv-macro"]
    labels = list(dict.fromkeys((run["variant"], run["form"]) for run in macro))
    colours = dict(zip(dict.fromkeys(v for v, _ in labels), plt.get_cmap("tab10").colors, strict=False))
    for panel, (key, title, scale) in zip(axes[:2], panels, strict=True):
        for variant, form in labels:
            members = [run["anytime"] for run in macro if (run["variant"], run["form"]) == (variant, form)]
            style = {"color": colours[variant], "linestyle": "-" if form == "corrected" else "--"}
            curves = [
                ([p["search"]["multiply_accumulates"] * 1e-12 for p in points], [scale * p[key] for p in points])
                for points in members
            ]
            for x, y in curves:
                panel.plot(x, y, linewidth=0.5, alpha=0.4, **style)
            length = min(len(x) for x, _ in curves)
            mean_x = np.mean([x[:length] for x, _ in curves], axis=0)
            mean_y = np.mean([y[:length] for _, y in curves], axis=0)
            panel.plot(mean_x, mean_y, linewidth=1.8, label=f"{variant}, {form}", **style)
        panel.set_xlabel("search cost, 10¹² multiply-accumulates")
        panel.set_ylabel(title)
    axes[0].axhline(math.log(10), color="0.6", linewidth=0.8, linestyle=":")
    axes[0].set_yscale("log")
    axes[0].set_yticks([1.7, 2, 2.3, 3, 5, 10, 20], ["1.7", "2", "ln 10", "3", "5", "10", "20"])
    axes[0].minorticks_off()
    for run in macro:
        face = colours[run["variant"]] if run["form"] == "corrected" else "none"
        x, y = run["parameters"] * 1e-6, 100 * run["trained_accuracy"]
        axes[2].plot(x, y, "o", markersize=6, markerfacecolor=face, markeredgecolor=colours[run["variant"]])
    axes[2].set_xlabel("parameters of the selected network, millions\n(open: published form)")
    axes[2].set_ylabel("test accuracy after retraining, %")
    if labels:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, fontsize=8, loc="outside lower center", ncols=5, frameon=False)
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"figure.{suffix}", dpi=110, metadata={"Date": None} if suffix == "svg" else None)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--results", type=Path, default=HERE, help="folder to write into")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    table = truth(config, chosen.data_root)
    plans = all_plans(config)
    runs = [read_run(plan, chosen.out, table) for plan in plans if finished(plan, chosen.out)]
    rows = summarise(runs)
    chosen.results.mkdir(parents=True, exist_ok=True)
    content = {"configuration": config, "finished": len(runs), "planned": len(plans), "rows": rows}
    content |= {"comparisons": comparisons(runs), "size_and_accuracy": size_and_accuracy(runs), "runs": runs}
    (chosen.results / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if runs:
        found = environment(chosen.out, [run["name"] for run in runs])
        (chosen.results / "environment.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    draw(runs, chosen.results)
    text = markdown(runs, rows, len(plans))
    page = chosen.results / "README.md"
    page.write_text(insert((HERE / "README.md").read_text(encoding="utf-8"), text), encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
