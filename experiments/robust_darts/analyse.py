"""What the searches of `run.py` say: collapses, the lead of the alarm, and what found cells are worth.

Works at any time on the searches that are finished: `results.json`, `figure.png` and a part of `README.md` are written,
and that is printed. Usage, from anywhere::

    python experiments/robust_darts/analyse.py [--results DIRECTORY]
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import yaml
from scipy.stats import binomtest

import sharewise as sw
from run import HERE, insert, options_of, plan_of
from sharewise.alarm import standing
from sharewise.appraisal import Interval, mean_interval
from sharewise.atomic import replacing
from sharewise.space import skips
from sharewise.studies.plan import StudyPlan

MARKS = "<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->"
COLLAPSED_FROM = 5
"""Of the eight operations of the normal cell of the final genotype are skip connections, as in `collapse_alarm`."""
LEARNED_BELOW = 0.98
"""Of the loss of one answer for all examples, which the held-out loss comes below at least once."""
RANDOM, REFERENCE = "random", "darts"


def read_run(folder: Path, space: str) -> dict[str, Any]:
    """A finished search: its label by what it found and its held-out losses, skips by epoch, epochs of alarms."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    epochs = standing(lines)
    final = 8 * skips(sw.spaces.load(space), sw.spaces.load(space).parse(result["architecture"]))["normal"]
    learned = any(e["held_out_loss"] < LEARNED_BELOW * e["blind_loss"] for e in epochs if "held_out_loss" in e)
    label = "never learned" if not learned else "collapsed" if round(final) >= COLLAPSED_FROM else "sound"
    spoken = {alarm.kind: alarm.epoch for alarm in sw.alarms(lines)}
    return {
        "label": label,
        "skips": round(final),
        "skips_by_epoch": [8 * e["skips"]["normal"] for e in epochs if "skips" in e],
        "last_epoch": epochs[-1]["epoch"],
        "alarm": spoken.get("collapse"),
        "unlearned": spoken.get("unlearned"),
        "seconds": round(epochs[-1]["seconds"], 1),
    }


def read_study(plan: Mapping[str, Any], out: Path) -> list[dict[str, Any]]:
    """Every finished search, with the accuracy of its retrained cell once the study has ended."""
    page, found = out / "study.json", []
    document = json.loads(page.read_text(encoding="utf-8")) if page.exists() else {"panels": {}}
    for cell in StudyPlan.from_plain(plan).cells():
        space, folder = str(cell.configuration.space), out / "runs" / cell.name
        if (folder / "result.json").exists():
            arms = document["panels"].get(cell.panel, {}).get("arms", {})
            accuracy = arms.get(cell.arm, {}).get("values", {}).get(str(cell.seed))
            facts = {"space": space, "arm": cell.arm, "seed": cell.seed, "accuracy": accuracy}
            found.append({**facts, **({} if cell.arm == RANDOM else read_run(folder, space))})
    return found


def groups(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[Mapping[str, Any]]]]:
    """Space, arm and the searches of it, in the order of the plan."""
    for space, arm in dict.fromkeys((run["space"], run["arm"]) for run in runs):
        yield space, arm, [run for run in runs if (run["space"], run["arm"]) == (space, arm)]


def share(count: int, n: int) -> str:
    """A share with its exact 95 % interval."""
    if not n:
        return "none of 0"
    low, high = binomtest(count, n).proportion_ci(method="exact")
    return f"{count} of {n} [{100 * low:.0f} %, {100 * high:.0f} %]"


def written(interval: Interval | None, digits: int) -> str:
    """Mean and ends; the mean alone of one value."""
    if interval is None:
        return ""
    ends = f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if math.isfinite(interval.low) else ""
    return f"{interval.mean:.{digits}f}{ends}, n = {interval.n}"


def less(members: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], name: str) -> Interval | None:
    """The mean difference over the seeds that both have, with the interval of the paired t."""
    known = {run["seed"]: run[name] for run in others if run.get(name) is not None}
    pairs = [run[name] - known[run["seed"]] for run in members if run.get(name) is not None and run["seed"] in known]
    return mean_interval(pairs) if pairs else None


