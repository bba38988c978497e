"""Methods on one supernet at equal cost, whose results are retrained: the program of such experiments, given a plan."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import spearmanr

import sharewise as sw
from sharewise.appraisal import mean_interval
from sharewise.atomic import replacing

sys.path.append(str(Path(__file__).resolve().parent))  # of what the experiments share

from programs import options_of, plan_of

__all__ = ["keep", "options_for", "parameters", "run", "study_in", "summarise"]

More = Callable[[Mapping[str, Any], Mapping[str, Any], Path], Mapping[str, Any]]
"""What else a plan, what its study found, and its folder tell, by name."""


def parameters(out: Path, cell: str) -> int:
    """Of the network that a search found."""
    found: int = json.loads((out / "runs" / cell / "result.json").read_text(encoding="utf-8"))["cost"]["parameters"]
    return found


def summarise(study: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """By arm: retrained and inherited score, parameters, cost, n; and how the scores of all searches agree in rank."""
    cells = [{**cell, "parameters": parameters(out, cell["cell"])} for cell in study["cells"]]
    arms = {}
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        own = [cell for cell in cells if cell["arm"] == arm]
        columns = {name: [float(cell[name]) for cell in own] for name in ("value", "inherited", "parameters", "cost")}
        arms[arm] = {"n": len(own), **{name: str(mean_interval(values)) for name, values in columns.items()}}
    pairs = [(cell["inherited"], cell["value"]) for cell in cells]
    rank = float(spearmanr(*zip(*pairs, strict=True)).statistic) if len(pairs) > 2 else None
    sentences = {name: [one["sentence"] for one in panel["verdicts"]] for name, panel in study["panels"].items()}
    return {"searches": len(cells), "arms": arms, "spearman": rank, "sentences": sentences, "cells": cells}


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


def run(
    program: str | None, folder: Path, arguments: Sequence[str] | None, *, data: str, more: More | None = None
) -> int:
    """The whole of a program: with `--run` the study runs or goes on, then what is finished is told.

    Args:
        program: its docstring.
        folder: of the experiment, with `plan.yaml`.
        arguments: of the command line.
        data: what the folder of the data has to hold.
        more: what else the results hold.
    """
    chosen = options_for(program, folder, data=data).parse_args(arguments)
    plan = plan_of(yaml.safe_load(chosen.plan.read_text(encoding="utf-8")), chosen.data_root)
    if chosen.run:
        print(sw.study(plan, out=chosen.out, jobs=chosen.jobs))
    study = study_in(chosen.out)
    keep(summarise(study, chosen.out) | ({} if more is None else more(plan, study, chosen.out)), chosen.results)
    return 0
