"""Softmax and Adam against exponentiated gradient on the simplex, bilevel and on one level: the queue of searches.

Every search is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes on. Usage,
from anywhere; `analyse.py` reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/geometry/run.py --jobs 2 >> queue.log 2>&1 &
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

HERE = Path(__file__).resolve().parent


# ---------------------------------------------------------------------------------------------------------------------
# The design


@final
@dataclass(frozen=True)
class Plan:
    """One search of the design.

    Args:
        geometry: key of `geometries` in the configuration.
        level: key of `levels`.
        rate: learning rate of the architecture parameters.
        with_none: whether `none` is among the options.
        seed: of the run.
    """

    geometry: str
    level: str
    rate: float
    with_none: bool
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        options = "with-none" if self.with_none else "without-none"
        return f"{self.geometry}-{self.level}-{options}-rate{self.rate:g}-seed{self.seed}"


def all_plans(config: Mapping[str, Any]) -> list[Plan]:
    """Every search that the design may ask for: seed 0 of everything first, so that a part of them is balanced."""
    return [
        Plan(geometry, level, rate, with_none, seed)
        for with_none, seed in itertools.product((False, True), config["seeds"])
        for geometry, level in itertools.product(config["geometries"], config["levels"])
        for rate in config["geometries"][geometry]["rates"]
    ]


def main_plans(config: Mapping[str, Any]) -> list[Plan]:
    """All rates, without `none`."""
    return [plan for plan in all_plans(config) if not plan.with_none]


def none_plans(config: Mapping[str, Any], rates: Mapping[tuple[str, str], float]) -> list[Plan]:
    """The best rates once more, with `none`."""
    return [plan for plan in all_plans(config) if plan.with_none and plan.rate == rates[plan.geometry, plan.level]]


def best_rates(config: Mapping[str, Any], accuracy: Callable[[Plan], float]) -> dict[tuple[str, str], float]:
    """The rule of the configuration: the highest mean over seeds of the true accuracy of the final cell.

    Args:
        config: the configuration.
        accuracy: of the final cell of a search.

    Returns:
        The rate of each geometry and level.
    """
    means: dict[tuple[str, str], dict[float, float]] = {}
    for plan in main_plans(config):
        sums = means.setdefault((plan.geometry, plan.level), {})
        sums[plan.rate] = sums.get(plan.rate, 0.0) + accuracy(plan) / len(config["seeds"])
    return {key: min(sums, key=lambda rate: (-round(sums[rate], 9), rate)) for key, sums in means.items()}


def method_options(config: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The arguments of the method of a search."""
    return {
        **config["options"],
        **config["geometries"][plan.geometry]["options"],
        "epochs": config["levels"][plan.level]["epochs"],
        "architecture_learning_rate": plan.rate,
        "exclude": () if plan.with_none else tuple(config["exclude"]),
    }


# ---------------------------------------------------------------------------------------------------------------------
# The table of trained networks


def truth(config: Mapping[str, Any], data_root: Path) -> dict[str, float]:
    """The mean test accuracy in percent of every architecture after 200 epochs, by the architecture's string."""
    facts = config["table"]
    with gzip.open(data_root / facts["file"], "rt", encoding="utf-8", newline="") as file:
        table = {row["arch"]: float(row[facts["column"]]) for row in csv.DictReader(file)}
    if len(table) != facts["architectures"]:
        raise SystemExit(f"the table has {len(table)} different architectures instead of {facts['architectures']}")
    return table


def final_architecture(out: Path, plan: Plan) -> str:
    """What a finished search found."""
    found: str = json.loads((out / plan.name / "result.json").read_text(encoding="utf-8"))["architecture"]
    return found


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
    method = config["geometries"][plan.geometry]["methods"][plan.level]
    folder = out / plan.name
    result = sw.search(
        sw.spaces.load(config["space"]),
        sw.methods.build(method, method_options(config, plan)),
        dataset,
        network=config["network"],
        seed=plan.seed,
        device="cpu",
        gap_examples=config["gap_examples"],
        out=folder,
        resume=(folder / "config.yaml").exists(),
    )
    if result.state.step != config["steps"]:
        raise SystemExit(f"{plan.name} made {result.state.step} steps instead of {config['steps']}")


def run_queue(config_path: Path, plans: Sequence[Plan], out: Path, data_root: Path, jobs: int) -> None:
    """Run what is not finished, each search in a process of one thread; the place of the code is that of this one."""

    def work(plan: Plan) -> None:
        if (out / plan.name / "result.json").exists():
            return
        begin = time.perf_counter()
        command = [sys.executable, str(HERE / "run.py"), "--one", plan.name, "--config", str(config_path)]
        command += ["--out", str(out), "--data-root", str(data_root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        state = "done" if done.returncode == 0 else f"FAILED: {done.stderr.strip()[-2000:]}"
        print(f"{time.strftime('%H:%M:%S')} {plan.name:48s} {time.perf_counter() - begin:7.1f} s  {state}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, plans))
    missing = [plan.name for plan in plans if not (out / plan.name / "result.json").exists()]
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
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    options.add_argument("--one", metavar="NAME", help="run this search alone, in this process")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    guard(config, chosen.out)
    table = truth(config, chosen.data_root)

    if chosen.one:
        (plan,) = (plan for plan in all_plans(config) if plan.name == chosen.one)
        run_one(config, plan, chosen.out, chosen.data_root)
        return 0

    run_queue(chosen.config, main_plans(config), chosen.out, chosen.data_root, chosen.jobs)
    rates = best_rates(config, lambda plan: table[final_architecture(chosen.out, plan)])
    print("best rates:", {"-".join(key): rate for key, rate in rates.items()}, flush=True)
    run_queue(chosen.config, none_plans(config, rates), chosen.out, chosen.data_root, chosen.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
