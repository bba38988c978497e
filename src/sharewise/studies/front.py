"""A front: the best architectures of one trained supernet over what they cost, and the best within each budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sharewise import given
from sharewise.cost import Latency, MultiplyAccumulates, Parameters
from sharewise.engine import Limit, SearchResult, SearchState
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.interruption import whole
from sharewise.own_file import OwnFile, own_of
from sharewise.report.front_page import write_front
from sharewise.run.finished import finished
from sharewise.shown import Shown
from sharewise.space import Architecture
from sharewise.studies.executors import DAY, PROCESSES
from sharewise.studies.front_search import FrontSearch
from sharewise.studies.results import ResultFolder
from sharewise.studies.workers import Progress, Workers, silent

__all__ = ["Front", "front", "point_of"]

_KIND = "front"
_DOCUMENT = "front.json"


@final
@dataclass(frozen=True, eq=False, repr=False)
class Front(Shown):
    """The architectures that no other beats in score and cost at once, and the best one within each budget.

    Args:
        document: points, budgets and what they rest on as plain values, as `front.json` holds them.
        points: the architectures, cheapest first; the first one has the number 1.
        out: folder of the results; `None` where none was asked for.
    """

    document: Mapping[str, Any]
    points: tuple[Architecture, ...]
    out: Path | None = None

    def point(self, number: int) -> Architecture:
        """The architecture of a point.

        Raises:
            ConfigurationError: when there is no such point.
        """
        return self.points[_numbered(number, len(self.points)) - 1]

    def table(self) -> list[dict[str, Any]]:
        """A row for every point: its number, its architecture, its scores and its costs."""
        return [
            {"point": row["point"], "architecture": row["architecture"], **row["scores"], **row["costs"]}
            for row in self.document["points"]
        ]

    def told(self) -> dict[str, str]:
        """See `sharewise.shown.Shown`."""
        metric = self.document["metric"]
        said = {
            f"point {row['point']}": ", ".join(
                (f"{metric} {row['scores'][metric]:.4f}", *(f"{v:,.6g} {k}" for k, v in row["costs"].items()))
            )
            + f": {row['architecture']}"
            for row in self.document["points"]
        }
        return said | ({} if self.out is None else {"page": str(self.out / "report.html")})

    def __str__(self) -> str:
        metric, names = self.document["metric"], list(self.document["quantities"])
        rows = [f"{'point':>5s} {metric:>10s} " + " ".join(f"{name:>20s}" for name in names) + "  architecture"]
        for row in self.document["points"]:
            costs = " ".join(f"{row['costs'][name]:>20,.6g}" for name in names)
            rows.append(f"{row['point']:>5d} {row['scores'][metric]:>10.4f} {costs}  {row['architecture']}")
        return "\n".join(rows)


def front(
    run: str | Path | SearchResult,
    *,
    parameters: Sequence[float] = (),
    multiply_accumulates: Sequence[float] = (),
    latency: Sequence[float] = (),
    latency_table: Latency | Mapping[str, Any] | None = None,
    evaluations: int = 400,
    population: int = 40,
    examples: int | None = None,
    recalibrate: int = 4,
    seed: int = 0,
    device: str | None = None,
    jobs: int = 1,
    executor: str = PROCESSES,
    task_timeout: float = DAY,
    out: str | Path | None = None,
    progress: Progress | None = None,
    own: OwnFile | str | None = None,
) -> Front:
    """Find the best architectures of one trained supernet over several budgets at once.

    A point is scored with the shared weights on held-out examples, as a selection scores it: once, with batch-norm
    statistics of its own. Its costs are those of the network that is extracted. A space of at most `evaluations`
    architectures is scored completely, so that its front is exact. In a larger one NSGA-II evolves the front: it begins
    with the largest and the smallest architecture, with the most probable one within every budget where the method has
    learned a distribution (which is the best by that rule where prices add up, see `sharewise.engine.Affordable`), and
    with random ones that keep the budgets. What breaks the largest budget of every quantity is never scored.

    Args:
        run: a finished search: its folder, or its result.
        parameters: budgets, in trainable parameters.
        multiply_accumulates: budgets, per example.
        latency: budgets in milliseconds by a latency table.
        latency_table: measured table; by default that of the run.
        evaluations: architectures to score, at least 1.
        population: of the evolution, at least 2.
        examples: held-out examples that each score rests on; `None` for all.
        recalibrate: mini-batches for an architecture's own batch-norm statistics; 0 scores with the running ones.
        seed: of the evolution; equal seeds give equal fronts.
        device: overrides the run's.
        jobs: workers of one thread each, which score; results do not depend on them. A search in memory has one.
        executor: where they are: `"processes"`, or `"ray"`, `"dask"`, `"slurm"`, with an address after `://`.
        task_timeout: seconds that one of them may take for a score before it is ended, and the score begun again.
        out: folder for scores, table, figure and page; a front that was cut off goes on there.
        progress: told what is being done.
        own: the file that makes the space of a run in a folder, as `"model.py:factory"`; a run folder alone executes no
            code.

    Returns:
        The front; `sharewise.train(space, front.point(2), data)` trains one of its points from scratch.

    Raises:
        ConfigurationError: when no budget is given, or one is below what the smallest architecture costs.
        CheckpointError: when the run is damaged, or `out` holds another front.

    Example:
        >>> import sharewise as sw
        >>> result = sw.search(sw.spaces.toy_tied_width(), sw.methods.spos(candidates=1), sw.data.digits(),
        ...                    max_steps=4, device="cpu")
        >>> found = sw.front(result, parameters=[700, 1e4], examples=64)
        >>> found.document["exhaustive"], [row["most"] for row in found.document["budgets"]]
        (True, [700.0, 10000.0])

    References:
        K. Deb et al., *A fast and elitist multiobjective genetic algorithm: NSGA-II*, IEEE TEC 2002; Z. Guo et al.,
        *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), for scores with recalibrated statistics.
    """
    place = given.optional(given.folder, "out", out)
    told = given.optional(given.function, "progress", progress, "what is done, how much of it, and how much there is")
    budgets = {
        name: _listed(name, several)
        for name, several in (
            ("parameters", parameters),
            ("multiply_accumulates", multiply_accumulates),
            ("latency", latency),
        )
    }
    if not any(budgets.values()):
        raise ConfigurationError("a front needs budgets: give parameters, multiply_accumulates or latency")
    table = _table(latency_table, needed=bool(budgets["latency"]))
    evaluations, population = given.whole("evaluations", evaluations), given.whole("population", population, least=2)
    workers = Workers(given.whole("jobs", jobs), told or silent, executor, task_timeout=task_timeout)
    [run_] = finished([run], device=given.optional(given.text, "device", device), own=own_of(own))
    search = FrontSearch(
        run_,
        evaluations=evaluations,
        population=population,
        examples=given.optional(given.whole, "examples", examples),
        recalibrate=given.whole("recalibrate", recalibrate, least=0),
        seed=given.whole("seed", seed, least=0),
        workers=workers,
    )
    limits = [
        *(Limit(Parameters(), most) for most in budgets["parameters"]),
        *(Limit(MultiplyAccumulates(), most) for most in budgets["multiply_accumulates"]),
        *(Limit(table or _table_of(search.state), most) for most in budgets["latency"]),
    ]
    with whole(place, f"sharewise.front(…, out={str(out)!r})"):
        if place is None:
            found = search.among(limits, None)
            return Front(found.document, found.points, place)
        folder = ResultFolder(place, _KIND)
        folder.begin(search.plan(limits))
        with folder.locked():
            found = search.among(limits, folder)
            folder.write_json(_DOCUMENT, found.document)
            write_front(folder.path)
    return Front(found.document, found.points, place)


def point_of(folder: Path, number: int) -> tuple[str, str]:
    """The run of a front, and the architecture of one of its points.

    Args:
        folder: of the front.
        number: of the point, from 1.

    Raises:
        CheckpointError: when the folder holds no front, or it is damaged.
        ConfigurationError: when there is no such point.
    """
    document = ResultFolder(folder, _KIND).read_json(_DOCUMENT)
    run, points = document.get("run"), document.get("points")
    if not isinstance(run, str) or not isinstance(points, list):
        raise ConfigurationError(f"{folder} holds no front of a run in a folder; sharewise front RUN --out {folder}")
    point = points[_numbered(number, len(points)) - 1]
    if not isinstance(point, dict) or not isinstance(point.get("architecture"), str):
        raise CheckpointError(f"{folder / _DOCUMENT} is damaged: point {number} names no architecture")
    return run, point["architecture"]


def _numbered(number: int, count: int) -> int:
    if not 1 <= number <= count:
        raise ConfigurationError(f"the front has the points 1 to {count}, got {number}")
    return number


def _listed(name: str, budgets: float | Sequence[float]) -> list[float]:
    """Budgets in ascending order, each once."""
    several = budgets if isinstance(budgets, list | tuple) else [budgets]
    return sorted({given.number(name, one) for one in several})


def _table(table: Latency | Mapping[str, Any] | None, *, needed: bool) -> Latency | None:
    """The latency table that was given."""
    if table is not None and not needed:
        raise ConfigurationError("a latency_table bounds nothing without budgets of latency")
    if table is None or isinstance(table, Latency):
        return table
    return Latency.from_json(given.mapping("latency_table", table))


def _table_of(state: SearchState) -> Latency:
    """The latency table of a run."""
    for limit in state.recipe.limits:
        if isinstance(limit.quantity, Latency):
            return limit.quantity
    raise ConfigurationError(
        "budgets of latency need measured times: the run has no latency table, so give one (--latency-table FILE), or "
        "search with --max-latency, which measures one"
    )
