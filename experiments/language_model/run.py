"""Language models searched by gradients and by sampled paths at equal cost: the study of `plan.yaml`, and what it says.

The searches and trainings are a study of sharewise; `--run` starts it, or goes on with it. Without, those searches that
are finished and retrained are analysed, and `results.json` is written. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/language_model/run.py --run >> study.log 2>&1 &
    SHAREWISE_DATA=FOLDER python experiments/language_model/run.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import spearmanr

import sharewise as sw
from sharewise.appraisal import mean_interval
from sharewise.atomic import replacing

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import options_of  # noqa: E402


def plan_of(path: Path, data_root: Path) -> dict[str, Any]:
    """The plan of the study, with the folder of the data."""
    plan: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for data in plan["data"]:
        data["path"] = str(data_root / data["path"])
    return plan


def parameters(out: Path, cell: str) -> int:
    """Of the network that a search found."""
    found: int = json.loads((out / "runs" / cell / "result.json").read_text(encoding="utf-8"))["cost"]["parameters"]
    return found


def summarise(study: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """By arm: retrained and inherited loss, parameters, cost, n; and how the losses of all searches agree in rank."""
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


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data="text", configuration="plan")
    options.add_argument("--run", action="store_true", help="run what is not finished first")
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--results", type=Path, default=HERE / "results.json", help="file that is written")
    chosen = options.parse_args(arguments)
    if chosen.run:
        print(sw.study(plan_of(chosen.plan, chosen.data_root), out=chosen.out, jobs=chosen.jobs))
    if not (chosen.out / "study.json").exists():
        raise SystemExit(f"no study in {chosen.out} is finished; give --run")
    found = summarise(json.loads((chosen.out / "study.json").read_text(encoding="utf-8")), chosen.out)
    with replacing(chosen.results) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for arm, row in found["arms"].items():
        print(f"{arm}: retrained {row['value']}, inherited {row['inherited']}, {row['parameters']} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
