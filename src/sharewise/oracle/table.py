"""Tables: the published results of all architectures of a space, opened in milliseconds.

A table is one file, made once from an official release by `sharewise benchmark import`. Its rows are those of the
space's listing; its columns are what the release states, untouched, each with a key, a unit and its origin. Test
results are sealed: a `Reporter` reads them, strategies never hold one.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Unpack, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError, DataError
from sharewise.given import got
from sharewise.oracle.columns import Array, ColumnFile, damaged
from sharewise.oracle.description import CODES, ROWS, VERSION, describe
from sharewise.oracle.quantity import PARTS, Column, Key, Parts
from sharewise.oracle.values import Floats, MeanValues, StoredValues
from sharewise.space import Listing, Space
from sharewise.space.listing import find_row, find_rows
from sharewise.spaces import load

__all__ = ["OPEN_SPLITS", "Measurement", "Reporter", "Table", "open_table"]

OPEN_SPLITS = (None, "train", "valid")
"""The splits that a search may see; whatever else a source evaluates on is for reporters."""


@final
@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of a table.

    Args:
        value: in the column's unit, as the source states it.
        unit: of the value.
        seconds: what the benchmark's training took, on the benchmark's own hardware; `None` where the source does not
            say.
        provenance: what the value is and where it comes from.
    """

    value: float
    unit: str
    seconds: float | None
    provenance: str

    def to_json(self) -> dict[str, Any]:
        """A JSON-compatible dictionary."""
        return asdict(self)


