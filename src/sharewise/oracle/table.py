"""Tables: the published results of all architectures of a space, opened in milliseconds.

A table is one file, made once from an official release by `sharewise benchmark import`. Its rows are those of the
space's listing; its columns are what the release states, untouched, each with a key, a unit and its origin. Test
results are sealed: a `Reporter` reads them, strategies never hold one.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, Required, TypeAlias, TypedDict, Unpack, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError, DataError
from sharewise.oracle.columns import Array, ColumnFile, damaged, write_columns
from sharewise.space import Listing, Space
from sharewise.spaces import load

__all__ = [
    "Column",
    "Draft",
    "Floats",
    "Key",
    "Measurement",
    "Parts",
    "Reporter",
    "Seed",
    "Table",
    "open_table",
    "write_table",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Seed: TypeAlias = int | Literal["mean"]

_FORMAT, _VERSION = "sharewise table", 1
_CODES, _ROWS = "codes", "rows_of_codes"
TEST_SPLITS = ("test", "valid+test")


@final
@dataclass(frozen=True, slots=True)
class Key:
    """What a column holds. A part is `None` where the quantity has no such thing: parameters have no split.

    Args:
        metric: `"accuracy"`, `"training_time"`, `"parameters"` and so on.
        dataset: as the source names it.
        split: of the evaluation: `"train"`, `"valid"`, `"test"`, or `"valid+test"` where a source evaluates both
            together.
        epochs: of the training.
        seed: of the training, or `"mean"` over its runs.
        device: of a latency.

    Example:
        >>> print(Key("accuracy", "cifar10", "valid", 200, "mean"))
        accuracy, dataset cifar10, split valid, epochs 200, seed mean
    """

    metric: str
    dataset: str | None = None
    split: str | None = None
    epochs: int | None = None
    seed: Seed | None = None
    device: str | None = None

    def __str__(self) -> str:
        parts = [(name, getattr(self, name)) for name in _PARTS[1:]]
        return ", ".join([self.metric, *(f"{name} {value}" for name, value in parts if value is not None)])


_PARTS = tuple(field.name for field in fields(Key))


class Parts(TypedDict, total=False):
    """The parts of a `Key` as keyword arguments."""

    metric: Required[str]
    dataset: str | None
    split: str | None
    epochs: int | None
    seed: Seed | None
    device: str | None


@final
@dataclass(frozen=True)
class Column:
    """One quantity of all architectures: values of the source, or the mean of other columns.

    Args:
        key: what it is.
        unit: `"percent"`, `"fraction"`, `"seconds"`, `"milliseconds"`, `"count"`, `"million"` or `"score"`.
        note: what exactly it is and where it comes from.
        member: name of the stored array; `None` for a mean.
        divisor: a value is the stored number divided by this; more than 1 where the source counts images.
        missing: the stored number that stands for no value; not-a-number always does.
        mean_of: the columns whose mean this is, over those that have a value.
        cost: the column that holds the seconds of the training behind a value.
        covered: how many architectures have a value.
        derived: whether the values are computed from what the source states; the note says how.
    """

    key: Key
    unit: str
    note: str
    member: str | None = None
    divisor: int = 1
    missing: int | None = None
    mean_of: tuple[Key, ...] = ()
    cost: Key | None = None
    covered: int = 0
    derived: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON-compatible dictionary from which `from_json` rebuilds an equal value; defaults are left out."""
        value: dict[str, Any] = {"key": _key_json(self.key), "unit": self.unit, "note": self.note}
        if self.mean_of:
            value["mean_of"] = [_key_json(key) for key in self.mean_of]
        if self.cost is not None:
            value["cost"] = _key_json(self.cost)
        rest = {"member": None, "divisor": 1, "missing": None, "derived": False}
        return (
            value | {n: getattr(self, n) for n, d in rest.items() if getattr(self, n) != d} | {"covered": self.covered}
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Column:
        """Rebuild a column.

        Raises:
            TypeError: when the value has another form.
        """
        rest = {**value}
        key, cost = _key_from_json(rest.pop("key")), rest.pop("cost", None)
        mean_of = tuple(_key_from_json(part) for part in rest.pop("mean_of", ()))
        column = cls(key=key, cost=None if cost is None else _key_from_json(cost), mean_of=mean_of, **rest)
        sound = isinstance(column.unit, str) and isinstance(column.note, str) and type(column.derived) is bool
        sound = sound and type(column.covered) is int and type(column.divisor) is int and column.divisor > 0
        sound = sound and (column.missing is None or type(column.missing) is int)
        if not sound or (column.member is None) == (not mean_of) or not isinstance(column.member, str | None):
            raise TypeError(f"column {key} is not described as a column")
        return column


def _key_json(key: Key) -> list[Any]:
    return [getattr(key, name) for name in _PARTS]


def _key_from_json(value: Any) -> Key:
    metric, dataset, split, epochs, seed, device = value
    sound = isinstance(metric, str) and all(isinstance(v, str | None) for v in (dataset, split, device))
    if not (sound and type(epochs) in (int, type(None)) and (seed == "mean" or type(seed) in (int, type(None)))):
        raise TypeError(f"{value!r:.200} is no key")
    return Key(metric, dataset, split, epochs, seed, device)


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


class _Values(Protocol):
    """Reads a column; not-a-number where there is no value."""

    def at(self, row: int) -> float: ...

    def take(self, rows: Array | slice) -> Floats: ...


@final
class _Stored:
    """Values as they lie in the file."""

    def __init__(self, raw: Array, divisor: int, missing: int | None) -> None:
        self.raw, self.divisor, self.missing = raw, divisor, missing

    def at(self, row: int) -> float:
        found = self.raw[row].item()
        return math.nan if found == self.missing else found / self.divisor

    def take(self, rows: Array | slice) -> Floats:
        return self.raw_take(rows) / self.divisor

    def raw_at(self, row: int) -> float:
        found = float(self.raw[row])
        return math.nan if found == self.missing else found

    def raw_take(self, rows: Array | slice) -> Floats:
        found = self.raw[rows].astype(np.float64)
        if self.missing is not None:
            found[found == self.missing] = np.nan
        return found


@final
class _Mean:
    """The mean over those columns that have a value; counts are added up before the division, and so are exact."""

    def __init__(self, parts: Sequence[_Stored]) -> None:
        self.parts, self.divisor = parts, parts[0].divisor

    def at(self, row: int) -> float:
        found = [value for part in self.parts if (value := part.raw_at(row)) == value]
        return sum(found) / (len(found) * self.divisor) if found else math.nan

    def runs(self, row: int) -> int:
        return sum(value == value for value in (part.raw_at(row) for part in self.parts))

    def take(self, rows: Array | slice) -> Floats:
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
        document = file.document
        if document.get("format") != _FORMAT:
            raise damaged(file.path, f"its format is {str(document.get('format'))[:80]!r} instead of {_FORMAT!r}")
        if document.get("version") != _VERSION:
            raise DataError(
                f"{str(file.path)!r} has version {str(document.get('version'))[:80]} of the table format, this "
                f"sharewise reads version {_VERSION}; import the benchmark again"
            )
        try:
            self.benchmark, self._space_name = document["benchmark"], document["space"]
            self.rows, self.provenance = document["rows"], document["provenance"]
            self.columns = tuple(Column.from_json(value) for value in document["columns"])
            self._check(file)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(file.path, f"its description is not that of a table ({str(error)[:200]})") from error
        self._columns = {column.key: column for column in self.columns}
        self._readers: dict[Key, _Stored | _Mean] = {}

    def _check(self, file: ColumnFile) -> None:
        """Check that the description fits the arrays."""
        if not (isinstance(self.benchmark, str) and isinstance(self._space_name, str) and type(self.rows) is int):
            raise TypeError("benchmark, space and rows")
        if not isinstance(self.provenance, dict):
            raise TypeError("provenance")
        stored = {column.key for column in self.columns if column.member is not None}
        keys = {column.key for column in self.columns}
        if len(keys) != len(self.columns):
            raise TypeError("two columns have the same key")
        names, divisors = set(file.names), {column.key: column.divisor for column in self.columns}
        for column in self.columns:
            if column.member is not None and (column.member not in names or file.length(column.member) != self.rows):
                raise TypeError(f"column {column.key} has no array of {self.rows} values")
            if not stored.issuperset(column.mean_of) or len({divisors[key] for key in column.mean_of}) > 1:
                raise TypeError(f"column {column.key} is the mean of columns that are not there")
            if column.cost is not None and column.cost not in keys:
                raise TypeError(f"column {column.key} has a cost that is not there")
        if (_CODES in names) != (_ROWS in names) or (_CODES in names and file.length(_CODES) != file.length(_ROWS)):
            raise TypeError("codes and their rows")

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
        return load(self._space_name)

    @cached_property
    def _listing(self) -> Listing:
        return self.space.listing

    @cached_property
    def _codes(self) -> tuple[Array, Array] | None:
        if _CODES not in self._file.names:
            return None
        return self._file.column(_CODES), self._file.column(_ROWS)

    def reporter(self) -> Reporter:
        """The handle that also reads test results: for reports, never for a search."""
        return Reporter(self)

    def info(self) -> dict[str, Any]:
        """What the table holds, as a JSON-compatible dictionary: origin, coverage, and every column."""
        return {
            "benchmark": self.benchmark,
            "space": self._space_name,
            "rows": self.rows,
            "format": _VERSION,
            "bytes": self._file.size,
            "provenance": self.provenance,
            "columns": [
                {
                    **{name: getattr(column.key, name) for name in ("dataset", "metric", *_PARTS[2:])},
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
            codes, rows = self._codes
            place = int(codes.searchsorted(codes.dtype.type(row)))
            if place == len(codes) or codes[place] != row:
                raise ConfigurationError(f"{str(item)[:300]} is no architecture of space {self._space_name!r}")
            row = int(rows[place])
        if not 0 <= row < self.rows:
            raise damaged(self.path, f"it has {self.rows:,} rows, too few for space {self._space_name!r}")
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
        if self._codes is None or any(isinstance(item, int | np.integer) for item in given):
            return np.array([self.row(item) for item in given], np.int64)
        code, kind = self._listing.code, self._codes[0].dtype
        return self.rows_of_codes(np.array([code(item) for item in given], kind))

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
        known, rows = self._codes
        wanted = np.asarray(codes).astype(known.dtype)
        places = np.minimum(known.searchsorted(wanted), len(known) - 1)
        wrong = np.flatnonzero(known[places] != codes)
        if len(wrong):
            raise ConfigurationError(
                f"item {wrong[0]} (code {codes[wrong[0]]}) is no architecture of space {self._space_name!r}"
            )
        found = rows[places].astype(np.int64)
        if len(found) and not (found.min() >= 0 and found.max() < self.rows):
            raise damaged(self.path, f"it has {self.rows:,} rows, too few for space {self._space_name!r}")
        return found

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
        column = self._find(Key(**key))
        if column.cost is None:
            timed = sorted(
                {f"  {c.key}" for c in self.columns if c.cost is not None and c.key.metric == column.key.metric}
            )
            raise ConfigurationError(
                f"{self.benchmark} states no training time for {column.key}. "
                + ("Times are known for:\n" + "\n".join(timed[:20]) if timed else "It states none for this metric")
            )
        return self._whole(self._columns[column.cost])

    def describe(self, **key: Unpack[Parts]) -> Column:
        """The column itself: unit, origin, coverage.

        Args:
            key: the parts of a `Key`.
        """
        return self._find(Key(**key))

    def _find(self, key: Key) -> Column:
        column = self._columns.get(key)
        if column is None:
            raise self._illegal(key)
        return column

    def _unsealed(self, key: Key) -> Column:
        column = self._find(key)
        if key.split in TEST_SPLITS:
            raise ConfigurationError(
                f"{key} is a test result, which a search must not see: ask table.reporter() for it in a report, or "
                "take another split as signal"
            )
        return column

    def _illegal(self, key: Key) -> ConfigurationError:
        """The error for a combination that does not exist, with the first part that is wrong and its legal values."""
        candidates = list(self._columns)
        said: list[str] = []
        for name in ("metric", "dataset", "split", "epochs", "seed", "device"):
            value = getattr(key, name)
            kept = [candidate for candidate in candidates if getattr(candidate, name) == value]
            if not kept:
                legal = sorted({getattr(c, name) for c in candidates} - {None}, key=lambda v: (isinstance(v, str), v))
                about = f"{', '.join(said)} of {self.benchmark}" if said else self.benchmark
                if not legal:
                    return ConfigurationError(f"{about} has no {name}; leave it out instead of {value!r}")
                wrong = f"say which {name} of {about}" if value is None else f"{about} has no {name} {value!r}"
                return ConfigurationError(f"{wrong}. Legal: {', '.join(map(str, legal))}")
            candidates = kept
            if value is not None:
                said.append(f"{name} {value}" if name != "metric" else str(value))
        raise AssertionError(key)

    def _values(self, column: Column) -> _Stored | _Mean:
        reader = self._readers.get(column.key)
        if reader is None:
            if column.mean_of:
                reader = _Mean([self._stored(self._columns[key]) for key in column.mean_of])
            else:
                reader = self._stored(column)
            self._readers[column.key] = reader
        return reader

    def _stored(self, column: Column) -> _Stored:
        assert column.member is not None
        return _Stored(self._file.column(column.member), column.divisor, column.missing)

    def _measure(self, item: object, column: Column) -> Measurement:
        row = self.row(item)
        values = self._values(column)
        value = values.at(row)
        if value != value:
            raise self._uncovered(row, column)
        seconds = None
        if column.cost is not None:
            seconds = self._values(self._columns[column.cost]).at(row)
            seconds = None if seconds != seconds else seconds
        note = f"{self.benchmark}: {column.note}"
        if isinstance(values, _Mean):
            note += f"; mean of {values.runs(row)} runs"
        return Measurement(value, column.unit, seconds, note)

    def _uncovered(self, row: int, column: Column) -> ConfigurationError:
        others = [
            c.key.seed
            for c in self.columns
            if c.key != column.key
            and all(getattr(c.key, n) == getattr(column.key, n) for n in _PARTS if n != "seed")
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
        return self.table._measure(item, self.table._find(Key(**key)))

    def query_many(self, items: Array | Iterable[object], **key: Unpack[Parts]) -> Floats:
        """See `Table.query_many`; test results are answered."""
        return self.table._take(items, self.table._find(Key(**key)))

    def column(self, **key: Unpack[Parts]) -> Floats:
        """See `Table.column`; test results are answered."""
        return self.table._whole(self.table._find(Key(**key)))

    def seconds(self, **key: Unpack[Parts]) -> Floats:
        """See `Table.seconds`."""
        return self.table.seconds(**key)


def open_table(path: str | os.PathLike[str]) -> Table:
    """Open a table that `sharewise benchmark import` wrote.

    Sizes and headers are checked, checksums only by `Table.verify`; values are mapped into memory and read when they
    are asked for.

    Args:
        path: of the file.

    Raises:
        DataError: when the file is missing, damaged, truncated, or no table.

    Example:
        >>> import tempfile
        >>> from sharewise.oracle.readers import import_benchmark  # doctest: +SKIP
        >>> table = open_table("nb201.table")  # doctest: +SKIP
        >>> table.column(dataset="cifar10", metric="accuracy", split="valid", epochs=200, seed="mean").max()
        ... # doctest: +SKIP
        91.60666...
    """
    return Table(ColumnFile(path))


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
        arrays[_CODES], arrays[_ROWS] = codes
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "benchmark": draft.benchmark,
        "space": draft.space.name,
        "rows": len(listing),
        "provenance": draft.provenance,
        "columns": [column.to_json() for column in draft.columns],
    }
    write_columns(Path(path), document, arrays)
