"""Following a search in a benchmark's table: what the cell of every epoch is worth when it is trained on its own.

The values are for reports. They join the history, which no piece of a recipe reads; a search is the same with and
without them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from sharewise.engine import SearchState
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.oracle.quantity import Key
from sharewise.oracle.table import Table, open_table
from sharewise.oracle.tabulated import rows_of_space
from sharewise.space import Architecture, Space

__all__ = ["Following", "follow"]

_WHOLE = {"fraction": 1.0, "percent": 100.0}


@final
@dataclass(frozen=True, eq=False)
class Following:
    """A table in which the architectures of a search are looked up.

    Args:
        table: of the space, or of one that holds it.
        space: of the search.
        dataset: of the table.
        keys: by split, the mean accuracy after the longest training that the table states.
    """

    table: Table
    space: Space
    dataset: str
    keys: Mapping[str, Key]

    def errors(self, architecture: Architecture) -> dict[str, float]:
        """The errors of an architecture by split, as fractions; a split is absent where the table has no value."""
        row = self.table.row(self.table.space.own(architecture))
        found = {split: float(self._columns[split][row]) for split in self.keys}
        return {f"{split}_error": error for split, error in found.items() if not np.isnan(error)}

    def measure(self, state: SearchState) -> Mapping[str, Any]:
        """The errors of the architecture that the distribution rounds to now; nothing for methods that only sample."""
        projected = state.recipe.selection.projected(state) if state.distribution.probabilities() else None
        return {} if projected is None else {"table": self.errors(projected)}

    def result(self, architecture: Architecture) -> dict[str, Any]:
        """What the table says of the found architecture, and the least errors of the space beside it."""
        rows = rows_of_space(self.table, self.space)[1]
        known = {split: self._columns[split][rows] for split in self.keys}
        return {
            "benchmark": self.table.benchmark,
            "dataset": self.dataset,
            "epochs": {split: key.epochs for split, key in self.keys.items()},
            **self.errors(architecture),
            "least": {f"{split}_error": float(np.nanmin(column)) for split, column in known.items()},
            "covered": {split: int((~np.isnan(column)).sum()) for split, column in known.items()},
            "architectures": len(rows),
        }

    @cached_property
    def _columns(self) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Errors of all rows by split."""
        reporter = self.table.reporter()
        return {
            split: 1 - reporter.column(**_parts(key)) / _WHOLE[self.table.describe(**_parts(key)).unit]
            for split, key in self.keys.items()
        }


def _parts(key: Key) -> Any:
    return {name: getattr(key, name) for name in ("metric", "dataset", "split", "epochs", "seed")}


def follow(
    oracle: Table | str | os.PathLike[str] | None, space: Space, data: str, dataset: str | None = None
) -> Following | None:
    """Prepare to look up the architectures of a search.

    Args:
        oracle: a table, or the file of one; `None` for nothing.
        space: of the search.
        data: name of the data of the search.
        dataset: of the table; by default the one that is called as the data of the search, or the only one.

    Returns:
        The table with the columns that are read: the mean validation and test accuracy after the longest training.

    Raises:
        ConfigurationError: when the table holds another space, or it is not clear which data set is meant.
        DataError: when the file is no table.
    """
    if oracle is None:
        if dataset is not None:
            raise ConfigurationError(f"oracle_dataset {dataset!r} belongs to a table: give oracle as well")
        return None
    table = oracle if isinstance(oracle, Table) else open_table(oracle)
    rows_of_space(table, space)
    longest: dict[str, dict[str, Key]] = {}
    for key in (column.key for column in table.columns):
        if (key.metric, key.seed) == ("accuracy", "mean") and key.split in ("valid", "test") and key.dataset:
            splits = longest.setdefault(key.dataset, {})
            if key.split not in splits or (key.epochs or 0) > (splits[key.split].epochs or 0):
                splits[key.split] = key
    named = dataset or (data if data in longest else next(iter(longest)) if len(longest) == 1 else None)
    if named is None:
        raise ConfigurationError(
            f"{table.benchmark} has several data sets, none called {data!r}; give oracle_dataset, one of "
            f"{', '.join(longest)}"
        )
    if named not in longest:
        raise unknown_name(f"data set of {table.benchmark}:", named, longest)
    return Following(table, space, named, longest[named])
