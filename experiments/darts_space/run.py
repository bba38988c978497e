"""Entropy of θ over time on the cells of DARTS: the study of `config.yaml`, with the folder of the data filled in.

Every search and training is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes
on. Usage, from anywhere; `analyse.py` reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/darts_space/run.py --jobs 2 >> queue.log 2>&1 &
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import insert, options_of, plan_of, run_study  # noqa: E402, F401 - some for analyse.py


def main(arguments: Sequence[str] | None = None) -> int:
    return run_study(__doc__, HERE, arguments, configuration="config")


if __name__ == "__main__":
    sys.exit(main())