@final
class Table:
    """The published results of a space's architectures.

    `dataset`, `metric`, `split`, `epochs` and `seed` (a seed or `"mean"`) say what is asked; a part that the quantity
    does not have is left out (`parameters` have no split), and `device` is a part of latencies only. Nothing has a
    default, since the wrong split or schedule is the commonest mistake with such benchmarks.

    Args:
        file: as `open_table` opens it.

    Raises:
        DataError: when the file holds no table, or one of another version.
    """

    def __init__(self, file: ColumnFile) -> None:
        self.path = file.path
        self._file = file
        self._description = described = describe(file)
        self.benchmark, self.rows, self.provenance = described.benchmark, described.rows, described.provenance
        self.columns = described.columns
        self._readers: dict[Key, StoredValues | MeanValues] = {}

    def __repr__(self) -> str:
        return f"Table({str(self.path)!r}: {self.benchmark}, {self.rows:,} architectures, {len(self.columns)} columns)"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_table, (str(self.path),)

    @cached_property
    def space(self) -> Space:
        """The space whose architectures the rows are.

        Raises:
            ConfigurationError: when this version of sharewise has no such space.
        """
        return load(self._description.space)

    @cached_property
    def _listing(self) -> Listing:
        return self.space.listing

    @cached_property
    def _codes(self) -> tuple[Array, Array] | None:
        if CODES not in self._file.names:
            return None
        return self._file.column(CODES), self._file.column(ROWS)

    def reporter(self) -> Reporter:
        """The handle that also reads test results: for reports, never for a search."""
        return Reporter(self)

    def info(self) -> dict[str, Any]:
        """What the table holds, as a JSON-compatible dictionary: origin, coverage, and every column."""
        return {
            "benchmark": self.benchmark,
            "space": self._description.space,
            "rows": self.rows,
            "format": VERSION,
            "bytes": self._file.size,
            "provenance": self.provenance,
            "columns": [
                {
                    **{name: getattr(column.key, name) for name in ("dataset", "metric", *PARTS[2:])},
                    "unit": column.unit,
                    "covered": column.covered,
                    "cost": None if column.cost is None else str(column.cost),
                    "derived": column.derived or bool(column.mean_of),
                    "note": column.note,
                }
                for column in self.columns
            ],
        }

    def verify(self) -> None:
        """Compare all values with their checksums.

        Raises:
            DataError: when something was changed or damaged since the import.
        """
        self._file.verify()

    def row(self, item: object) -> int:
        """The row of an architecture; isomorphic forms have the same one.

        Args:
            item: an architecture, its standard string, another form that the space's listing reads, or a row number.

        Raises:
            ConfigurationError: when it is no architecture of the space.
        """
        if isinstance(item, int | np.integer) and not isinstance(item, bool):
            row = operator.index(item)
            if not 0 <= row < self.rows:
                raise ConfigurationError(f"the table has rows 0 to {self.rows - 1}, got {row}")
            return row
        row = self._listing.code(item)
        if self._codes is not None:
            row = find_row(self._codes, row)
            if row == -1:
                raise self._foreign(item)
        if not 0 <= row < self.rows:
            raise self._too_small()
        return row

    def rows_of(self, items: Array | Iterable[object]) -> npt.NDArray[np.int64]:
        """The rows of many architectures: see `row`.

        Args:
            items: an array of row numbers, or any forms that `row` takes.
        """
        if isinstance(items, np.ndarray) and items.dtype.kind in "iu" and items.ndim == 1:
            found = items.astype(np.int64)
            if len(found) and not (found.min() >= 0 and found.max() < self.rows):
                raise ConfigurationError(f"the table has rows 0 to {self.rows - 1}, got {found.min()} to {found.max()}")
            return found
        given = list(items)
        if any(issubclass(kind, int | np.integer) for kind in set(map(type, given))):
            return np.array([self.row(item) for item in given], np.int64)
        return self._rows(self._listing.codes_of(given), given.__getitem__)

    def rows_of_codes(self, codes: Array) -> npt.NDArray[np.int64]:
        """The rows of many architectures that are given by their codes, as the space's listing makes them; vectorised.

        Args:
            codes: of shape `(n,)`; for NAS-Bench-101 what `sharewise.spaces.nasbench101.codes_of` returns, which also
                takes cells that are not pruned. Where the listing has no codes of its own, a code is the row.

        Raises:
            ConfigurationError: when a code is that of no architecture of the space.
        """
        if self._codes is None:
            return self.rows_of(codes)
        return self._rows(codes, lambda place: f"item {place} (code {codes[place]})")

    def query(self, item: object, **key: Unpack[Parts]) -> Measurement:
        """One value, with its cost and its origin.

        Args:
            item: what `row` takes.
            key: the parts of a `Key`; test results need a `reporter`.

        Raises:
            ConfigurationError: for a combination that the table does not have (the message names the legal ones), an
                architecture that it does not cover, or a test result.
        """
        return self._measure(item, self._unsealed(Key(**key)))

    def query_many(self, items: Array | Iterable[object], **key: Unpack[Parts]) -> Floats:
        """The values of many architectures; not-a-number where the table has none.

        Args:
            items: what `rows_of` takes.
            key: the parts of a `Key`.
        """
        return self._take(items, self._unsealed(Key(**key)))

    def column(self, **key: Unpack[Parts]) -> Floats:
        """The values of all architectures, in the order of the space's listing; not-a-number where there is none.

        Args:
            key: the parts of a `Key`.
        """
        return self._whole(self._unsealed(Key(**key)))

    def seconds(self, **key: Unpack[Parts]) -> Floats:
        """What the trainings behind a column took, for all architectures: the cost of each of its values.

        Args:
            key: the parts of a `Key`; also for test results, since their cost gives nothing away.

        Raises:
            ConfigurationError: when the source states no time for it.
        """
        column = self._description.find(Key(**key))
        if column.cost is None:
            timed = sorted(
                {f"  {c.key}" for c in self.columns if c.cost is not None and c.key.metric == column.key.metric}
            )
            raise ConfigurationError(
                f"{self.benchmark} states no training time for {column.key}. "
                + ("Times are known for:\n" + "\n".join(timed[:20]) if timed else "It states none for this metric")
            )
        return self._whole(self._description.by_key[column.cost])

    def describe(self, **key: Unpack[Parts]) -> Column:
        """The column itself: unit, origin, coverage.

        Args:
            key: the parts of a `Key`.
        """
        return self._description.find(Key(**key))

    def _rows(self, codes: npt.NDArray[np.integer], name: Callable[[int], object]) -> npt.NDArray[np.int64]:
        """The rows of codes; `name` says in an error what stands at a place."""
        found = (codes if self._codes is None else find_rows(self._codes, codes)).astype(np.int64)
        if self._codes is not None and len(wrong := np.flatnonzero(found == -1)):
            raise self._foreign(name(int(wrong[0])))
        if len(found) and not (found.min() >= 0 and found.max() < self.rows):
            raise self._too_small()
        return found

    def _foreign(self, item: object) -> ConfigurationError:
        return ConfigurationError(f"{str(item)[:300]} is no architecture of space {self._description.space!r}")

    def _too_small(self) -> DataError:
        return damaged(self.path, f"it has {self.rows:,} rows, too few for space {self._description.space!r}")

    def _unsealed(self, key: Key) -> Column:
        column = self._description.find(key)
        if key.split not in OPEN_SPLITS:
            others = {c.key.split for c in self.columns if c.key.metric == key.metric and c.key.dataset == key.dataset}
            signals = sorted(others.intersection(OPEN_SPLITS) - {None}, key=str)
            instead = f"take split {' or '.join(map(str, signals))} as signal" if signals else "it has no other split"
            raise ConfigurationError(
                f"{key} is a test result, which a search must not see: ask table.reporter() for it in a report; "
                f"{instead}"
            )
        return column

    def _values(self, column: Column) -> StoredValues | MeanValues:
        reader = self._readers.get(column.key)
        if reader is None:
            if column.mean_of:
                reader = MeanValues([self._stored(self._description.by_key[key]) for key in column.mean_of])
            else:
                reader = self._stored(column)
            self._readers[column.key] = reader
        return reader

    def _stored(self, column: Column) -> StoredValues:
        assert column.member is not None
        return StoredValues(self._file.column(column.member), column.divisor, column.missing)

    def _measure(self, item: object, column: Column) -> Measurement:
        row = self.row(item)
        values = self._values(column)
        value = values.at(row)
        if value != value:
            raise self._uncovered(row, column)
        seconds = None
        if column.cost is not None:
            seconds = self._values(self._description.by_key[column.cost]).at(row)
            seconds = None if seconds != seconds else seconds
        note = f"{self.benchmark}: {column.note}"
        if isinstance(values, MeanValues):
            runs = values.runs(row)
            note += f"; mean of {runs} run{'' if runs == 1 else 's'}"
        return Measurement(value, column.unit, seconds, note)

    def _uncovered(self, row: int, column: Column) -> ConfigurationError:
        others = [
            c.key.seed
            for c in self.columns
            if c.key != column.key
            and all(getattr(c.key, n) == getattr(column.key, n) for n in PARTS if n != "seed")
            and (value := self._values(c).at(row)) == value
        ]
        known = f"; this architecture has seeds {', '.join(map(str, others))}" if others else ""
        return ConfigurationError(
            f"{self.benchmark} has no {column.key} for architecture {row} ({self._listing.at(row)}): that column "
            f"covers {column.covered:,} of {self.rows:,} architectures{known}"
        )

    def _take(self, items: Array | Iterable[object], column: Column) -> Floats:
        return self._values(column).take(self.rows_of(items))

    def _whole(self, column: Column) -> Floats:
        return self._values(column).take(slice(None))


