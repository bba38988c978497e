"""What programs of experiments share: their options, plans and pages, the folder of a configuration, and the queue."""

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
from scipy.stats import spearmanr


def rank(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's correlation of numbers of the same things.

    Returns:
        `None` of fewer than three of them, and where one side is the same for all.
    """
    some = len(first) > 2 and len(set(first)) > 1 and len(set(second)) > 1
    return float(spearmanr(first, second).statistic) if some else None


def options_of(
    program: str | None, folder: Path, *, data: str | None, configuration: str = "config"
) -> argparse.ArgumentParser:
    """The options that running and analysing share.

    Args:
        program: its docstring, of which the first line describes it.
        folder: of the experiment.
        data: what the folder of the data has to hold; `None` for a program that needs no data.
        configuration: name of the option and of the file that says what is run.
    """
    options = argparse.ArgumentParser(description=(program or "").splitlines()[0])
    options.add_argument(f"--{configuration}", type=Path, default=folder / f"{configuration}.yaml")
    options.add_argument("--out", type=Path, default=folder / "runs", help="folder of the run folders")
    if data is None:
        return options
    root = os.environ.get("SHAREWISE_DATA")
    options.add_argument(
        "--data-root",
        type=Path,
        default=root,
        required=root is None,
        help=f"folder that holds {data}; by default $SHAREWISE_DATA",
    )
    return options


def plan_of(plan: Mapping[str, Any], data_root: Path) -> dict[str, Any]:
    """The plan of a study whose data, unless built in, lie below a folder: at their path, or by their name."""
    data = [
        {**part, "path": str(data_root / part.get("path", part["data"]))} if part["data"] != "digits" else part
        for part in plan["data"]
    ]
    return {**plan, "data": data}


def run_study(program: str | None, folder: Path, arguments: Sequence[str] | None, *, configuration: str) -> int:
    """The whole of a program that runs a study on CIFAR-10.

    Args:
        program: its docstring.
        folder: of the experiment.
        arguments: of the command line.
        configuration: as `options_of` takes it.
    """
    import sharewise as sw

    options = options_of(program, folder, data="cifar10", configuration=configuration)
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    chosen = options.parse_args(arguments)
    plan = yaml.safe_load(getattr(chosen, configuration).read_text(encoding="utf-8"))
    found = sw.study(plan_of(plan, chosen.data_root), out=chosen.out, jobs=chosen.jobs)
    print(found)
    return 1 if found.failures else 0


def insert(page: Path, text: str, marks: tuple[str, str]) -> None:
    """Replace the part of a page between two marks, where it has one, whole or not at all."""
    from sharewise.atomic import replacing

    old = page.read_text(encoding="utf-8") if page.exists() else ""
    if marks[0] in old:
        head, rest = old.split(marks[0])
        with replacing(page) as temporary:
            temporary.write_text(f"{head}{marks[0]}\n\n{text}\n\n{marks[1]}{rest.split(marks[1])[1]}", encoding="utf-8")


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
