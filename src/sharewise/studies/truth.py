"""Truth: what a sample of architectures is worth when each is trained on its own, and what finding out costs.

It comes from a benchmark's table, or from trainings on this machine. Costs are passes × multiply-accumulates on either
side, so that a search that is guided by a supernet can be placed beside others at equal cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sharewise.appraisal import reliability
from sharewise.appraisal.regret import at_checkpoints, incumbents
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.oracle import Table
from sharewise.oracle.tabulated import final_accuracies, final_repeats, rows_of_space
from sharewise.run.training_cost import TRAININGS, traced_epochs, training_epochs
from sharewise.space import Architecture, Space, sample
from sharewise.strategy import ArrayOracle, Budget
from sharewise.strategy.comparison import Arena, run_arena
from sharewise.studies.trainings import Trained

__all__ = ["FEWEST", "Truth", "draw", "truth_of_table", "truth_of_trainings"]

Floats = NDArray[np.float64]
Rivals = Callable[[Sequence[float], int, int], Mapping[str, Floats]]
FEWEST = 3
_TRACED = 50
"""Architectures from which the mean cost of a training is estimated where costs do not add up."""


@final
@dataclass(frozen=True, eq=False)
class Truth:
    """A sample of architectures with what is true of them.

    Args:
        architectures: the sample.
        test: what ranks and regrets are judged by, `(n,)`; higher is better.
        signal: what a standalone training shows to a search, by which it chooses.
        best: the best value of `test` that was possible.
        costs: of one standalone training each; `None` where they are not known.
        label: what `test` is, for axes.
        unit: of regrets.
        source: where all of it comes from.
        rivals: regrets of searches without a supernet at given costs, `(repeats, costs)` by name, from costs, repeats
            and a seed; `None` where costs are not known.
        seconds: of one standalone training each on one core of this machine; `None` for a benchmark's.
        notes: what a reader must know.
        pool: whether rivals know no other architectures than the sample.
        reliability: the share of the variance of `test` that is not error of single trainings; `None` where trainings
            were not repeated.
    """

    architectures: tuple[Architecture, ...]
    test: Floats
    signal: Floats
    best: float
    costs: Floats | None
    label: str
    unit: str
    source: str
    rivals: Rivals | None
    seconds: Floats | None = None
    notes: tuple[str, ...] = field(default=())
    pool: bool = False
    reliability: float | None = None

    def __post_init__(self) -> None:
        require_enough(len(self.architectures))


def require_enough(count: int) -> None:
    """Refuse a sample in which no order can be judged."""
    if count < FEWEST:
        raise ConfigurationError(
            f"an appraisal needs at least {FEWEST} architectures, got {count}: with fewer, any two orders agree or are "
            "opposed by chance. Take a few dozen, or a few hundred from a table"
        )


def draw(
    space: Space,
    count: int,
    rng: np.random.Generator,
    *,
    among: NDArray[np.bool_] | None = None,
    exclude: Sequence[Any] = (),
) -> tuple[Architecture, ...]:
    """Different architectures, drawn uniformly.

    Args:
        space: of the architectures.
        count: at least 3; fewer come back where there are not so many.
        rng: source of randomness.
        among: which rows of the space's listing may be drawn; `None` draws from the space itself.
        exclude: options that no architecture may have, since the supernet was trained without them.

    Raises:
        ConfigurationError: when fewer than 3 are asked for, or found.
    """
    require_enough(count)
    barred, chosen = set(exclude), dict[Architecture, None]()
    if among is not None:
        listing = space.listing
        for row in rng.permutation(np.flatnonzero(among)).tolist():
            architecture = listing.at(row)
            if barred.isdisjoint(architecture.values()):
                chosen[architecture] = None
            if len(chosen) == count:
                break
    else:
        for _ in range(50 * count):
            architecture = sample(space, rng)
            if barred.isdisjoint(architecture.values()):
                chosen.setdefault(architecture)
            if len(chosen) == count:
                break
    require_enough(len(chosen))
    return tuple(chosen)


# ---------------------------------------------------------------------------------------------------------------------
# From a table


def truth_of_table(
    table: Table,
    space: Space,
    dataset: str | None,
    count: int,
    rng: np.random.Generator,
    *,
    exclude: Sequence[Any] = (),
) -> Truth:
    """A sample of the architectures that a table covers.

    Searches choose by the mean validation accuracy after the longest training, and are judged by the mean test
    accuracy. Random search and regularized evolution see every architecture that the table covers.

    Args:
        table: of the space, or of one that contains it.
        space: that of the supernet.
        dataset: of the table; may be left out where there is only one.
        count: architectures.
        rng: draws the sample.
        exclude: options that the supernet was trained without.

    Raises:
        ConfigurationError: when the table is of another space, lacks the data set, or covers too few architectures.
    """
    space, rows = rows_of_space(table, space)
    dataset, epochs, tested_epochs = _signal_of(table, dataset)
    test = final_accuracies(table, dataset, space)
    notes = []
    if epochs is None:
        signal, epochs = test, tested_epochs
        notes.append(
            "the table has no validation accuracy: all searches choose by the test accuracy, which flatters them"
        )
    else:
        key: dict[str, Any] = {"metric": "accuracy", "dataset": dataset, "split": "valid"}
        signal = table.column(**key, epochs=epochs or None, seed="mean")[rows]
    covered = np.isfinite(test) & np.isfinite(signal)
    known, size = int(covered.sum()), len(covered)
    require_enough(known)
    if known < size:
        notes.append(
            f"the table covers {known:,} of {size:,} architectures of {space.name}; the sample and all searches are "
            "confined to these"
        )
    chosen = draw(space, count, rng, among=covered, exclude=exclude)
    if exclude:
        notes.append(
            f"the supernet was trained without {', '.join(map(str, exclude))}: the sample leaves such architectures "
            "out, the searches beside it do not"
        )
    if len(chosen) < count:
        notes.append(f"there are {len(chosen):,} such architectures in all, fewer than the {count:,} asked for")
    prices = _prices(space, dataset, chosen, notes)
    places = np.array([space.listing.index(architecture) for architecture in chosen])
    rivals, costs = None, None
    if prices is not None:
        whole = np.broadcast_to(prices * epochs, (size,))
        costs = np.array(whole[places])
        oracle = ArrayOracle(
            space, {epochs: np.where(covered, signal, np.nan)}, {epochs: np.array(whole)}, "multiply-accumulates"
        )
        rivals = _Strategies(Arena(dataset, oracle, test))
    return Truth(
        chosen,
        test[places],
        signal[places],
        float(test[covered].max()),
        costs,
        f"test accuracy{f' after {tested_epochs} epochs' if tested_epochs else ''} alone, %",
        "points",
        f"{table.benchmark}, {dataset}{f', {tested_epochs} epochs' if tested_epochs else ''}",
        rivals,
        None,
        tuple(notes),
        reliability=_reliability(table, dataset, space, places),
    )


def _reliability(table: Table, dataset: str, space: Space, places: NDArray[np.intp]) -> float | None:
    """Of the mean test accuracies of the sample; `None` where the table does not state enough single trainings."""
    repeats = final_repeats(table, dataset, space)
    if repeats is None or (np.isfinite(repeats[places]).sum(axis=1) >= 2).sum() < FEWEST:
        return None
    return reliability(repeats[places]) or None


def _signal_of(table: Table, dataset: str | None) -> tuple[str, int | None, int]:
    """Data set, the longest training with a mean validation accuracy, and the longest with a test accuracy.

    A training of 0 epochs is one whose length the table does not state.
    """
    valid: dict[str, int] = {}
    tested: dict[str, int] = {}
    for key in (column.key for column in table.columns):
        if (key.metric, key.seed) == ("accuracy", "mean") and key.dataset is not None:
            found = {"valid": valid, "test": tested}.get(key.split or "")
            if found is not None:
                found[key.dataset] = max(key.epochs or 0, found.get(key.dataset, 0))
    if not tested:
        raise ConfigurationError(f"{table.benchmark} states no mean test accuracy to judge by")
    if dataset is None and len(tested) > 1:
        raise ConfigurationError(f"{table.benchmark} has several data sets; give --dataset, one of {', '.join(tested)}")
    name = next(iter(tested)) if dataset is None else dataset
    if name not in tested:
        raise unknown_name(f"data set of {table.benchmark} with test accuracy:", name, tested)
    return name, valid.get(name), tested[name]


def _prices(space: Space, dataset: str, chosen: Sequence[Architecture], notes: list[str]) -> Floats | None:
    """Of one epoch, for all rows or as one number; `None` where the benchmark's training is not known."""
    if dataset not in TRAININGS.get(space.name.partition(":")[0], {}):
        notes.append(
            f"what a training behind the table costs in multiply-accumulates is not known for {dataset} of "
            f"{space.name}, so that nothing is compared at equal cost"
        )
        return None
    if space.independent:
        return training_epochs(space, dataset)[0]
    traced = traced_epochs(space, dataset, chosen[:_TRACED])
    notes.append(f"every training is charged the mean cost of {len(traced)} architectures of the sample")
    return np.array([traced.mean()])


