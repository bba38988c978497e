"""Regret curves of random search and regularized evolution on NAS-Bench-201 and NAS-Bench-101.

Writes `results.json`, `environment.json`, `figure.png`, `figure.svg` and the generated part of `README.md`. Finished
panels are kept in `results.json` and not computed again. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER python experiments/strategies/run.py [--config config.yaml] [--out DIRECTORY] [--fresh]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml

import sharewise
from sharewise.oracle.array_oracle import ArrayOracle
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.table import Table, open_table
from sharewise.oracle.tabulated import final_accuracies, table_oracle
from sharewise.report.regret_figure import draw_regret
from sharewise.spaces import load
from sharewise.strategy.comparison import Arena, checkpoints_of, run_arena, summarise
from sharewise.strategy.history import Budget

HERE = Path(__file__).resolve().parent
MARKS = "<!-- written by run.py: begin -->", "<!-- written by run.py: end -->"
DATASETS = ("cifar10", "cifar100", "ImageNet16-120")


# ---------------------------------------------------------------------------------------------------------------------
# Panels


def arena_of(panel: Mapping[str, Any], table: Table) -> Arena:
    """Signals, costs and test values of a panel."""
    space = load(panel["space"]) if "space" in panel else table.space
    test = final_accuracies(table, panel["dataset"], space)
    epochs = panel["epochs"]
    if panel.get("stand_in"):
        return Arena(panel["name"], ArrayOracle(space, {epochs: test}, {epochs: 1.0}, "evaluations"), test)
    oracle = table_oracle(
        table, dataset=panel["dataset"], epochs=epochs, seed=panel.get("run", "mean"), unit="seconds", space=space
    )
    return Arena(panel["name"], oracle, test)


def budget_of(panel: Mapping[str, Any], arena: Arena) -> Budget:
    if "evaluations" in panel:
        return Budget(cost=float(panel["evaluations"]), evaluations=panel["evaluations"])
    return Budget(cost=float(f"{panel['trainings'] * arena.mean_cost:.6g}"))


def run_panel(config: Mapping[str, Any], panel: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """All repeats of all strategies on one panel."""
    arena = arena_of(panel, table)
    budget = budget_of(panel, arena)
    checkpoints = sorted({*checkpoints_of(budget, arena, config["checkpoints"]), *filter(None, [panel.get("mark")])})
    found, seconds, cpu = {}, {}, {}
    for strategy in config["strategies"]:
        begin, busy = time.perf_counter(), time.process_time()
        found[strategy] = run_arena(
            arena, strategy, budget, checkpoints, repeats=config["repeats"], seed=config["seed"]
        )
        seconds[strategy] = round(time.perf_counter() - begin, 2)
        cpu[strategy] = round(time.process_time() - busy, 2)
    result = summarise(arena, budget, found)
    if "mark" in panel:
        place = checkpoints.index(panel["mark"])
        values = {name: repeats.scored(arena.test)[:, place] for name, repeats in found.items()}
        result["mark"] = {"cost": panel["mark"], "test": {name: moments(v) for name, v in values.items()}}
    result["evaluations_in_all"] = {name: int(repeats.evaluations.sum()) for name, repeats in found.items()}
    return {**result, "seconds": seconds, "cpu_seconds": cpu}


def moments(values: np.ndarray) -> list[float] | None:
    """Mean and deviation; `None` where a repeat has no incumbent."""
    return None if np.isnan(values).any() else [float(values.mean()), float(values.std(ddof=1))]


def run_transfer(config: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Search on one data set, judge on all three."""
    facts = config["transfer"]
    panel = {"name": "transfer", "dataset": facts["dataset"], "epochs": facts["epochs"]}
    arena = arena_of(panel, table)
    budget = Budget(cost=facts["seconds"])
    tests = {name: final_accuracies(table, name, table.space) for name in DATASETS}
    found = {}
    for strategy in config["strategies"]:
        repeats = run_arena(arena, strategy, budget, [facts["seconds"]], repeats=config["repeats"], seed=config["seed"])
        found[strategy] = {name: moments(repeats.scored(test)[:, -1]) for name, test in tests.items()}
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Words


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of the page."""
    config, panels = results["config"], results["panels"]
    head = "benchmark, data and signal|budget|evaluations|random search|evolution|random less evolution|best signal"
    lines = [
        f"n = {config['repeats']} repeats of each strategy; 95 % t intervals of the mean over repeats.",
        "Regret in points of mean test accuracy.",
        "",
        "### At the end of the budget",
        "",
        *header(head.split("|")),
    ]
    for name, panel in panels.items():
        random, evolution = panel["strategies"]["random"], panel["strategies"]["evolution"]
        pair = panel["differences"]["random - evolution"][-1]
        counts = f"{random['evaluations']['mean']:.0f}, {evolution['evaluations']['mean']:.0f}"
        difference = "the same in every repeat" if pair is None else bracket(pair["mean"], (pair["low"], pair["high"]))
        lines.append(
            f"| {name} | {panel['checkpoints'][-1]:,.0f} {panel['unit']} | {counts} | {final(random)} "
            f"| {final(evolution)} | {difference} | {panel['floor']:.2f} |"
        )
    budget = f"{config['transfer']['seconds']:,} s"
    columns = ["strategy", "data", "published", f"search on CIFAR-10, {budget}", "less published (standard errors)"]
    columns += ["search on the data itself, 20,000 s", "evaluations in 20,000 s"]
    lines += [
        "",
        "### Beside the published numbers",
        "",
        f"Test accuracy in percent, mean ± deviation over runs. *Published*: NAS-Bench-201, budget {budget}, as",
        "second-hand tables have them (not checked against the paper here).",
        "",
        *header(columns),
    ]
    marked = {panel["dataset"]: panels[panel["name"]] for panel in config["panels"] if "mark" in panel}
    for strategy, numbers in config["published"].items():
        for dataset, (mean, deviation) in numbers.items():
            ours = results["transfer"][strategy][dataset]
            error = np.hypot(deviation, ours[1]) / np.sqrt(config["repeats"])
            own = marked[dataset]["mark"]["test"][strategy] if dataset in marked else None
            count = marked[dataset]["mark"]["cost"] / marked[dataset]["mean_cost_of_an_evaluation"]
            shown = "some repeat has none" if own is None else f"{own[0]:.2f} ± {own[1]:.2f}"
            warning = " (fewer than 50)" if count < 50 else ""
            lines.append(
                f"| {strategy} | {dataset} | {mean:.2f} ± {deviation:.2f} | {ours[0]:.2f} ± {ours[1]:.2f} "
                f"| {ours[0] - mean:+.2f} ({(ours[0] - mean) / error:+.1f}) | {shown} | about {count:.0f}{warning} |"
            )
    lines += [
        "",
        "### Time",
        "",
        *header(["panel", "strategy", "evaluations", "seconds", "CPU seconds", "CPU µs an evaluation"]),
    ]
    for name, panel in panels.items():
        for strategy, seconds in panel["seconds"].items():
            total = panel["evaluations_in_all"][strategy]
            busy = panel["cpu_seconds"][strategy]
            lines.append(f"| {name} | {strategy} | {total:,} | {seconds:.1f} | {busy:.1f} | {busy / total * 1e6:.1f} |")
    return "\n".join(lines)


def header(columns: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]


def final(curve: Mapping[str, Any]) -> str:
    return bracket(curve["mean"][-1], curve["mean_interval"][-1])


def bracket(mean: float, interval: Sequence[float] | None) -> str:
    digits = 3 if abs(mean) < 0.1 else 2
    ends = "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    return f"{mean:.{digits}f}{ends}"


def insert(page: str, text: str) -> str:
    """Replace the part of a page between the marks."""
    begin, end = MARKS
    head, rest = page.split(begin)
    return f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


# ---------------------------------------------------------------------------------------------------------------------
# Running


def save(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def document(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def run(config: Mapping[str, Any], folder: Path, data_root: Path, *, fresh: bool = False) -> dict[str, Any]:
    """Compute the panels that `results.json` lacks, saving after each."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    results: dict[str, Any] = {"config": dict(config), "digest": digest, "panels": {}}
    if path.exists() and not fresh:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["digest"] != digest:
            raise SystemExit(f"{path} was computed from another configuration; pass --fresh to compute it again")
        results = found
    with tempfile.TemporaryDirectory() as temporary:
        tables: dict[str, Table] = {}

        def table(name: str) -> Table:
            if name not in tables:
                import_benchmark(data_root / name, Path(temporary) / f"{name}.table")
                tables[name] = open_table(Path(temporary) / f"{name}.table")
            return tables[name]

        for panel in config["panels"]:
            if panel["name"] not in results["panels"]:
                results["panels"][panel["name"]] = run_panel(config, panel, table(panel["table"]))
                save(path, document(results))
                print(panel["name"], results["panels"][panel["name"]]["seconds"], flush=True)
        if "transfer" not in results:
            results["transfer"] = run_transfer(config, table("nasbench201"))
        save(path, document(results))
    return results


