"""Supernets of NAS-Bench-Macro on CIFAR-10, appraised with the table of the benchmark.

The searches are a study of sharewise below `--out`, whose seed 0 comes first, and every appraisal is a folder beside
it: what is finished is skipped, what was cut off goes on. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/nasbench_macro_sharing/run.py >> queue.log 2>&1 &
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

import sharewise as sw
from sharewise.atomic import replacing
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.table import Table, open_table

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import options_of  # noqa: E402


def plan_of(config: Mapping[str, Any], data_root: Path) -> dict[str, Any]:
    """The plan of the study: every method for its own epochs, judged by nothing that the appraisal does not know."""
    data = {name: value for name, value in config["data"].items() if name in ("image_size", "train_examples")}
    data |= {"path": str(data_root / config["data"]["folder"])} if "folder" in config["data"] else {}
    return {
        "title": "supernets of NAS-Bench-Macro",
        "methods": [{"method": name, "options": own} for name, own in config["methods"].items()],
        "options": config["options"],
        "spaces": [{"space": config["space"], "network": config["network"]}],
        "data": [{"data": config["data"]["name"], **data}],
        "seeds": config["seeds"],
        "device": "cpu",
        "checkpoint_every": config["checkpoint_every"],
    }


def table_of(config: Mapping[str, Any], out: Path, data_root: Path) -> Table:
    """The table, imported once."""
    path = out / "nasbench_macro.table"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        import_benchmark(data_root / config["table"]["folder"], path)
    return open_table(path)


def appraise(config: Mapping[str, Any], method: str, runs: Sequence[Path], out: Path, table: Table) -> dict[str, Any]:
    """What the supernets of one method are worth, as `sharewise appraise` says it."""
    folder = out / f"appraisal-{method}-{len(runs)}"
    found = sw.appraise(
        list(runs), table, dataset=config["table"]["dataset"], jobs=1, seed=0, out=folder, **config["appraisal"]
    )
    return {"verdict": str(found), "seeds": len(runs), "document": found.document}


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data="cifar10 and nasbench_macro")
    options.add_argument("--only", type=int, help="so many seeds at most")
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--results", type=Path, default=HERE / "results.json", help="file that is written")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    config["seeds"] = config["seeds"][: chosen.only]
    study = chosen.out / f"study-{len(config['seeds'])}"
    print(sw.study(plan_of(config, chosen.data_root), out=study, jobs=chosen.jobs), flush=True)
    table, answers = table_of(config, chosen.out, chosen.data_root), {}
    for method in config["methods"]:
        folders = [study / "runs" / f"{method}-seed{seed}" for seed in config["seeds"]]
        answers[method] = appraise(config, method, folders, chosen.out, table)
        print(f"{method}: {answers[method]['verdict']}", flush=True)
    with replacing(chosen.results) as temporary:
        temporary.write_text(json.dumps({"config": config, "answers": answers}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
