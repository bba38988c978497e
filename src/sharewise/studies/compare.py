"""Compare: regret against cost for strategies on a benchmark's table, and for finished searches."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

import numpy as np

from sharewise import given
from sharewise.appraisal import mean_interval
from sharewise.appraisal.claims import Scale, claims
from sharewise.appraisal.plain import to_plain
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.files import open_regular
from sharewise.interruption import whole
from sharewise.oracle import Table, open_table
from sharewise.report.canvas import narrow
from sharewise.report.comparison_page import write_comparison
from sharewise.report.regret_figure import draw_regret
from sharewise.shown import Shown
from sharewise.space import Space
from sharewise.spaces import load
from sharewise.strategy.comparison import checkpoints_of, run_arena, summarise
from sharewise.strategy.registry import build_strategy
from sharewise.strategy.repeats import Repeats
from sharewise.studies.contest import Contest, Field
from sharewise.studies.executors import DAY, PROCESSES
from sharewise.studies.points import Point, points_of
from sharewise.studies.results import ResultFolder
from sharewise.studies.workers import PerWorker, Workers

__all__ = ["StrategyComparison", "compare"]

_FORMAT = 2
"""Of stored repeats; a new number makes older ones be computed again."""
_CHUNK = 50
"""Repeats that are stored together: what a comparison that is cut off can lose."""
_TASKS = 4
"""Tasks for each worker where there are few repeats."""
_SCALE = Scale("regret", "points", higher_is_better=False, paired=False)


@final
@dataclass(frozen=True, eq=False, repr=False)
class StrategyComparison(Shown):
    """What a comparison found.

    Args:
        document: plan and curves as plain values, as `results.json` holds them.
        sentences: what may be said about every two strategies, by data set.
        out: the folder with figure and page; `None` where none was asked for.
    """

    document: Mapping[str, Any]
    sentences: Mapping[str, Sequence[str]]
    out: Path | None = None

    def table(self) -> list[dict[str, Any]]:
        """A row for every strategy and cost of a data set: the mean regret and its interval."""
        return [
            {"dataset": name, "strategy": strategy, **row}
            for name, panel in self.document["datasets"].items()
            for strategy, curve in panel["strategies"].items()
            for row in _curve_rows(panel["checkpoints"], curve)
        ]

    def told(self) -> dict[str, str]:
        """See `sharewise.shown.Shown`."""
        said = {f"{name} {i}": s for name, found in self.sentences.items() for i, s in enumerate(found, start=1)}
        return said | ({} if self.out is None else {"page": str(self.out / "report.html")})

    def __str__(self) -> str:
        return "\n".join(f"{name}: {sentence}" for name, found in self.sentences.items() for sentence in found)


def compare(
    table: str | Path | Table,
    contest: Contest,
    *,
    space: str | Space | None = None,
    runs: Sequence[str | Path] = (),
    jobs: int = 1,
    executor: str = PROCESSES,
    task_timeout: float = DAY,
    out: str | Path | None = None,
) -> StrategyComparison:
    """Draw regret against cost for strategies, and for finished searches.

    Every strategy is repeated with random numbers of its own. Regret is the best test accuracy of the table less that
    of the incumbent, which was chosen by the signal; it is read at 25 costs up to the budget.

    Args:
        table: a benchmark, or its file.
        contest: strategies, signals, budget and repeats.
        space: a part of the table's, such as `"nasbench101:A_4"`; `None` for all of it.
        runs: folders of finished searches, shown as points in the same unit.
        jobs: workers of one thread each; results do not depend on them.
        executor: where they are: `"processes"`, or `"ray"`, `"dask"`, `"slurm"`, with an address after `://`.
        task_timeout: seconds that one of them may take for its repeats before it is ended, and they are begun again.
        out: folder for results, figure and page; a comparison that was cut off goes on there.

    Returns:
        Curves with intervals, and what may be said.

    Raises:
        ConfigurationError: when strategies, data sets, signals or budget do not fit.
        CheckpointError: when a run is damaged, or `out` holds another comparison.

    Example:
        >>> import sharewise as sw
        >>> sw.compare("absent.table", sw.Contest(evaluations=100))
        Traceback (most recent call last):
        sharewise.errors.DataError: ...absent.table...
    """
    place = given.optional(given.folder, "out", out)
    workers = Workers(given.whole("jobs", jobs), executor=executor, task_timeout=task_timeout)
    if not isinstance(contest, Contest):
        raise ConfigurationError(f"expected a contest, {given.got(contest)}: give a sharewise.Contest(evaluations=…)")
    runs = [given.folder("runs", run) for run in _listed(runs)]
    contest.require_budget(runs)
    part, opened = _space_of(space), table if isinstance(table, Table) else open_table(table)
    named = part or opened.space
    contest.require_strategies(named)
    signals, points = contest.signals(opened), points_of(runs, named)
    ring = _Ring(opened, part, contest, tuple(points))
    fields = ring.fields()
    plan = {**contest.plan(opened, named, signals), "runs": {point.label: point.checksum for point in points}}
    began = time.perf_counter()
    with whole(place, f"sharewise.compare(…, out={str(out)!r})"), _folder(out) as folder:
        folder.begin(plan)
        with folder.locked():
            found = _repeated(folder.path / "repeats", ring, fields, workers)
        panels = {name: _panel(field, contest, found[name], points) for name, field in fields.items()}
        said = _verdicts(fields, found)
        document = {"plan": plan, "datasets": {name: {**panels[name], "verdicts": said[name]} for name in panels}}
        sentences = {name: [claim["sentence"] for claim in claims_] for name, claims_ in said.items()}
        if out is not None:
            facts = {**_environment(), "seconds": round(time.perf_counter() - began, 1), **workers.facts()}
            _write(folder, document, facts)
    return StrategyComparison(document, sentences, None if out is None else folder.path)


def _space_of(space: object) -> Space | None:
    """A space, or the one of a name."""
    if space is None or isinstance(space, Space):
        return space
    return load(given.text("space", space))


def _curve_rows(costs: Sequence[float], curve: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for every cost; regret and interval are `None` before the first answer."""
    for cost, mean, interval in zip(costs, curve["mean"], curve["mean_interval"], strict=True):
        low, high = interval or (None, None)
        yield {"cost": cost, "n": curve["n"], "regret": mean, "low": low, "high": high}


