"""Every method of the package at one small size: the queue of searches.

Every search is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes on. Usage,
from anywhere; `analyse.py` reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 15 python experiments/all_methods/run.py --jobs 1 >> queue.log 2>&1 &
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

HERE = Path(__file__).resolve().parent
PARTS = ("defaults", "faster")


# ---------------------------------------------------------------------------------------------------------------------
# The design


@final
@dataclass(frozen=True)
class Plan:
    """One search of the design.

    Args:
        part: `"defaults"` or `"faster"`.
        method: key of `methods` in the configuration.
        seed: of the run.
    """

    part: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.method}{'' if self.part == 'defaults' else f'-{self.part}'}-seed{self.seed}"


def all_plans(config: Mapping[str, Any], parts: Sequence[str] = PARTS) -> list[Plan]:
    """The searches of some parts: seed 0 of all methods first, so that a part of them is balanced."""
    methods = {"defaults": config["methods"], "faster": config["faster"]["argument"]}
    return [Plan(part, method, seed) for part in parts for seed in config["seeds"] for method in methods[part]]


def method_options(config: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The arguments of the method of a search; all others keep their defaults."""
    from sharewise.methods import parameters

    options = {**config["options"], **config["methods"][plan.method]}
    if plan.part == "faster":
        argument = config["faster"]["argument"][plan.method]
        options[argument] = round(config["faster"]["factor"] * parameters(plan.method)[argument][1], 12)
    return options


# ---------------------------------------------------------------------------------------------------------------------
# The table of trained networks


def truth(config: Mapping[str, Any], path: Path) -> dict[str, float]:
    """The mean test accuracy in percent of every architecture after 200 epochs, by the architecture's string."""
    facts = config["table"]
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        table = {row["arch"]: float(row[facts["column"]]) for row in csv.DictReader(file)}
    if len(table) != facts["architectures"]:
        raise SystemExit(f"the table has {len(table)} different architectures instead of {facts['architectures']}")
    return table


# ---------------------------------------------------------------------------------------------------------------------
# Running


def run_one(config: Mapping[str, Any], plan: Plan, out: Path, data_root: Path) -> None:
    """Start or continue one search, in this process and on one thread."""
    import torch

    import sharewise as sw
    from sharewise.data import load

    torch.set_num_threads(1)
    data = config["data"]
    dataset = load(
        data["name"],
        data_root / data["name"],
        image_size=data["image_size"],
        train_examples=data["train_examples"],
        seed=plan.seed,
    )
    folder = out / plan.name
    resume = (folder / "config.yaml").exists()
    begin = time.process_time()
    result = sw.search(
        sw.spaces.load(config["space"]),
        sw.methods.build(plan.method, method_options(config, plan)),
        dataset,
        network=config["network"],
        seed=plan.seed,
        device="cpu",
        gap_examples=config["gap_examples"],
        out=folder,
        resume=resume,
    )
    # Of a search that was cut off, the processor's time is lost with the process.
    seconds = None if resume else round(time.process_time() - begin, 1)
    (folder / "processor.json").write_text(json.dumps({"seconds": seconds}) + "\n", encoding="utf-8")
    if result.state.step != config["steps"]:
        raise SystemExit(f"{plan.name} made {result.state.step} steps instead of {config['steps']}")


def run_queue(chosen: argparse.Namespace, plans: Sequence[Plan]) -> None:
    """Run what is not finished, each search in a process of one thread; the place of the code is that of this one."""

    def finished(plan: Plan) -> bool:
        path: Path = chosen.out / plan.name / "processor.json"
        return path.exists()

    def work(plan: Plan) -> None:
        if finished(plan):
            return
        begin = time.perf_counter()
        command = [sys.executable, str(HERE / "run.py"), "--one", plan.name, "--config", str(chosen.config)]
        command += ["--out", str(chosen.out), "--data-root", str(chosen.data_root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        state = "done" if done.returncode == 0 else f"FAILED: {done.stderr.strip()[-2000:]}"
        print(f"{time.strftime('%H:%M:%S')} {plan.name:32s} {time.perf_counter() - begin:7.1f} s  {state}", flush=True)

    with ThreadPoolExecutor(chosen.jobs) as pool:
        list(pool.map(work, plans))
    missing = [plan.name for plan in plans if not finished(plan)]
    if missing:
        raise SystemExit(f"{len(missing)} of {len(plans)} searches are not finished: {', '.join(missing)}")


def guard(config: Mapping[str, Any], out: Path) -> None:
    """Refuse a folder of runs that belongs to another configuration."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.yaml"
    if path.exists() and yaml.safe_load(path.read_text(encoding="utf-8")) != config:
        raise SystemExit(f"{out} holds runs of another configuration (see {path}); choose another --out")
    if not path.exists():
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")


def parser(description: str) -> argparse.ArgumentParser:
    """The options that running and analysing share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--config", type=Path, default=HERE / "config.yaml")
    options.add_argument("--out", type=Path, default=HERE / "runs", help="folder of the run folders")
    root = os.environ.get("SHAREWISE_DATA")
    options.add_argument(
        "--data-root",
        type=Path,
        default=root,
        required=root is None,
        help="folder that holds cifar10 and nasbench201; by default $SHAREWISE_DATA",
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser((__doc__ or "").splitlines()[0])
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--part", choices=PARTS, default="defaults", help="the second one is optional")
    options.add_argument("--one", metavar="NAME", help="run this search alone, in this process")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    guard(config, chosen.out)
    if chosen.one:
        (plan,) = (plan for plan in all_plans(config) if plan.name == chosen.one)
        run_one(config, plan, chosen.out, chosen.data_root)
    else:
        run_queue(chosen, all_plans(config, [chosen.part]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