@final
class Reporter:
    """A table's reader that also gives test results.

    Whoever reports holds one: the command line, a regret curve. A search gets the table, which refuses them.

    Args:
        table: what to read.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    def query(self, item: object, **key: Unpack[Parts]) -> Measurement:
        """See `Table.query`; test results are answered."""
        return self.table._measure(item, self.table._description.find(Key(**key)))

    def query_many(self, items: Array | Iterable[object], **key: Unpack[Parts]) -> Floats:
        """See `Table.query_many`; test results are answered."""
        return self.table._take(items, self.table._description.find(Key(**key)))

    def column(self, **key: Unpack[Parts]) -> Floats:
        """See `Table.column`; test results are answered."""
        return self.table._whole(self.table._description.find(Key(**key)))

    def seconds(self, **key: Unpack[Parts]) -> Floats:
        """See `Table.seconds`."""
        return self.table.seconds(**key)


def open_table(path: str | os.PathLike[str]) -> Table:
    """Open a table that `sharewise benchmark import` wrote.

    Sizes and headers are checked now, and the checksum of a column when it is first used; values are mapped into memory
    and read when they are asked for.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: when no file is named.
        DataError: when the file is missing, damaged, truncated, or no table.

    Example:
        >>> import tempfile
        >>> from sharewise.oracle.readers import import_benchmark  # doctest: +SKIP
        >>> table = open_table("nb201.table")  # doctest: +SKIP
        >>> table.column(dataset="cifar10", metric="accuracy", split="valid", epochs=200, seed="mean").max()
        ... # doctest: +SKIP
        91.60666...
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f"expected a table or its file, {got(path)}: see sharewise benchmark import")
    return Table(ColumnFile(path))
