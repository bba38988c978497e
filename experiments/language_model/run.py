"""Language models searched by gradients and by sampled paths at equal cost: the study of `plan.yaml`, and fronts.

The searches and trainings are a study of sharewise; `--run` starts it, or goes on with it. Then, and without it, those
searches that are finished are analysed: over a ladder of budgets the best architecture with inherited weights is found
for every supernet of single paths, trained uniformly or by the sandwich rule with distillation. `results.json` holds
all of it. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/language_model/run.py --run >> study.log 2>&1 &
    SHAREWISE_DATA=FOLDER python experiments/language_model/run.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from equal_cost import run  # noqa: E402

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    return run(__doc__, HERE, arguments, data="text")


if __name__ == "__main__":
    sys.exit(main())
