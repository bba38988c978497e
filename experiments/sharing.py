"""Is sharing wise in a space? Supernets of several methods as a study, each method appraised against one truth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from programs import options_of, rank

import sharewise as sw
from sharewise.appraisal import mean_interval
from sharewise.atomic import replacing

__all__ = ["Truth", "appraise", "by_cost", "differences", "plan_of", "run"]

Truth = Callable[[Mapping[str, Any], Path, Path], Mapping[str, Any]]
"""The options of `sharewise.appraise` that say what is true, given the configuration, `--out` and `--data-root`."""


def plan_of(config: Mapping[str, Any], data_root: Path, title: str) -> dict[str, Any]:
    """The plan of the study: every method for its own epochs, judged by nothing that the appraisal does not know."""
    data = {name: value for name, value in config["data"].items() if name in ("image_size", "train_examples")}
    data |= {"path": str(data_root / config["data"]["folder"])} if "folder" in config["data"] else {}
    return {
        "title": title,
        "methods": [{"method": name, "options": own} for name, own in config["methods"].items()],
        "options": config["options"],
        "spaces": [{"space": config["space"], "network": config["network"]}],
        "data": [{"data": config["data"]["name"], **data}],
        "seeds": config["seeds"],
        "device": "cpu",
        "checkpoint_every": config["checkpoint_every"],
    }


def appraise(
    runs: Sequence[Path], out: Path, jobs: int, known: Mapping[str, Any], before: Sequence[Path] = ()
) -> dict[str, Any]:
    """What the supernets of one method are worth, as `sharewise appraise` says it.

    Args:
        runs: folders of the supernets.
        out: folder of the appraisal.
        jobs: processes.
        known: further options of `sharewise.appraise`.
        before: folders of appraisals in the same space, whose trainings are taken over.
    """

    def while_scoring(*_: object) -> None:
        for folder in before:
            hand_on(folder, out)

    found = sw.appraise(list(runs), jobs=jobs, seed=0, out=out, progress=while_scoring, **known)
    document = {**found.document, "runs": [{**run, "run": Path(run["run"]).name} for run in found.document["runs"]]}
    return {"verdict": str(found), "seeds": len(runs), "by_cost": by_cost(out), "document": document}


def by_cost(appraisal: Path) -> float | None:
    """Spearman of what the architectures of an appraisal cost with their truth: what size alone would have said."""
    rows = json.loads((appraisal / "architectures.json").read_text(encoding="utf-8"))["architectures"]
    return rank([row["cost"] for row in rows], [row["truth"] for row in rows])


def hand_on(before: Path, after: Path) -> None:
    """Give the trainings of one appraisal, which do not depend on how supernets were trained, to another.

    The other must have begun, since an appraisal takes no folder that holds anything before. A file of other trainings
    is refused there: its first line says what they depend on.
    """
    made = before / "trainings" / "trainings.jsonl"
    if made.exists() and not (after / "trainings").exists():
        (after / "trainings").mkdir(parents=True)
        shutil.copy2(made, after / "trainings")


def differences(answers: Mapping[str, Any]) -> dict[str, Any]:
    """By variant of scoring: Spearman of the first method less that of the second, paired by seed.

    Nothing where there are not two methods with the same seeds, at least two of them.
    """
    if len(answers) != 2:
        return {}
    found = {}
    first, second = (answer["document"]["agreement"] for answer in answers.values())
    for variant in sorted(set(first) & set(second)):
        a, b = (one[variant]["over_seeds"]["spearman"]["values"] for one in (first, second))
        if len(a) > 1 and set(a) == set(b):
            found[variant] = asdict(mean_interval([a[seed] - b[seed] for seed in a]))
    return found


def run(
    program: str | None, folder: Path, arguments: Sequence[str] | None, *, title: str, data: str, truth: Truth
) -> int:
    """The whole of a program: supernets, then appraisals; what is finished is skipped, what was cut off goes on.

    Args:
        program: its docstring.
        folder: of the experiment, with `config.yaml`.
        arguments: of the command line.
        title: of the study.
        data: what the folder of the data has to hold.
        truth: what the scores of supernets are compared with.
    """
    options = options_of(program, folder, data=data)
    options.add_argument("--only", type=int, help="so many seeds at most")
    options.add_argument("--jobs", type=int, default=1, help="searches at the same time")
    options.add_argument("--results", type=Path, default=folder / "results.json", help="file that is written")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(1)
    config = yaml.safe_load(chosen.config.read_text(encoding="utf-8"))
    config["seeds"] = config["seeds"][: chosen.only]
    count = len(config["seeds"])
    study = chosen.out / f"study-{count}"
    print(sw.study(plan_of(config, chosen.data_root, title), out=study, jobs=chosen.jobs), flush=True)
    known = {**truth(config, chosen.out, chosen.data_root), **config["appraisal"]}
    answers: dict[str, Any] = {}
    places = {method: chosen.out / f"appraisal-{method}-{count}" for method in config["methods"]}
    for method, place in places.items():
        folders = [study / "runs" / f"{method}-seed{seed}" for seed in config["seeds"]]
        answers[method] = appraise(folders, place, chosen.jobs, known, [places[other] for other in answers])
        print(f"{method}: {answers[method]['verdict']}", flush=True)
    with replacing(chosen.results) as temporary:
        found = {"config": config, "answers": answers, "differences": differences(answers)}
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0
