"""How often the alarm is right about recorded searches, and how early it speaks, beside two older rules.

Writes `results.json`, `figure.png`, `figure.svg` and the generated part of `README.md`, in seconds. Usage, from
anywhere; `--records` judges other records by the same definitions and the same shipped alarm::

    SHAREWISE_DATA=FOLDER python experiments/collapse_alarm/run.py [--records FILE] [--out DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import yaml
from matplotlib.figure import Figure
from scipy.stats import binomtest

from sharewise.alarm import EigenvalueRise, Reading, SearchLog, SkipsAndOverfitting, alarms, read_search_logs

HERE = Path(__file__).resolve().parent
MARKS = "<!-- written by run.py: begin -->", "<!-- written by run.py: end -->"
Rule = Callable[[SearchLog], int | None]
"""The epoch at whose end a rule speaks, if it does."""


# ---------------------------------------------------------------------------------------------------------------------
# What happened


def label(log: SearchLog, config: Mapping[str, Any]) -> str:
    """By the final genotype and the validation errors alone."""
    bar = config["constant_error"][log.data] - config["learned_below"]
    if not any(error is not None and error < bar for error in log.validation_error):
        return "never learned"
    return "collapsed" if (log.skips or 0) >= config["collapsed_from"] else "sound"


# ---------------------------------------------------------------------------------------------------------------------
# Rules


def shipped(log: SearchLog, kind: str = "collapse") -> int | None:
    return next((alarm.epoch for alarm in alarms(log.readings) if alarm.kind == kind), None)


def with_thresholds(overfitting: SkipsAndOverfitting) -> Rule:
    """The alarm with other thresholds of its first sign."""

    def speaks(log: SearchLog) -> int | None:
        found = alarms(log.readings, overfitting=overfitting)
        return next((alarm.epoch for alarm in found if alarm.kind == "collapse"), None)

    return speaks


def without_losses(log: SearchLog) -> int | None:
    """The alarm on a history without a held-out loss."""
    return shipped(replace(log, readings=tuple(replace(reading, held_out_loss=None) for reading in log.readings)))


def counting(log: SearchLog) -> int | None:
    """At least 5 of 8 skips in the normal cell, twice running."""
    counts = [count or 0 for count in log.normal_skips]
    return next((e for e in range(1, len(counts)) if min(counts[e - 1], counts[e]) >= 5), None)


def sharpness(log: SearchLog) -> int | None:
    """The published rule of R-DARTS."""
    rule = EigenvalueRise()
    measured = [(r.epoch, r.eigenvalue) for r in log.readings if r.eigenvalue is not None]
    spoken = (
        measured[last][0]
        for last in range(len(measured))
        if rule.due(measured[last][0]) and rule.goes_back_to(measured[: last + 1]) is not None
    )
    return next(spoken, None)


# ---------------------------------------------------------------------------------------------------------------------
# Judging


def share_of(count: int, n: int) -> dict[str, Any]:
    """A share with its exact 95 % interval."""
    low, high = binomtest(count, n).proportion_ci(method="exact") if n else (0.0, 1.0)
    return {"count": count, "n": n, "low": round(float(low), 4), "high": round(float(high), 4)}


def judged(logs: Sequence[SearchLog], labels: Sequence[str], rule: Rule, kind: str = "collapsed") -> dict[str, Any]:
    """Recall, false alarms among all other records, and epochs ahead of the end."""
    spoken = [rule(log) for log in logs]
    of_kind = [(log, epoch) for log, epoch, word in zip(logs, spoken, labels, strict=True) if word == kind]
    heard = [(log, epoch) for log, epoch in of_kind if epoch is not None]
    false = [e for e, word in zip(spoken, labels, strict=True) if word != kind and e is not None]
    leads = sorted(len(log.readings) - 1 - epoch for log, epoch in heard)
    return {
        "recall": share_of(len(heard), len(of_kind)),
        "false alarms": share_of(len(false), len(logs) - len(of_kind)),
        "leads": leads,
        "median lead": statistics.median(leads) if leads else None,
        "mean lead": round(statistics.fmean(leads), 1) if leads else None,
    }


def candidates(config: Mapping[str, Any]) -> list[SkipsAndOverfitting]:
    return [SkipsAndOverfitting(*each) for each in product(config["shares"], config["excesses"], config["windows"])]


def chosen(
    logs: Sequence[SearchLog], labels: Sequence[str], heard: Mapping[Any, Mapping[int, int | None]], most: float
) -> SkipsAndOverfitting:
    """The thresholds with the largest recall, then the largest mean lead, among those with few enough false alarms."""

    def worth(sign: SkipsAndOverfitting) -> tuple[bool, int, float]:
        found = judged(logs, labels, lambda log: heard[sign][id(log)])
        false = found["false alarms"]
        return false["count"] <= most * false["n"], found["recall"]["count"], found["mean lead"] or 0.0

    return max(heard, key=worth)


def cross_validated(logs: Sequence[SearchLog], labels: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Thresholds are chosen without a strength of weight decay, and judged on it; a setting is never divided."""
    heard = {sign: {id(log): with_thresholds(sign)(log) for log in logs} for sign in candidates(config)}
    folds, spoken = [], dict[int, int | None]()
    for decay in sorted({log.weight_decay for log in logs}):
        rest = [(log, word) for log, word in zip(logs, labels, strict=True) if log.weight_decay != decay]
        sign = chosen([log for log, _ in rest], [word for _, word in rest], heard, config["false_alarms"])
        spoken |= {id(log): heard[sign][id(log)] for log in logs if log.weight_decay == decay}
        folds.append({"without": decay, "share": sign.share, "excess": sign.excess, "window": sign.window})
    return {"folds": folds, **judged(logs, labels, lambda log: spoken[id(log)])}


