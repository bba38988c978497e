"""How well do our own supernets rank architectures, and what is that worth? Reads the runs of `run.py` at any time.

Writes `results.json`, `environment.json`, the figure, and the part of `README.md` between the marks. Usage::

    SHAREWISE_DATA=FOLDER python experiments/own_supernets/analyse.py --out RUNS
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import matplotlib as mpl
import numpy as np
import yaml
from scipy import stats

from run import DATA, HERE, POLICIES, Plan, all_plans, options_of, scored_rows
from sharewise.appraisal import compare_groups, holm, mean_interval, rank_agreement, to_plain
from sharewise.atomic import replacing
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.tabulated import final_accuracies
from sharewise.spaces import load
from sharewise.studies.equal_cost import RANDOM, generator, regrets
from sharewise.studies.truth import Truth, truth_of_table

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

MARKS = ("<!-- written by analyse.py: begin -->", "<!-- written by analyse.py: end -->")
LABELS = {"running": "NO-FT", "recalibrated": "BNS-FT"}
TOPS = (1, 10, 20)
REPEATS = 500  # of the searches without a supernet
RESAMPLES = {"agreement": 200, "regret": 1000}  # of the bootstraps over architectures
SEED = 0  # of all random numbers here
RIVALS = (RANDOM, "regularized evolution")


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@final
@dataclass(frozen=True, eq=False)
class Ground:
    """What a benchmark says of the rows that are scored.

    Args:
        test: mean test accuracy in percent of every scored row.
        known: which of them have a validation accuracy too, without which no search can choose.
        truth: of those, with searches on all that the table covers.
    """

    test: np.ndarray
    known: np.ndarray
    truth: Truth


@final
@dataclass(frozen=True, eq=False)
class Scoring:
    """What one supernet said at one time under one policy.

    Args:
        plan: of the run.
        policy: of the statistics of batch norm.
        epoch: after which.
        scores: accuracies by scored row.
        upfront: training so far and this scoring, in passes × multiply-accumulates.
    """

    plan: Plan
    policy: str
    epoch: float
    scores: np.ndarray
    upfront: float

    @property
    def failed(self) -> bool:
        """Whether all architectures have one and the same score."""
        return bool(self.scores.min() == self.scores.max())


def grounds(config: Mapping[str, Any], data_root: Path, spaces: Sequence[str]) -> dict[str, Ground]:
    """The truth about some of the spaces of the configuration."""
    found = {}
    for name in spaces:
        source, space = config["spaces"][name]["table"], load(config["spaces"][name]["space"])
        with tempfile.TemporaryDirectory() as temporary:
            table = import_benchmark(data_root / source["folder"], Path(temporary) / "benchmark.table")
            test = final_accuracies(table, source["dataset"], space)
            rng = generator(SEED, "truth")
            whole = truth_of_table(table, space, source["dataset"], len(space.listing), rng)
        assert whole.costs is not None
        place = {space.listing.index(architecture): i for i, architecture in enumerate(whole.architectures)}
        rows = scored_rows(config, len(space.listing))
        picks = [place[row] for row in rows if row in place]
        truth = replace(
            whole,
            architectures=tuple(whole.architectures[pick] for pick in picks),
            test=whole.test[picks],
            signal=whole.signal[picks],
            costs=whole.costs[picks],
        )
        found[name] = Ground(test[rows], np.array([row in place for row in rows]), truth)
    return found


def read_scorings(config: Mapping[str, Any], out: Path) -> list[Scoring]:
    """Every scoring that exists; those of a sitting that ran out of time are not read."""
    scorings = []
    for plan in all_plans(config):
        paths = sorted((out / plan.name).glob("scores_epoch*.json"))
        if not paths:
            continue
        ledgers = read_ledgers(out / plan.name)
        for path in paths:
            found = json.loads(path.read_text(encoding="utf-8"))
            training = ledgers[found["step"]]["weights"]["multiply_accumulates"]
            for policy in POLICIES:
                scoring = scoring_cost(config, plan, ledgers, policy)
                scores = np.array(found[policy])
                scorings.append(Scoring(plan, policy, found["epoch"], scores, training + scoring))
    return scorings


def read_ledgers(folder: Path) -> dict[int, dict[str, Any]]:
    """What a run had spent after each epoch, by step, and at its end (step -1)."""
    with (folder / "metrics.jsonl").open(encoding="utf-8") as lines:
        events = [event for event in map(json.loads, lines) if event["event"] == "epoch"]
    ledgers = {event["step"]: event["ledger"] for event in events}
    result = folder / "result.json"
    last = json.loads(result.read_text(encoding="utf-8"))["ledger"] if result.exists() else events[-1]["ledger"]
    return {**ledgers, -1: last}


def scoring_cost(config: Mapping[str, Any], plan: Plan, ledgers: Mapping[int, Any], policy: str) -> float:
    """Of one scoring under one policy: its share of the examples that all scorings of a run sent forward.

    Exact, as every scoring sends equally many examples through each of the same architectures.
    """
    facts, booked = config["scoring"], ledgers[-1]["scoring"]
    batch = (config["options"] | config["spaces"][plan.space]["options"])["batch_size"]
    calibration = facts["recalibration_batches"] * batch if policy == "recalibrated" else 0
    examples = facts["architectures"] * (facts["examples"] + calibration)
    return float(booked["multiply_accumulates"] * examples / booked["examples"])


def environment(out: Path, names: Sequence[str]) -> dict[str, Any]:
    """What the runs had in common, and every value of what they had not; paths of the machine are not among it."""
    records = [json.loads((out / name / "environment.json").read_text(encoding="utf-8")) for name in names]
    facts: dict[str, Any] = {}
    for key in dict.fromkeys(itertools.chain.from_iterable(records)):
        if key == "started" or key.startswith("data "):
            continue
        values = sorted({str(record.get(key)) for record in records})
        facts[key] = records[0][key] if len(values) == 1 else values
    starts = sorted(record["started"] for record in records)
    return facts | {"first_start": starts[0], "last_start": starts[-1]}


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


def record(scoring: Scoring, test: np.ndarray) -> dict[str, Any]:
    """Rank agreement of one scoring with the truth; none where the supernet failed."""
    plan = scoring.plan
    facts: dict[str, Any] = {"space": plan.space, "variant": plan.variant, "seed": plan.seed}
    facts |= {"epoch": scoring.epoch, "policy": scoring.policy, "mean_accuracy": float(scoring.scores.mean())}
    facts |= {"best_accuracy": float(scoring.scores.max()), "distinct": len(np.unique(scoring.scores))}
    facts |= {"upfront": scoring.upfront}
    names = ("spearman", "kendall", "weighted_tau_by_truth", "weighted_tau_by_proxy")
    found = rank_agreement(
        scoring.scores, test, tops=[10], resamples=RESAMPLES["agreement"], generator=generator(SEED, "bootstrap")
    )
    if found.failed:
        return facts | dict.fromkeys((*names, "over_samples", "regret_top_10"))
    assert found.spearman is not None
    top = found.at(10)
    assert top is not None
    facts |= {name: getattr(found, name).value for name in names}
    return facts | {
        "over_samples": [found.spearman.low, found.spearman.high],
        "regret_top_10": top.regret.value,
    }


def by_seed(records: Sequence[Mapping[str, Any]], quantity: str, **facts: Any) -> dict[int, float]:
    """The values of a quantity by seed; supernets that failed have none."""
    chosen = [record for record in records if facts.items() <= record.items() and record[quantity] is not None]
    return {record["seed"]: record[quantity] for record in chosen}


def curve(records: Sequence[Mapping[str, Any]], quantity: str, **facts: Any) -> dict[float, list[float]]:
    """Of each epoch the values over seeds; supernets that failed have none, and an epoch of failures is empty."""
    epochs = sorted({record["epoch"] for record in records if facts.items() <= record.items()})
    return {epoch: list(by_seed(records, quantity, epoch=epoch, **facts).values()) for epoch in epochs}


def paired(first: Mapping[int, float], second: Mapping[int, float], name: str) -> dict[str, Any] | None:
    """The first less the second on the seeds that both have, with Student's interval and test; `None` for one seed."""
    gaps = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if len(gaps) < 2:
        return None
    p_value = float(stats.ttest_1samp(gaps, 0.0).pvalue) if np.ptp(gaps) > 1e-12 else math.nan
    return {"name": name, "values": gaps, **to_plain(mean_interval(gaps)), "p_value": p_value}


