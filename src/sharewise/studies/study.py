"""Study: many searches planned as one question, each a run folder that resumes, and what may be said about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from sharewise import given
from sharewise.appraisal import mean_interval, regret_curve
from sharewise.appraisal.claims import Scale, claims
from sharewise.appraisal.plain import to_plain
from sharewise.appraisal.regret import at_checkpoints
from sharewise.errors import ConfigurationError
from sharewise.interruption import whole
from sharewise.own_file import OwnFile, own_of
from sharewise.report.study_page import write_study
from sharewise.run.configuration import SearchConfiguration
from sharewise.run.environment import environment
from sharewise.shown import Shown
from sharewise.studies.cells import CellTask, Price, Trail, price_of, read_trail, run_cell
from sharewise.studies.executors import DAY, PROCESSES
from sharewise.studies.judge import Judge, Judged, judge_of
from sharewise.studies.plan import Cell, StudyPlan
from sharewise.studies.results import ResultFolder
from sharewise.studies.workers import Failure, Progress, Workers, silent

__all__ = ["Study", "study"]

_CHECKPOINTS = 25
_TOLERANCE = 0.05
"""Part of the budget by which the mean cost of an arm may miss it before the page says so."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Study(Shown):
    """What a study found.

    Args:
        document: everything as plain values, as `study.json` holds it.
        sentences: what may be said about every two arms, by space and data; of a single arm, what it came to.
        failures: why a cell has no result, in one line each, by its name.
        out: the folder with runs, document and page.
    """

    document: Mapping[str, Any]
    sentences: Mapping[str, Sequence[str]]
    failures: Mapping[str, str]
    out: Path

    def table(self) -> list[dict[str, Any]]:
        """A row for every search that ended: its arm, its seed, what it found, what that is worth and what it cost."""
        return [{name: value for name, value in cell.items() if name != "curve"} for cell in self.document["cells"]]

    def told(self) -> dict[str, str]:
        """See `sharewise.shown.Shown`."""
        said = {f"{name} {i}": s for name, found in self.sentences.items() for i, s in enumerate(found, start=1)}
        failed = {f"failed: {name}": why for name, why in self.failures.items()}
        return {**said, **failed, "page": str(self.out / "report.html")}

    def __str__(self) -> str:
        return "\n".join(f"{name}: {sentence}" for name, found in self.sentences.items() for sentence in found)


def study(
    plan: StudyPlan | str | Path | Mapping[str, Any],
    *,
    out: str | Path,
    jobs: int = 1,
    executor: str = PROCESSES,
    task_timeout: float = DAY,
    progress: Progress = silent,
    own: OwnFile | str | Sequence[OwnFile | str] = (),
) -> Study:
    """Run all searches of a plan, judge what they found, and say what may be said.

    Every search is a run folder below `out/runs`. A study that was cut off goes on when it is called again: what is
    finished is left alone, what had begun resumes with the same bits. A search that fails is named and left out, and
    the others go on.

    Args:
        plan: as a value, as plain values, or in a YAML file.
        out: folder of the study.
        jobs: workers of one thread each; results do not depend on them.
        executor: where they are: `"processes"`, or `"ray"`, `"dask"`, `"slurm"`, with an address after `://`.
        task_timeout: seconds that one of them may take for a task before it is ended, and the task begun again from its
            checkpoint, five times at most.
        progress: told what is being done.
        own: the files that make spaces of the plan, as `"model.py:factory"`; a plan alone executes no code.

    Returns:
        Intervals, comparisons paired by seed, and sentences as strong as they allow.

    Raises:
        ConfigurationError: when the plan is wrong.
        CheckpointError: when `out` holds another study.

    Example:
        >>> import tempfile
        >>> import sharewise as sw
        >>> plan = {"methods": ["gaea-erm", "rs-ws"], "spaces": ["toy-tied-width"], "seeds": [0, 1],
        ...         "data": [{"data": "digits", "train_examples": 128}], "budget": {"steps": 2}}
        >>> found = sw.study(plan, out=tempfile.mkdtemp())
        >>> list(found.document["panels"]), found.failures
        (['toy-tied-width, digits'], {})
    """
    given.function("progress", progress, "what is done, how much of it, and how much there is")
    place = given.folder("out", out)
    workers = Workers(given.whole("jobs", jobs), progress, executor, task_timeout=task_timeout)
    plan = _plan_of(plan, own)
    cells, folder = plan.cells(), ResultFolder(place, "study")
    judge = judge_of(plan, folder.path, workers)
    folder.begin({"kind": "study", **plan.to_plain()})
    with folder.locked(), whole(folder.path, f"sharewise.study(…, out={str(folder.path)!r})"):
        return _judged(plan, cells, folder, judge, workers)