@final
@dataclass(frozen=True, eq=False)
class _Strategies:
    """Random search and regularized evolution on everything that a table covers."""

    arena: Arena

    def __call__(self, checkpoints: Sequence[float], repeats: int, seed: int) -> dict[str, Floats]:
        budget = Budget(cost=float(max(checkpoints)))
        found = {}
        for title, name in (("random search", "random"), ("regularized evolution", "evolution")):
            runs = run_arena(self.arena, name, budget, checkpoints, repeats=repeats, seed=seed)
            found[title] = self.arena.optimum - runs.scored(self.arena.test)
        return found


# ---------------------------------------------------------------------------------------------------------------------
# From trainings


def truth_of_trainings(
    architectures: Sequence[Architecture], trained: Sequence[Trained], *, metric: str, epochs: int
) -> Truth:
    """A sample that was trained here. Random search draws from the sample, since nothing else is known.

    Args:
        architectures: the sample.
        trained: what became of each.
        metric: of the task.
        epochs: of each training.

    Raises:
        ConfigurationError: when fewer than 3 trainings led to a value.
    """
    kept = [place for place, result in enumerate(trained) if np.isfinite(result.value)]
    notes = []
    if len(kept) < len(trained):
        lost = [str(architectures[place]) for place in range(len(trained)) if place not in kept]
        notes.append(f"{len(lost)} of {len(trained)} trainings diverged and are left out: {', '.join(lost)}")
    require_enough(len(kept))
    scale, unit = (100.0, "points") if metric.endswith("accuracy") else (1.0, metric)
    values = scale * np.array([trained[place].value for place in kept])
    costs = np.array([float(trained[place].multiply_accumulates) for place in kept])
    percent = ", %" if scale == 100 else ""
    notes.append(
        "values are those of held-out examples after one training each: the best of them is the best by these "
        "examples, and another seed would order close ones differently"
    )
    return Truth(
        tuple(architectures[place] for place in kept),
        values,
        values,
        float(values.max()),
        costs,
        f"held-out {metric} after {epochs} epochs alone{percent}",
        unit,
        f"{len(kept)} trainings of {epochs} epochs on this machine",
        _OnPool(values, costs),
        np.array([trained[place].seconds for place in kept]),
        tuple(notes),
        pool=True,
    )


@final
@dataclass(frozen=True, eq=False)
class _OnPool:
    """Random search without replacement among architectures of which everything is known."""

    values: Floats
    costs: Floats

    def __call__(self, checkpoints: Sequence[float], repeats: int, seed: int) -> dict[str, Floats]:
        rng = np.random.default_rng([seed, len(self.values)])
        found = np.empty((repeats, len(checkpoints)))
        for row in found:
            order = rng.permutation(len(self.values))
            shown = self.values[order]
            regrets = self.values.max() - shown[incumbents(shown)]
            row[:] = at_checkpoints(np.cumsum(self.costs[order]), regrets, checkpoints)
        return {"random search": found}