def corrected(family: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """A family of comparisons with p-values after Holm; those that could not be made are left out."""
    kept = [row for row in family if row is not None and math.isfinite(row["p_value"])]
    adjusted = holm([row["p_value"] for row in kept]) if kept else []
    return [row | {"p_holm": float(p)} for row, p in zip(kept, adjusted, strict=True)]


def last_epochs(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """The last scored epoch that all seeds of a space and variant share."""
    epochs: dict[tuple[str, str], dict[int, set[float]]] = {}
    for found in records:
        key = found["space"], found["variant"]
        epochs.setdefault(key, {}).setdefault(found["seed"], set()).add(found["epoch"])
    shared = {key: set.intersection(*seeds.values()) for key, seeds in epochs.items()}
    return {key: max(values) for key, values in shared.items() if values}


def comparisons(config: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The questions of the page, each a family of comparisons of Spearman correlations."""

    def values(space: str, variant: str, epoch: float, policy: str = "recalibrated") -> dict[int, float]:
        facts = {"space": space, "variant": variant, "epoch": epoch, "policy": policy}
        return by_seed(records, "spearman", **facts)

    last = last_epochs(records)
    recalibration, training, variants, spaces = [], [], [], []
    for (space, variant), end in last.items():
        name = f"{space}, {variant}, epoch {end:g}"
        recalibration.append(
            paired(values(space, variant, end), values(space, variant, end, "running"), f"{name}: BNS-FT less NO-FT")
        )
        epochs = sorted({r["epoch"] for r in records if (r["space"], r["variant"]) == (space, variant)})
        for policy in POLICIES:
            for earlier, later in itertools.pairwise(epochs):
                label = f"{space}, {variant}, {LABELS[policy]}: epoch {later:g} less epoch {earlier:g}"
                pair = values(space, variant, later, policy), values(space, variant, earlier, policy)
                training.append(paired(*pair, label))
    common = common_epoch(config, records)
    if common is not None:
        epoch, names, chosen = common
        for space in names:
            for first, second in itertools.combinations(chosen, 2):
                label = f"{space}, epoch {epoch:g}: {second} less {first}"
                variants.append(paired(values(space, second, epoch), values(space, first, epoch), label))
        for variant in chosen:
            for first, second in itertools.combinations(names, 2):
                a, b = (list(values(space, variant, epoch).values()) for space in (second, first))
                if min(len(a), len(b)) < 2:
                    continue
                test = compare_groups(a, b).welch
                label = f"{variant}, epoch {epoch:g}: {second} less {first} (Welch)"
                span = to_plain(test.difference)
                row = {"name": label, "mean": span["value"], "low": span["low"], "high": span["high"]}
                spaces.append({**row, "n": len(a), "p_value": test.p_value})
    families = {"recalibration": recalibration, "training": training, "variant": variants, "space": spaces}
    return {name: corrected(family) for name, family in families.items()}


def common_epoch(
    config: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> tuple[float, list[str], list[str]] | None:
    """The last epoch at which all variants of all spaces that have every variant are scored, and who they are."""
    variants = list(config["variants"])
    names = [name for name, facts in config["spaces"].items() if facts.get("variants", variants) == variants]
    cells = list(itertools.product(names, variants))
    epochs = [{r["epoch"] for r in records if (r["space"], r["variant"]) == cell} for cell in cells]
    shared = set.intersection(*epochs) if epochs else set()
    return (max(shared), names, variants) if shared else None


def shares(config: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """How the mean correlations with recalibration vary: between spaces, between variants, and what is left."""
    common = common_epoch(config, records)
    if common is None:
        return None
    epoch, names, variants = common
    facts = {"epoch": epoch, "policy": "recalibrated"}
    cells = [[by_seed(records, "spearman", space=s, variant=v, **facts) for v in variants] for s in names]
    if not all(cell for row in cells for cell in row):
        return None
    means = np.array([[np.mean(list(cell.values())) for cell in row] for row in cells])
    total = float(((means - means.mean()) ** 2).sum())
    between = [float(((means.mean(axis=axis) - means.mean()) ** 2).sum() * means.shape[axis]) for axis in (1, 0)]
    found = dict(zip(("space", "variant"), (part / total for part in between), strict=True))
    return {"epoch": epoch, **found, "both": 1 - sum(found.values())}


def at_equal_cost(
    config: Mapping[str, Any],
    scorings: Sequence[Scoring],
    records: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """Of each space the searches that its supernets guide, at their last shared scoring, beside those without one."""
    last, pages = last_epochs(records), {}
    for space, ground in found.items():
        columns: dict[str, dict[str, np.ndarray]] = {}
        upfront: dict[str, dict[str, float]] = {}
        sound: dict[str, list[str]] = {}
        for scoring in scorings:
            plan, seed = scoring.plan, str(scoring.plan.seed)
            if plan.space != space or scoring.epoch != last.get((space, plan.variant)):
                continue
            name = f"{plan.variant}, {LABELS[scoring.policy]}, epoch {scoring.epoch:g}"
            columns.setdefault(name, {})[seed] = scoring.scores[ground.known]
            upfront.setdefault(name, {})[seed] = scoring.upfront
            sound.setdefault(name, []).extend([] if scoring.failed else [seed])
        main = next((name for name in columns if LABELS["recalibrated"] in name and sound[name]), None)
        if main is None:
            continue
        tops = [k for k in TOPS if k <= len(ground.truth.architectures)]
        document, _ = regrets(
            ground.truth,
            columns,
            upfront,
            sound,
            tops,
            (main, tops[-1]),
            seed=SEED,
            repeats=REPEATS,
            resamples=RESAMPLES["regret"],
        )
        assert ground.truth.costs is not None
        document["upfront"] = {
            name: {seed: cost / document["scale"] for seed, cost in costs.items()} for name, costs in upfront.items()
        }
        document["floor"] = ground.truth.best - float(ground.truth.test.max())
        pages[space] = {**document, "architectures": len(ground.truth.architectures)}
    return pages


# ---------------------------------------------------------------------------------------------------------------------
# Words


def span(value: Mapping[str, Any], digits: int = 2) -> str:
    """Mean and ends of an interval of plain values."""
    if value["low"] is None or value["high"] is None:
        return f"{value['mean']:.{digits}f} (one seed)"
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def written(values: Sequence[float], digits: int = 2) -> str:
    """Mean and 95 % t interval over seeds."""
    return span(to_plain(mean_interval(list(values))), digits) if values else "failed"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def page(
    config: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    compared: Mapping[str, Sequence[Mapping[str, Any]]],
    parts: Mapping[str, float] | None,
    costs: Mapping[str, Mapping[str, Any]],
    finished: int,
) -> str:
    """The tables in words."""
    planned = len(all_plans(config))
    lines = (
        [] if finished == planned else [f"**Partial: {finished} of {planned} supernets are trained to their end.**", ""]
    )
    lines += ["### Learning curves", ""]
    head = "space, variant, statistics, epoch, seeds, Spearman, Kendall, weighted tau, TOP-10 regret in the sample"
    rows = []
    for space, variant, policy in itertools.product(config["spaces"], config["variants"], POLICIES):
        chosen = {"space": space, "variant": variant, "policy": policy}
        quantities = ("spearman", "kendall", "weighted_tau_by_truth", "regret_top_10", "mean_accuracy", "best_accuracy")
        found = {quantity: curve(records, quantity, **chosen) for quantity in quantities}
        for epoch in found["spearman"]:
            cells = [space, variant, LABELS[policy], f"{epoch:g}", str(len(found["spearman"][epoch]))]
            cells += [written(found[quantity][epoch], 2) for quantity in quantities[:4]]
            rows.append([*cells, *(written([100 * v for v in found[q][epoch]], 1) for q in quantities[4:])])
    lines += table([*head.split(", "), "mean accuracy, %", "best accuracy, %"], rows)
    failed = [r for r in records if r["spearman"] is None]
    named = [
        f"{r['space']}, {r['variant']}, seed {r['seed']}, epoch {r['epoch']:g}, {LABELS[r['policy']]}" for r in failed
    ]
    lines += ["", f"Failed scorings, with one score for all architectures: {len(failed)} of {len(records)}"]
    lines[-1] += f" ({'; '.join(named)}); they are left out." if named else "."
    flat = [r for r in records if r["spearman"] is not None and r["distinct"] <= 10]
    if flat:
        kinds = sorted({f"{r['space']}, {r['variant']}, {LABELS[r['policy']]}" for r in flat})
        lines[-1] += (
            f" {len(flat)} more have at most {max(r['distinct'] for r in flat)} different scores ({'; '.join(kinds)}), "
            "which is hardly a ranking."
        )
    widths = [r["over_samples"][1] - r["over_samples"][0] for r in records if r["spearman"] is not None]
    if widths:
        lines[-1] += (
            " Other samples of as many architectures would move the Spearman correlation of one supernet by about "
            f"± {np.median(widths) / 2:.2f} (half of the bootstrap interval, median)."
        )
    titles = {
        "recalibration": "Is recalibration decisive?",
        "training": "Does training longer help?",
        "variant": "Does the variant matter?",
        "space": "Does the space matter?",
    }
    for family, title in titles.items():
        if not compared[family]:
            continue
        rows = [
            [r["name"], str(r["n"]), span(r), f"{r['p_value']:.2g}", f"{r['p_holm']:.2g}"] for r in compared[family]
        ]
        lines += ["", f"### {title}", ""]
        lines += table(["difference of Spearman correlations", "seeds", "mean, 95 % interval", "p", "p, Holm"], rows)
    if parts is not None:
        text = (
            f"Of the variation of the four mean correlations with recalibration at epoch {parts['epoch']:g}, spaces "
            f"explain {parts['space']:.0%}, variants {parts['variant']:.0%} and what depends on both "
            f"{parts['both']:.0%}."
        )
        lines += ["", text]
    for space, document in costs.items():
        lines += ["", f"### At equal cost: {space}", "", *cost_lines(document)]
    if costs:
        lines += ["", "### What can be claimed at equal cost", "", *claims(costs)]
    return "\n".join(lines)


def claims(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What can be claimed of guided searches at equal cost, all comparisons of the page taken together."""
    tests = [
        (f"{space}: guided by {name}", found)
        for space, document in costs.items()
        for name, rows in document["variants"].items()
        for row in rows
        for found in row.get("at_equal_cost", {}).values()
        if found["comparison"] is not None and found["comparison"]["welch"]["p_value"] is not None
    ]
    adjusted = holm([found["comparison"]["welch"]["p_value"] for _, found in tests]) if tests else []
    lines = [
        f"- {name}: {found['sentence']} (p = {p:.2g} after Holm)."
        for (name, found), p in zip(tests, adjusted, strict=True)
        if found["answer"] != "cannot tell"
    ]
    if not lines:
        return [f"Of {len(tests)} comparisons at equal cost, none can be claimed, not even taken alone."]
    intro = (
        f"Of {len(tests)} comparisons at equal cost, {len(lines)} can be claimed taken alone; p after Holm is over all "
        f"{len(tests)} of them:"
    )
    return [intro, "", *lines]


def cost_lines(document: Mapping[str, Any]) -> list[str]:
    """The searches of one space: what they cost, what they find, and what that allows one to say."""
    upfront = {name: np.mean(list(seeds.values())) for name, seeds in document["upfront"].items()}
    priced = "; ".join(f"{name}: {cost:.2g}" for name, cost in upfront.items())
    lines = [
        (
            f"{document['architectures']} scored architectures. A training of the benchmark costs "
            f"{document['scale']:.3g} passes × multiply-accumulates in the mean; in such trainings, supernet and "
            f"scoring cost: {priced}. The best of the sample has a regret of {document['floor']:.2f} points."
        ),
        "",
    ]
    rivals = document["rivals"]
    head = ["guided by", "TOP", "cost, trainings", "regret, points", *rivals, *(f"less {name}" for name in rivals)]
    rows, sentences = [], []
    for name, row in ((name, row) for name, rows in document["variants"].items() for row in rows):
        if row["n"] == 0:
            rows.append([name, str(row["k"]), "—", "failed", *["—"] * (2 * len(rivals))])
            continue
        beside = [row["at_equal_cost"][rival] for rival in rivals]
        means = ["—" if found["mean"] is None else f"{found['mean']:.2f}" for found in beside]
        cells = [name, str(row["k"]), f"{row['cost_shown']:.2f}", span(row["interval"])]
        rows.append([*cells, *means, *(gap(found) for found in beside)])
        if row["k"] == 10 and LABELS["recalibrated"] in name:
            sentences += [f"- {name}: {found['sentence']}." for found in beside]
    legend = (
        "*Less …*: difference with Welch's 95 % interval over supernets; in brackets what other samples would give."
    )
    return [
        *lines,
        *table(
            [*head, "worth, random trainings"],
            [[*cells, worth_of(document, cells[0], int(cells[1]))] for cells in rows],
        ),
        "",
        legend,
        "",
        "TOP-10 in words:",
        "",
        *sentences,
    ]


def gap(found: Mapping[str, Any]) -> str:
    """Guided less rival, over seeds and over samples."""
    if found["comparison"] is None or found["comparison"]["welch"]["difference"] is None:
        return "cannot tell"
    test = found["comparison"]["welch"]["difference"]
    text = span({"mean": test["value"], "low": test["low"], "high": test["high"]})
    over = found.get("over_samples")
    return text if over is None else f"{text} ({over['low']:.2f} to {over['high']:.2f})"


def worth_of(document: Mapping[str, Any], name: str, k: int) -> str:
    """How many random trainings find as much as TOP-k."""
    row = next(row for row in document["variants"][name] if row["k"] == k)
    worth = row.get("worth_in_random_trainings")
    if row["n"] == 0:
        return "—"
    return "more than the sample" if worth is None else f"{worth:.3g}"


# ---------------------------------------------------------------------------------------------------------------------
# The figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#000000")  # Okabe and Ito's


def draw(
    config: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    costs: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> None:
    """Above, the learning curve of the correlation; below, regret against cost; a column a space."""
    spaces = [name for name in config["spaces"] if any(r["space"] == name for r in records)]
    if not spaces:
        return
    mpl.rcParams.update({"svg.hashsalt": "own_supernets", "font.size": 9})
    figure, grid = plt.subplots(2, len(spaces), figsize=(4.6 * len(spaces) + 1, 8), squeeze=False)
    for (upper, lower), space in zip(grid.T, spaces, strict=True):
        for colour, variant in zip(COLOURS, config["variants"], strict=False):
            for policy, dashes in zip(POLICIES, (":", "-"), strict=True):
                points = curve(records, "spearman", space=space, variant=variant, policy=policy)
                points = {epoch: values for epoch, values in points.items() if values}
                if not points:
                    continue
                means = [float(np.mean(values)) for values in points.values()]
                face = "white" if policy == "running" else colour
                style = {"color": colour, "linestyle": dashes, "marker": "o", "markersize": 5, "markerfacecolor": face}
                upper.plot(list(points), means, label=f"{variant}, {LABELS[policy]}", **style)
                for epoch, values in points.items():
                    mark = "_" if policy == "running" else "."
                    upper.plot([epoch] * len(values), values, mark, color=colour, alpha=0.5)
        upper.set(title=space, xlabel="epochs of the supernet", xlim=(0, None), ylim=(-1, 1))
        upper.axhline(0, color="0.7", linewidth=0.8)
        upper.legend(frameon=False, fontsize=7, loc="lower right")
        if space not in costs:
            lower.set_visible(False)
            continue
        curves, scale = costs[space]["curves"], costs[space]["scale"]
        x = np.array(curves["checkpoints"]) / scale
        guided = [name for name in curves["searches"] if name not in RIVALS]
        colours = dict(zip([*RIVALS, *guided], itertools.cycle(COLOURS[::-1]), strict=False))
        for name, found in curves["searches"].items():
            colour = colours[name]
            mean = np.array(found["mean"], dtype=float)  # none before the first training is complete
            low, high = np.array([pair or (None, None) for pair in found["mean_interval"]], dtype=float).T
            dashes = ":" if LABELS["running"] in name else "-"
            lower.plot(x, mean, color=colour, linestyle=dashes, label=f"{name} (n = {found['n']})")
            if LABELS["running"] not in name:
                lower.fill_between(x, np.maximum(low, 0.01), high, color=colour, alpha=0.12, linewidth=0)
        lower.set(xscale="log", yscale="log", xlabel="cost, mean trainings of the benchmark", ylim=(0.05, 30))
        lower.xaxis.set_minor_formatter(NullFormatter())  # labels of a short axis would overlap
        lower.legend(frameon=False, fontsize=7, loc="upper right")
    for axes in grid.flat:
        axes.grid(True, color="0.92", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set_ylabel("Spearman with the table")
    grid[1, 0].set_ylabel("mean regret, points of test accuracy")
    figure.suptitle("Our own supernets: rank correlation while they are trained, and what they are worth at equal cost")
    figure.tight_layout()
    figure.savefig(folder / "figure.png", dpi=110, metadata={"Software": None})
    figure.savefig(folder / "figure.svg", metadata={"Date": None})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--to", type=Path, default=HERE, help="folder of the results, the figure and README.md")
    chosen = options.parse_args(arguments)
    path = chosen.out / "config.yaml"
    config = yaml.safe_load((path if path.exists() else chosen.config).read_text(encoding="utf-8"))
    scorings = read_scorings(config, chosen.out)
    if not scorings:
        raise SystemExit(f"no supernet in {chosen.out} is scored")
    spaces = [name for name in config["spaces"] if any(scoring.plan.space == name for scoring in scorings)]
    known = grounds(config, chosen.data_root, spaces)
    records = [record(scoring, known[scoring.plan.space].test) for scoring in scorings]
    finished = sum((chosen.out / plan.name / "result.json").exists() for plan in all_plans(config))
    compared, parts = comparisons(config, records), shares(config, records)
    costs = at_equal_cost(config, scorings, records, known)
    text = page(config, records, compared, parts, costs, finished)
    results = {"config": config, "finished": finished, "records": records, "comparisons": compared, "shares": parts}
    results |= {"at_equal_cost": costs, "repeats": REPEATS, "resamples": RESAMPLES, "seed": SEED}
    write(chosen.to / "results.json", json.dumps(to_plain(results), indent=1, allow_nan=False) + "\n")
    names = list(dict.fromkeys(scoring.plan.name for scoring in scorings))
    write(chosen.to / "environment.json", json.dumps(environment(chosen.out, names), indent=1) + "\n")
    draw(config, records, costs, chosen.to)
    readme = chosen.to / "README.md"
    if readme.exists():
        head, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
        write(readme, f"{head}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}")
    print(text)
    return 0


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
