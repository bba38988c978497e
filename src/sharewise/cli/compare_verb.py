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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np

from sharewise.appraisal import mean_interval
from sharewise.atomic import replacing
from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError, unknown_name
from sharewise.oracle.table import Table, open_table
from sharewise.oracle.tabulated import final_accuracies, table_oracle
from sharewise.report.regret_figure import draw_regret
from sharewise.space import Space
from sharewise.spaces import load
from sharewise.strategy.comparison import Arena, checkpoints_of, run_arena, summarise
from sharewise.strategy.history import Budget
from sharewise.strategy.registry import STRATEGIES, build_strategy
from sharewise.strategy.repeats import Repeats

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Draw regret against cost for strategies, and for finished searches."""
    options = _options(parser, words)
    table = open_table(options.oracle)
    space = load(options.space) if options.space else table.space
    strategies = [name for name in options.strategies.split(",") if name]
    for name in strategies:
        build_strategy(name, space)  # an unknown name is an error before anything is run
    if not strategies or len(set(strategies)) != len(strategies):
        raise ConfigurationError(f"--strategies needs different names, got {options.strategies!r}")
    signals = _signals(table, options)
    plan = {
        "table": {"benchmark": table.benchmark, "space": table.space.name, "provenance": table.provenance},
        "space": space.name,
        "datasets": {name: list(epochs) for name, epochs in signals.items()},
        "signal_seed": options.signal_seed,
        "unit": _unit(options),
        "budget": {n: getattr(options, n) for n in ("cost_seconds", "cost_trainings", "evaluations")},
        "strategies": strategies,
        "repeats": options.repeats,
        "seed": options.seed,
        "runs": [Path(run).name for run in options.runs],
    }
    out = Path(options.out)
    _create(out, plan)
    start = time.perf_counter()
    panels = {}
    for dataset, epochs in signals.items():
        field = _field(table, space, dataset, epochs, options)
        found = {name: _stored(out, field, name, options) for name in strategies}
        panels[dataset] = {
            **summarise(field.arena, field.budget, found),
            "scale": field.scale,
            "unit_shown": field.unit_shown,
            "budget": {"cost": field.budget.cost, "evaluations": field.budget.evaluations},
            **_runs(field, options.runs),
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
    add("--runs", nargs="*", default=[], metavar="RUN", help="folders of finished searches, shown as points")
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


def _field(table: Table, space: Space, dataset: str, epochs: tuple[int, ...], options: argparse.Namespace) -> _Field:
    unit, costs, mean_epoch = _unit(options), None, 0.0
    if unit == "multiply-accumulates":
        from sharewise.oracle.training_cost import training_epochs

        costs, mean_epoch = training_epochs(space, dataset)
    oracle = table_oracle(
        table, dataset=dataset, epochs=epochs, seed=options.signal_seed, unit=unit, costs=costs, space=space
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
        most = max(_cost_of_run(_result(run)) for run in options.runs)
        budget = Budget(cost=max(1.5 * most, 100 * scale))
    return _Field(arena, budget, scale, shown)


# ---------------------------------------------------------------------------------------------------------------------
# Finished searches


def _result(run: str) -> dict[str, Any]:
    path = Path(run) / "result.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{run} has no result.json; --runs takes folders of finished searches") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    needed = ("space", "architecture", "method", "seed", "data")
    if isinstance(value, dict) and isinstance(value.get("ledger"), dict) and all(name in value for name in needed):
        found: dict[str, Any] = value
        if found.get("kind") == "search":
            return found
    raise CheckpointError(f"{run} is no finished search; --runs takes folders that `sharewise search` wrote")


def _cost_of_run(result: Mapping[str, Any]) -> float:
    """Passes × multiply-accumulates until the architecture was chosen; measuring it afterwards is no part of that."""
    try:
        return float(sum(e["multiply_accumulates"] for part, e in result["ledger"].items() if part != "measurement"))
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"the ledger in a run's result.json is damaged: {error!r}") from None


def _runs(field: _Field, runs: list[str]) -> dict[str, Any]:
    """Every run as a point, and the mean over the runs of each method."""
    points: list[dict[str, Any]] = []
    arena = field.arena
    space = arena.oracle.space
    for run in runs:
        result = _result(run)
        if result["space"] != space.name:
            raise ConfigurationError(f"{run} searched space {result['space']!r}, and the table holds {space.name!r}")
        architecture = space.parse(result["architecture"])
        index, cost = space.listing.index(architecture), _cost_of_run(result)
        points.append(
            {
                "run": Path(run).name,
                "method": result["method"],
                "seed": result["seed"],
                "searched_on": result["data"],
                "architecture": str(architecture),
                "cost": cost,
                "cost_shown": cost / field.scale,
                "regret": arena.optimum - float(arena.test[index]),
            }
        )
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


def _stored(out: Path, field: _Field, strategy: str, options: argparse.Namespace) -> Repeats:
    """The repeats of a strategy, from the folder where an earlier sitting has finished them."""
    arena, budget = field.arena, field.budget
    checkpoints = checkpoints_of(budget, arena)
    facts = [arena.fingerprint(), strategy, options.repeats, options.seed, repr(budget), list(checkpoints)]
    identity = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", arena.name)  # names of a table are not trusted as names of files
    path = out / "repeats" / f"{name}-{strategy}-{identity}.npz"
    if path.exists():
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = Repeats(checkpoints, stored["incumbents"], stored["evaluations"], stored["spent"])
            if found.incumbents.shape[0] != options.repeats or int(found.incumbents.max()) >= len(arena.test):
                raise ValueError("of another comparison")
            return found
        except (OSError, ValueError, KeyError, EOFError, IndexError, TypeError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} is damaged ({error}); delete it to compute it again") from None
    found = run_arena(
        arena, strategy, budget, checkpoints, repeats=options.repeats, seed=options.seed, jobs=options.jobs
    )
    arrays = {"incumbents": found.incumbents, "evaluations": found.evaluations, "spent": found.spent}
    _write(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    return found


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            write(file)
    except OSError as error:
        raise SharewiseError(f"cannot write {path}: {error.strerror}") from None


def _document(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "sharewise": version("sharewise"),
        "numpy": np.__version__,
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