def _listed(runs: Any) -> Sequence[Any]:
    """Several runs, or one."""
    return runs if isinstance(runs, list | tuple) else [runs]


@contextmanager
def _folder(out: str | Path | None) -> Iterator[ResultFolder]:
    """The folder that was asked for, or one that is forgotten."""
    if out is not None:
        yield ResultFolder(Path(out), "comparison")
        return
    with tempfile.TemporaryDirectory() as place:
        yield ResultFolder(Path(place), "comparison")


# ---------------------------------------------------------------------------------------------------------------------
# Repeats


@final
@dataclass(frozen=True, eq=False)
class _Ring:
    """Where strategies meet, as plain values: a worker opens the table by its path.

    Args:
        table: of all signals.
        part: of its space; `None` for all of it.
        contest: what is compared.
        points: finished searches, on which a budget may depend.
    """

    table: Table
    part: Space | None
    contest: Contest
    points: tuple[Point, ...]

    def fields(self) -> dict[str, Field]:
        """By data set."""
        named, contest = self.part or self.table.space, self.contest
        signals = contest.signals(self.table)
        return {name: contest.field(self.table, named, name, of, self.points) for name, of in signals.items()}


@final
@dataclass(frozen=True)
class _Chunk:
    """Repeats of a strategy that are stored together, and where."""

    dataset: str
    strategy: str
    numbers: range
    path: Path


