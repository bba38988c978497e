"""Supernets of NAS-Bench-201 and of A_4 of NAS-Bench-101 on real CIFAR-10, scored at several epochs: the queue.

Every search is a run folder of sharewise below `--out`, with its scores in it: what is finished is skipped, what was
cut off goes on. Usage, from anywhere::

    SHAREWISE_DATA=FOLDER python experiments/own_supernets/run.py --device cuda --jobs 6 --minutes 9
    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/own_supernets/run.py --jobs 2 >> queue.log 2>&1 &
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import yaml

if TYPE_CHECKING:
    from sharewise.engine import Event, SearchState

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import guard, options_of, run_queue  # noqa: E402

DATA = "cifar10 and the tables"
POLICIES = ("running", "recalibrated")


# ---------------------------------------------------------------------------------------------------------------------
# The design


@final
@dataclass(frozen=True)
class Plan:
    """One supernet of the design.

    Args:
        space: key of `spaces` in the configuration.
        variant: key of `variants`.
        seed: of the run.
    """

    space: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.space}-{self.variant}-seed{self.seed}"


def all_plans(config: Mapping[str, Any]) -> list[Plan]:
    """Every supernet: seed 0 of everything first, so that a part of them is balanced."""
    return [
        Plan(space, variant, seed)
        for seed, variant, space in itertools.product(config["seeds"], config["variants"], config["spaces"])
        if variant in config["spaces"][space].get("variants", config["variants"])
    ]


def configuration(config: Mapping[str, Any], plan: Plan, data_root: Path, device: str) -> dict[str, Any]:
    """What `sharewise search --config` takes."""
    facts = config["spaces"][plan.space]
    return {
        "space": facts["space"],
        "method": config["method"],
        "data": config["data"]["name"],
        "data_path": str(data_root / config["data"]["folder"]) if "folder" in config["data"] else None,
        "network": dict(facts["network"]),
        "recipe": {**config["options"], **facts["options"], **config["variants"][plan.variant]},
        "seed": plan.seed,
        "device": device,
        "gap_examples": 0,
        "checkpoint_every": config["checkpoint_every"],
        "threads": 1,
    }


def scored_epochs(config: Mapping[str, Any], plan: Plan) -> list[int]:
    """After how many epochs a supernet is scored, the last one included."""
    epochs = config["spaces"][plan.space]["options"]["epochs"]
    return sorted({min(epochs, max(1, math.ceil(part * epochs))) for part in (*config["scoring"]["at"], 1.0)})


def scored_rows(config: Mapping[str, Any], size: int) -> list[int]:
    """Which rows of a listing of so many are scored: random, without repetition, the same in every run."""
    count = min(config["scoring"]["architectures"], size)
    rng = np.random.default_rng(config["scoring"]["rows_seed"])
    return sorted(int(row) for row in rng.choice(size, count, replace=False))


# ---------------------------------------------------------------------------------------------------------------------
# Scoring


class OutOfTimeError(Exception):
    """The minutes of this process are over."""


def score(config: Mapping[str, Any], state: SearchState) -> dict[str, Any]:
    """The accuracy of the chosen rows with the present weights, under both policies; leaves the supernet as it was."""
    from sharewise.engine import evaluate_gates
    from sharewise.supernet import RecalibratedStatistics, RunningStatistics, discrete

    facts, listing = config["scoring"], state.supernet.space.listing
    policies = dict(
        zip(POLICIES, (RunningStatistics(), RecalibratedStatistics(facts["recalibration_batches"])), strict=True)
    )
    batches = state.evaluation_batches("selection", facts["examples"])
    calibration = state.calibration_batches(facts["recalibration_batches"])
    rows = scored_rows(config, len(listing))
    accuracies: dict[str, list[float]] = {policy: [] for policy in policies}
    begin = time.perf_counter()
    for row in rows:
        gates = discrete(state.supernet.relaxation.encode(listing.at(row)))
        for name, policy in policies.items():
            given = calibration if policy.batches else []
            scores = evaluate_gates(state, gates, batches, policy, given, part="scoring")
            accuracies[name].append(scores["accuracy"])
    state.spend("scoring")
    return {
        "step": state.step,
        "epoch": state.step / state.steps_per_epoch,
        "examples": sum(len(batch.inputs) for batch in batches),
        "scoring_seconds": time.perf_counter() - begin,
        "search_seconds": state.ledger.seconds,
        "rows": rows,
        **accuracies,
    }


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file of scores whole or not at all."""
    from sharewise.atomic import replacing

    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value) + "\n", encoding="utf-8")


