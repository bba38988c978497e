"""The numbers of a column, read where they lie; not-a-number where there is no value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from sharewise.oracle.columns import Array

__all__ = ["Floats", "MeanValues", "StoredValues"]

Floats: TypeAlias = npt.NDArray[np.float64]


@final
class StoredValues:
    """Values as they lie in the file.

    Args:
        raw: the stored numbers.
        divisor: a value is the stored number divided by this.
        missing: the stored number that stands for no value; not-a-number always does.

    Example:
        >>> column = StoredValues(np.array([5, 255, 10], np.uint8), 10, 255)
        >>> column.at(0), column.take(slice(None))
        (0.5, array([0.5, nan, 1. ]))
    """

    def __init__(self, raw: Array, divisor: int, missing: int | None) -> None:
        self.raw, self.divisor, self.missing = raw, divisor, missing

    def at(self, row: int) -> float:
        """The value of a row."""
        found = self.raw[row].item()
        return math.nan if found == self.missing else found / self.divisor

    def take(self, rows: Array | slice) -> Floats:
        """The values of many rows."""
        return self.raw_take(rows) / self.divisor

    def raw_at(self, row: int) -> float:
        """The stored number of a row."""
        found = float(self.raw[row])
        return math.nan if found == self.missing else found

    def raw_take(self, rows: Array | slice) -> Floats:
        """The stored numbers of many rows."""
        found = self.raw[rows].astype(np.float64)
        if self.missing is not None:
            found[found == self.missing] = np.nan
        return found


@final
class MeanValues:
    """The mean over those columns that have a value; counts are added up before the division, and so are exact.

    Args:
        parts: columns of one divisor.
    """

    def __init__(self, parts: Sequence[StoredValues]) -> None:
        self.parts, self.divisor = parts, parts[0].divisor

    def at(self, row: int) -> float:
        """The value of a row."""
        found = [value for part in self.parts if (value := part.raw_at(row)) == value]
        return sum(found) / (len(found) * self.divisor) if found else math.nan

    def runs(self, row: int) -> int:
        """How many columns have a value for a row."""
        return sum(value == value for value in (part.raw_at(row) for part in self.parts))

    def take(self, rows: Array | slice) -> Floats:
        """The values of many rows."""
        total, count = None, None
        for part in self.parts:
            found = part.raw_take(rows)
            known = found == found
            values = np.where(known, found, 0.0)
            total = values if total is None else total + values
            count = known.astype(np.int64) if count is None else count + known
        assert total is not None
        assert count is not None
        mean: Floats = np.divide(total, count * self.divisor, out=np.full(len(total), np.nan), where=count > 0)
        return mean
