"""What the searches of `run.py` say about entangled weights; works at any time on those that are finished.

Writes `results.json`, `figure.png`, `figure.svg` and the generated part of `README.md`. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER python experiments/entanglement/analyse.py [--results DIRECTORY]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import yaml

from run import HERE, Plan, all_plans, finished, parser, spent, truth
from sharewise.appraisal import mean_interval

MARKS = "<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->"


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


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
        lines += ["", "Corrected minus published form, paired by seed:", ""]
        for variant in dict.fromkeys(row["variant"] for row in macro):
            gaps = differences(runs, "conv-macro", "trained_accuracy", f"{variant}, corrected", f"{variant}, published")
            if gaps:
                lines.append(f"- {variant}: test accuracy {words(interval(gaps, 100))} points (n = {len(gaps)})")
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
    return "\n".join(lines)


def insert(page: str, text: str) -> str:
    """The page with the generated part replaced."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def draw(runs: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Any-time curves of conv-macro: means over seeds, with every seed as a thin line."""
    panels = (
        ("mean_loss", "loss of random slices", 1.0),
        ("inherited_accuracy", "accuracy of the pick with\ninherited weights, %", 100.0),
    )
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    macro = [run for run in runs if run["space"] == "conv-macro"]
    labels = list(dict.fromkeys((run["variant"], run["form"]) for run in macro))
    colours = dict(zip(dict.fromkeys(v for v, _ in labels), plt.get_cmap("tab10").colors, strict=False))
    for panel, (key, title, scale) in zip(axes, panels, strict=True):
        for variant, form in labels:
            members = [run["anytime"] for run in macro if (run["variant"], run["form"]) == (variant, form)]
            style = {"color": colours[variant], "linestyle": "-" if form == "corrected" else "--"}
            curves = [
                ([p["search"]["multiply_accumulates"] * 1e-12 for p in points], [scale * p[key] for p in points])
                for points in members
            ]
            for x, y in curves:
                panel.plot(x, y, linewidth=0.5, alpha=0.5, **style)
            length = min(len(x) for x, _ in curves)
            mean_x = np.mean([x[:length] for x, _ in curves], axis=0)
            mean_y = np.mean([y[:length] for _, y in curves], axis=0)
            panel.plot(mean_x, mean_y, linewidth=1.8, label=f"{variant}, {form}", **style)
        panel.set_xlabel("search cost, 10¹² multiply-accumulates")
        panel.set_ylabel(title)
    if labels:
        axes[1].legend(fontsize=7)
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"figure.{suffix}", dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser((__doc__ or "").splitlines()[0])
    options.add_argument("--results", type=Path, default=HERE, help="folder to write into")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    table = truth(config, chosen.data_root)
    plans = all_plans(config)
    runs = [read_run(plan, chosen.out, table) for plan in plans if finished(plan, chosen.out)]
    rows = summarise(runs)
    chosen.results.mkdir(parents=True, exist_ok=True)
    content = {"configuration": config, "finished": len(runs), "planned": len(plans), "rows": rows, "runs": runs}
    (chosen.results / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if runs:
        found = read_json(chosen.out / runs[0]["name"] / "environment.json")
        (chosen.results / "environment.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    draw(runs, chosen.results)
    text = markdown(runs, rows, len(plans))
    page = chosen.results / "README.md"
    page.write_text(insert((HERE / "README.md").read_text(encoding="utf-8"), text), encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
