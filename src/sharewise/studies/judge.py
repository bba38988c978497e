"""Judges: what the architectures of a study are worth, by a table, by trainings, or by their inherited weights."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from sharewise.appraisal.claims import Scale
from sharewise.errors import ConfigurationError, SharewiseError, unknown_name
from sharewise.oracle import Table, open_table
from sharewise.oracle.tabulated import final_accuracies, rows_of_space
from sharewise.run.arguments import network_of_training, training_of
from sharewise.run.configuration import Configuration, SearchConfiguration, TrainConfiguration
from sharewise.run.folder import RunFolder
from sharewise.run.place import PLAIN, PROGRAMS
from sharewise.run.standalone import TrainingRecipe
from sharewise.studies.cells import Step, Trail
from sharewise.studies.plan import JudgeSettings, StudyPlan
from sharewise.studies.workers import Failure, Progress, Workers

__all__ = ["Judge", "Judged", "judge_of"]

_LATER = ("accumulate", "from_search", "native", "shard", "start", *PROGRAMS)
"""Fields of trainings that came after the first folders were named."""
_PERCENT = {True: (100.0, "points"), False: (1.0, "")}


@final
@dataclass(frozen=True)
class Judged:
    """What a search was worth as it went.

    Args:
        costs: passes × multiply-accumulates, ascending.
        values: of the architecture at hand, as many; the last is that of the found one.
        reason: why there is no value, in one line; else empty.
    """

    costs: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    reason: str = ""


class Judge(ABC):
    """Says what the architectures of finished searches are worth."""

    sees_more = True
    """Whether it knows more than the shared weights do."""

    @abstractmethod
    def scale(self, trails: Sequence[Trail]) -> Scale:
        """What the values are, and which direction wins."""

    @abstractmethod
    def judged(self, trails: Sequence[Trail], progress: Progress) -> list[Judged]:
        """The values of every search, in the same order."""

    def facts(self) -> dict[str, Any]:
        """What a page says about the values: `best` possible, `mean` of all architectures, `source`."""
        return {}


def judge_of(plan: StudyPlan, folder: Path, workers: Workers) -> Judge:
    """The judge of a plan; whatever is wrong with it is an error before anything is run.

    Args:
        plan: of the study.
        folder: of its results, in which trainings are kept.
        workers: do what takes long.

    Raises:
        ConfigurationError: when the table, its data set or the options of trainings do not fit.
    """
    return _JUDGES[plan.judge.by](plan, folder, workers)


# ---------------------------------------------------------------------------------------------------------------------
# Inherited weights


@final
@dataclass(frozen=True)
class _Inherited(Judge):
    """The score with the shared weights on the examples that the search selects by."""

    sees_more = False

    def scale(self, trails: Sequence[Trail]) -> Scale:
        metric = _metric(trails)
        return _scale_of(trails, f"{metric} with inherited weights")

    def judged(self, trails: Sequence[Trail], progress: Progress) -> list[Judged]:
        factor = _PERCENT[_metric(trails).endswith("accuracy")][0]
        return [_along(trail.steps, lambda step, m=trail.metric: _inherited(step, m, factor)) for trail in trails]  # type: ignore[misc]


def _inherited(step: Step, metric: str, factor: float) -> float | None:
    value = None if step.inherited is None else step.inherited.get(metric)
    return None if value is None else factor * value


# ---------------------------------------------------------------------------------------------------------------------
# Tables


@final
@dataclass(frozen=True, eq=False)
class _Tabulated(Judge):
    """The test accuracy of a benchmark's table after its longest training, in percent."""

    table: Table
    dataset: str
    values: Mapping[str, np.ndarray[Any, Any]]

    @classmethod
    def of(cls, plan: StudyPlan, folder: Path, workers: Workers) -> _Tabulated:
        assert plan.judge.table is not None
        table = open_table(plan.judge.table)
        tested = [c.key.dataset for c in table.columns if (c.key.metric, c.key.split) == ("accuracy", "test")]
        names = [name for name in dict.fromkeys(tested) if name is not None]
        dataset = plan.judge.dataset or (names[0] if len(names) == 1 else None)
        if dataset is None:
            raise ConfigurationError(
                f"{table.benchmark} has several data sets; give judge: dataset, one of {', '.join(names)}"
            )
        if dataset not in names:
            raise unknown_name(f"data set of {table.benchmark} with test accuracy:", dataset, names)
        values = {}
        for cell in plan.cells():
            space = cell.configuration.load_space()
            if space.name not in values:
                rows_of_space(table, space)
                values[space.name] = final_accuracies(table, dataset, space)
        return cls(table, dataset, values)

    def scale(self, trails: Sequence[Trail]) -> Scale:
        return Scale(f"test accuracy of {self.table.benchmark} ({self.dataset})", "points")

    def judged(self, trails: Sequence[Trail], progress: Progress) -> list[Judged]:
        return [_along(trail.steps, self._lookup(trail)) for trail in trails]

    def _lookup(self, trail: Trail) -> Callable[[Step], float | None]:
        space = trail.cell.configuration.load_space()
        values = self.values[space.name]

        def value(step: Step) -> float | None:
            if step.architecture is None:
                return None
            found = float(values[space.listing.index(space.parse(step.architecture))])
            return found if math.isfinite(found) else None

        return value

    def facts(self) -> dict[str, Any]:
        known = {name: column[np.isfinite(column)] for name, column in self.values.items()}
        return {
            "source": f"{self.table.benchmark}, {self.dataset}",
            "best": {name: float(column.max()) for name, column in known.items()},
            "mean": {name: float(column.mean()) for name, column in known.items()},
        }