def thinned(log: SearchLog, share: float, source: random.Random) -> SearchLog:
    """A record that has lost some of its values."""

    def kept(value: float | None) -> float | None:
        return None if source.random() < share else value

    def without(reading: Reading) -> Reading:
        return replace(
            reading,
            skips=kept(reading.skips),
            training_loss=kept(reading.training_loss),
            held_out_loss=kept(reading.held_out_loss),
        )

    return replace(log, readings=tuple(map(without, log.readings)))


def at_face_value(logs: Sequence[SearchLog], labels: Sequence[str], config: Mapping[str, Any]) -> dict[str, int]:
    """What one would believe of the records without turning accuracies around."""
    ends = [
        (log, word, 100 - log.validation_error[-1] if log.swapped else log.validation_error[-1])
        for log, word in zip(logs, labels, strict=True)
        if log.validation_error[-1] is not None
    ]
    return {
        "above 60 % error at the end": sum(error > 60 for _, _, error in ends),
        "never learned, and taken for collapsed": sum(
            word == "never learned" and error < 60 and (log.skips or 0) >= config["collapsed_from"]
            for log, word, error in ends
        ),
    }


def learned_only(logs: Sequence[SearchLog], labels: Sequence[str]) -> tuple[list[SearchLog], list[str]]:
    kept = [(log, word) for log, word in zip(logs, labels, strict=True) if word != "never learned"]
    return [log for log, _ in kept], [word for _, word in kept]


