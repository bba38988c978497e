"""Gradient-based search on entangled weights, against single-path sampling and against disjoint weights: the queue.

Every search and every training is a run folder of sharewise below `--out`: what is finished is skipped, what was cut
off goes on. The networks that searches on conv-macro select are trained afterwards. Usage, from anywhere; `analyse.py`
reads the folders at any time::

    SHAREWISE_DATA=FOLDER python experiments/entanglement/run.py --jobs 4 --device cuda
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # of what the experiments share

from programs import guard, options_of, run_queue, trained_accuracies  # noqa: E402

DATA = "cifar10 and nasbench201"


# ---------------------------------------------------------------------------------------------------------------------
# The design


@final
@dataclass(frozen=True)
class Plan:
    """One search of the design.

    Args:
        space: key of the configuration, `conv-macro` or `nasbench201`.
        variant: key of `methods` or of `sharings`.
        form: of the superposition, `corrected` or `published`.
        seed: of the run.
    """

    space: str
    variant: str
    form: str
    seed: int

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.space}-{self.variant}-{self.form}-seed{self.seed}"

    @property
    def training(self) -> str:
        """Name of the folder in which the selected network is trained."""
        return f"train-{self.name}"


def all_plans(config: Mapping[str, Any]) -> list[Plan]:
    """Every search: seed 0 of everything first, so that a part of them is balanced."""
    plans = []
    for seed in config["seeds"]:
        for variant, facts in config["conv-macro"]["methods"].items():
            plans += [Plan("conv-macro", variant, form, seed) for form in facts["forms"]]
        for variant, network in config["nasbench201"]["sharings"].items():
            form = "published" if network.get("published") else "corrected"
            plans.append(Plan("nasbench201", variant, form, seed))
    return plans


def network_options(config: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The options of the network of a search."""
    facts = config[plan.space]
    if plan.space == "nasbench201":
        return {**facts["network"], **facts["sharings"][plan.variant]}
    return {**facts["network"], "published": plan.form == "published"}


def load_data(config: Mapping[str, Any], plan: Plan, data_root: Path) -> Any:
    """The training examples of a seed."""
    from sharewise.data import load

    data = config["data"]
    size = config[plan.space].get("image_size")
    return load(
        data["name"],
        data_root / data["name"],
        train_examples=data["train_examples"],
        seed=plan.seed,
        **({} if size is None else {"image_size": size}),
    )


def method_options(config: Mapping[str, Any], plan: Plan, dataset: Any) -> tuple[str, dict[str, Any]]:
    """The method of a search and its arguments, with as many epochs as the budget allows."""
    facts = config[plan.space]
    if plan.space == "nasbench201":
        return facts["method"], dict(facts["options"])
    chosen = facts["methods"][plan.variant]
    method, options = chosen["method"], {**facts["options"], **chosen["options"]}
    if method == "spos":
        options |= facts["sampled"]
    return method, {**options, "epochs": affordable_epochs(config, plan, method, options, dataset)}


def affordable_epochs(
    config: Mapping[str, Any], plan: Plan, method: str, options: Mapping[str, Any], dataset: Any
) -> int:
    """Passes over the examples of the role `weights` that the budget of conv-macro pays for, at least 2."""
    import torch

    import sharewise as sw
    from sharewise.cost import MultiplyAccumulates, SupernetCost
    from sharewise.distribution import Learned, StraightThroughGumbel
    from sharewise.ledger import EVALUATION, TRAINING

    space, facts = sw.spaces.load(plan.space), config[plan.space]
    supernet = sw.build_supernet(
        space, dataset.input_shape, dataset.task.outputs, network=network_options(config, plan)
    )
    costs = SupernetCost(supernet, dataset.input_shape)
    table = costs.architectures(MultiplyAccumulates())
    path = float(table.expected({c.name: torch.full((len(c.options),), 1 / len(c.options)) for c in space.choices}))
    largest = table.of(space.architecture({choice.name: choice.options[-1] for choice in space.choices}))
    recipe = sw.methods.build(method, {**options, "epochs": 2})
    one_path = not recipe.distribution.learns or (
        isinstance(recipe.distribution, Learned) and isinstance(recipe.distribution.estimator, StraightThroughGumbel)
    )
    budget, half = float(facts["budget"]), len(dataset.train) // 2
    passes = TRAINING + (costs.gate_passes if recipe.distribution.learns else 0)
    if not recipe.distribution.learns:
        budget -= path * EVALUATION * options["candidates"] * min(options["selection_examples"], half)
    steps = half // options["batch_size"]
    return max(2, int(budget / ((path if one_path else largest) * passes * steps * options["batch_size"])))


# ---------------------------------------------------------------------------------------------------------------------
# The table of trained networks


def truth(config: Mapping[str, Any], data_root: Path) -> dict[str, float]:
    """True accuracies in percent by the architecture's string."""
    facts = config["nasbench201"]["table"]
    return trained_accuracies(facts, data_root / facts["file"])


# ---------------------------------------------------------------------------------------------------------------------
# Running


