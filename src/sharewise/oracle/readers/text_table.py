"""Text tables: comma-separated values behind gzip, read column by column with every number checked."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from sharewise.errors import DataError

__all__ = ["ANY_FINITE", "NOT_NEGATIVE", "PERCENT", "TextTable"]

PERCENT = (0.0, 100.0)
NOT_NEGATIVE = (0.0, sys.float_info.max)
ANY_FINITE = (-sys.float_info.max, sys.float_info.max)

_LIMIT = 64 << 20
_FIELDS = 5_000_000
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf")
_INTEGER = re.compile(r"[0-9]{1,18}")


@final
class TextTable:
    """A `.csv.gz` file with a header line.

    Args:
        path: of the file.
        required: names that the header must have; others may follow.

    Raises:
        DataError: when the file is missing or damaged, lacks a column, or a line has another number of fields.
    """

    def __init__(self, path: Path, required: Sequence[str]) -> None:
        self.path = path
        try:
            with gzip.open(path, "rb") as file:
                content = file.read(_LIMIT + 1)
        except FileNotFoundError:
            raise DataError(f"there is no file {str(path)!r}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{str(path)!r} cannot be read as gzip ({error}); fetch it again") from error
        if len(content) > _LIMIT:
            raise DataError(f"{str(path)!r} unpacks to more than {_LIMIT:,} bytes, which no such table needs")
        if content.count(b"\n") + content.count(b",") > _FIELDS:
            raise DataError(f"{str(path)!r} has more than {_FIELDS:,} fields, which no such table needs")
        try:
            lines = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{str(path)!r} is no table of comma-separated text ({error})") from error
        self.names, rows = (tuple(lines[0]), lines[1:]) if lines else ((), [])
        missing = [name for name in required if name not in self.names]
        if missing:
            raise DataError(f"{str(path)!r} lacks the column {missing[0]!r}; it has {', '.join(self.names)[:300]}")
        for number, row in enumerate(rows, start=2):
            if len(row) != len(self.names):
                raise DataError(f"line {number} of {str(path)!r} has {len(row)} fields instead of {len(self.names)}")
        self._columns = dict(zip(self.names, zip(*rows, strict=True), strict=True)) if rows else {}
        self.length = len(rows)

    def text(self, name: str) -> tuple[str, ...]:
        """A column as it is written."""
        return self._columns.get(name, ())

    def numbers(
        self, name: str, *, empty: bool = False, within: tuple[float, float] = (-math.inf, math.inf)
    ) -> npt.NDArray[np.float64]:
        """A column of numbers, as the nearest 64-bit floats.

        Args:
            name: of the column.
            empty: whether a field may be empty, which reads not-a-number.
            within: the smallest and the largest legal value.

        Raises:
            DataError: naming the line of a field that is no number, or not within the limits.
        """
        for line, field in enumerate(self.text(name), start=2):
            if _NUMBER.fullmatch(field) is None and not (empty and not field):
                raise self._wrong(name, line, field, "a number")
        values = np.array([float(field) if field else np.nan for field in self.text(name)], np.float64)
        low, high = within
        for place in np.flatnonzero((values < low) | (values > high))[:1].tolist():
            raise self._wrong(name, place + 2, self.text(name)[place], f"a number from {low:g} to {high:g}")
        return values

    def integers(self, name: str) -> npt.NDArray[np.int64]:
        """A column of integers that are not negative.

        Raises:
            DataError: naming the line of a field that is none.
        """
        for number, field in enumerate(self.text(name), start=2):
            if _INTEGER.fullmatch(field) is None:
                raise self._wrong(name, number, field, "an integer of 0 or more")
        return np.array([int(field) for field in self.text(name)], np.int64)

    def _wrong(self, name: str, line: int, field: str, expected: str) -> DataError:
        return DataError(f"line {line} of {str(self.path)!r}: {name} should be {expected}, got {field[:60]!r}")