def _repeated(
    folder: Path, ring: _Ring, fields: Mapping[str, Field], workers: Workers
) -> dict[str, dict[str, Repeats]]:
    """All repeats of every strategy by data set, of which earlier sittings may have stored a part."""
    folder.mkdir(exist_ok=True)
    chunks = {
        name: {
            strategy: list(_chunks(folder, name, field, strategy, ring.contest)) for strategy in ring.contest.strategies
        }
        for name, field in fields.items()
    }
    every = [chunk for strategies in chunks.values() for several in strategies.values() for chunk in several]
    known = {chunk: _read(chunk, fields[chunk.dataset]) for chunk in every if chunk.path.exists()}
    for chunk, found in _made([chunk for chunk in every if chunk not in known], ring, fields, workers):
        arrays = {"incumbents": found.incumbents, "evaluations": found.evaluations, "spent": found.spent}
        ResultFolder(folder, "comparison").write(chunk.path.name, lambda file, arrays=arrays: np.savez(file, **arrays))  # type: ignore[misc]
        known[chunk] = found
    return {
        name: {
            strategy: Repeats.joined([known[chunk] for chunk in several]) for strategy, several in strategies.items()
        }
        for name, strategies in chunks.items()
    }


def _made(
    missing: Sequence[_Chunk], ring: _Ring, fields: Mapping[str, Field], workers: Workers
) -> Iterator[tuple[_Chunk, Repeats]]:
    """Chunks as all of their repeats are there."""
    tasks = _shared_out(missing, workers.jobs)
    if not tasks:
        return
    parts: dict[_Chunk, dict[int, Repeats]] = {chunk: {} for chunk in missing}
    if workers.at_most(len(tasks)).here:
        done = workers.do("repeated", partial(_some, fields, ring.contest.seed), tasks)
    else:
        done = workers.do("repeated", PerWorker(partial(_opened, ring)), tasks)
    for (chunk, numbers), found in done:
        parts[chunk][numbers[0]] = found
        if sum(len(part.spent) for part in parts[chunk].values()) == len(chunk.numbers):
            found_parts = parts.pop(chunk)
            yield chunk, Repeats.joined([found_parts[first] for first in sorted(found_parts)])