# ---------------------------------------------------------------------------------------------------------------------
# Trainings


@final
@dataclass(frozen=True)
class _Trained(Judge):
    """The metric on the test examples, opened once for every architecture, after a training from scratch.

    Every architecture is trained on the data and with the seed of the search that held it; what several searches of a
    seed hold is trained once.
    """

    recipe: TrainingRecipe
    settings: JudgeSettings
    folder: Path
    workers: Workers

    @classmethod
    def of(cls, plan: StudyPlan, folder: Path, workers: Workers) -> _Trained:
        legal = ["recipe", *(field.name for field in fields(TrainingRecipe))]
        for name in plan.judge.training:
            if name not in legal:
                raise unknown_name("option of judge: training:", name, legal)
        recipe = training_of(plan.judge.training)
        found = cls(recipe, plan.judge, folder / "trainings", workers)
        for cell in plan.cells():
            found.configuration(cell.configuration, "").network_options()  # a wrong option is an error now
        return found

    def scale(self, trails: Sequence[Trail]) -> Scale:
        return _scale_of(trails, f"test {_metric(trails)} after {self._length} alone")

    @property
    def _length(self) -> str:
        return f"{self.recipe.epochs} epoch{'s' * (self.recipe.epochs != 1)}"

    def judged(self, trails: Sequence[Trail], progress: Progress) -> list[Judged]:
        chosen = [self._chosen(trail.steps) for trail in trails]
        tasks: dict[Path, tuple[TrainConfiguration, Path]] = {}
        for trail, steps in zip(trails, chosen, strict=True):
            for step in steps:
                configuration = self.configuration(trail.cell.configuration, str(step.architecture))
                path = self._home(configuration)
                tasks[path] = (configuration, path)
        missing = [task for path, task in tasks.items() if not RunFolder(path).result.exists()]
        done, failed = len(tasks) - len(missing), dict[Path, str]()
        progress("trained", done, len(tasks))
        for (_, path), found in self.workers.attempt(_train, missing):
            done += 1
            progress("trained", done, len(tasks))
            if isinstance(found, Failure) and not RunFolder(path).result.exists():
                failed[path] = found.reason
        return [self._valued(trail, steps, failed) for trail, steps in zip(trails, chosen, strict=True)]

    def _chosen(self, steps: Sequence[Step]) -> list[Step]:
        """Evenly spaced steps that hold an architecture, the last one always."""
        known = [step for step in steps if step.architecture is not None]
        places = np.linspace(len(known) - 1, 0, min(self.settings.points, len(known))).round().astype(int)
        return [known[place] for place in sorted(set(places.tolist()))]

    def configuration(self, searched: SearchConfiguration, architecture: str) -> TrainConfiguration:
        """The training of an architecture on the data and with the seed of a search."""
        shared: dict[str, Any] = {f.name: getattr(searched, f.name) for f in fields(Configuration)}
        published = network_of_training(searched.load_space(), self.settings.training)
        network = {**searched.network_options(), **published, **self.settings.network}
        name = self.settings.training.get("recipe")
        recipe = {"recipe": name, **asdict(self.recipe)} if name else self.recipe.arguments()
        shared |= {"network": network, "recipe": recipe, "max_steps": None, **PLAIN}
        return TrainConfiguration(**shared, architecture=architecture)

    def _home(self, configuration: TrainConfiguration) -> Path:
        place = configuration.space if configuration.own is None else ""  # a file may move; its checksum stays
        plain = replace(configuration, device="auto", checkpoint_every=None, own=None, space=place)
        told = (f"{f.name}={getattr(plain, f.name)!r}" for f in fields(plain) if _tells(f, getattr(plain, f.name)))
        text = f"TrainConfiguration({', '.join(told)})"
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]

    def _valued(self, trail: Trail, steps: Sequence[Step], failed: Mapping[Path, str]) -> Judged:
        factor = _PERCENT[trail.metric.endswith("accuracy")][0]
        costs, values = [], []
        for step in steps:
            path = self._home(self.configuration(trail.cell.configuration, str(step.architecture)))
            if path in failed:
                return Judged(reason=f"training {step.architecture} failed: {failed[path]}")
            costs.append(step.cost)
            values.append(factor * float(RunFolder(path).read_result()["test"][trail.metric]))
        return Judged(tuple(costs), tuple(values))

    def facts(self) -> dict[str, Any]:
        name = self.settings.training.get("recipe")
        by = f" by {name}" if name else ""
        return {"source": f"trainings{by} of {self._length}, with the seed of each search"}


