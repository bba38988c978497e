"""A table before it is written, and how it is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from sharewise.oracle.columns import Array, write_columns
from sharewise.oracle.description import CODES, FORMAT, ROWS, VERSION
from sharewise.oracle.quantity import Column, Key
from sharewise.spaces import load

__all__ = ["Draft", "write_table"]


@final
class Draft:
    """A table before it is written: what a reader of official files fills.

    Args:
        benchmark: its name.
        space: name of the space.
        provenance: where everything comes from; JSON.
    """

    def __init__(self, benchmark: str, space: str, provenance: Mapping[str, Any]) -> None:
        self.benchmark, self.space, self.provenance = benchmark, load(space), dict(provenance)
        self.columns: list[Column] = []
        self.arrays: dict[str, Array] = {}

    def add(
        self,
        key: Key,
        values: Array,
        unit: str,
        note: str,
        *,
        divisor: int = 1,
        missing: int | None = None,
        cost: Key | None = None,
        derived: bool = False,
    ) -> None:
        """Add values of the source, in the order of the space's listing, in the smallest type that holds them exactly.

        Args:
            key: of the column.
            values: one per architecture; not-a-number, or `missing`, where there is none.
            unit: see `Column`, as the rest.
            note: see `Column`.
            divisor: see `Column`.
            missing: see `Column`.
            cost: see `Column`.
            derived: see `Column`.
        """
        assert len(values) == len(self.space.listing), key
        member = f"c{len(self.arrays):04d}"
        self.arrays[member] = _smallest(values)
        known = values == values if missing is None else values != missing
        covered = int(np.count_nonzero(known))
        self.columns.append(Column(key, unit, note, member, divisor, missing, (), cost, covered, derived))

    def add_mean(self, key: Key, mean_of: Sequence[Key], note: str, *, cost: Key | None = None) -> None:
        """Add the mean of stored columns, over those that have a value.

        Args:
            key: of the column.
            mean_of: columns that were added before.
            note: see `Column`.
            cost: see `Column`.
        """
        parts = [column for column in self.columns if column.key in mean_of]
        known = np.zeros(len(self.space.listing), bool)
        for column in parts:
            assert column.member is not None, key
            raw = self.arrays[column.member]
            known |= raw == raw if column.missing is None else raw != column.missing
        unit, covered = parts[0].unit, int(np.count_nonzero(known))
        self.columns.append(Column(key, unit, note, mean_of=tuple(mean_of), cost=cost, covered=covered))


def _smallest(values: Array) -> Array:
    """The same numbers in the smallest type of the format that holds them exactly."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        return narrow if np.array_equal(narrow, values, equal_nan=True) else values.astype(np.float64)
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    for kind in (np.uint8, np.uint16, np.uint32, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.uint64)


def write_table(draft: Draft, path: str | os.PathLike[str]) -> None:
    """Write a table, whole or not at all.

    Args:
        draft: with all its columns.
        path: the file; one that exists is replaced.

    Raises:
        DataError: when the file cannot be written.
    """
    listing, arrays = draft.space.listing, dict(draft.arrays)
    codes = listing.codes()
    if codes is not None:
        arrays[CODES], arrays[ROWS] = codes
    document = {
        "format": FORMAT,
        "version": VERSION,
        "benchmark": draft.benchmark,
        "space": draft.space.name,
        "rows": len(listing),
        "provenance": draft.provenance,
        "columns": [column.to_json() for column in draft.columns],
    }
    write_columns(Path(path), document, arrays)