def environment(results: Mapping[str, Any]) -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model,
        "cores_visible": os.cpu_count(),
        "processes": 1,
        "load_when_finished": [round(load, 1) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "sharewise": sharewise.__version__,
        "commit": commit or None,
        "numpy": np.__version__,
        "matplotlib": mpl.__version__,
        "seconds": round(sum(sum(panel["seconds"].values()) for panel in results["panels"].values()), 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--out", type=Path, default=HERE)
    root = os.environ.get("SHAREWISE_DATA")
    parser.add_argument("--data-root", type=Path, default=root, required=root is None, help="or $SHAREWISE_DATA")
    parser.add_argument("--fresh", action="store_true", help="compute every panel again")
    options = parser.parse_args(arguments)
    config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    path = options.out / "results.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    results = run(config, options.out, Path(options.data_root), fresh=options.fresh)
    if results != before:  # else the panels are those of the environment already written
        save(options.out / "environment.json", document(environment(results)))
    panels = {
        name: {**panel, "unit_shown": "seconds of the benchmark's trainings" if panel["unit"] == "seconds" else None}
        for name, panel in results["panels"].items()
    }
    for panel in panels.values():
        panel["unit_shown"] = panel["unit_shown"] or panel["unit"]
    title = f"Mean regret of {config['repeats']} repeats with its 95 % t interval; settings as published"
    draw_regret(panels, title, [options.out / "figure.png", options.out / "figure.svg"])
    text = markdown(results)
    page = options.out / "README.md"
    if page.exists():
        save(page, insert(page.read_text(encoding="utf-8"), text))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