def summarise(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row an arm of a space."""
    found, by_arm = [], {(space, arm): members for space, arm, members in groups(runs)}
    for (space, arm), members in by_arm.items():
        trained = [run["accuracy"] for run in members if run["accuracy"] is not None]
        row = {
            "space": space,
            "arm": arm,
            "n": len(members),
            "accuracy": written(mean_interval(trained) if trained else None, 2),
            "above random": written(less(members, by_arm.get((space, RANDOM), ()), "accuracy"), 2),
        }
        if arm != RANDOM:
            collapsed = [run for run in members if run["label"] == "collapsed"]
            row |= {
                "collapsed": share(len(collapsed), len(members)),
                "never learned": sum(run["label"] == "never learned" for run in members),
                "skips": written(mean_interval([run["skips"] for run in members]), 1),
                "skips above darts": ""
                if arm == REFERENCE
                else written(less(members, by_arm.get((space, REFERENCE), ()), "skips"), 1),
            }
        found.append(row)
    return found


def judge_alarm(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Recall and false alarms among all searches that say where they stand, and epochs ahead of the end.

    A selection by perturbation stands for no cell before its last epoch, so that no rule on the history can see it.
    """
    told = [run for run in runs if run["arm"] != RANDOM]
    searched = [run for run in told if len(run["skips_by_epoch"]) > 1]
    collapsed = [run for run in searched if run["label"] == "collapsed"]
    heard = [run for run in collapsed if run["alarm"] is not None]
    false = [run for run in searched if run["label"] != "collapsed" and run["alarm"] is not None]
    lost = [run for run in searched if run["label"] == "never learned"]
    return {
        "unseen": len(told) - len(searched),
        "recall": share(len(heard), len(collapsed)),
        "false alarms": share(len(false), len(searched) - len(collapsed)),
        "leads": sorted(run["last_epoch"] - run["alarm"] for run in heard),
        "never learned named": share(sum(run["unlearned"] is not None for run in lost), len(lost)),
    }


def markdown(
    rows: Sequence[Mapping[str, Any]], alarm: Mapping[str, Any], runs: int, planned: int, seconds: float
) -> str:
    """The generated part of the README."""
    lines = [f"**Partial: {runs} of {planned} searches are finished.**", ""] if runs < planned else []
    columns = (
        "space",
        "arm",
        "n",
        "collapsed",
        "never learned",
        "skips",
        "skips above darts",
        "accuracy",
        "above random",
    )
    lines += [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in columns)} |" for row in rows]
    leads = alarm["leads"]
    words = f"{statistics.median(leads):g} in the median, {leads[0]} to {leads[-1]}" if leads else "there was none"
    spoken = (
        f"The alarm named {alarm['recall']} collapses; false alarms: {alarm['false alarms']} of the other searches."
    )
    if alarm["unseen"]:
        spoken += f" {alarm['unseen']} searches stand for no cell before their end, and are not counted."
    spoken += f" Epochs ahead of the end: {words}. Of those that never learned it named {alarm['never learned named']}."
    what = (
        "Skips are those of the eight operations of the normal cell of the final genotype. Means with 95 % t intervals"
    )
    what += " over seeds, differences paired by seed, shares with exact 95 % intervals."
    cost = f"A search took {seconds:.0f} seconds in the mean, on the machine and beside the work where it ran."
    lines += ["", spoken, "", what, "", cost]
    if not any(row["accuracy"] for row in rows):
        lines += [
            "",
            "Found cells are trained from scratch once all searches are finished: nothing is said of them yet.",
        ]
    return "\n".join(lines)


def draw(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Skips of the normal cell over epochs, a panel a space: thin lines are seeds, thick ones means, dots alarms."""
    spaces = list(dict.fromkeys(run["space"] for run in runs))
    figure, grid = plt.subplots(1, len(spaces), figsize=(5 * len(spaces), 4), sharey=True, squeeze=False)
    for axes, space in zip(grid[0], spaces, strict=True):
        for number, (_, arm, members) in enumerate((s, a, m) for s, a, m in groups(runs) if s == space and a != RANDOM):
            if all(len(run["skips_by_epoch"]) < 2 for run in members):
                continue  # no cell before the end
            length = min(len(run["skips_by_epoch"]) for run in members)
            mean = np.mean([run["skips_by_epoch"][:length] for run in members], axis=0)
            axes.plot(mean, color=f"C{number}", linewidth=2, label=f"{arm}, n = {len(members)}")
            for run in members:
                axes.plot(run["skips_by_epoch"], color=f"C{number}", alpha=0.25, linewidth=0.7)
                if run["alarm"] is not None and run["alarm"] < len(run["skips_by_epoch"]):
                    axes.plot(run["alarm"], run["skips_by_epoch"][run["alarm"]], "o", color=f"C{number}", markersize=4)
        axes.axhline(COLLAPSED_FROM, color="0.4", linestyle=":", linewidth=0.8)
        axes.set_title(space)
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    grid[0, 0].set_ylabel("skip connections among 8")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=None, configuration="plan")
    options.add_argument("--results", type=Path, default=HERE, help="where the results are written")
    chosen = options.parse_args(arguments)
    plan = plan_of(yaml.safe_load(chosen.plan.read_text(encoding="utf-8")), Path())
    runs = read_study(plan, chosen.out)
    searched = [run for run in runs if run["arm"] != RANDOM]
    if not searched:
        raise SystemExit(f"no search in {chosen.out} is finished")
    rows, alarm, planned = summarise(runs), judge_alarm(runs), len(StudyPlan.from_plain(plan).cells())
    chosen.results.mkdir(parents=True, exist_ok=True)
    results = {"planned": planned, "finished": len(runs), "arms": rows, "alarm": alarm, "runs": runs}
    with replacing(chosen.results / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(searched, chosen.results / "figure.png")
    text = markdown(rows, alarm, len(runs), planned, statistics.fmean(run["seconds"] for run in searched))
    insert(chosen.results / "README.md", text, MARKS)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
