"""Gradients and sampled paths on conv-macro at equal cost, each at the rates that were best for it on other seeds.

Two studies of sharewise from `plan.yaml`: one of every rate on the tuning seeds, then one of the best rates of each
method on the seeds that are reported. `--run` starts them, or goes on with them; what is finished is then told, and
`results.json` is written. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/conv_macro_rates/run.py --run >> study.log 2>&1 &
    SHAREWISE_DATA=FOLDER python experiments/conv_macro_rates/run.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

import sharewise as sw
from sharewise.studies.plan import Arm

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from equal_cost import keep, options_for, study_in, summarise  # noqa: E402
from programs import plan_of  # noqa: E402

__all__ = ["last_losses", "main"]


def best_rates(arms: Sequence[Arm], study: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of every arm the best point of its grid, by the mean score; and all points with their means, the best first."""
    values: dict[str, list[float]] = {}
    for cell in study["cells"]:
        values.setdefault(cell["arm"], []).append(float(cell["value"]))
    chosen, table = [], []
    for arm in arms:
        rows = [
            {"arm": arm.name or arm.method, **{name: point.options[name] for name in arm.grid}, "mean": fmean(found)}
            for point in arm.spread()
            if (found := values.get(point.name))
        ]
        if not rows:
            why = next(iter(study["failures"].values()), "none was planned")
            raise SystemExit(f"no search of {arm.name or arm.method} is finished ({why}); mend that and give --run")
        rows.sort(
            key=lambda row: row["mean"], reverse=study["metric"]["higher_is_better"]
        )  # stable: the first of equals
        rates = {name: rows[0][name] for name in arm.grid}
        chosen.append({"method": arm.method, "name": arm.name or arm.method, "options": {**arm.options, **rates}})
        table += rows
    return chosen, table


def last_losses(study: Mapping[str, Any], out: Path) -> dict[str, list[float]]:
    """By arm, of every search the mean loss of its last epoch: near ln 10 = 2.303, its supernet has learned nothing."""
    found: dict[str, list[float]] = {}
    for cell in study["cells"]:
        lines = (out / "runs" / cell["cell"] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        epochs = [line for line in map(json.loads, lines) if line["event"] == "epoch"]
        found.setdefault(cell["arm"], []).append(epochs[-1]["weights_loss"])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options_for(__doc__, HERE, data="cifar10").parse_args(arguments)
    plan = plan_of(yaml.safe_load(chosen.plan.read_text(encoding="utf-8")), chosen.data_root)
    tuning_seeds, methods = plan.pop("tuning_seeds"), plan["methods"]
    tuning, final = chosen.out / "tuning", chosen.out / "final"
    if chosen.run:
        print(sw.study({**plan, "seeds": tuning_seeds}, out=tuning, jobs=chosen.jobs), flush=True)
    tuned = study_in(tuning)
    best, rates = best_rates([Arm(**method) for method in methods], tuned)
    if chosen.run:
        print(sw.study({**plan, "methods": best}, out=final, jobs=chosen.jobs), flush=True)
    study, result = study_in(final), {"chosen": best}
    result["tuning"] = {"seeds": tuning_seeds, "rates": rates, "last_losses": last_losses(tuned, tuning)}
    result |= {**summarise(study, final), "last_losses": last_losses(study, final)}
    keep(result, chosen.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