def strengths(logs: Sequence[SearchLog], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many of each kind there are, by space and weight decay."""
    found: dict[str, Counter[str]] = {}
    for log, word in sorted(zip(logs, labels, strict=True), key=lambda pair: (pair[0].space, pair[0].weight_decay)):
        found.setdefault(f"{log.space} {log.weight_decay:g}", Counter())[word] += 1
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}


def paired(logs: Sequence[SearchLog], labels: Sequence[str], rule: Rule) -> dict[str, Any]:
    """By how many epochs the alarm speaks before another rule, on the collapsed records that both name."""
    ours = [shipped(log) for log, word in zip(logs, labels, strict=True) if word == "collapsed"]
    theirs = [rule(log) for log, word in zip(logs, labels, strict=True) if word == "collapsed"]
    earlier = sorted(b - a for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None)
    return {"earlier by": earlier, "median": statistics.median(earlier) if earlier else None}


def analysed(logs: Sequence[SearchLog], config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the README says."""
    labels = [label(log, config) for log in logs]
    with_eigenvalues = [any(r.eigenvalue is not None for r in log.readings) for log in logs]
    few = [log for log, has in zip(logs, with_eigenvalues, strict=True) if has]
    words = [word for word, has in zip(labels, with_eigenvalues, strict=True) if has]
    source = random.Random(config["seed"])
    settings = Counter((log.space, log.drop_path, log.weight_decay, log.seed) for log in logs)
    last = [next((e for e in reversed(log.validation_error) if e is not None), 100.0) for log in logs]
    results = {
        "records": len(logs),
        "settings": len(settings),
        "swapped": sum(log.swapped for log in logs),
        "at face value": at_face_value(logs, labels, config),
        "labels": dict(sorted(Counter(labels).items())),
        "by strength": strengths(logs, labels),
        "guessing at the end": sum(
            error > config["constant_error"][log.data] - config["learned_below"] and word != "never learned"
            for log, word, error in zip(logs, labels, last, strict=True)
        ),
        "final skips of the sound": dict(
            sorted(Counter(log.skips or 0 for log, word in zip(logs, labels, strict=True) if word == "sound").items())
        ),
        "alarm": judged(logs, labels, shipped),
        "alarm without a held-out loss": judged(logs, labels, without_losses),
        "skip counting": judged(logs, labels, counting),
        "skip counting, of those that learned": judged(*learned_only(logs, labels), counting),
        "before skip counting": paired(logs, labels, counting),
        "before R-DARTS": paired(logs, labels, sharpness),
        "on the records with eigenvalues": {
            "alarm": judged(few, words, shipped),
            "skip counting": judged(few, words, counting),
            "R-DARTS": judged(few, words, sharpness),
        },
        "unlearned": judged(logs, labels, lambda log: shipped(log, "unlearned"), "never learned")
        | {"epochs": dict(Counter(e for log in logs if (e := shipped(log, "unlearned")) is not None))},
        "collapsed": [
            {
                "space": log.space,
                "weight_decay": log.weight_decay,
                "drop_path": log.drop_path,
                "seed": log.seed,
                "skips": log.skips,
                "alarm": shipped(log),
                "skip counting": counting(log),
                "R-DARTS": sharpness(log),
                "epochs": len(log.readings),
            }
            for log, word in zip(logs, labels, strict=True)
            if word == "collapsed"
        ],
        "false alarms": [
            [log.space, log.weight_decay, log.drop_path, log.seed, log.skips, epoch]
            for log, word in zip(logs, labels, strict=True)
            if word != "collapsed" and (epoch := shipped(log)) is not None
        ],
        "missing values": {
            f"{share:g}": judged([thinned(log, share, source) for log in logs], labels, shipped)
            for share in config["missing"]
        },
    }
    if len({log.weight_decay for log in logs}) > 1 and "collapsed" in labels:
        results["cross-validation"] = cross_validated(logs, labels, config)
        results["thresholds"] = [
            {"share": s.share, "excess": s.excess, "window": s.window, **judged(logs, labels, with_thresholds(s))}
            for s in candidates(config)
        ]
    return json.loads(json.dumps(results))


# ---------------------------------------------------------------------------------------------------------------------
# Words and figure


def _share(found: Mapping[str, Any]) -> str:
    percent = f"{found['count'] / found['n']:.1%}" if found["n"] else "none"
    return f"{found['count']} of {found['n']} = {percent} [{found['low']:.1%}, {found['high']:.1%}]"


def _row(name: str, found: Mapping[str, Any]) -> str:
    leads = found["leads"]
    lead = f"{found['median lead']:g}; {found['mean lead']:g}; {leads[0]} to {leads[-1]}" if leads else "none"
    return f"| {name} | {_share(found['recall'])} | {_share(found['false alarms'])} | {lead} |"


HEAD = "| rule | recall | false alarms | epochs ahead of the end: median; mean; range |\n| --- | --- | --- | --- |"


def _earlier(results: Mapping[str, Any]) -> str:
    """By how much the alarm is earlier, in one sentence for each other rule."""
    sentences = []
    for name in ("skip counting", "R-DARTS"):
        found = results[f"before {name}"]
        gaps = found["earlier by"]
        if gaps:
            sentences.append(
                f"The alarm speaks {found['median']:g} epochs before {name} in the median of the {len(gaps)} collapsed "
                f"records that both name ({gaps[0]} to {gaps[-1]})."
            )
    return " ".join(sentences)


def words(results: Mapping[str, Any]) -> str:
    """The generated part of the README."""
    labels = "; ".join(f"{word}: {count}" for word, count in results["labels"].items())
    first = (
        f"{results['records']} records of {results['settings']} settings; {results['swapped']} of them hold accuracies "
        f"under the name of errors and are turned around. {labels}. {results['guessing at the end']} of the others "
        "know something early and end by guessing."
    )
    lines = [
        first,
        "",
        *_about_labels(results),
        *_about_collapse(results),
        *_about_unlearned(results),
        *_about_missing(results),
        *_about_thresholds(results),
    ]
    return "\n".join(lines).rstrip()


def _about_labels(results: Mapping[str, Any]) -> list[str]:
    kinds = list(results["labels"])
    rows = [
        f"| {name} | {' | '.join(str(counts.get(kind, 0)) for kind in kinds)} |"
        for name, counts in results["by strength"].items()
    ]
    skips = ", ".join(f"{count} with {k}" for k, count in results["final skips of the sound"].items())
    head = [f"| space, weight decay | {' | '.join(kinds)} |", "| --- |" + " --- |" * len(kinds)]
    return [*head, *rows, "", f"Skips of 8 at the end of the sound: {skips}.", ""]


def _about_collapse(results: Mapping[str, Any]) -> list[str]:
    crossed, few = results.get("cross-validation"), results["on the records with eigenvalues"]
    return [
        "### Collapse",
        "",
        "Shares with exact 95 % intervals; a false alarm is one about any record that did not collapse.",
        "",
        HEAD,
        _row("the alarm, as shipped", results["alarm"]),
        *([_row("with cross-validated thresholds", crossed)] if crossed else []),
        _row("without a held-out loss", results["alarm without a held-out loss"]),
        _row("counting skips (5 of 8, twice running)", results["skip counting"]),
        _row("the same, among searches that learned", results["skip counting, of those that learned"]),
        "",
        _earlier(results),
        "",
        "On the records that hold eigenvalues:",
        "",
        HEAD,
        *(_row(name, found) for name, found in few.items()),
        "",
        "The epochs, from 0, at whose end each rule speaks of each collapsed record:",
        "",
        "| record | skips at the end | alarm | skip counting | R-DARTS |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {r['space']}, weight decay {r['weight_decay']:g}, drop path {r['drop_path']:g}, seed {r['seed']} | "
            f"{r['skips']} of 8 | {' | '.join('-' if r[rule] is None else str(r[rule]) for rule in RULES)} |"
            for r in results["collapsed"]
        ),
        "",
        f"False alarms of the shipped alarm: {_false(results)}.",
        "",
    ]


