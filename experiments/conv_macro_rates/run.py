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
from sharewise.atomic import replacing
from sharewise.studies.plan import Arm

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from equal_cost import summarise  # noqa: E402
from programs import options_of, plan_of  # noqa: E402

__all__ = ["main"]


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
        rows.sort(
            key=lambda row: row["mean"], reverse=study["metric"]["higher_is_better"]
        )  # stable: the first of equals
        rates = {name: rows[0][name] for name in arm.grid}
        chosen.append({"method": arm.method, "name": arm.name or arm.method, "options": {**arm.options, **rates}})
        table += rows
    return chosen, table


def read(folder: Path) -> dict[str, Any]:
    """What a study found."""
    path = folder / "study.json"
    if not path.exists():
        raise SystemExit(f"no study in {folder} is finished; give --run")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data="cifar10", configuration="plan")
    options.add_argument("--run", action="store_true", help="run what is not finished first")
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--results", type=Path, default=HERE / "results.json", help="file that is written")
    chosen = options.parse_args(arguments)
    plan = plan_of(yaml.safe_load(chosen.plan.read_text(encoding="utf-8")), chosen.data_root)
    tuning_seeds, methods = plan.pop("tuning_seeds"), plan["methods"]
    tuning, final = chosen.out / "tuning", chosen.out / "final"
    if chosen.run:
        print(sw.study({**plan, "seeds": tuning_seeds}, out=tuning, jobs=chosen.jobs), flush=True)
    best, rates = best_rates([Arm(**method) for method in methods], read(tuning))
    if chosen.run:
        print(sw.study({**plan, "methods": best}, out=final, jobs=chosen.jobs), flush=True)
    found = {"tuning": {"seeds": tuning_seeds, "rates": rates}, "chosen": best, **summarise(read(final), final)}
    with replacing(chosen.results) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for arm, row in found["arms"].items():
        print(f"{arm}: retrained {row['value']}, inherited {row['inherited']}, {row['parameters']} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