def anytime(config: Mapping[str, Any], folder: Path) -> Any:
    """A callback that writes down, some times in a search, how good the shared weights and their pick are.

    The same random architectures are scored with the shared weights by every method: their mean loss says how well the
    supernet is trained. The pick is what the search would select now; single-path methods, which would have to rank
    candidates for that, pick the best of these few. What this costs is booked as measurement, outside the budget.
    """
    import numpy as np

    from sharewise.engine import EpochEnded, evaluate_gates
    from sharewise.space import sample
    from sharewise.supernet import RecalibratedStatistics, discrete

    facts = config["conv-macro"]["anytime"]

    def scores(state: Any, architecture: Any) -> dict[str, float]:
        policy = RecalibratedStatistics()
        gates = discrete(state.distribution.relaxation.encode(architecture))
        batches = state.evaluation_batches("selection", facts["examples"])
        calibration = state.calibration_batches(policy.batches)
        found: dict[str, float] = evaluate_gates(state, gates, batches, policy, calibration, part="measurement")
        return found

    def listen(state: Any, event: Any) -> None:
        if not isinstance(event, EpochEnded):
            return
        epochs = state.recipe.epochs
        marks = {round(epochs * (point + 1) / facts["points"]) for point in range(facts["points"])}
        if state.epoch not in marks:
            return
        rng, space = np.random.default_rng(0), state.supernet.space
        candidates = [sample(space, rng) for _ in range(facts["candidates"])]
        scored = [scores(state, a) for a in candidates]
        best = max(range(len(scored)), key=lambda i: scored[i]["accuracy"])
        pick = state.recipe.selection.projected(state) if state.recipe.distribution.learns else None
        chosen = scored[best] if pick is None else scores(state, pick)
        record = {
            "epoch": state.epoch,
            "step": state.step,
            "search": spent(state.ledger.to_json()),
            "mean_loss": sum(s["loss"] for s in scored) / len(scored),
            "mean_accuracy": sum(s["accuracy"] for s in scored) / len(scored),
            "architecture": dict(candidates[best] if pick is None else pick),
            "inherited_loss": chosen["loss"],
            "inherited_accuracy": chosen["accuracy"],
        }
        with (folder / "anytime.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    return listen


def spent(ledger: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """What a search has cost so far, without what was only measured."""
    parts = [ledger[part] for part in ("weights", "architecture", "search", "selection") if part in ledger]
    return {
        "multiply_accumulates": sum(part["multiply_accumulates"] for part in parts),
        "seconds": sum(part["seconds"] for part in parts),
    }


def run_one(config: Mapping[str, Any], plan: Plan, out: Path, data_root: Path, device: str) -> None:
    """Start or continue one search and the training of what it selects, in this process."""
    import torch

    import sharewise as sw

    torch.set_num_threads(1)
    dataset = load_data(config, plan, data_root)
    method, options = method_options(config, plan, dataset)
    folder = out / plan.name
    space = sw.spaces.load(plan.space)
    listeners = [anytime(config, folder)] if plan.space == "conv-macro" else []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if not (folder / "result.json").exists():
        sw.search(
            space,
            sw.methods.build(method, options),
            dataset,
            network=network_options(config, plan),
            seed=plan.seed,
            device=device,
            gap_examples=512,
            out=folder,
            resume=(folder / "config.yaml").exists(),
            callbacks=listeners,
        )
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
        (folder / "memory.json").write_text(json.dumps({"device": device, "peak_bytes": peak}), encoding="utf-8")
    if plan.space != "conv-macro":
        return
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))["architecture"]
    folder = out / plan.training
    if not (folder / "result.json").exists():
        sw.train(
            space,
            space.parse(found),
            load_data(config, plan, data_root),
            training=sw.TrainingRecipe(**config["conv-macro"]["training"]),
            network=config["conv-macro"]["network"],
            seed=plan.seed,
            device=device,
            out=folder,
            resume=(folder / "config.yaml").exists(),
        )


def finished(plan: Plan, out: Path) -> bool:
    """Whether a search and the training that belongs to it have ended."""
    folders = [plan.name] if plan.space != "conv-macro" else [plan.name, plan.training]
    return all((out / name / "result.json").exists() for name in folders)


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(__doc__, HERE, data=DATA)
    options.add_argument("--jobs", type=int, default=2, help="plans at the same time")
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--deadline", type=float, default=float("inf"), help="seconds after which no plan begins")
    options.add_argument("--only", default="", metavar="TEXT", help="only plans whose name contains this")
    options.add_argument("--one", metavar="NAME", help="run this plan alone, in this process")
    chosen = options.parse_args(arguments)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    guard(config, chosen.out)
    plans = all_plans(config)
    if chosen.one:
        (plan,) = (plan for plan in plans if plan.name == chosen.one)
        run_one(config, plan, chosen.out, chosen.data_root, chosen.device)
        return 0
    wanted = {plan.name: plan for plan in plans if chosen.only in plan.name}
    given = ["--config", chosen.config, "--out", chosen.out, "--data-root", chosen.data_root, "--device", chosen.device]
    run_queue(
        HERE / "run.py",
        list(wanted),
        given,
        finished=lambda name: finished(wanted[name], chosen.out),
        jobs=chosen.jobs,
        deadline=chosen.deadline,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
