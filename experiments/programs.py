"""What programs of experiments share: their options, the folder that belongs to a configuration, and the queue."""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml


def options_of(program: str | None, folder: Path, *, data: str) -> argparse.ArgumentParser:
    """The options that running and analysing share.

    Args:
        program: its docstring, of which the first line describes it.
        folder: of the experiment.
        data: what the folder of the data has to hold.
    """
    options = argparse.ArgumentParser(description=(program or "").splitlines()[0])
    options.add_argument("--config", type=Path, default=folder / "config.yaml")
    options.add_argument("--out", type=Path, default=folder / "runs", help="folder of the run folders")
    root = os.environ.get("SHAREWISE_DATA")
    options.add_argument(
        "--data-root",
        type=Path,
        default=root,
        required=root is None,
        help=f"folder that holds {data}; by default $SHAREWISE_DATA",
    )
    return options


def guard(config: Mapping[str, Any], out: Path) -> None:
    """Refuse a folder of runs that belongs to another configuration."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.yaml"
    if path.exists() and yaml.safe_load(path.read_text(encoding="utf-8")) != config:
        raise SystemExit(f"{out} holds runs of another configuration (see {path}); choose another --out")
    if not path.exists():
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")


def run_queue(
    program: Path,
    names: Sequence[str],
    arguments: Sequence[object],
    *,
    finished: Callable[[str], bool],
    jobs: int,
    deadline: float = float("inf"),
) -> None:
    """Run what is not finished, each by `program --one NAME` in a process of one thread.

    For experiments that measure while they search; the others are studies.

    Args:
        program: to call.
        names: of what there is to do.
        arguments: of every call.
        finished: whether there is nothing left to do for a name.
        jobs: processes at the same time.
        deadline: seconds after which none begins.
    """
    begin = time.perf_counter()

    def work(name: str) -> None:
        start = time.perf_counter()
        if finished(name) or start - begin > deadline:
            return
        command = [sys.executable, str(program), "--one", name, *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        state = "done" if done.returncode == 0 else f"NOT FINISHED: {done.stderr.strip()[-2000:]}"
        print(f"{time.strftime('%H:%M:%S')} {name:52s} {time.perf_counter() - start:7.1f} s  {state}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, names))
    missing = [name for name in names if not finished(name)]
    if missing:
        raise SystemExit(f"{len(missing)} of {len(names)} are not finished: {', '.join(missing)}")


def trained_accuracies(facts: Mapping[str, Any], path: Path) -> dict[str, float]:
    """The mean test accuracy in percent of every architecture of NAS-Bench-201, by the architecture's string.

    Args:
        facts: the `column` that is read, and how many `architectures` there must be.
        path: of the table, a compressed file of comma-separated values.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        table = {row["arch"]: float(row[facts["column"]]) for row in csv.DictReader(file)}
    if len(table) != facts["architectures"]:
        raise SystemExit(f"the table has {len(table)} different architectures instead of {facts['architectures']}")
    return table
