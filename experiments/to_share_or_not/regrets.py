"""Regret of searches that a published supernet guides, beside random search at equal cost."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from evolution import Whole, whole
from published import SPACES, Floats, Published, arguments, load, settings

from sharewise.appraisal import (
    GroupComparison,
    GuidedSearch,
    Verdict,
    compare_groups,
    guided_search,
    random_searches,
    sharing_verdict,
    to_plain,
    worth_in_trainings,
)
from sharewise.errors import SharewiseError

COMPARABLE = """\
Comparable: the spaces, the supernets and their scores, the truth, the sign (negative where WS is better), regret \
against the best mean test accuracy of the whole space, Student's test and Cohen's d.
Not comparable: each supernet scored 1,000 architectures, in the paper 10,000, so that its best k are the best of fewer.
Not comparable: 5 supernets a space (4 on NRES, where one failed), in the paper 30, so that intervals are wider.
Not comparable: the paper charged seconds of its own devices and does not print them. "By MAC" charges the supernet \
passes times multiply-accumulates. "As implied" charges so many trainings that random search varies as much as the \
printed differences divided by the printed d say that it did.
Random search draws from the architectures that some supernet scored: a uniform sample of the space, of 9,799 to \
28,963. The incumbent is the best by mean validation accuracy of three runs.
RE minus RS is computed over whole sub-spaces, by mean test accuracy for choice and regret alike, since validation \
accuracies are published for a third of the table: RE by the rule of the paper (cells outside the sub-space have \
accuracy 0, cost nothing and fill the population), and RE confined to the sub-space. RE draws its first cells \
uniformly over raw matrices, as the program of NAS-Bench-101 does, RS over unique cells, as in the paper.
"""


@dataclass(frozen=True, eq=False)
class Arena:
    """One space: guided searches with each supernet, and random searches on the pool.

    Args:
        guided: by the name of the seed.
        failed: seeds whose supernet failed.
        random: regrets, `(repeats, trainings)`.
        whole: evolution beside random search over the whole space.
        best: the best test accuracy of the space.
    """

    guided: Mapping[str, GuidedSearch]
    failed: tuple[str, ...]
    random: Floats
    whole: Whole
    best: float

    @property
    def upfront(self) -> float:
        """Cost of each supernet in trainings."""
        return next(iter(self.guided.values())).upfront

    def regrets(self, k: int) -> list[float]:
        """TOP-k regrets of all supernets."""
        return [search.top(k)[0] for search in self.guided.values()]

    def rival(self, k: int, upfront: float) -> Floats:
        """Regrets of random search at the cost of TOP-k: of the trainings that are complete by then."""
        return np.asarray(self.random[:, int(k + upfront) - 1])


def upfront(cost: Mapping[str, Any], scored: int) -> float:
    """What a supernet costs, in standalone trainings: its training and the scoring of a pool.

    One image through a network of f filters costs multiply-accumulates in proportion to f².
    """
    narrow, wide = cost["filters"]
    epochs, alone = cost["epochs"]
    training, evaluation = cost["passes"]
    share = (narrow / wide) ** 2
    images = cost["held_out_images"] + cost["recalibration_images"]
    whole = alone * cost["training_images"] * training
    return float(share * (epochs * cost["training_images"] * training + scored * images * evaluation) / whole)


def stream(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the names alone."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def arena(
    data: Published,
    config: Mapping[str, Any],
    space: str,
    variant: str,
    *,
    trainings: int = 1000,
    evolved: int = 30,
) -> Arena:
    """Run all searches on a space: random search up to `trainings`, those over the whole space up to `evolved`."""
    best = data.best_test(space)
    guided, failed = {}, []
    for seed, sample in data.samples(variant, space):
        if sample.failed:
            failed.append(seed)
            continue
        guided[seed] = guided_search(
            sample.proxy,
            sample.test,
            signal=sample.valid,
            best=best,
            upfront=upfront(config["cost"], len(sample.proxy)),
            generator=stream(config["seed"], space, variant, seed),
        )
    pool = data.pool(space)
    valid, test = data.truth(pool)
    random = random_searches(
        valid, test, trainings, repeats=config["repeats"], generator=stream(config["seed"], space, "random"), best=best
    )
    over = whole(data, config, space, evolved, stream(config["seed"], space, "whole"))
    return Arena(guided, tuple(failed), random, over, best)


def implied_upfront(arenas: Mapping[str, Arena], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the paper's supernets cost in trainings, as far as its printed effect sizes tell.

    A printed difference divided by its d is the pooled deviation, which 500 random searches against 30 others rule. The
    number of trainings after which random search here varies as much, less k, is the supernet's share. Differences
    below 0.2 are left out, since two printed digits say too little of them.
    """
    found = {}
    for k in config["tops"]:
        for space, here in arenas.items():
            printed = parse(config["published"]["regret"]["ws"][k][space])
            if abs(printed["difference"]) < 0.2:
                continue
            deviation = printed["difference"] / printed["cohens_d"]
            deviations = here.random[:, :100].std(axis=0, ddof=1)
            found[f"{space}, TOP-{k}"] = int(np.abs(deviations - deviation).argmin()) + 1 - k
    values = list(found.values())
    return {"median": float(np.median(values)), "range": [min(values), max(values)], "each": found}


def compare(found: Arena, k: int, upfront: float) -> tuple[GroupComparison, Verdict]:
    """TOP-k beside random search at equal cost; regrets in points."""
    sides = found.regrets(k), found.rival(k, upfront).tolist()
    return compare_groups(*sides), sharing_verdict(*sides, what=f"TOP-{k} regret", failed=len(found.failed))


