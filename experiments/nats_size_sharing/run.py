"""Supernets of the size space of NATS-Bench on CIFAR-10, appraised with trainings of single architectures.

The searches are a study of sharewise below `--out`, whose seed 0 comes first, and every appraisal is a folder beside
it: what is finished is skipped, what was cut off goes on. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/nats_size_sharing/run.py >> queue.log 2>&1 &
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from sharing import plan_of, run  # noqa: E402

__all__ = ["TITLE", "main", "plan_of"]

TITLE = "supernets of the size space of NATS-Bench"


def trained_alone(config: Mapping[str, Any], out: Path, data_root: Path) -> dict[str, Any]:
    """The truth: every architecture of the sample is trained once."""
    return {"oracle": "standalone", "training": config["training"]}


def main(arguments: Sequence[str] | None = None) -> int:
    return run(__doc__, HERE, arguments, title=TITLE, data="cifar10", truth=trained_alone)


if __name__ == "__main__":
    sys.exit(main())
