"""Methods on one supernet at equal cost, whose results are retrained: the program of such experiments, given a plan."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import sharewise as sw
from sharewise.appraisal import mean_interval
from sharewise.atomic import replacing
from sharewise.cost import cost
from sharewise.run import SearchConfiguration
from sharewise.space import Architecture, largest, smallest
from sharewise.studies.plan import Cell, StudyPlan

sys.path.append(str(Path(__file__).resolve().parent))  # of what the experiments share

from programs import options_of, plan_of, rank

__all__ = ["fronts", "keep", "options_for", "parameters", "run", "study_in", "summarise"]

UNIFORM, SANDWICH = "spos-evolution", "sandwich-evolution"
"""The arms of single paths whose supernets are compared over budgets."""

RUNGS = 5
"""Budgets from the smallest to the largest architecture, in equal ratios."""

EVALUATIONS, POPULATION, EXAMPLES = 60, 12, 512


def macs(architecture: Architecture, configuration: SearchConfiguration) -> int:
    """Multiply-accumulates of an architecture per example."""
    data, network = configuration.load_data(), configuration.network_options()
    built = sw.build_network(
        architecture, configuration.load_space(), data.input_shape, data.task.outputs, network=network
    )
    return cost(built, data.input_shape, integers=data.integers).multiply_accumulates


def ladder(configuration: SearchConfiguration) -> list[float]:
    """The budgets of the fronts."""
    space = configuration.load_space()
    ends = [macs(end(space), configuration) for end in (smallest, largest)]
    return [float(np.ceil(budget)) for budget in np.geomspace(*ends, RUNGS)]


def front_of(cell: Cell, out: Path, budgets: Sequence[float]) -> dict[float, float]:
    """The best score with inherited weights within each budget, of a supernet; kept in a folder of its own."""
    found = sw.front(
        out / "runs" / cell.name,
        multiply_accumulates=budgets,
        evaluations=EVALUATIONS,
        population=POPULATION,
        examples=EXAMPLES,
        out=out / "fronts" / cell.name,
    )
    metric = found.document["metric"]
    return {row["most"]: float(row["scores"][metric]) for row in found.document["budgets"]}


def fronts(plan: Mapping[str, Any], study: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """By budget the inherited score of both kinds of supernets, and their difference over seeds."""
    finished = {cell["cell"] for cell in study["cells"]}
    cells = [cell for cell in StudyPlan.from_plain(plan).cells() if cell.name in finished]
    own = {arm: {cell.seed: cell for cell in cells if cell.arm == arm} for arm in (UNIFORM, SANDWICH)}
    seeds = sorted(own[UNIFORM].keys() & own[SANDWICH].keys())
    if not seeds:
        return {"fronts": []}
    budgets = ladder(own[UNIFORM][seeds[0]].configuration)
    scores = {arm: [front_of(own[arm][seed], out, budgets) for seed in seeds] for arm in own}
    rows = []
    for budget in budgets:
        uniform, sandwich = ([front[budget] for front in scores[arm]] for arm in (UNIFORM, SANDWICH))
        differences = [b - a for a, b in zip(uniform, sandwich, strict=True)]
        values = {UNIFORM: uniform, SANDWICH: sandwich, "difference": differences}
        rows.append({"most": budget, "n": len(seeds), **{name: str(mean_interval(v)) for name, v in values.items()}})
    return {"fronts": rows}


def parameters(out: Path, cell: str) -> int:
    """Of the network that a search found."""
    found: int = json.loads((out / "runs" / cell / "result.json").read_text(encoding="utf-8"))["cost"]["parameters"]
    return found


def summarise(study: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """By arm: retrained and inherited score, parameters, cost, n.

    And with the retrained scores of all searches the rank correlations of the inherited ones and of sizes.
    """
    cells = [{**cell, "parameters": parameters(out, cell["cell"])} for cell in study["cells"]]
    arms = {}
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        own = [cell for cell in cells if cell["arm"] == arm]
        columns = {name: [float(cell[name]) for cell in own] for name in ("value", "inherited", "parameters", "cost")}
        arms[arm] = {"n": len(own), **{name: str(mean_interval(values)) for name, values in columns.items()}}
    values, inherited, sizes = ([cell[name] for cell in cells] for name in ("value", "inherited", "parameters"))
    ranks = {"spearman": rank(inherited, values), "by_size": rank(sizes, values)}
    sentences = {name: [one["sentence"] for one in panel["verdicts"]] for name, panel in study["panels"].items()}
    return {"searches": len(cells), "arms": arms, **ranks, "sentences": sentences, "cells": cells}


def options_for(program: str | None, folder: Path, *, data: str) -> argparse.ArgumentParser:
    """The options of such a program.

    Args:
        program: its docstring.
        folder: of the experiment, with `plan.yaml`.
        data: what the folder of the data has to hold.
    """
    options = options_of(program, folder, data=data, configuration="plan")
    options.add_argument("--run", action="store_true", help="run what is not finished first")
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--results", type=Path, default=folder / "results.json", help="file that is written")
    return options


def study_in(folder: Path) -> dict[str, Any]:
    """What a study found."""
    path = folder / "study.json"
    if not path.exists():
        raise SystemExit(f"no study in {folder} is finished; give --run")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def keep(found: Mapping[str, Any], results: Path) -> None:
    """Write what was found, and print its arms."""
    with replacing(results) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for arm, row in found["arms"].items():
        print(f"{arm}: retrained {row['value']}, inherited {row['inherited']}, {row['parameters']} parameters")


def run(program: str | None, folder: Path, arguments: Sequence[str] | None, *, data: str) -> int:
    """The whole of a program: with `--run` the study runs or goes on, then what is finished is told.

    Args:
        program: its docstring.
        folder: of the experiment, with `plan.yaml`.
        arguments: of the command line.
        data: what the folder of the data has to hold.
    """
    chosen = options_for(program, folder, data=data).parse_args(arguments)
    plan = plan_of(yaml.safe_load(chosen.plan.read_text(encoding="utf-8")), chosen.data_root)
    if chosen.run:
        print(sw.study(plan, out=chosen.out, jobs=chosen.jobs))
    study = study_in(chosen.out)
    keep(summarise(study, chosen.out) | fronts(plan, study, chosen.out), chosen.results)
    return 0
