"""Vision transformers searched by gradients and by sampled paths at equal cost: the study of `plan.yaml`, and fronts.

The searches and trainings are a study of sharewise; `--run` starts it, or goes on with it. Then, and without it, those
searches that are finished are analysed: over a ladder of budgets the best architecture with inherited weights is found
for every supernet of single paths, trained uniformly or by the sandwich rule with distillation. `results.json` holds
all of it. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/vision_transformer/run.py --run >> study.log 2>&1 &
    SHAREWISE_DATA=FOLDER python experiments/vision_transformer/run.py
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sharewise as sw
from sharewise.appraisal import mean_interval
from sharewise.cost import cost
from sharewise.run import SearchConfiguration
from sharewise.space import Architecture, largest, smallest
from sharewise.studies.plan import Cell, StudyPlan

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from equal_cost import run  # noqa: E402

__all__ = ["fronts", "main"]

UNIFORM, SANDWICH = "spos-evolution", "sandwich-evolution"
"""The arms whose supernets are compared over budgets."""

RUNGS = 5
"""Budgets from the smallest to the largest architecture, in equal ratios."""

EVALUATIONS, POPULATION, EXAMPLES = 60, 12, 512


def macs(architecture: Architecture, configuration: SearchConfiguration) -> int:
    """Multiply-accumulates of an architecture per example."""
    data, network = configuration.load_data(), configuration.network_options()
    built = sw.build_network(architecture, configuration.load_space(), data.input_shape, 10, network=network)
    return cost(built, data.input_shape).multiply_accumulates


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


def main(arguments: Sequence[str] | None = None) -> int:
    return run(__doc__, HERE, arguments, data="cifar10", more=fronts)


if __name__ == "__main__":
    sys.exit(main())