def _train(task: tuple[TrainConfiguration, Path]) -> None:
    configuration, path = task
    configuration.execute(path, resume=RunFolder(path).config.exists())


# ---------------------------------------------------------------------------------------------------------------------
# Pieces


def _tells(field: Field[Any], value: object) -> bool:
    """Whether the name of a folder holds a field: one that came later does only where it differs."""
    return field.name not in _LATER or value != field.default


def _along(steps: Sequence[Step], value: Callable[[Step], float | None]) -> Judged:
    """Values of those steps that have one; none at all where the found architecture has none."""
    found = [(step.cost, value(step)) for step in steps]
    if found[-1][1] is None:
        return Judged(reason=f"{steps[-1].architecture} is not known to the judge")
    known = [(cost, one) for cost, one in found if one is not None]
    return Judged(tuple(cost for cost, _ in known), tuple(one for _, one in known))


def _metric(trails: Sequence[Trail]) -> str:
    metrics = sorted({trail.metric for trail in trails})
    if len(metrics) > 1:
        raise SharewiseError(f"a study compares one metric, and its data have {' and '.join(metrics)}; make it two")
    return metrics[0]


def _scale_of(trails: Sequence[Trail], what: str) -> Scale:
    task = trails[0].cell.configuration.load_data().task
    unit = _PERCENT[task.primary.endswith("accuracy")][1]
    return Scale(what, unit or task.primary, task.higher_is_better)


_JUDGES: Mapping[str, Callable[[StudyPlan, Path, Workers], Judge]] = {
    "inherited": lambda plan, folder, workers: _Inherited(),
    "table": _Tabulated.of,
    "training": _Trained.of,
}