def run_one(config: Mapping[str, Any], plan: Plan, out: Path, data_root: Path, device: str, minutes: float) -> None:
    """Start or continue one search, in this process and on one thread, and score it at the chosen epochs.

    When the minutes are over, the supernet is scored as it is, in a file whose name says so, and the run is left to be
    continued from its last checkpoint.
    """
    from sharewise.engine import EpochEnded, Started, Stepped
    from sharewise.run.configuration import SearchConfiguration, from_mapping

    deadline = time.monotonic() + 60 * minutes
    folder, epochs = out / plan.name, scored_epochs(config, plan)
    chosen = from_mapping("search", configuration(config, plan, data_root, device))
    assert isinstance(chosen, SearchConfiguration)

    def scores_at(state: SearchState) -> None:
        path = folder / f"scores_epoch{state.epoch:03d}.json"
        if state.epoch in epochs and state.step == state.epoch * state.steps_per_epoch and not path.exists():
            write(path, score(config, state))

    def follow(state: SearchState, event: Event) -> None:
        if isinstance(event, Started | EpochEnded):  # a run that was cut off while it was scored begins with that
            scores_at(state)
        if isinstance(event, Stepped) and state.step % 20 == 0 and time.monotonic() > deadline:
            write(folder / "scores_out_of_time.json", score(config, state))
            raise OutOfTimeError

    try:
        chosen.execute(folder, resume=(folder / "config.yaml").exists(), callbacks=[follow])
    except OutOfTimeError:
        raise SystemExit(f"{plan.name} ran out of its {minutes:g} minutes; start it again to go on") from None


# ---------------------------------------------------------------------------------------------------------------------
# Running


def finished(out: Path, plan: Plan) -> bool:
    """Whether a search and all of its scores are there."""
    return (out / plan.name / "result.json").exists()


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--device", default="cpu", help="cpu or cuda; processes share one device")
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    options.add_argument(
        "--minutes", type=float, default=math.inf, help="of a search in this sitting; then it is scored"
    )
    options.add_argument("--epochs", type=int, help="of every search, instead of what the configuration says")
    options.add_argument("--only", metavar="TEXT", default="", help="run the searches whose names begin with this")
    options.add_argument("--one", metavar="NAME", help="run this search alone, in this process")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    if chosen.epochs is not None:
        for facts in config["spaces"].values():
            facts["options"]["epochs"] = chosen.epochs
    guard(config, chosen.out)
    plans = [plan for plan in all_plans(config) if plan.name.startswith(chosen.only)]
    if chosen.one:
        named = [plan for plan in plans if plan.name == chosen.one]
        if not named:
            raise SystemExit(f"no search is called {chosen.one!r}; there are {', '.join(plan.name for plan in plans)}")
        run_one(config, named[0], chosen.out, chosen.data_root, chosen.device, chosen.minutes)
        return 0
    given = ["--config", chosen.config, "--out", chosen.out, "--data-root", chosen.data_root]
    given += ["--device", chosen.device, "--minutes", chosen.minutes]
    given += [] if chosen.epochs is None else ["--epochs", chosen.epochs]
    wanted = {plan.name: plan for plan in plans}
    run_queue(
        HERE / "run.py",
        list(wanted),
        given,
        finished=lambda name: finished(chosen.out, wanted[name]),
        jobs=chosen.jobs,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
