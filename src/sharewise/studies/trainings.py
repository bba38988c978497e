"""Trainings of many architectures, each on its own: the truth where no benchmark has a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

from sharewise.engine import SearchState
from sharewise.errors import CheckpointError, ConfigurationError, NonFiniteError
from sharewise.run.finished import Finished
from sharewise.run.side_by_side import trained_side_by_side
from sharewise.run.standalone import TrainingRecipe
from sharewise.space import Architecture
from sharewise.studies.answers import Answers
from sharewise.studies.workers import HERE, Workers

__all__ = ["Trained", "train_each"]


@final
@dataclass(frozen=True)
class Trained:
    """What became of an architecture that was trained on its own.

    Args:
        value: the task's metric on examples that were held out, negated where lower is better; not a number where the
            training diverged.
        multiply_accumulates: passes × multiply-accumulates of the training; evaluation is left out.
        seconds: of the training, measured here on one core; an equal share where several were made at once.
    """

    value: float
    multiply_accumulates: int
    seconds: float


def train_each(
    source: Finished,
    architectures: Sequence[Architecture],
    recipe: TrainingRecipe,
    *,
    seed: int,
    folder: Path | None = None,
    workers: Workers = HERE,
) -> list[Trained]:
    """Train architectures with the network and the data of a search, and score them on held-out examples.

    All are trained with one seed, hence on the same examples, and scored on the same others. The test examples stay
    sealed.

    Args:
        source: a finished search.
        architectures: different ones, of its space.
        recipe: of the trainings; its `validation_fraction` must be positive.
        seed: of every training.
        folder: where the trainings of a search from a folder are kept as runs, so that each goes on where it was cut
            off; without one nothing is kept.
        workers: processes, each training on one core; one for a search in memory. Where they train several networks
            side by side, nothing of these trainings is kept but what they led to.

    Returns:
        In the order of the architectures.

    Raises:
        ConfigurationError: when nothing is held out, or there are more processes than can look at the search.
        CheckpointError: when `folder` holds other trainings.
    """
    if not recipe.validation_fraction:
        raise ConfigurationError("trainings are scored on held-out examples: set validation_fraction > 0")
    source.require_reach(here=workers.here)
    store = None if folder is None else folder / "trainings.jsonl"
    facts = {**source.facts_of_training(recipe, seed), "training": recipe.arguments(), "seed": seed}
    if workers.side_by_side > 1:
        facts["side_by_side"] = workers.side_by_side  # which moves last bits
    answers = Answers(store, "trainings", facts)
    places = {a: None if folder is None else folder / f"{place:04d}" for place, a in enumerate(architectures)}

    def ask(missing: list[Architecture]) -> Iterator[tuple[Architecture, Any]]:
        work, size = partial(_train, source, recipe, seed, workers.jobs), workers.side_by_side
        tasks = [tuple((a, places[a]) for a in missing[start : start + size]) for start in range(0, len(missing), size)]
        title, done = ("trained", len(places) - len(missing)) if size == 1 else (f"groups of {size} trained", 0)
        for group, results in workers.do(title, work, tasks, done=done):
            yield from zip([architecture for architecture, _ in group], results, strict=True)

    found = answers.to_all(architectures, ask)
    try:
        return [_trained(answer) for answer in found]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{store} is damaged ({error}); delete it to begin again") from None


_Task = tuple[Architecture, Path | None]


def _train(source: Finished, recipe: TrainingRecipe, seed: int, jobs: int, tasks: Sequence[_Task]) -> list[list[Any]]:
    """The answers to several trainings, made at once where that is faster."""
    if len(tasks) > 1:
        first = source.training(tasks[0][0], recipe, seed)  # whose data all read
        trainings = [replace(first, architecture=architecture) for architecture, _ in tasks]
        states = trained_side_by_side(trainings, jobs=jobs)
        if states is not None:
            return [_DIVERGED if state is None else _answer(state) for state in states]
    return [_alone(source, recipe, seed, task) for task in tasks]


def _alone(source: Finished, recipe: TrainingRecipe, seed: int, task: _Task) -> list[Any]:
    architecture, out = task
    try:
        return _answer(source.train(architecture, recipe, seed, out))
    except NonFiniteError:
        return _DIVERGED


_DIVERGED: list[Any] = [None, 0, 0.0]


def _trained(answer: Any) -> Trained:
    value, macs, seconds = answer
    return Trained(math.nan if value is None else float(value), int(macs), float(seconds))


def _answer(state: SearchState) -> list[Any]:
    task, entries = state.task, state.ledger.entries
    followed = [record["selection"] for record in state.history if "selection" in record]
    value = followed[-1][task.primary] * (1 if task.higher_is_better else -1)
    return [value if math.isfinite(value) else None, entries["weights"].multiply_accumulates, entries["search"].seconds]
