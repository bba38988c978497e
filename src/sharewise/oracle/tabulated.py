"""A benchmark's table as an oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharewise.errors import ConfigurationError
from sharewise.oracle.quantity import Key
from sharewise.space import Space, SubListing
from sharewise.strategy.array_oracle import ArrayOracle

if TYPE_CHECKING:
    from sharewise.oracle.table import Table

__all__ = ["final_accuracies", "final_repeats", "rows_of_space", "table_oracle"]


def table_oracle(
    table: Table,
    *,
    dataset: str,
    epochs: int | Sequence[int],
    split: str = "valid",
    metric: str = "accuracy",
    seed: int | Literal["mean", "random"] = "mean",
    unit: str = "seconds",
    costs: ArrayLike | None = None,
    latency: str | None = None,
    space: Space | None = None,
) -> ArrayOracle:
    """The searching signal of a table, with what each of its trainings cost.

    Only architectures are covered of which signal and cost are known. The table refuses test results here.

    Args:
        table: as `open_table` opens it.
        dataset: as the table names it.
        epochs: of the signal; several make several fidelities.
        split: of the signal.
        metric: of which higher is better.
        seed: of the training, `"mean"`, or `"random"`: each question is answered by one of the runs that the
            architecture has, and charged the seconds of that run; where the table does not state them, the mean.
        unit: `"seconds"` of the benchmark's trainings, `"evaluations"` (every one costs 1), or that of `costs`.
        costs: of one epoch by row of the space, in a unit of one's own; then every fidelity costs that times its
            epochs.
        latency: device whose latency, negated, is a further objective.
        space: a sub-space of the table's; `None` for all of it.

    Returns:
        The oracle over the arrays.

    Raises:
        ConfigurationError: when the table lacks a column, states no seconds, or the space is another.
    """
    space, rows = rows_of_space(table, space)
    values: dict[int, ArrayLike] = {}
    prices: dict[int, ArrayLike] = {}
    for fidelity in [epochs] if isinstance(epochs, int) else epochs:
        key: dict[str, Any] = {"metric": metric, "dataset": dataset, "split": split, "epochs": fidelity}
        seeds = _seeds(table, key) if seed == "random" else [seed]
        signal = np.stack([table.column(**key, seed=run)[rows] for run in seeds])
        if costs is not None:
            price = fidelity * np.asarray(costs, dtype=np.float64)
        elif unit == "seconds":
            price = _seconds(table, key, seeds)[:, rows]
        elif unit == "evaluations":
            price = np.ones(len(rows))
        else:
            raise ConfigurationError(f"a table knows seconds and evaluations; give costs= for {unit!r}")
        values[fidelity], prices[fidelity] = np.where(np.isnan(price), np.nan, signal), price
    others = () if latency is None else (-table.column(metric="latency", device=latency)[rows],)
    return ArrayOracle(space, values, prices, unit, others)


def rows_of_space(table: Table, space: Space | None) -> tuple[Space, NDArray[np.int64]]:
    """A space and the rows of a table that hold its architectures, in the order of its listing.

    Args:
        table: of the space or of one that contains it.
        space: `None` for the table's.

    Raises:
        ConfigurationError: when the table is of another space.
    """
    whole = table.space
    if space is None or _rules(space) == _rules(whole):
        return whole, np.arange(table.rows)
    if not whole.is_related(space.name):
        raise ConfigurationError(f"the table holds space {whole.name!r}, of which {space.name!r} is no part")
    listing = space.listing
    if isinstance(listing, SubListing) and listing.of(whole.listing):
        return space, listing.rows.astype(np.int64)
    rows = [whole.listing.index(whole.own(listing.at(row))) for row in range(len(listing))]
    return space, np.array(rows, dtype=np.int64)


def _rules(space: Space) -> tuple[object, ...]:
    """What tells a space from its parts of the same name."""
    return space.name, space.choices, space.constraints


def _by_seed(table: Table, key: Mapping[str, Any]) -> dict[Any, bool]:
    """The seeds of a quantity, and whether the table states the seconds of each."""
    columns = [c for c in table.columns if all(getattr(c.key, part) == value for part, value in key.items())]
    return {column.key.seed: column.cost is not None for column in columns}


def _seeds(table: Table, key: Mapping[str, Any]) -> list[int]:
    """The seeds of the single runs behind a mean."""
    found = sorted(seed for seed in _by_seed(table, key) if isinstance(seed, int))
    if not found:
        table.describe(**key, seed="mean")  # what is wrong with the rest of the key is said first
        named = ", ".join(f"{part} {value}" for part, value in key.items())
        raise ConfigurationError(f"{table.benchmark} has no single runs of {named}; take seed='mean'")
    return found


def _seconds(table: Table, key: Mapping[str, Any], seeds: Sequence[Any]) -> NDArray[np.float64]:
    """What each run took, `(runs, rows)`; the mean over runs where the table does not say."""
    stated = [seed for seed, known in _by_seed(table, key).items() if known]
    own = {seed: table.seconds(**key, seed=seed) for seed in seeds if seed in stated or "mean" not in stated}
    if "mean" not in stated:
        return np.stack([own[seed] for seed in seeds])
    mean = table.seconds(**key, seed="mean")
    return np.stack([np.where(np.isnan(seconds), mean, seconds) for seconds in (own.get(seed, mean) for seed in seeds)])


def final_accuracies(table: Table, dataset: str, space: Space) -> NDArray[np.float64]:
    """Mean test accuracy after the longest training, in percent, of every architecture of a space; for who reports.

    Args:
        table: holds test results; nobody who searches may have it.
        dataset: of the table.
        space: the table's, or a part of it.
    """
    key = _final_key(table, dataset)
    percent = {"percent": 1.0, "fraction": 100.0}[table.describe(**key).unit]
    return percent * table.reporter().column(**key)[rows_of_space(table, space)[1]]


def final_repeats(table: Table, dataset: str, space: Space) -> NDArray[np.float64] | None:
    """Test accuracies of the single trainings behind `final_accuracies`, `(n, trainings)`; arguments as there.

    Returns:
        One row an architecture, not a number where a training is missing; `None` where the table states means alone.
    """
    key = _final_key(table, dataset)
    single = [c.key.seed for c in table.columns if replace(c.key, seed="mean") == Key(**key) and c.key.seed != "mean"]
    if len(single) < 2:
        return None
    rows, reporter = rows_of_space(table, space)[1], table.reporter()
    return np.stack([reporter.column(**{**key, "seed": seed})[rows] for seed in single], axis=1)


def _final_key(table: Table, dataset: str) -> dict[str, Any]:
    """The mean test accuracy after the longest training."""
    keys = [c.key for c in table.columns if (c.key.metric, c.key.dataset, c.key.split) == ("accuracy", dataset, "test")]
    longest = max(key.epochs or 0 for key in keys if key.seed == "mean")
    return {"metric": "accuracy", "dataset": dataset, "split": "test", "epochs": longest or None, "seed": "mean"}
