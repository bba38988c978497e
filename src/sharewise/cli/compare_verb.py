"""`sharewise compare`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np

from sharewise.appraisal import mean_interval
from sharewise.atomic import replacing
from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError, unknown_name
from sharewise.oracle import Table, open_table, table_oracle
from sharewise.oracle.tabulated import final_accuracies
from sharewise.report.regret_figure import draw_regret
from sharewise.space import Architecture, Space
from sharewise.spaces import load
from sharewise.strategy.comparison import Arena, checkpoints_of, run_arena, summarise
from sharewise.strategy.history import Budget
from sharewise.strategy.registry import STRATEGIES, build_strategy
from sharewise.strategy.repeats import Repeats

__all__ = ["execute"]

_FORMAT = 2
"""Of stored repeats; a new number makes older ones be computed again."""
_CHUNK = 50
"""Repeats that are stored together: what a comparison that is cut off can lose."""


def execute(parser: Parser, words: list[str]) -> int:
    """Draw regret against cost for strategies, and for finished searches."""
    options = _options(parser, words)
    table = open_table(options.oracle)
    space = load(options.space) if options.space else table.space
    strategies = _strategies(space, options)
    signals = _signals(table, options)
    runs = _finished(options.runs, space)
    fields = {name: _field(table, space, name, epochs, runs, options) for name, epochs in signals.items()}
    plan = {
        "table": {"benchmark": table.benchmark, "space": table.space.name, "provenance": table.provenance},
        "space": space.name,
        "datasets": {name: list(epochs) for name, epochs in signals.items()},
        "signal_seed": options.signal_seed,
        "latency": options.latency,
        "unit": _unit(options),
        "budget": {n: getattr(options, n) for n in ("cost_seconds", "cost_trainings", "evaluations")},
        "strategies": strategies,
        "repeats": options.repeats,
        "seed": options.seed,
        "runs": {run.label: run.checksum for run in runs},
    }
    out = Path(options.out)
    _create(out, plan)
    start = time.perf_counter()
    panels = {}
    for dataset, field in fields.items():
        found = {name: _repeated(out, field, name, options) for name in strategies}
        summary = summarise(field.arena, field.budget, found)
        if options.latency:
            summary["notes"].append(
                f"{dataset}: tpe and nsga2 also lower the latency of {options.latency}, which regret does not show"
            )
        panels[dataset] = {
            **summary,
            "scale": field.scale,
            "unit_shown": field.unit_shown,
            "budget": {"cost": field.budget.cost, "evaluations": field.budget.evaluations},
            **_judged(field, runs),
        }
    results = {"plan": plan, "datasets": panels}
    _write(out / "results.json", lambda file: file.write(_document(results).encode()))
    signal = " and ".join(dict.fromkeys(str(e) for epochs in signals.values() for e in epochs))
    title = f"{table.benchmark}, signal: {signal} epochs; mean regret of {options.repeats} repeats, 95 % t interval"
    for ending in ("png", "svg"):
        target = out / f"figure.{ending}"
        with replacing(target, suffix=target.suffix) as temporary:
            draw_regret(panels, title, [temporary])
    facts = {**_environment(), "seconds": round(time.perf_counter() - start, 1), "jobs": options.jobs}
    _write(out / "environment.json", lambda file: file.write(_document(facts).encode()))
    if options.json:
        print_json(results)
    else:
        _show(panels, out)
    return 0


def _options(parser: Parser, words: list[str]) -> argparse.Namespace:
    add = parser.add_argument
    add("--oracle", required=True, metavar="TABLE", help="a table that `sharewise benchmark import` wrote")
    add("--space", metavar="NAME", help="a sub-space of the table's, such as nasbench101:A_4 (default: all of it)")
    add("--dataset", action="append", metavar="NAME", help="of the table; may be repeated (default: all of them)")
    names = ", ".join(STRATEGIES)
    add("--strategies", default="random,evolution,local", metavar="A,B,…", help=f"of {names} (default: %(default)s)")
    add("--signal-epochs", type=int, nargs="+", metavar="N", help="training that searches see (default: the longest)")
    add(
        "--signal-seed",
        choices=("mean", "random"),
        default="mean",
        help="the mean over the runs of a training, or a run at random (default: mean)",
    )
    add("--cost-seconds", type=float, metavar="X", help="budget of a repeat in seconds of the benchmark's trainings")
    add("--cost-trainings", type=float, metavar="X", help="budget in passes × multiply-accumulates of mean trainings")
    add("--evaluations", type=int, metavar="N", help="budget in evaluations")
    add("--latency", metavar="DEVICE", help="of the table: a further objective, lower is better, for nsga2 and tpe")
    add("--runs", nargs="+", default=[], metavar="RUN", help="folders of finished searches, shown as points")
    add("--repeats", type=int, default=500, metavar="N", help="of every strategy (default: 500)")
    add("--seed", type=int, default=0, metavar="N", help="of all random numbers (default: 0)")
    add("--jobs", type=int, default=1, metavar="N", help="processes; results do not depend on them (default: 1)")
    add("--out", required=True, metavar="DIR", help="folder of the results; a comparison that was cut off goes on")
    add("--json", action="store_true", help="print the results as one JSON object")
    options = parser.parse(words)
    given = [n for n in ("cost_seconds", "cost_trainings", "evaluations") if getattr(options, n) is not None]
    if options.runs and given not in ([], ["cost_trainings"]):
        raise ConfigurationError(
            f"--runs cannot be compared in --{given[0].replace('_', '-')}: seconds of the benchmark's machine are not "
            "seconds of this one. Give the budget as --cost-trainings; both sides are then charged in passes × "
            "multiply-accumulates"
        )
    if len(given) > 1 or not (given or options.runs):
        raise ConfigurationError("give one budget: --cost-seconds, --cost-trainings or --evaluations")
    for name in given:
        if not 0 < getattr(options, name) < float("inf"):
            raise ConfigurationError(
                f"--{name.replace('_', '-')} must be positive and finite, got {getattr(options, name)}"
            )
    folders = [Path(run).resolve() for run in options.runs]
    if len(set(folders)) < len(folders):
        raise ConfigurationError("--runs names the same folder twice; give every search once")
    if options.repeats < 1 or options.jobs < 1 or options.seed < 0:
        raise ConfigurationError("--repeats and --jobs must be at least 1, and --seed not negative")
    return options


def _strategies(space: Space, options: argparse.Namespace) -> list[str]:
    """The names of the strategies; whatever is wrong with them is an error before anything is run."""
    names = [name for name in options.strategies.split(",") if name]
    built = {name: build_strategy(name, space) for name in names}
    if not names or len(built) != len(names):
        raise ConfigurationError(f"--strategies needs different names, got {options.strategies!r}")
    for name, strategy in built.items():
        if strategy.objectives > 1 and not options.latency:
            raise ConfigurationError(
                f"{name} is made for several objectives, and accuracy is one: give --latency DEVICE, or leave it out"
            )
    return names


def _unit(options: argparse.Namespace) -> str:
    if options.evaluations is not None:
        return "evaluations"
    return "seconds" if options.cost_seconds is not None else "multiply-accumulates"


@dataclass(frozen=True, eq=False)
class _Field:
    """A data set with everything that its comparison needs.

    Args:
        arena: signals, costs and test values.
        budget: of a repeat.
        scale: costs are shown divided by this.
        unit_shown: what the quotient is.
    """

    arena: Arena
    budget: Budget
    scale: float
    unit_shown: str


def _signals(table: Table, options: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """The data sets to compare on, each with the epochs of its searching signal."""
    epochs: dict[str, set[int]] = {}
    tested = set()
    for key in (column.key for column in table.columns):
        if key.metric == "accuracy" and key.seed == "mean" and key.dataset is not None and key.epochs is not None:
            if key.split == "valid":
                epochs.setdefault(key.dataset, set()).add(key.epochs)
            if key.split == "test":
                tested.add(key.dataset)
    legal = {name: found for name, found in epochs.items() if name in tested}
    if not legal:
        raise ConfigurationError(
            f"{table.benchmark} has no data set with mean validation accuracy to search by and test accuracy to "
            "judge by"
        )
    chosen = options.dataset or list(legal)
    signals = {}
    for name in dict.fromkeys(chosen):
        if name not in legal:
            raise unknown_name(f"data set of {table.benchmark} with validation and test accuracy:", name, legal)
        wanted = tuple(sorted(set(options.signal_epochs or [max(legal[name])])))
        for number in wanted:
            if number not in legal[name]:
                known = ", ".join(map(str, sorted(legal[name])))
                raise ConfigurationError(f"{name} has no signal of {number} epochs; legal --signal-epochs: {known}")
        signals[name] = wanted
    return signals


def _field(
    table: Table,
    space: Space,
    dataset: str,
    epochs: tuple[int, ...],
    runs: Sequence[_Run],
    options: argparse.Namespace,
) -> _Field:
    unit, costs, mean_epoch = _unit(options), None, 0.0
    if unit == "multiply-accumulates":
        from sharewise.run.training_cost import training_epochs

        costs, mean_epoch = training_epochs(space, dataset)
    oracle = table_oracle(
        table,
        dataset=dataset,
        epochs=epochs,
        seed=options.signal_seed,
        unit=unit,
        costs=costs,
        latency=options.latency,
        space=space,
    )
    arena = Arena(dataset, oracle, final_accuracies(table, dataset, space))
    scale = mean_epoch * epochs[-1] if costs is not None else 1.0
    shown = {
        "seconds": "seconds of the benchmark's trainings",
        "evaluations": "evaluations",
        "multiply-accumulates": f"mean trainings of {epochs[-1]} epochs (passes × multiply-accumulates)",
    }[unit]
    if options.evaluations is not None:
        budget = Budget(cost=float(options.evaluations), evaluations=options.evaluations)
    elif options.cost_seconds is not None:
        budget = Budget(cost=options.cost_seconds)
    elif options.cost_trainings is not None:
        budget = Budget(cost=options.cost_trainings * scale)
    else:
        budget = Budget(cost=max(1.5 * max(run.cost for run in runs), 100 * scale))
    return _Field(arena, budget, scale, shown)


# ---------------------------------------------------------------------------------------------------------------------
# Finished searches


@dataclass(frozen=True)
class _Run:
    """A finished search.

    Args:
        label: the end of its path that no other run shares.
        checksum: of its result.
        method: by name.
        seed: of the search.
        searched_on: data set.
        architecture: what it found.
        cost: passes × multiply-accumulates until the architecture was chosen; measuring it afterwards is no part of
            that.
    """

    label: str
    checksum: str
    method: str
    seed: int
    searched_on: str
    architecture: Architecture
    cost: float


def _finished(folders: Sequence[str], space: Space) -> list[_Run]:
    """All runs; whatever is wrong with one is an error before anything is run."""
    return [_run(Path(folder), label, space) for folder, label in zip(folders, _labels(folders), strict=True)]


def _labels(folders: Sequence[str]) -> list[str]:
    """For each folder the shortest end of its path that no other has."""
    tails = [Path(folder).resolve().parts for folder in folders]
    depths = [
        next((d for d in range(1, len(tail)) if sum(o[-d:] == tail[-d:] for o in tails) == 1), len(tail))
        for tail in tails
    ]
    return ["/".join(tail[-depth:]) for tail, depth in zip(tails, depths, strict=True)]


def _run(folder: Path, label: str, space: Space) -> _Run:
    path = folder / "result.json"
    try:
        content = path.read_bytes()
        value = json.loads(content)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{folder} has no result.json; --runs takes folders of finished searches") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict) or value.get("kind") != "search":
        raise CheckpointError(f"{folder} is no finished search; --runs takes folders that `sharewise search` wrote")
    try:
        spent = {part: float(entry["multiply_accumulates"]) for part, entry in value["ledger"].items()}
        facts = {name: value[name] for name in ("space", "architecture", "method", "data", "seed")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from None
    cost = sum(passes for part, passes in spent.items() if part != "measurement")
    texts = [facts[name] for name in ("space", "architecture", "method", "data")]
    if not (0 < cost < float("inf") and type(facts["seed"]) is int and all(isinstance(text, str) for text in texts)):
        raise CheckpointError(f"{path} is damaged: its ledger, seed or names are not what a search writes")
    if facts["space"] != space.name:
        raise ConfigurationError(f"{folder} searched space {facts['space']!r}, and the table holds {space.name!r}")
    try:
        architecture = space.parse(facts["architecture"])
    except ConfigurationError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    checksum = hashlib.sha256(content).hexdigest()[:16]
    return _Run(label, checksum, facts["method"], facts["seed"], facts["data"], architecture, cost)


def _judged(field: _Field, runs: Sequence[_Run]) -> dict[str, Any]:
    """Every run as a point, and the mean over the runs of each method."""
    arena = field.arena
    listing = arena.oracle.space.listing
    points: list[dict[str, Any]] = [
        {
            "run": run.label,
            "method": run.method,
            "seed": run.seed,
            "searched_on": run.searched_on,
            "architecture": str(run.architecture),
            "cost": run.cost,
            "cost_shown": run.cost / field.scale,
            "regret": arena.optimum - float(arena.test[listing.index(run.architecture)]),
        }
        for run in runs
    ]
    methods = {}
    for method in dict.fromkeys(point["method"] for point in points):
        members = [point for point in points if point["method"] == method]
        interval = mean_interval([point["regret"] for point in members])
        finite = np.isfinite(interval.half_width)
        methods[method] = {
            "n": interval.n,
            "mean": interval.mean,
            "interval": [interval.low, interval.high] if finite else None,
            "mean_cost": float(np.mean([point["cost"] for point in members])),
        }
    return {"runs": points, "methods": methods}


# ---------------------------------------------------------------------------------------------------------------------
# Files


def _create(out: Path, plan: Mapping[str, Any]) -> None:
    path = out / "plan.json"
    text = _document(plan)
    try:
        if path.exists():
            if path.read_text(encoding="utf-8") != text:
                raise CheckpointError(f"{out} holds another comparison (see {path}); choose another --out")
            (out / "repeats").mkdir(exist_ok=True)
            return
        if out.exists() and any(out.iterdir()):
            raise CheckpointError(f"{out} is not empty and holds no comparison; choose another --out")
        (out / "repeats").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SharewiseError(f"cannot use {out} as a folder of results: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is damaged; choose another --out") from None
    _write(path, lambda file: file.write(text.encode()))


def _repeated(out: Path, field: _Field, strategy: str, options: argparse.Namespace) -> Repeats:
    """All repeats of a strategy, of which earlier sittings may have stored a part."""
    arena, budget = field.arena, field.budget
    checkpoints = checkpoints_of(budget, arena)
    built = build_strategy(strategy, arena.oracle.space)
    facts = [_FORMAT, _versions(), arena.name, arena.fingerprint(), strategy, repr(built), options.seed, repr(budget)]
    identity = hashlib.sha256(json.dumps([*facts, checkpoints]).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", arena.name)  # names of a table are not trusted as names of files
    parts = []
    for first in range(0, options.repeats, _CHUNK):
        numbers = range(first, min(first + _CHUNK, options.repeats))
        path = out / "repeats" / f"{name}-{strategy}-{identity}-{numbers[0]}-{numbers[-1]}.npz"
        if path.exists():
            found = _read(path, checkpoints, len(numbers), len(arena.test))
        else:
            found = run_arena(
                arena, strategy, budget, checkpoints, repeats=numbers, seed=options.seed, jobs=options.jobs
            )
            arrays = {"incumbents": found.incumbents, "evaluations": found.evaluations, "spent": found.spent}
            _write(path, lambda file, arrays=arrays: np.savez(file, **arrays))  # type: ignore[misc]
        parts.append(found)
    return Repeats.joined(parts)


def _read(path: Path, checkpoints: tuple[float, ...], repeats: int, architectures: int) -> Repeats:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = Repeats(checkpoints, stored["incumbents"], stored["evaluations"], stored["spent"])
        shapes = [array.shape for array in (found.incumbents, found.evaluations, found.spent)]
        kinds = [array.dtype.kind for array in (found.incumbents, found.evaluations, found.spent)]
        if shapes != [(repeats, len(checkpoints)), (repeats,), (repeats,)] or kinds != ["i", "i", "f"]:
            raise ValueError("of another comparison")
        if not -1 <= int(found.incumbents.min()) <= int(found.incumbents.max()) < architectures:
            raise ValueError("an incumbent is no architecture")
        return found
    except (OSError, ValueError, KeyError, EOFError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it to compute it again") from None


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            write(file)
    except OSError as error:
        raise SharewiseError(f"cannot write {path}: {error.strerror}") from None


def _document(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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


def _show(panels: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    for name, panel in panels.items():
        print(f"{name}: best possible test accuracy {panel['best_test']:.2f} %; cost in {panel['unit_shown']}")
        for strategy, curve in panel["strategies"].items():
            mean, interval = curve["mean"][-1], curve["mean_interval"][-1]
            shown = "no result in some repeats" if mean is None else f"{mean:.2f}"
            shown += "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"
            print(f"  {strategy:28s} regret {shown} after {curve['evaluations']['mean']:.0f} evaluations")
        for method, found in panel["methods"].items():
            ends = found["interval"]
            shown = "" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
            cost = found["mean_cost"] / panel["scale"]
            print(f"  {method:28s} regret {found['mean']:.2f}{shown}, {found['n']} searches of cost {cost:.3g}")
        for note in panel["notes"]:
            print(f"  note: {note}")
    print(f"{out / 'results.json'}\n{out / 'figure.png'}")
