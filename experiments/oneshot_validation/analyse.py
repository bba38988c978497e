"""What the searches of `run.py` say: does the upper level overfit its validation set?

`results.json`, `figure.png` and a part of `README.md` are written from the searches that are finished. Usage::

    SHAREWISE_DATA=FOLDER python experiments/oneshot_validation/analyse.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import yaml

mpl.use("Agg")
import matplotlib.pyplot as plt

from run import DATA, HERE, Plan, all_plans, insert, options_of, table_of
from sharewise.appraisal import Interval, mean_interval
from sharewise.atomic import replacing
from sharewise.oracle.tabulated import final_accuracies
from sharewise.spaces import load

MARKS = "<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->"
CURVES = ("network, trained", "network, unseen", "cell, trained", "cell, unseen")
QUESTIONS = {
    "optimism": "loss on unseen less on trained examples, at the end",
    "optimism of the cell": "the same of the cell that the network rounds to",
    "growth of the optimism": "optimism of the last third of the epochs less that of the first",
    "lost in the table": "test error in the table at the end less its least in the search, points",
    "correlation": "Spearman, over epochs, of the loss on trained examples with the test error in the table",
    "regret": "test error in the table at the end less the least of the space, points",
}


def series(out: Path, plan: Plan) -> dict[str, list[float]] | None:
    """Losses, and errors in the table, by epoch; `None` where the search is not finished."""
    folder = out / "runs" / plan.name
    if not (folder / "result.json").exists():
        return None
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    epochs = [line for line in lines if line["event"] == "epoch"]
    measured = {}
    for line in map(json.loads, (out / f"{plan.name}.jsonl").read_text(encoding="utf-8").splitlines()):
        measured[line["epoch"]] = line  # after a resume an epoch is measured twice
    found = {name: [measured[epoch["epoch"]][name]["loss"] for epoch in epochs] for name in CURVES}
    found["error of the network, unseen"] = [
        100 * (1 - measured[epoch["epoch"]]["network, unseen"]["accuracy"]) for epoch in epochs
    ]
    found["table, test"] = [100 * epoch["table"]["test_error"] for epoch in epochs]
    found["entropy"] = [epoch["entropy"] for epoch in epochs]
    return found


def answers(run: Mapping[str, Sequence[float]], least: float) -> dict[str, float]:
    """One number a question."""
    from scipy.stats import spearmanr

    optimism = np.subtract(run["network, unseen"], run["network, trained"])
    cell = np.subtract(run["cell, unseen"], run["cell, trained"])
    table, third = np.array(run["table, test"]), max(1, len(optimism) // 3)
    moved = len(set(table.tolist())) > 1
    return {
        "optimism": float(optimism[-third:].mean()),
        "optimism of the cell": float(cell[-third:].mean()),
        "growth of the optimism": float(optimism[-third:].mean() - optimism[:third].mean()),
        "lost in the table": float(table[-1] - table.min()),
        "correlation": float(spearmanr(run["network, trained"], table).statistic) if moved else float("nan"),
        "regret": float(table[-1] - least),
    }


def plain(interval: Interval) -> list[float]:
    """Mean, ends and n, rounded."""
    return [*(round(value, 4) for value in (interval.mean, interval.low, interval.high)), interval.n]


def summarise(found: Mapping[str, Mapping[str, float]], plans: Sequence[Plan]) -> dict[str, dict[str, list[float]]]:
    """Means with 95 % t intervals over seeds, by arm."""
    summary: dict[str, dict[str, list[float]]] = {}
    for arm in dict.fromkeys(plan.arm for plan in plans):
        members = [found[plan.name] for plan in plans if plan.arm == arm and plan.name in found]
        columns = {name: [run[name] for run in members if np.isfinite(run[name])] for name in QUESTIONS}
        if members:
            summary[arm] = {name: plain(mean_interval(values)) for name, values in columns.items() if values}
    return summary


def markdown(summary: Mapping[str, Mapping[str, Sequence[float]]], finished: int, planned: int) -> str:
    """The generated part of the README."""
    lines = [f"**Partial: {finished} of {planned} searches are finished.**", ""] if finished < planned else []
    lines += [f"| what | {' | '.join(summary)} |", "| --- " * (len(summary) + 1) + "|"]
    for name, words in QUESTIONS.items():
        cells = [_written(arm[name]) if name in arm else "none moved" for arm in summary.values()]
        lines.append(f"| {name}: {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _written(values: Sequence[float]) -> str:
    mean, low, high, n = values
    ends = f" [{low:.3f}, {high:.3f}]" if np.isfinite([low, high]).all() else ""
    return f"{mean:.3f}{ends}, n = {n:g}"


def draw(runs: Mapping[str, Mapping[str, Sequence[float]]], plans: Sequence[Plan], least: float, path: Path) -> None:
    """Losses above, errors below, a column an arm; means over seeds."""
    arms = [arm for arm in dict.fromkeys(p.arm for p in plans) if any(p.arm == arm and p.name in runs for p in plans)]
    figure, grid = plt.subplots(2, len(arms), figsize=(3.4 * len(arms), 6), sharex=True, sharey="row", squeeze=False)
    rows = (CURVES, ("error of the network, unseen", "table, test"))
    for column, arm in enumerate(arms):
        members = [runs[plan.name] for plan in plans if plan.arm == arm and plan.name in runs]
        for axes, names in zip(grid[:, column], rows, strict=True):
            for name in names:
                mean = np.mean([member[name] for member in members], axis=0)
                axes.plot(mean, label=name)
                for member in members:
                    axes.plot(member[name], color=axes.lines[-1].get_color(), alpha=0.15, linewidth=0.8)
        grid[0, column].set_title(f"{arm}, n = {len(members)}")
        grid[1, column].axhline(least, color="0.4", linestyle=":", label="least of the space")
        grid[1, column].set_xlabel("epoch")
    grid[0, 0].set_ylabel("loss")
    grid[1, 0].set_ylabel("error, %")
    for axes in grid[:, 0]:
        axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--results", type=Path, default=HERE, help="where the results are written")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    plans = all_plans(config)
    runs = {plan.name: found for plan in plans if (found := series(chosen.out, plan)) is not None}
    if not runs:
        raise SystemExit(f"no search in {chosen.out} is finished")
    table = table_of(config, chosen.out, chosen.data_root)
    errors = 100 - final_accuracies(table, config["table"]["dataset"], load(config["space"]))
    least = float(errors.min())
    found = {name: answers(run, least) for name, run in runs.items()}
    summary = summarise(found, plans)
    space = {"least": least, "median": float(np.median(errors))}
    results = {"planned": len(plans), "space": space, "summary": summary, "answers": found, "runs": runs}
    chosen.results.mkdir(parents=True, exist_ok=True)
    machine = json.loads((chosen.out / "runs" / next(iter(runs)) / "environment.json").read_text(encoding="utf-8"))
    for name, content in (("results.json", results), ("environment.json", machine)):
        with replacing(chosen.results / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw(runs, plans, least, chosen.results / "figure.png")
    text = markdown(summary, len(runs), len(plans))
    insert(chosen.results / "README.md", text, MARKS)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
