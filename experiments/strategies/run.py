"""Regret curves of black-box strategies on NAS-Bench-201 and NAS-Bench-101, beside published numbers.

Writes `results.json`, `environment.json`, `figure.png`, `figure.svg` and the generated part of `README.md`. What
`results.json` holds is not computed again while its settings stay as they are. Usage, from anywhere::

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import yaml

import sharewise
from sharewise.oracle import ArrayOracle, Table, open_table, table_oracle
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.tabulated import final_accuracies
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
    for strategy in panel.get("strategies", config["strategies"]):
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


def run_transfer(config: Mapping[str, Any], facts: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Search on one data set, judge on all three."""
    arena = arena_of({"name": "transfer", "dataset": facts["dataset"], "epochs": facts["epochs"]}, table)
    budget = Budget(cost=facts["seconds"])
    tests = {name: final_accuracies(table, name, table.space) for name in DATASETS}
    found = {}
    for strategy, count in facts["repeats"].items():
        repeats = run_arena(arena, strategy, budget, [facts["seconds"]], repeats=count, seed=config["seed"])
        found[strategy] = {"n": count, **{name: moments(repeats.scored(test)[:, -1]) for name, test in tests.items()}}
    return found


def run_first_cells(config: Mapping[str, Any], facts: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Two ways to draw the first cells of a search on every sub-space: mean regret after a few evaluations.

    The mean test accuracy is the signal, since validation accuracies are known for a part of the cells only.
    """
    found = {}
    for name in facts["spaces"]:
        panel = {"name": name, "space": name, "dataset": "cifar10", "epochs": 108, "stand_in": True}
        arena = arena_of(panel, table)
        budget, counts = Budget(evaluations=facts["evaluations"][-1]), [float(n) for n in facts["evaluations"]]
        repeats = {
            strategy: run_arena(arena, strategy, budget, counts, repeats=facts["repeats"], seed=config["seed"])
            for strategy in facts["strategies"]
        }
        found[name] = summarise(arena, budget, repeats)
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
        if "evolution" not in panel["strategies"]:
            continue
        random, evolution = panel["strategies"]["random"], panel["strategies"]["evolution"]
        pair = panel["differences"]["random - evolution"][-1]
        counts = f"{random['evaluations']['mean']:.0f}, {evolution['evaluations']['mean']:.0f}"
        difference = "the same in every repeat" if pair is None else bracket(pair["mean"], (pair["low"], pair["high"]))
        lines.append(
            f"| {name} | {panel['checkpoints'][-1]:,.0f} {panel['unit']} | {counts} | {final(random)} "
            f"| {final(evolution)} | {difference} | {panel['floor']:.2f} |"
        )
    for name, panel in panels.items():
        if "evolution" not in panel["strategies"]:
            lines += ["", f"### {name}: {panel['checkpoints'][-1]:,.0f} {panel['unit']}", ""]
            lines += header(["strategy", "evaluations", "regret"])
            for strategy, curve in panel["strategies"].items():
                lines.append(f"| {strategy} | {curve['evaluations']['mean']:.0f} | {final(curve)} |")
    return "\n".join([*lines, *beside_published(results), *first_cells(results), *times(panels)])


def beside_published(results: Mapping[str, Any]) -> list[str]:
    config, panels = results["config"], results["panels"]
    budget = f"{config['transfer']['seconds']:,} s"
    columns = [
        "strategy",
        "data",
        "n",
        "published",
        f"search on CIFAR-10, {budget}",
        "less published (standard errors)",
    ]
    columns += ["search on the data itself, 20,000 s", "evaluations in 20,000 s"]
    lines = [
        "",
        "### Beside the published numbers",
        "",
        f"Test accuracy in percent, mean ± deviation over runs. *Published*: NAS-Bench-201, budget {budget}, 500 runs,",
        "as second-hand tables have them (not checked against the paper here); *tpe* stands beside the published BOHB.",
        "",
        *header(columns),
    ]
    marked = {panel["dataset"]: panels[panel["name"]] for panel in config["panels"] if "mark" in panel}
    for strategy, found in results["transfer"].items():
        numbers = config["published"].get(strategy, {})
        for dataset in DATASETS:
            mean, deviation = found[dataset]
            stated, difference = "—", "—"
            if dataset in numbers:
                theirs, spread = numbers[dataset]
                error = np.hypot(deviation / np.sqrt(found["n"]), spread / np.sqrt(500))
                stated = f"{theirs:.2f} ± {spread:.2f}"
                difference = f"{mean - theirs:+.2f} ({(mean - theirs) / error:+.1f})"
            own, counted = "—", "—"
            if dataset in marked and strategy in marked[dataset]["mark"]["test"]:
                mark = marked[dataset]["mark"]
                values = mark["test"][strategy]
                own = "some repeat has none" if values is None else f"{values[0]:.2f} ± {values[1]:.2f}"
                count = mark["cost"] / marked[dataset]["mean_cost_of_an_evaluation"]
                counted = f"about {count:.0f}" + (" (fewer than 50)" if count < 50 else "")
            lines.append(
                f"| {strategy} | {dataset} | {found['n']} | {stated} | {mean:.2f} ± {deviation:.2f} | {difference} "
                f"| {own} | {counted} |"
            )
    return lines


def first_cells(results: Mapping[str, Any]) -> list[str]:
    config = results["config"]
    if "first_cells" not in results:
        return []
    facts = config["first_cells"]
    one, other = facts["strategies"]
    places = {n: place for place, n in enumerate(facts["evaluations"])}
    lines = [
        "",
        "### The first evaluations on the sub-spaces of *To Share or Not To Share*",
        "",
        f"Mean regret of {one} less that of {other} in points, Welch's 95 % interval, n = {facts['repeats']} each.",
        "*Published*: table 2 of that paper, RE less RS, at the time that its TOP-1 and TOP-10 searches take.",
        "",
        *header(["space", *(f"{n} evaluations" for n in facts["shown"]), "published, TOP-1", "published, TOP-10"]),
    ]
    for name, panel in results["first_cells"].items():
        pair = panel["differences"][f"{one} - {other}"]
        cells = [
            bracket(pair[places[n]]["mean"], (pair[places[n]]["low"], pair[places[n]]["high"])) for n in facts["shown"]
        ]
        stated = [f"{mean:+.2f} ± {half:.2f}" for mean, half in facts["published"][name]]
        lines.append(f"| {name} | {' | '.join(cells)} | {' | '.join(stated)} |")
    return lines


def times(panels: Mapping[str, Any]) -> list[str]:
    lines = [
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
    return lines


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


def identity(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Of a part of the configuration, with the settings that all parts share."""
    shared = {name: config[name] for name in ("seed", "repeats", "checkpoints", "strategies")}
    return hashlib.sha256(json.dumps([shared, facts], sort_keys=True).encode()).hexdigest()[:16]


def run(config: Mapping[str, Any], folder: Path, data_root: Path, *, fresh: bool = False) -> dict[str, Any]:
    """Compute what `results.json` lacks or has from other settings, saving after each part."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    stored = {} if fresh or not path.exists() else json.loads(path.read_text(encoding="utf-8"))
    before = stored.get("identities", {})
    results: dict[str, Any] = {"config": dict(config), "identities": {}, "panels": {}}
    with tempfile.TemporaryDirectory() as temporary:
        tables: dict[str, Table] = {}

        def table(name: str) -> Table:
            if name not in tables:
                import_benchmark(data_root / name, Path(temporary) / f"{name}.table")
                tables[name] = open_table(Path(temporary) / f"{name}.table")
            return tables[name]

        def keep(part: str, facts: Mapping[str, Any], old: Any, compute: Callable[[], Any]) -> Any:
            results["identities"][part] = identity(config, facts)
            if old is not None and before.get(part) == results["identities"][part]:
                return old
            print(part, flush=True)
            return compute()

        for panel in config["panels"]:
            name, old = panel["name"], stored.get("panels", {}).get(panel["name"])
            results["panels"][name] = keep(
                name, panel, old, lambda panel=panel: run_panel(config, panel, table(panel["table"]))
            )
            if results["panels"][name] is not old:
                save(path, document({**stored, **results}))
        for part, compute, benchmark in (
            ("transfer", run_transfer, "nasbench201"),
            ("first_cells", run_first_cells, "nasbench101"),
        ):
            if part in config:
                facts = config[part]
                results[part] = keep(
                    part,
                    facts,
                    stored.get(part),
                    lambda facts=facts, compute=compute, name=benchmark: compute(config, facts, table(name)),
                )
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