def _plan_of(plan: StudyPlan | str | Path | Mapping[str, Any], own: Any) -> StudyPlan:
    """A plan: itself, its file, or its plain values; with the files that make its spaces."""
    several = own if isinstance(own, list | tuple) else [own]
    files = tuple(filter(None, map(own_of, several)))
    if isinstance(plan, str | Path):
        return StudyPlan.read(plan, files)
    if isinstance(plan, Mapping):
        return StudyPlan.from_plain(plan, files)
    if not isinstance(plan, StudyPlan):
        raise ConfigurationError(
            f"expected a plan of a study, {given.got(plan)}: give a mapping with methods, spaces, data and seeds, or "
            "its YAML file"
        )
    return plan.naming(files or plan.own)


def _judged(plan: StudyPlan, cells: Sequence[Cell], folder: ResultFolder, judge: Judge, workers: Workers) -> Study:
    """From the searches to what may be said of them."""
    failures = _run(plan, cells, folder, workers)
    finished = [cell for cell in cells if cell.name not in failures]
    trails = [read_trail(cell, folder.path / "runs" / cell.name) for cell in finished]
    judged = judge.judged(trails, workers.progress) if trails else []
    failures |= {t.cell.name: j.reason for t, j in zip(trails, judged, strict=True) if j.reason}
    known = [(t, j) for t, j in zip(trails, judged, strict=True) if not j.reason]
    document = {"kind": "study", "plan": plan.to_plain(), **_document(plan, judge, known), "failures": failures}
    folder.write_json("study.json", to_plain(document))
    folder.write_json("environment.json", {**environment(torch.device("cpu")), "threads": 1, **workers.facts()})
    write_study(folder.path)
    sentences = {
        name: [one["sentence"] for one in panel["verdicts"]] or panel["means"]
        for name, panel in document["panels"].items()
    }
    return Study(document, sentences, failures, folder.path)


# ---------------------------------------------------------------------------------------------------------------------
# Running


def _run(plan: StudyPlan, cells: Sequence[Cell], folder: ResultFolder, workers: Workers) -> dict[str, str]:
    """Run what is not finished; why cells failed, by their names."""
    prices, failures = _prices(plan, cells, folder, workers)
    tasks = [
        CellTask(cell, folder.path / "runs" / cell.name, plan.budget, prices.get(_arm_of(cell)))
        for cell in cells
        if cell.name not in failures
    ]
    missing = [task for task in tasks if not task.finished]
    done = len(tasks) - len(missing)
    workers.progress("searched", done, len(tasks))
    for task, found in workers.attempt(run_cell, missing):
        done += 1
        workers.progress("searched", done, len(tasks))
        if isinstance(found, Failure) and not task.finished:  # a worker may be lost between the end and its answer
            failures[task.cell.name] = found.reason
    return failures


def _arm_of(cell: Cell) -> str:
    return f"{cell.panel}: {cell.arm}"


def _prices(
    plan: StudyPlan, cells: Sequence[Cell], folder: ResultFolder, workers: Workers
) -> tuple[dict[str, Price], dict[str, str]]:
    """What the steps of every arm cost, where a budget of multiply-accumulates asks for it; found once and kept."""
    if plan.budget.multiply_accumulates is None:
        return {}, {}
    stored = folder.read_json("prices.json")
    prices = {name: Price(**price) for name, price in stored.items()}
    first: dict[str, SearchConfiguration] = {}
    for cell in cells:
        first.setdefault(_arm_of(cell), cell.configuration)
    missing = [name for name in first if name not in prices]
    reasons: dict[str, str] = {}
    workers.progress("priced", len(prices), len(first))
    for (name, _), found in workers.attempt(_priced, [(name, first[name]) for name in missing]):
        if isinstance(found, Failure):
            reasons[name] = f"its steps could not be priced: {found.reason}"
            continue
        prices[name] = found
        folder.write_json("prices.json", {name: asdict(prices[name]) for name in first if name in prices})
        workers.progress("priced", len(prices), len(first))
    return prices, {cell.name: reasons[_arm_of(cell)] for cell in cells if _arm_of(cell) in reasons}


def _priced(task: tuple[str, SearchConfiguration]) -> Price:
    return price_of(task[1])


# ---------------------------------------------------------------------------------------------------------------------
# The document

_Known = Sequence[tuple[Trail, Judged]]


def _document(plan: StudyPlan, judge: Judge, known: _Known) -> dict[str, Any]:
    """Panels of arms, compared at the end of their searches, with one correction for all pairs of all panels."""
    scale = judge.scale([trail for trail, _ in known]) if known else Scale()
    panels = dict.fromkeys(cell.panel for cell in plan.cells())
    grouped = {panel: {arm.name: _of_arm(known, panel, arm.name) for arm in plan.arms()} for panel in panels}
    values = {panel: {arm: _values(found) for arm, found in arms.items()} for panel, arms in grouped.items()}
    said = claims(values, scale)
    return {
        "metric": {"what": scale.what, "unit": scale.unit, "higher_is_better": scale.higher_is_better},
        "judge": judge.facts(),
        "panels": {
            panel: {
                "arms": {arm: _arm(found, judge) for arm, found in arms.items()},
                **_curves({arm: found for arm, found in arms.items() if found}),
                "means": [_mean_in_words(arm, found, judge, scale) for arm, found in arms.items() if found],
                "verdicts": to_plain(said[panel]),
                "notes": list(_notes(plan, arms)),
            }
            for panel, arms in grouped.items()
        },
        "cells": [_cell(trail, found) for trail, found in known],
    }


