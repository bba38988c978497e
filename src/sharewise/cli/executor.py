"""The options that say who does many tasks, told without importing any engine."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["PROCESSES", "TASK_TIMEOUT", "add_workers", "workers_of"]

PROCESSES = "processes"
"""Of this machine: the default."""
TASK_TIMEOUT = 86400.0
"""Seconds: a day."""


def add_workers(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    *,
    jobs: int | None = 1,
    meaning: str = "workers; results do not depend on them (default: 1)",
) -> None:
    """Add `--jobs`, `--executor` and `--task-timeout`: whatever is done by several may be done anywhere.

    Args:
        parser: of a verb, or a group of it.
        jobs: what is taken where nobody says.
        meaning: of `--jobs`.
    """
    parser.add_argument("--jobs", type=int, default=jobs, metavar="N", help=meaning)
    parser.add_argument(
        "--executor",
        default=PROCESSES,
        metavar="NAME",
        help="where workers are: processes of this machine, ray, dask or slurm, with an address as in ray://HOST:PORT; "
        "results do not depend on it (default: processes)",
    )
    parser.add_argument(
        "--task-timeout",
        type=float,
        default=TASK_TIMEOUT,
        metavar="SECONDS",
        help="that a worker may take for one task before it is ended, and the task begun again where its folder "
        "stands, five times at most (default: 86400, a day)",
    )


def workers_of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a study, an appraisal, a comparison or a front that these options are."""
    return {"jobs": options.jobs, "executor": options.executor, "task_timeout": options.task_timeout}