def cell(found: Arena, k: int, upfront: float) -> dict[str, Any]:
    """One comparison as plain values."""
    comparison, verdict = compare(found, k, upfront)
    difference = comparison.student.difference
    assert difference is not None
    return {
        "supernet_costs": upfront,
        "random_trainings": int(k + upfront),
        "difference": difference.value,
        "interval": [difference.low, difference.high],
        "p_value": comparison.student.p_value,
        "cohens_d": comparison.cohens_d.value,
        "verdict": verdict.answer.value,
        "sentence": verdict.sentence,
        "comparison": to_plain(comparison),
    }


def evolution_cell(found: Arena, k: int, upfront: float, *, confined: bool = False) -> dict[str, Any]:
    """Evolution less random search over the whole space, after the trainings that TOP-k costs."""
    at = int(k + upfront)
    comparison = found.whole.compared(at, confined=confined)
    difference = comparison.student.difference
    assert difference is not None
    return {
        "trainings": at,
        "mutants": None if confined else float(found.whole.mutants[:, at - 1].mean()),
        "difference": difference.value,
        "interval": [difference.low, difference.high],
        "p_value": comparison.student.p_value,
        "cohens_d": comparison.cohens_d.value,
        "n": list(comparison.n),
    }


def document(arenas: Mapping[str, Arena], tops: Sequence[int], config: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a table of regrets."""
    implied = implied_upfront(arenas, config)
    cells = []
    for k in tops:
        for space, found in arenas.items():
            regrets = found.regrets(k)
            cells.append(
                {
                    "space": space,
                    "top": k,
                    "n": [len(regrets), len(found.random)],
                    "failed": [int(seed) for seed in found.failed],
                    "regrets": regrets,
                    "worth_in_random_trainings": worth_in_trainings(float(np.mean(regrets)), found.random.mean(axis=0)),
                    "by_mac": cell(found, k, found.upfront),
                    "as_implied": cell(found, k, implied["median"]),
                    "evolution": evolution_cell(found, k, implied["median"]),
                    "evolution_confined": evolution_cell(found, k, implied["median"], confined=True),
                    "printed": parse(config["published"]["regret"]["ws"][k][space]),
                    "printed_evolution": parse(config["published"]["regret"]["re"][k][space]),
                }
            )
    return {
        "table": "mean test regret of the search guided by a supernet less that of random search at equal cost, points",
        "sign": "WS minus RS: negative where weight-sharing is better (the paper's heading says RS minus WS)",
        "variant": config["variant"],
        "cost_of_supernet_in_trainings": {
            "by_mac": next(iter(arenas.values())).upfront,
            "as_implied": implied,
        },
        "comparable": COMPARABLE.splitlines(),
        "cells": cells,
    }


def parse(text: str) -> dict[str, Any]:
    """A printed difference, such as `-0.41 ± 0.27 (p < 0.01 d = -0.47)`."""
    match = re.fullmatch(r"(\S+) ± (\S+) \(p ([<=]) (\S+) d = (\S+)\)", text)
    if match is None:
        raise ValueError(f"cannot read the printed difference {text!r}")
    mean, half, relation, p, d = match.groups()
    return {"difference": float(mean), "half_width": float(half), "p": f"{relation} {p}", "cohens_d": float(d)}


def shown(found: Mapping[str, Any]) -> str:
    """A difference as the paper prints it."""
    p = "p < 0.01" if found["p_value"] < 0.01 else f"p = {found['p_value']:.2f}"
    half = (found["interval"][1] - found["interval"][0]) / 2
    return f"{found['difference']:+.2f} ± {half:.2f} ({p}, d = {found['cohens_d']:.2f})"


def shown_printed(found: Mapping[str, Any]) -> str:
    half, p, d = found["half_width"], found["p"], found["cohens_d"]
    return f"{found['difference']:+.2f} ± {half:.2f} (p {p}, d = {d:.2f})"


def text(found: Mapping[str, Any], k: int) -> str:
    """The table of one k as Markdown: measured here at both costs, printed, and what the advice is worth."""
    costs = found["cost_of_supernet_in_trainings"]
    head = (
        f"TOP-{k}",
        f"WS - RS by MAC ({costs['by_mac']:.2f} trainings)",
        f"WS - RS as implied ({costs['as_implied']['median']:g} trainings)",
        "WS - RS printed",
        "WS worth, in random trainings",
        "RE - RS by the paper's rule",
        "RE - RS confined",
        "RE - RS printed",
    )
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for entry in found["cells"]:
        if entry["top"] == k:
            worth = entry["worth_in_random_trainings"]
            row = [shown(entry["by_mac"]), shown(entry["as_implied"]), shown_printed(entry["printed"])]
            row.append("more than 1,000" if worth is None else f"{worth:.0f}")
            row += [shown(entry["evolution"]), shown(entry["evolution_confined"])]
            row.append(shown_printed(entry["printed_evolution"]))
            lines.append(f"| {entry['space']} | {' | '.join(row)} |")
    return "\n".join(lines)


def program(description: str | None, tops: Sequence[int], words: Sequence[str] | None) -> int:
    """The command of a table."""
    options = arguments(description).parse_args(words)
    config = settings()
    try:
        data = load(Path(options.data))
        arenas = {space: arena(data, config, space, config["variant"]) for space in SPACES}
    except SharewiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = document(arenas, tops, config)
    if options.json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return 0
    print(found["table"][0].upper() + found["table"][1:] + ", 95 % intervals of Student's t.")
    print(f"{found['sign']}.")
    for k in tops:
        print(f"\n{text(found, k)}")
    print()
    for entry in found["cells"]:
        print(f"{entry['space']}: {entry['by_mac']['sentence']}")
    print(f"\n{COMPARABLE}", end="")
    return 0
