"""Supernets of NAS-Bench-Macro on CIFAR-10, appraised with the table of the benchmark.

Every search is a run folder of sharewise below `--out`, and every appraisal a folder beside them: what is finished is
skipped, what was cut off goes on. Usage, from anywhere; a part of the design is a balanced one (seed 0 first)::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/nasbench_macro_sharing/run.py >> queue.log 2>&1 &
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import yaml

import sharewise as sw
from sharewise.atomic import replacing
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.table import Table, open_table

HERE = Path(__file__).resolve().parent


@final
@dataclass(frozen=True)
class Plan:
    """One supernet of the design.

    Args:
        method: key of `methods` in the configuration.
        seed: of the run.
    """

    method: str
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.method}-seed{self.seed}"


def all_plans(config: Mapping[str, Any]) -> list[Plan]:
    """Every supernet: seed 0 of everything first, so that a part of them is balanced."""
    return [Plan(method, seed) for seed in config["seeds"] for method in config["methods"]]


def table_of(config: Mapping[str, Any], out: Path, data_root: Path) -> Table:
    """The table, imported once."""
    path = out / "nasbench_macro.table"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        import_benchmark(data_root / config["table"]["folder"], path)
    return open_table(path)


def search(config: Mapping[str, Any], plan: Plan, out: Path, data_root: Path) -> None:
    """Train one supernet, or go on with it."""
    from sharewise.run.configuration import SearchConfiguration, from_mapping

    folder, data = out / "runs" / plan.name, config["data"]
    if (folder / "result.json").exists():
        return
    values = {
        "space": config["space"],
        "method": plan.method,
        "data": data["name"],
        "data_path": str(data_root / data["folder"]) if "folder" in data else None,
        "network": config["network"],
        "recipe": {**config["options"], **config["methods"][plan.method]},
        "seed": plan.seed,
        "device": "cpu",
        "gap_examples": 0,
        "checkpoint_every": config["checkpoint_every"],
        "threads": 1,
        **{name: data[name] for name in ("image_size", "train_examples") if name in data},
    }
    chosen = from_mapping("search", values)
    assert isinstance(chosen, SearchConfiguration)
    chosen.execute(folder, resume=(folder / "config.yaml").exists())


def appraise(config: Mapping[str, Any], method: str, runs: Sequence[Path], out: Path, table: Table) -> dict[str, Any]:
    """What the supernets of one method are worth, as `sharewise appraise` says it."""
    folder = out / f"appraisal-{method}-{len(runs)}"
    found = sw.appraise(
        list(runs), table, dataset=config["table"]["dataset"], jobs=1, seed=0, out=folder, **config["appraisal"]
    )
    return {"verdict": str(found), "seeds": len(runs), "document": found.document}


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--config", type=Path, default=HERE / "config.yaml")
    options.add_argument("--out", type=Path, default=HERE / "runs", help="folder of runs and appraisals")
    root = os.environ.get("SHAREWISE_DATA")
    options.add_argument(
        "--data-root",
        type=Path,
        default=root,
        required=root is None,
        help="folder that holds cifar10 and nasbench_macro; by default $SHAREWISE_DATA",
    )
    options.add_argument("--only", type=int, help="so many searches at most")
    options.add_argument("--results", type=Path, default=HERE / "results.json", help="file that is written")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    for plan in all_plans(config)[: chosen.only]:
        search(config, plan, chosen.out, chosen.data_root)
        print(plan.name, flush=True)
    table, answers = table_of(config, chosen.out, chosen.data_root), {}
    for method in config["methods"]:
        folders = [chosen.out / "runs" / p.name for p in all_plans(config)[: chosen.only] if p.method == method]
        if folders:
            answers[method] = appraise(config, method, folders, chosen.out, table)
            print(f"{method}: {answers[method]['verdict']}", flush=True)
    with replacing(chosen.results) as temporary:
        temporary.write_text(json.dumps({"config": config, "answers": answers}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
