"""Every method of the package at one small size: two studies.

Every search is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes on. Usage,
from anywhere; `analyse.py` reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 15 python experiments/all_methods/run.py --jobs 1 >> queue.log 2>&1 &
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import options_of, trained_accuracies  # noqa: E402

PARTS = ("defaults", "faster")
DATA = "cifar10 and nasbench201"


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
    def arm(self) -> str:
        """All that it shares with the searches of other seeds."""
        return f"{self.method}{'' if self.part == 'defaults' else f'-{self.part}'}"

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.arm}-seed{self.seed}"

    def folder(self, out: Path) -> Path:
        """Where the study of its part keeps its run."""
        return out / self.part / "runs" / self.name


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


def truth(config: Mapping[str, Any], path: Path) -> dict[str, float]:
    """True accuracies in percent by the architecture's string."""
    return trained_accuracies(config["table"], path)


# ---------------------------------------------------------------------------------------------------------------------
# Running


def study_of(config: Mapping[str, Any], part: str, data_root: Path) -> dict[str, Any]:
    """A part as the plan of a study: the steps of the configuration are the budget, and set the epochs."""
    arms = {plan.arm: plan for plan in all_plans(config, [part])}
    facts = config["data"]
    sizes = {name: facts[name] for name in ("image_size", "train_examples")}
    return {
        "title": "all methods once",
        "methods": [
            {
                "method": plan.method,
                "name": arm,
                "options": {k: v for k, v in method_options(config, plan).items() if k != "epochs"},
            }
            for arm, plan in arms.items()
        ],
        "spaces": [{"space": config["space"], "network": config["network"]}],
        "data": [{"data": facts["name"], "path": str(data_root / facts["name"]), **sizes}],
        "seeds": config["seeds"],
        "budget": {"steps": config["steps"]},
        "gap_examples": config["gap_examples"],
        "device": "cpu",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    import sharewise as sw

    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--part", choices=PARTS, default="defaults", help="the second one is optional")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    plan = study_of(config, chosen.part, chosen.data_root)
    found = sw.study(plan, out=chosen.out / chosen.part, jobs=chosen.jobs)
    for name, reason in found.failures.items():
        print(f"{name}: {reason}", file=sys.stderr)
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
