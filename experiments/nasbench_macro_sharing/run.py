"""Supernets of NAS-Bench-Macro on CIFAR-10, appraised with the table of the benchmark.

The searches are a study of sharewise below `--out`, whose seed 0 comes first, and every appraisal is a folder beside
it: what is finished is skipped, what was cut off goes on. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/nasbench_macro_sharing/run.py >> queue.log 2>&1 &
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.table import open_table

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from sharing import plan_of, run  # noqa: E402

__all__ = ["TITLE", "main", "plan_of"]

TITLE = "supernets of NAS-Bench-Macro"


def table_of(config: Mapping[str, Any], out: Path, data_root: Path) -> dict[str, Any]:
    """The truth: the table, imported once."""
    path = out / "nasbench_macro.table"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        import_benchmark(data_root / config["table"]["folder"], path)
    return {"oracle": open_table(path), "dataset": config["table"]["dataset"]}


def main(arguments: Sequence[str] | None = None) -> int:
    return run(__doc__, HERE, arguments, title=TITLE, data="cifar10 and nasbench_macro", truth=table_of)


if __name__ == "__main__":
    sys.exit(main())
