"""A benchmark's table as an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharewise.errors import ConfigurationError
from sharewise.oracle.array_oracle import ArrayOracle
from sharewise.oracle.table import Key, Parts, Table
from sharewise.space import Space, SubListing

__all__ = ["final_accuracies", "rows_of_space", "table_oracle"]


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
        seed: of the training, `"mean"`, or `"random"`: each question is answered by one of the runs.
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
    values, prices = {}, {}
    for fidelity in [epochs] if isinstance(epochs, int) else epochs:
        key = Key(metric, dataset, split, fidelity, "mean" if seed == "random" else seed)
        runs = _runs(table, key) if seed == "random" else [key]
        values[fidelity] = np.stack([_column(table, run)[rows] for run in runs])
        if costs is not None:
            prices[fidelity] = fidelity * np.asarray(costs, dtype=np.float64)
        elif unit == "seconds":
            prices[fidelity] = table.seconds(**_parts(runs[0]))[rows]
        elif unit == "evaluations":
            prices[fidelity] = np.ones(len(rows))
        else:
            raise ConfigurationError(f"a table knows seconds and evaluations; give costs= for {unit!r}")
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
    if space is None or space.name == table.space.name:
        return table.space, np.arange(table.rows)
    listing = space.listing
    if space.name.partition(":")[0] != table.space.name or not isinstance(listing, SubListing):
        raise ConfigurationError(f"the table holds space {table.space.name!r}, of which {space.name!r} is no part")
    return space, listing.rows.astype(np.int64)


def _parts(key: Key) -> Parts:
    return {"metric": key.metric, "dataset": key.dataset, "split": key.split, "epochs": key.epochs, "seed": key.seed}


def _column(table: Table, key: Key) -> NDArray[np.float64]:
    return table.column(**_parts(key))


def _runs(table: Table, mean: Key) -> list[Key]:
    """The keys of the single runs behind a mean."""
    runs = [column.key for column in table.columns if isinstance(column.key.seed, int)]
    found = [key for key in runs if replace(key, seed="mean") == mean]
    if not found:
        raise ConfigurationError(f"the table has no single runs of {mean}; take seed='mean'")
    return sorted(found, key=lambda key: str(key.seed))


def final_accuracies(table: Table, dataset: str, space: Space) -> NDArray[np.float64]:
    """Mean test accuracy after the longest training, in percent, of every architecture of a space; for who reports.

    Args:
        table: holds test results; nobody who searches may have it.
        dataset: of the table.
        space: the table's, or a part of it.
    """
    keys = [c.key for c in table.columns if (c.key.metric, c.key.dataset, c.key.split) == ("accuracy", dataset, "test")]
    longest = max(key.epochs or 0 for key in keys if key.seed == "mean")
    key: dict[str, Any] = {"metric": "accuracy", "dataset": dataset, "split": "test", "epochs": longest, "seed": "mean"}
    percent = {"percent": 1.0, "fraction": 100.0}[table.describe(**key).unit]
    return percent * table.reporter().column(**key)[rows_of_space(table, space)[1]]