def _chunks(folder: Path, dataset: str, field: Field, strategy: str, contest: Contest) -> Iterator[_Chunk]:
    """The files of a strategy, named by everything that they depend on."""
    arena, budget, seed = field.arena, field.budget, contest.seed
    built = build_strategy(strategy, arena.oracle.space)
    facts = [_FORMAT, _versions(), arena.name, arena.fingerprint(), strategy, repr(built), seed, repr(budget)]
    identity = hashlib.sha256(json.dumps([*facts, checkpoints_of(budget, arena)]).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", arena.name)  # names of a table are not trusted as names of files
    for first in range(0, contest.repeats, _CHUNK):
        last = min(first + _CHUNK, contest.repeats) - 1
        path = folder / f"{name}-{strategy}-{identity}-{first}-{last}.npz"
        yield _Chunk(dataset, strategy, range(first, last + 1), path)


def _shared_out(chunks: Sequence[_Chunk], jobs: int) -> list[tuple[_Chunk, range]]:
    """Tasks for so many workers: whole chunks where there are many, else parts of them, since some take longer."""
    repeats = sum(len(chunk.numbers) for chunk in chunks)
    size = _CHUNK if jobs == 1 else max(1, min(_CHUNK, repeats // (_TASKS * jobs)))
    return [
        (chunk, chunk.numbers[start : start + size]) for chunk in chunks for start in range(0, len(chunk.numbers), size)
    ]


def _some(fields: Mapping[str, Field], seed: int, task: tuple[_Chunk, range]) -> Repeats:
    chunk, numbers = task
    arena, budget = fields[chunk.dataset].arena, fields[chunk.dataset].budget
    return run_arena(arena, chunk.strategy, budget, checkpoints_of(budget, arena), repeats=numbers, seed=seed)


def _opened(ring: _Ring) -> AbstractContextManager[Callable[[tuple[_Chunk, range]], Repeats]]:
    return nullcontext(partial(_some, ring.fields(), ring.contest.seed))


def _read(chunk: _Chunk, field: Field) -> Repeats:
    checkpoints, repeats = checkpoints_of(field.budget, field.arena), len(chunk.numbers)
    try:
        with open_regular(chunk.path) as file, np.load(file, allow_pickle=False) as stored:
            found = Repeats(checkpoints, stored["incumbents"], stored["evaluations"], stored["spent"])
        shapes = [array.shape for array in (found.incumbents, found.evaluations, found.spent)]
        kinds = [array.dtype.kind for array in (found.incumbents, found.evaluations, found.spent)]
        if shapes != [(repeats, len(checkpoints)), (repeats,), (repeats,)] or kinds != ["i", "i", "f"]:
            raise ValueError("of another comparison")
        if not -1 <= int(found.incumbents.min()) <= int(found.incumbents.max()) < len(field.arena.test):
            raise ValueError("an incumbent is no architecture")
        return found
    except (OSError, ValueError, KeyError, EOFError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{chunk.path} is damaged ({error}); delete it to compute it again") from None


# ---------------------------------------------------------------------------------------------------------------------
# Documents


def _panel(field: Field, contest: Contest, found: Mapping[str, Repeats], points: Sequence[Point]) -> dict[str, Any]:
    """The curves of a data set, and finished searches beside them."""
    summary = summarise(field.arena, field.budget, found)
    if contest.latency:
        summary["notes"].append(
            f"{field.arena.name}: tpe and nsga2 also lower the latency of {contest.latency}, which regret does not show"
        )
    return {
        **summary,
        "scale": field.scale,
        "unit_shown": field.unit_shown,
        "budget": {"cost": field.budget.cost, "evaluations": field.budget.evaluations},
        **_judged(field, points),
    }


def _judged(field: Field, points: Sequence[Point]) -> dict[str, Any]:
    """Every finished search as a point, and the mean over the searches of each method."""
    arena = field.arena
    listing = arena.oracle.space.listing
    shown: list[dict[str, Any]] = [
        {
            "run": point.label,
            "method": point.method,
            "seed": point.seed,
            "searched_on": point.searched_on,
            "architecture": str(point.architecture),
            "cost": point.cost,
            "cost_shown": point.cost / field.scale,
            "regret": arena.optimum - float(arena.test[listing.index(point.architecture)]),
        }
        for point in points
    ]
    methods = {}
    for method in dict.fromkeys(point["method"] for point in shown):
        members = [point for point in shown if point["method"] == method]
        interval = mean_interval([point["regret"] for point in members])
        finite = np.isfinite(interval.half_width)
        methods[method] = {
            "n": interval.n,
            "mean": interval.mean,
            "interval": [interval.low, interval.high] if finite else None,
            "mean_cost": float(np.mean([point["cost"] for point in members])),
        }
    return {"runs": shown, "methods": methods}


def _verdicts(fields: Mapping[str, Field], found: Mapping[str, Mapping[str, Repeats]]) -> dict[str, list[Any]]:
    """What may be said about every two strategies at the whole budget, corrected over all data sets."""
    families = {}
    for name, field in fields.items():
        arena = field.arena
        last = {s: arena.optimum - repeats.scored(arena.test)[:, -1] for s, repeats in found[name].items()}
        families[name] = {s: dict(enumerate(column.tolist())) for s, column in last.items()}
    known = {
        name: {s: {str(n): regret for n, regret in column.items() if np.isfinite(regret)} for s, column in f.items()}
        for name, f in families.items()
    }
    return {name: to_plain(found_) for name, found_ in claims(known, _SCALE).items()}


def _write(folder: ResultFolder, document: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    plan, panels = document["plan"], document["datasets"]
    signal = " and ".join(dict.fromkeys(str(e) for epochs in plan["datasets"].values() for e in epochs))
    title = f"{plan['table']['benchmark']}, signal: {signal} epochs; mean regret of {plan['repeats']} repeats"
    folder.write_json("results.json", document)
    wide, title = folder.path / "figure.svg", f"{title}, 95 % t interval"
    draw_regret(panels, title, [wide, folder.path / "figure.png"])
    draw_regret(panels, title, [narrow(wide)], most=1)
    folder.write_json("environment.json", facts)
    write_comparison(folder.path)


def _versions() -> dict[str, str | None]:
    """Of the programs that decide what a repeat finds."""
    found: dict[str, str | None] = {}
    for name in ("sharewise", "numpy", "optuna"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        **_versions(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }
