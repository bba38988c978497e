"""RobustDARTS's S1 and S3: the study of `plan.yaml`, with the folder of the data filled in.

Every search and training is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes
on. Usage, from anywhere; `analyse.py` reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/robust_darts/run.py --jobs 2 >> queue.log 2>&1 &
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import sharewise as sw

HERE = Path(__file__).resolve().parent


def plan_of(path: Path, data_root: Path) -> dict[str, Any]:
    """The plan of the study: every data set that is not built in lies in a folder of its name."""
    plan: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for data in plan["data"]:
        if data["data"] != "digits":
            data["path"] = str(data_root / data["data"])
    return plan


def parser(description: str) -> argparse.ArgumentParser:
    """The options that running and analysing share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--plan", type=Path, default=HERE / "plan.yaml")
    options.add_argument("--out", type=Path, default=HERE / "runs", help="folder of the study")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser((__doc__ or "").splitlines()[0])
    root = os.environ.get("SHAREWISE_DATA")
    words = {"default": root, "required": root is None}
    options.add_argument(
        "--data-root", type=Path, help="folder that holds cifar10; by default $SHAREWISE_DATA", **words
    )
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    chosen = options.parse_args(arguments)
    found = sw.study(plan_of(chosen.plan, chosen.data_root), out=chosen.out, jobs=chosen.jobs)
    print(found)
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