def _false(results: Mapping[str, Any]) -> str:
    named = (
        f"{space}, weight decay {decay:g}, drop path {path:g}, seed {seed} ({k} of 8 skips at the end, epoch {epoch})"
        for space, decay, path, seed, k, epoch in results["false alarms"]
    )
    return "; ".join(named) or "none"


def _about_unlearned(results: Mapping[str, Any]) -> list[str]:
    epochs = ", ".join(f"{epoch} ({count} records)" for epoch, count in results["unlearned"]["epochs"].items())
    row = _row("the alarm, as shipped", results["unlearned"])
    return ["### Never learned", "", HEAD, row, "", f"Named at the end of epoch {epochs}, counted from 0.", ""]


def _about_missing(results: Mapping[str, Any]) -> list[str]:
    rows = [
        _row(f"{float(part):.0%} of all values taken away", found) for part, found in results["missing values"].items()
    ]
    return ["### Values that are missing", "", HEAD, *rows, ""]


def _about_thresholds(results: Mapping[str, Any]) -> list[str]:
    if "cross-validation" not in results:
        return []
    folds = [
        f"| {f['without']:g} | {f['share']:g} | {f['excess']:g} | {f['window']} |"
        for f in results["cross-validation"]["folds"]
    ]
    rows = [
        _row(f"{t['share']:g} of a cell, {t['excess']:g} times, {t['window']} epochs", t) for t in results["thresholds"]
    ]
    head = ["| without | share of skips | excess of the held-out loss | epochs |", "| --- | --- | --- | --- |"]
    return [
        *("### Thresholds", "", "Chosen without a strength of weight decay:", "", *head, *folds, ""),
        *("All that were compared, on all records:", "", HEAD, *rows),
    ]


RULES = ("alarm", "skip counting", "R-DARTS")


def draw(results: Mapping[str, Any], out: Path) -> None:
    """Epochs at which each rule speaks, a line for each collapsed record."""
    rows = results["collapsed"]
    with mpl.rc_context({"svg.hashsalt": "sharewise", "font.size": 9}):
        figure = Figure(figsize=(7, 0.8 + 0.3 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for rule, marker, colour in zip(RULES, "osx", ("#0b6e4f", "#c44900", "#5b5f97"), strict=True):
            points = [(r[rule], y) for y, r in enumerate(rows) if r[rule] is not None]
            axes.plot([x for x, _ in points], [y for _, y in points], marker, color=colour, label=rule)
        axes.set_yticks(
            range(len(rows)), [f"{r['space']}, decay {r['weight_decay']:g}, seed {r['seed']}" for r in rows]
        )
        axes.set_xlim(-1, max((r["epochs"] for r in rows), default=50))
        axes.invert_yaxis()
        axes.set_xlabel("epoch at whose end a rule speaks (the search ends at the right)")
        axes.grid(axis="x", alpha=0.3)
        axes.legend(frameon=False, loc="lower left")
        figure.savefig(out / "figure.png", dpi=150)
        figure.savefig(out / "figure.svg", metadata={"Date": None})


def write(page: Path, text: str) -> None:
    old = page.read_text(encoding="utf-8") if page.exists() else "\n".join(MARKS) + "\n"
    before, after = old.split(MARKS[0])[0], old.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--records", type=Path, help="of other searches; by default those of the configuration")
    parser.add_argument("--out", type=Path, help="by default this folder, for other records the screen alone")
    options = parser.parse_args(arguments)
    config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    place = options.records or Path(os.environ["SHAREWISE_DATA"]) / config["records"]
    results = analysed(read_search_logs(place), config)
    text = words(results)
    print(text)
    out = options.out or (None if options.records else HERE)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        draw(results, out)
        write(out / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
