"""Softmax and Adam against exponentiated gradient on the simplex, bilevel and on one level: two studies.

Every search is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes on. Usage,
from anywhere; `analyse.py` reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/geometry/run.py --jobs 2 >> queue.log 2>&1 &
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import options_of, plan_of, trained_accuracies  # noqa: E402, F401 - one for published.py

DATA = "cifar10 and nasbench201"


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
    def part(self) -> str:
        """The study that it belongs to."""
        return "with-none" if self.with_none else "without-none"

    @property
    def arm(self) -> str:
        """All that it shares with the searches of other seeds."""
        return f"{self.geometry}-{self.level}-{self.part}-rate{self.rate:g}"

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.arm}-seed{self.seed}"

    def folder(self, out: Path) -> Path:
        """Where the study keeps its run."""
        return out / self.part / "runs" / self.name


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
    """True accuracies in percent by the architecture's string."""
    return trained_accuracies(config["table"], data_root / config["table"]["file"])


def final_architecture(out: Path, plan: Plan) -> str:
    """What a finished search found."""
    found: str = json.loads((plan.folder(out) / "result.json").read_text(encoding="utf-8"))["architecture"]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Running


def study_of(config: Mapping[str, Any], plans: Sequence[Plan], data_root: Path) -> dict[str, Any]:
    """Searches as the plan of a study: the steps of the configuration are the budget, and set the epochs."""
    arms = {plan.arm: plan for plan in plans}
    return {
        "title": "geometry and level",
        "methods": [
            {
                "method": config["geometries"][plan.geometry]["methods"][plan.level],
                "name": arm,
                "options": {k: v for k, v in method_options(config, plan).items() if k != "epochs"},
            }
            for arm, plan in arms.items()
        ],
        "spaces": [{"space": config["space"], "network": config["network"]}],
        "data": [data_of(config, data_root)],
        "seeds": config["seeds"],
        "budget": {"steps": config["steps"]},
        "gap_examples": config["gap_examples"],
        "device": "cpu",
    }


def data_of(config: Mapping[str, Any], data_root: Path) -> dict[str, Any]:
    """The data set of the configuration, from its folder."""
    facts = config["data"]
    sizes = {name: facts[name] for name in ("image_size", "train_examples")}
    return {"data": facts["name"], "path": str(data_root / facts["name"]), **sizes}


def run(config: Mapping[str, Any], plans: Sequence[Plan], out: Path, data_root: Path, jobs: int) -> None:
    """Run what is not finished of some searches, all of one part."""
    import sharewise as sw

    found = sw.study(study_of(config, plans, data_root), out=out / plans[0].part, jobs=jobs)
    if found.failures:
        failed = "; ".join(f"{name}: {reason}" for name, reason in found.failures.items())
        raise SystemExit(f"{len(found.failures)} of {len(plans)} searches have no result: {failed}")


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--jobs", type=int, default=2, help="searches at the same time")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    table = truth(config, chosen.data_root)
    run(config, main_plans(config), chosen.out, chosen.data_root, chosen.jobs)
    rates = best_rates(config, lambda plan: table[final_architecture(chosen.out, plan)])
    print("best rates:", {"-".join(key): rate for key, rate in rates.items()}, flush=True)
    run(config, none_plans(config, rates), chosen.out, chosen.data_root, chosen.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