def _of_arm(known: _Known, panel: str, arm: str) -> list[tuple[Trail, Judged]]:
    return [(trail, found) for trail, found in known if (trail.cell.panel, trail.cell.arm) == (panel, arm)]


def _values(found: _Known) -> dict[str, float]:
    return {str(trail.cell.seed): judged.values[-1] for trail, judged in found}


def _inherited(found: _Known, judge: Judge) -> dict[str, float] | None:
    """What shared weights say of every found architecture, where that is not what the searches are judged by."""
    if not judge.sees_more:
        return None
    return {str(trail.cell.seed): trail.inherited for trail, _ in found}


def _mean_in_words(arm: str, found: _Known, judge: Judge, scale: Scale) -> str:
    """What an arm came to, search and judgement, in one line."""
    values, shared = list(_values(found).values()), _inherited(found, judge)
    what = f"{scale.what} {mean_interval(values)}"
    if shared is not None:
        what += f"; with inherited weights {mean_interval(list(shared.values()))}"
    different = len({trail.architecture for trail, _ in found})
    return f"{arm}: {what}; different architectures: {different} of {len(found)}"


def _arm(found: _Known, judge: Judge) -> dict[str, Any]:
    """Mean, interval and costs of an arm over its seeds."""
    if not found:
        return {"n": 0, "interval": None, "values": {}, "cost": None, "seconds": None, "architectures": 0}
    shared = _inherited(found, judge)
    return {
        "inherited": None if shared is None else to_plain(mean_interval(list(shared.values()))),
        "n": len(found),
        "interval": to_plain(mean_interval(list(_values(found).values()))),
        "values": _values(found),
        "cost": float(np.mean([judged.costs[-1] for _, judged in found])),
        "seconds": float(np.mean([trail.result["cost"]["seconds"] for trail, _ in found])),
        "architectures": len({trail.architecture for trail, _ in found}),
    }


def _curves(arms: Mapping[str, _Known]) -> dict[str, Any]:
    """Mean values against cost with t intervals, from the first known value of every seed to the end of the last."""
    if not arms:
        return {"checkpoints": [], "curves": {}}
    every = [judged for found in arms.values() for _, judged in found]
    ends = {arm: max(judged.costs[-1] for _, judged in found) for arm, found in arms.items()}
    grid = np.geomspace(min(j.costs[0] for j in every), max(ends.values()), _CHECKPOINTS).tolist()
    checkpoints = sorted({*grid, *ends.values()})
    curves = {}
    for arm, found in arms.items():
        table = np.stack([at_checkpoints(judged.costs, judged.values, checkpoints) for _, judged in found])
        table[:, np.array(checkpoints) > ends[arm]] = np.nan
        curve = regret_curve(table, checkpoints)
        curves[arm] = {"n": curve.n, "mean": list(curve.mean), "mean_interval": to_plain(curve.mean_interval)}
    return {"checkpoints": checkpoints, "curves": curves}


def _notes(plan: StudyPlan, arms: Mapping[str, _Known]) -> Iterator[str]:
    """What a reader must know of a panel."""
    budget = plan.budget.multiply_accumulates
    for arm, found in arms.items():
        if len(found) < len(plan.seeds):
            lost = [str(seed) for seed in plan.seeds if str(seed) not in _values(found)]
            yield f"{arm} has no result with seed {', '.join(lost)}: it is compared on the others"
        if budget is not None and found:
            mean = float(np.mean([judged.costs[-1] for _, judged in found]))
            if abs(mean / budget - 1) > _TOLERANCE:
                yield f"{arm} spent {mean:.3g} multiply-accumulates on average, {mean / budget - 1:+.0%} of the budget"
    if len(plan.seeds) == 1:
        yield "one seed shows no spread: nothing can be claimed; give more seeds"


def _cell(trail: Trail, judged: Judged) -> dict[str, Any]:
    return {
        "cell": trail.cell.name,
        "arm": trail.cell.arm,
        "panel": trail.cell.panel,
        "seed": trail.cell.seed,
        "architecture": trail.architecture,
        "value": judged.values[-1],
        "inherited": trail.inherited,
        "cost": judged.costs[-1],
        "seconds": trail.result["cost"]["seconds"],
        "processor_seconds": trail.processor_seconds,
        "curve": {"costs": list(judged.costs), "values": list(judged.values)},
    }
