"""Trainings of small networks at once in one process, where that is faster than one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from torch import nn

from sharewise.engine import SearchState, seeded_modules
from sharewise.engine.side_by_side import Trainings, train_side_by_side
from sharewise.engine.step import weight_step
from sharewise.errors import ConfigurationError
from sharewise.run.fits import steps_fit
from sharewise.run.threads import on_threads
from sharewise.run.train import Training

__all__ = ["FEWEST", "trained_side_by_side"]

FEWEST = 300
"""Steps of a training, below which reading networks and trying both ways would cost more than it may bring."""

_WORTH = 0.9
"""Of the time of single trainings, what a step of all may take."""


def trained_side_by_side(
    trainings: Sequence[Training], *, fewest: int = FEWEST, jobs: int = 1
) -> list[SearchState | None] | None:
    """Train several networks at once, each as it would be trained alone but for the order of sums.

    Nothing is kept in folders, and the test examples stay sealed. Whether it pays is found by trying: one step of each
    network alone, and one of all of them.

    Args:
        trainings: of one data set and one recipe.
        fewest: steps of a training, below which nothing is tried.
        jobs: processes that train so on this machine, which share its memory.

    Returns:
        The states at the end, `None` for a training that diverged; or `None` where it is better or only possible to
        train them one after the other: a layer has no common form, weights are inherited, there is a teacher, memory or
        steps are too few, or it is no faster.

    Example:
        >>> import sharewise as sw
        >>> space, data = sw.spaces.toy_tied_width(), sw.data.digits()
        >>> recipe = sw.TrainingRecipe(epochs=1, validation_fraction=0.5)
        >>> trainings = [Training(space, space.listing.at(i), data, recipe) for i in range(2)]
        >>> trained_side_by_side(trainings) is None  # 11 steps are too few
        True
    """
    scratch = all(training.inheritance is None and training.teacher() is None for training in trainings)
    if len(trainings) < 2 or not scratch:
        return None
    with trainings[0].setting.place.entered(), on_threads(1):
        if _prepared(trainings[:1])[0][0].total_steps < fewest:
            return None
        states, _ = _prepared(trainings)
        if not steps_fit(states, jobs):
            return None
        try:
            tried = Trainings(*_prepared(trainings))
        except ConfigurationError:
            return None
        if not _pays(tried, states):
            return None
        del states, tried
        together = Trainings(*_prepared(trainings))
        failures = train_side_by_side(together)
    return [state if error is None else None for state, error in zip(together.states, failures, strict=True)]


def _prepared(trainings: Sequence[Training]) -> tuple[list[SearchState], list[nn.Module]]:
    found = []
    for training in trainings:
        with seeded_modules(training.setting.seed, "modules"):
            found.append(training.prepare())
    return [state for state, _ in found], [network for _, network in found]


def _pays(together: Trainings, alone: Sequence[SearchState]) -> bool:
    """Whether a step of all takes clearly less time than one of each; the second of two is measured."""
    for state in alone:
        state.supernet.train()
    one = _seconds(lambda: [weight_step(state) for state in alone])
    return _seconds(together.step) <= _WORTH * one


def _seconds(step: Callable[[], object]) -> float:
    step()
    start = time.process_time()
    step()
    return time.process_time() - start
