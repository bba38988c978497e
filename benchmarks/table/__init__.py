"""The table of speed: every row beside plain stand-ins for its peers, exact in the same run, held against its goals.

`python -m benchmarks table` measures at the sizes for which goals are stated (16 channels, 5 cells, batch 32, 32×32
images; 8 layers of the DARTS cells); `--quick` at reduced ones, where a row fails only below 0.7 of its goal. All sides
of a row run in turn within each round, on one thread, in process CPU seconds; ratios are taken within rounds. Lines are
medians [quartiles]. A line that falls short begins with FAIL, and the exit code is then 1.

A peer stands here as it is written (`benchmarks/plain`), and once more with channels last. With `PEERS=FOLDER` the real
ones stand beside it, for which the folder has a checkout (`benchmarks/checkouts.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.table import cells, others, steps, tiny
from benchmarks.table.row import FULL, QUICK, Row
from sharewise.allocation import keep_memory, passing_over

__all__ = ["main"]

ROWS: tuple[Row, ...] = (*steps.ROWS, *tiny.ROWS, *cells.ROWS, *others.ROWS)


def main(arguments: Sequence[str]) -> int:
    """Measure, judge and print; the last line is JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks table", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="reduced sizes, at most 150 seconds of one thread")
    parser.add_argument("--rounds", type=int, help="at least 5 (default: 7, 5 with --quick)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose names contain one of these words")
    options = parser.parse_args(arguments)
    size, rounds = (QUICK, options.rounds or 5) if options.quick else (FULL, options.rounds or 7)
    if rounds < 5:
        parser.error(f"--rounds must be at least 5, got {rounds}")
    torch.set_num_threads(1)
    keep_memory()  # as the command line does
    chosen = [row for row in ROWS if not options.only or any(word in row.name for word in options.only)]
    print(
        f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
        f"torch {torch.__version__}; 1 thread, n = {rounds} rounds; {size}"
    )
    found: dict[str, Any] = {}
    kept = True
    for row in chosen:
        with passing_over():
            measured = row.measured(size, rounds)
        kept &= measured.good
        for line in measured.lines:
            print(line, flush=True)
        found[row.name] = {"values": measured.values, "difference": measured.difference, "good": measured.good}
    print("every goal is met" if kept else "FAIL: the lines above that begin with FAIL fall short of their goals")
    print(json.dumps(found))
    return 0 if kept else 1


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
