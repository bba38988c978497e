"""One-shot searches in NAS-Bench-1Shot1 that are followed in the table of NAS-Bench-101, epoch by epoch.

Every search is a run folder of sharewise below `--out`: what is finished is skipped, what was cut off goes on. A file
of its name beside the folders holds, after every epoch, the loss of the one-shot network and of the cell that it rounds
to, on the examples that train the architecture and on examples that nobody has seen. Usage, from anywhere; `analyse.py`
reads the folders at any time::

    SHAREWISE_DATA=FOLDER nohup nice -n 19 python experiments/oneshot_validation/run.py --jobs 2 >> queue.log 2>&1 &
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
import yaml

import sharewise as sw
from sharewise.data.roles import Role, Roles
from sharewise.engine import Callback, EpochEnded, Event, Recipe, SearchState
from sharewise.engine.score import Scorer
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.table import Table, open_table
from sharewise.supernet import BatchStatistics, Gate, Gates, discrete

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import insert, options_of, run_queue  # noqa: E402, F401 - one for analyse.py

DATA = "cifar10 and nasbench101"

ROLES: Mapping[str, Role] = {"trained": "architecture", "unseen": "selection"}
"""What the examples are to the architecture."""


@final
@dataclass(frozen=True)
class Plan:
    """One search of the design.

    Args:
        method: key of `methods` in the configuration.
        parts: key of `parts`.
        seed: of the run.
    """

    method: str
    parts: str
    seed: int

    @property
    def arm(self) -> str:
        """All that it shares with the searches of other seeds."""
        return f"{self.method}-{self.parts}"

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.arm}-seed{self.seed}"


def all_plans(config: Mapping[str, Any]) -> list[Plan]:
    """Every search: seed 0 of everything first, so that a part of them is balanced."""
    return [Plan(m, parts, seed) for seed in config["seeds"] for m in config["methods"] for parts in config["parts"]]


def recipe_of(config: Mapping[str, Any], plan: Plan) -> Recipe:
    """The method with three parts of the training examples."""
    options = {**config["options"], **config["methods"][plan.method], "epochs": config["epochs"]}
    roles = Roles(tuple(config["parts"][plan.parts]), weights=0, architecture=1, selection=2)
    return replace(sw.methods.build(plan.method, options), roles=roles)


def gates_of(state: SearchState) -> dict[str, Gates]:
    """The one-shot network at its mixture, and the cell that it rounds to."""
    mixture = {n: Gate(p, tuple(p.nonzero().flatten().tolist())) for n, p in state.distribution.mixture().items()}
    cell = state.recipe.selection.projected(state)
    assert cell is not None
    return {"network": mixture, "cell": discrete(state.distribution.relaxation.encode(cell))}


def losses(state: SearchState, examples: int) -> dict[str, dict[str, float]]:
    """Loss and accuracy by network and part, with the statistics of the evaluated batches."""
    found = {}
    for part, role in ROLES.items():
        batches = [batch for batch in state.evaluation_batches(role, examples) if len(batch.inputs) > 1]
        with Scorer(state, BatchStatistics(), batches, part="measurement").opened() as score:
            found |= {f"{name}, {part}": score(gates) for name, gates in gates_of(state).items()}
    return found


def measuring(path: Path, examples: int) -> Callback:
    """Append a line to a file after every epoch."""

    def listen(state: SearchState, event: Event) -> None:
        if isinstance(event, EpochEnded):
            line = {"epoch": event.record["epoch"], **losses(state, examples)}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return listen


def table_of(config: Mapping[str, Any], out: Path, data_root: Path) -> Table:
    """The table, imported once."""
    path = out / "nasbench101.table"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        import_benchmark(data_root / config["table"]["folder"], path)
    return open_table(path)


def run(config: Mapping[str, Any], plan: Plan, out: Path, data_root: Path) -> None:
    """Run one search, or go on with it."""
    folder, facts = out / "runs" / plan.name, config["data"]
    if (folder / "result.json").exists():
        return
    torch.set_num_threads(1)
    sizes = {name: facts[name] for name in ("image_size", "train_examples") if name in facts}
    path = data_root / facts["name"] if facts["name"] != "digits" else None
    data = sw.data.load(facts["name"], path, seed=plan.seed, **sizes)
    sw.search(
        sw.spaces.load(config["space"]),
        recipe_of(config, plan),
        data,
        network=config["network"],
        seed=plan.seed,
        device="cpu",
        gap_examples=0,
        oracle=table_of(config, out, data_root),
        oracle_dataset=config["table"]["dataset"],
        out=folder,
        resume=(folder / "config.yaml").exists(),
        callbacks=[measuring(out / f"{plan.name}.jsonl", config["examples"])],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--one", metavar="NAME", help="this search alone, in this process")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    plans = {plan.name: plan for plan in all_plans(config)}
    if chosen.one is not None:
        run(config, plans[chosen.one], chosen.out, chosen.data_root)
        return 0
    table_of(config, chosen.out, chosen.data_root)  # imported before several read it
    run_queue(
        Path(__file__),
        list(plans),
        ["--config", chosen.config, "--out", chosen.out, "--data-root", chosen.data_root],
        finished=lambda name: (chosen.out / "runs" / name / "result.json").exists(),
        jobs=chosen.jobs,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
