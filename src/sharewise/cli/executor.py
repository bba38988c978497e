"""The option that says where workers are, told without importing any engine."""

from __future__ import annotations

import argparse

__all__ = ["PROCESSES", "add_executor"]

PROCESSES = "processes"
"""Of this machine: the default."""


def add_executor(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--executor`."""
    parser.add_argument(
        "--executor",
        default=PROCESSES,
        metavar="NAME",
        help="where workers are: processes of this machine, ray, dask or slurm, with an address as in ray://HOST:PORT; "
        "results do not depend on it (default: processes)",
    )
