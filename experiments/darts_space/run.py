"""Entropy of θ over time on the cells of DARTS: the study of `config.yaml`, with the folder of the data filled in.

Every search and training is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes
on. Usage, from anywhere; `analyse.py` reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/darts_space/run.py --jobs 2 >> queue.log 2>&1 &
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent


def plan_of(config: Mapping[str, Any], data_root: Path) -> dict[str, Any]:
    """The plan of the study: every data set that is not built in lies in a folder of its name."""
    data = [
        {**part, "path": str(data_root / part["data"])} if part["data"] != "digits" else part for part in config["data"]
    ]
    return {**config, "data": data}


def parser(description: str) -> argparse.ArgumentParser:
    """The options that running and analysing share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--config", type=Path, default=HERE / "config.yaml")
    options.add_argument("--out", type=Path, default=HERE / "runs", help="folder of the study")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    import sharewise as sw

    options = parser((__doc__ or "").splitlines()[0])
    root = os.environ.get("SHAREWISE_DATA")
    words = {"default": root, "required": root is None}
    options.add_argument(
        "--data-root", type=Path, help="folder that holds cifar10; by default $SHAREWISE_DATA", **words
    )
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    found = sw.study(plan_of(config, chosen.data_root), out=chosen.out, jobs=chosen.jobs)
    print(found)
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
