"""How a front is found: which architectures are scored, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np

from sharewise.appraisal.pareto import pareto_front
from sharewise.cost import ArchitectureCosts, Latency
from sharewise.engine import Affordable, Limit, SearchState, selection_scorer
from sharewise.engine.score import fitness, require_examples
from sharewise.errors import ConfigurationError
from sharewise.ledger import Ledger
from sharewise.run.finished import Finished
from sharewise.run.folder import RunFolder
from sharewise.run.identity import fingerprint
from sharewise.sealed_json import digest
from sharewise.space import Architecture, enumerate_architectures, largest, smallest
from sharewise.strategy.with_optuna import pareto_search, require_optuna
from sharewise.studies.answers import Answers
from sharewise.studies.results import ResultFolder
from sharewise.studies.workers import PerWorker, Progress, Workers, one_thread
from sharewise.supernet import NormPolicy, RecalibratedStatistics, RunningStatistics

__all__ = ["Found", "FrontSearch"]

_ASKS = 20
"""Questions per evaluation: in a small or a tight space most are about what is known, which costs nothing."""
_WORST = 1e12
"""Below every score: what breaks all budgets is worse than everything else, by how much it does, and never scored."""

Judge = Callable[[Architecture], dict[str, float | None]]
Ask = Callable[[Sequence[Architecture]], Iterator[tuple[Architecture, dict[str, float | None]]]]
"""Scores of architectures as JSON has them, as they come."""


@final
@dataclass(frozen=True, eq=False)
class Found:
    """What was found.

    Args:
        document: as plain values.
        points: of the front, cheapest first.
    """

    document: Mapping[str, Any]
    points: tuple[Architecture, ...]


@final
@dataclass(frozen=True, eq=False)
class _Scored:
    """An architecture with what it is worth and what it costs."""

    architecture: Architecture
    scores: Mapping[str, float]
    fitness: float
    costs: tuple[float, ...]


@final
@dataclass(frozen=True, eq=False)
class _Budget:
    """A budget with the architectures that keep it, and what the method itself would pick there."""

    limit: Limit
    affordable: Affordable
    pick: Architecture | None


@final
class FrontSearch:
    """A finished search whose architectures are scored; arguments as for `sharewise.front`, read.

    Args:
        search: finished.
        evaluations: architectures to score.
        population: of the evolution.
        examples: behind each score; `None` for all.
        recalibrate: mini-batches for statistics of an architecture's own; 0 for none.
        seed: of the evolution.
        workers: score.
    """

    def __init__(
        self,
        search: Finished,
        *,
        evaluations: int,
        population: int,
        examples: int | None,
        recalibrate: int,
        seed: int,
        workers: Workers,
    ) -> None:
        search.require_reach(here=workers.here)
        configuration = search.configuration()
        if configuration is not None and configuration.load_space().size > evaluations:
            require_optuna()  # before a supernet is restored
        self.state = search.open()
        self.space, self._search = self.state.distribution.space, search
        self.evaluations, self.population, self.seed = evaluations, population, seed
        self.examples, self._workers = examples, workers
        self.recalibrate = recalibrate
        self._own = None if configuration is None else configuration.own
        self.exhaustive = self.space.size <= evaluations
        if not self.exhaustive:
            require_optuna()

    def among(self, limits: Sequence[Limit], folder: ResultFolder | None) -> Found:
        """Score what keeps a budget, and say which architectures no other beats.

        Args:
            limits: the budgets, at least one.
            folder: of the results, where scores are kept as they come; `None` keeps nothing.

        Raises:
            ConfigurationError: when no architecture keeps a budget.
            CheckpointError: when the folder holds another front.
        """
        budgets = [self._budget(limit) for limit in limits]
        answers = Answers(None if folder is None else folder.path / "scores.jsonl", "scores", self._facts())
        single = one_thread() if self.state.numerics.device.type == "cpu" else nullcontext()
        with single, self._scoring() as ask:
            known = _Known(self, limits, answers, ask, self._workers.progress)
            if self.exhaustive:
                known.judge(list(enumerate_architectures(self.space)))
            else:
                self._evolve(budgets, known)
        answers.arrange([str(architecture) for architecture in known.scored])
        points = known.front()
        return Found(self._document(budgets, known, points), tuple(point.architecture for point in points))

    def plan(self, limits: Sequence[Limit]) -> dict[str, Any]:
        """What a folder of its results says of it."""
        return {**self._facts(), **self._settings(limits)}

    def _evolve(self, budgets: Sequence[_Budget], known: _Known) -> None:
        rng = np.random.default_rng([self.seed, 1])
        each = max(1, self.population // (2 * len(budgets)))
        picks = [budget.pick for budget in budgets if budget.pick is not None]
        random = [budget.affordable.sample(rng) for _ in range(each) for budget in budgets]
        known.judge([*picks, *random[: len(budgets)]])  # whatever else is asked, something keeps every budget
        pareto_search(
            self.space,
            partial(known.objectives, most=self.evaluations),
            objectives=1 + len(known.costs),
            asks=_ASKS * self.evaluations,
            population=self.population,
            seed=self.seed,
            first=list(dict.fromkeys([*self._ends(), *picks, *random])),
        )

    def _ends(self) -> list[Architecture]:
        """The largest and the smallest architecture, where choices have an order."""
        try:
            return [largest(self.space), smallest(self.space)]
        except ConfigurationError:
            return []

    def _budget(self, limit: Limit) -> _Budget:
        state, relaxation = self.state, self.state.distribution.relaxation
        affordable = Affordable([limit], state.costs, relaxation, self.space)
        if not state.recipe.distribution.learns:
            return _Budget(limit, affordable, None)
        probabilities = {name: row.tolist() for name, row in state.distribution.probabilities().items()}
        wish = relaxation.project(probabilities, state.recipe.exclude)
        return _Budget(limit, affordable, self.space.own(affordable.best(probabilities, wish)))

    @contextmanager
    def _scoring(self) -> Iterator[Ask]:
        """The one scorer of selections, here or in each of the workers."""
        policy = RecalibratedStatistics(self.recalibrate) if self.recalibrate else RunningStatistics()
        require_examples(self.state, policy, self.examples)
        if self._workers.here:
            with _opened(self.state, policy, self.examples) as scored:
                yield lambda some: ((a, scored(a)) for a in some)
        else:
            with self._workers.staying(PerWorker(partial(_reopened, self._search, policy, self.examples))) as ask:
                yield ask

    # What it depends on

    def _facts(self) -> dict[str, Any]:
        """Everything that a score depends on, beside the architecture."""
        path = self._search.path
        history = None if path is None else RunFolder(path).read_result().get("history")
        return {
            "kind": "front",
            "run": digest([dict(fingerprint(self.state)), self.state.step, history]),
            "examples": self.examples,
            "recalibrate": self.recalibrate,
        }

    def _settings(self, limits: Sequence[Limit]) -> dict[str, Any]:
        """Everything else that a front depends on."""
        budgets: dict[str, list[float]] = {}
        for limit in limits:
            budgets.setdefault(limit.quantity.name, []).append(float(limit.most))
        tables = [digest(limit.quantity.to_json()) for limit in limits if isinstance(limit.quantity, Latency)]
        return {
            "space": self.space.name,
            "budgets": budgets,
            **({"latency_table": tables[0]} if tables else {}),
            "evaluations": self.evaluations,
            "population": self.population,
            "seed": self.seed,
        }

    # What is said

    def _document(self, budgets: Sequence[_Budget], known: _Known, points: Sequence[_Scored]) -> dict[str, Any]:
        state, path, names = self.state, self._search.path, list(known.costs)
        rows = [_row(number, point, names) for number, point in enumerate(points, 1)]
        return {
            "kind": "front",
            "run": None if path is None else str(path.resolve()),
            "space": state.supernet.space.name,
            "file": None if self._own is None else self._own.reference,
            "method": state.recipe.name,
            "data": state.data.dataset.name,
            "metric": state.task.primary,
            "higher_is_better": state.task.higher_is_better,
            "quantities": names,
            "additive": {name: costs.additive for name, costs in known.costs.items()},
            "size": self.space.size,
            "exhaustive": self.exhaustive,
            "scored": len(known.scored),
            "budgets": [_within(budget, known, points, rows) for budget in budgets],
            "points": rows,
            "cloud": [[*s.costs, _plain(s.scores)[state.task.primary]] for s in known.scored.values()],
            "notes": self._notes(known, points),
        }

    def _notes(self, known: _Known, points: Sequence[_Scored]) -> list[str]:
        state, count = self.state, int(points[0].scores["examples"])
        held_out = state.recipe.roles.is_disjoint("weights", "selection")
        where = "held-out examples" if held_out else "training examples"
        said = f"scores are those of shared weights on {count:,} {where}, never the test examples"
        notes = [f"{said}; the best of many looks better than it is, so train the points that you choose"]
        if not self.exhaustive:
            few = f"{len(known.scored):,} of {self.space.size:,} architectures were scored"
            notes.append(f"{few}; there may be better ones")
        if state.task.primary.endswith("accuracy"):
            middle = sorted(point.scores[state.task.primary] for point in points)[len(points) // 2]
            error = math.sqrt(max(middle * (1 - middle), 0.0) / count)
            notes.append(f"one standard error of an accuracy of {middle:.3f} on {count:,} examples is {error:.3f}")
        return notes


@contextmanager
def _opened(state: SearchState, policy: NormPolicy, examples: int | None) -> Iterator[Judge]:
    """What scores with the shared weights, and whose work nobody is charged for."""
    scorer = replace(selection_scorer(state, policy, examples), ledger=Ledger())
    with scorer.opened() as score:
        yield lambda architecture: _plain(score(scorer.gates(architecture)))


def _reopened(search: Finished, policy: NormPolicy, examples: int | None) -> AbstractContextManager[Judge]:
    return _opened(search.open(), policy, examples)


@final
class _Known:
    """What is known of architectures: costs of all that are asked about, scores of those that keep a budget."""

    def __init__(
        self, search: FrontSearch, limits: Sequence[Limit], answers: Answers, ask: Ask, told: Progress
    ) -> None:
        state = search.state
        quantities = list(dict.fromkeys(limit.quantity for limit in limits))
        self.costs: dict[str, ArchitectureCosts] = {q.name: state.costs.architectures(q) for q in quantities}
        self.scored: dict[Architecture, _Scored] = {}
        self._most = [(1 + 1e-12) * max(limit.most for limit in limits if limit.quantity == q) for q in quantities]
        self._task, self._space = state.task, search.space
        self._answers, self._ask = answers, ask
        self._told, self._of = told, min(search.evaluations, search.space.size)

    def judge(self, architectures: Sequence[Architecture]) -> None:
        """Score those that keep a budget, each once."""
        costs = {a: self._costs(a) for a in map(self._space.own, architectures) if a not in self.scored}
        kept = {a: spent for a, spent in costs.items() if self._keeps(spent)}
        missing = [a for a in kept if str(a) not in self._answers]
        known = len(self.scored) + len(kept) - len(missing)
        if kept:
            self._told("scored", known, self._of)
        for count, (architecture, found) in enumerate(self._ask(missing) if missing else (), 1):
            self._answers.add(str(architecture), found)
            self._told("scored", known + count, self._of)
        for a, spent in kept.items():
            scores = {name: math.nan if value is None else value for name, value in self._answers[str(a)].items()}
            self.scored[a] = _Scored(a, scores, fitness(self._task, scores), spent)

    def objectives(self, architectures: Sequence[Architecture], most: int) -> list[tuple[float, ...]]:
        """Scores and costs, negated; not of those that follow when so many are scored."""
        asked: list[Architecture] = []
        scored = set(self.scored)
        for architecture in map(self._space.own, architectures):
            if len(scored) >= most:
                break
            asked.append(architecture)
            if architecture not in scored and self._keeps(self._costs(architecture)):
                scored.add(architecture)
        self.judge(asked)
        return [self._objectives(architecture) for architecture in asked]

    def _objectives(self, architecture: Architecture) -> tuple[float, ...]:
        if (found := self.scored.get(architecture)) is not None:
            return (max(found.fitness, -_WORST / 2), *(-cost for cost in found.costs))
        spent = self._costs(architecture)
        excess = min(cost / most for cost, most in zip(spent, self._most, strict=True))
        return (-_WORST * excess, *(-cost for cost in spent))

    def _costs(self, architecture: Architecture) -> tuple[float, ...]:
        return tuple(costs.of(architecture) for costs in self.costs.values())

    def _keeps(self, spent: Sequence[float]) -> bool:
        return any(cost <= most for cost, most in zip(spent, self._most, strict=True))

    def front(self) -> list[_Scored]:
        """Those that no other beats in everything, cheapest first; of equal ones the first by name."""
        sound = [found for found in self.scored.values() if math.isfinite(found.fitness)]
        if not sound:
            raise ConfigurationError("no score is a number, so that there is no front: has the search diverged?")
        sound.sort(key=lambda s: str(s.architecture), reverse=True)
        places = pareto_front([(s.fitness, *(-cost for cost in s.costs)) for s in sound])
        unlike = {(sound[place].fitness, sound[place].costs): sound[place] for place in places.tolist()}
        return sorted(unlike.values(), key=lambda s: (*s.costs, -s.fitness))


def _row(number: int, point: _Scored, names: Sequence[str]) -> dict[str, Any]:
    costs = dict(zip(names, point.costs, strict=True))
    return {
        "point": number,
        "architecture": str(point.architecture),
        "scores": _plain(point.scores),
        "costs": costs,
    }


def _within(
    budget: _Budget, known: _Known, points: Sequence[_Scored], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The best point within a budget, beside what the method itself would pick there."""
    limit, place = budget.limit, list(known.costs).index(budget.limit.quantity.name)
    kept = [number for number, point in enumerate(points) if limit.admits(point.costs[place])]
    if not kept:
        raise ConfigurationError(f"no score within {limit.most:,.10g} {limit.quantity.name} is a number")
    best = max(kept, key=lambda number: (points[number].fitness, -number))
    found = {"quantity": limit.quantity.name, "most": float(limit.most), **rows[best]}
    if budget.pick is not None:
        scored = known.scored[budget.pick]
        found["most_probable"] = {
            "architecture": str(budget.pick),
            "exact": budget.affordable.exact,
            "scores": _plain(scored.scores),
        }
    return found


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Scores as JSON has them: what is no number is `None`."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
