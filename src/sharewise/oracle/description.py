"""What a table says about itself: which columns it has, and that they fit its arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from sharewise.errors import ConfigurationError, DataError
from sharewise.oracle.columns import ColumnFile, damaged
from sharewise.oracle.quantity import Column, Key

__all__ = ["CODES", "FORMAT", "ROWS", "VERSION", "Description", "describe"]

FORMAT, VERSION = "sharewise table", 1
CODES, ROWS = "codes", "rows_of_codes"


@final
@dataclass(frozen=True)
class Description:
    """The description in the head of a table.

    Args:
        benchmark: its name.
        space: the name of the space whose architectures the rows are.
        rows: how many.
        provenance: where everything comes from; JSON.
        columns: with different keys.
    """

    benchmark: str
    space: str
    rows: int
    provenance: dict[str, Any]
    columns: tuple[Column, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Description:
        """Rebuild a description.

        Raises:
            KeyError: when a part is missing.
            TypeError: when the value has another form, or columns refer to others that are not there.
        """
        columns = tuple(Column.from_json(column) for column in value["columns"])
        found = cls(value["benchmark"], value["space"], value["rows"], value["provenance"], columns)
        if not (isinstance(found.benchmark, str) and isinstance(found.space, str) and type(found.rows) is int):
            raise TypeError("benchmark, space and rows")
        if not isinstance(found.provenance, dict):
            raise TypeError("provenance")
        if len(found.by_key) != len(columns):
            raise TypeError("two columns have the same key")
        for column in columns:
            found._require_parts(column)
        return found

    @cached_property
    def by_key(self) -> Mapping[Key, Column]:
        """The columns."""
        return {column.key: column for column in self.columns}

    def _require_parts(self, column: Column) -> None:
        """Those columns that a mean and a cost are made of."""
        parts = [self.by_key.get(key) for key in column.mean_of]
        divisors = {part.divisor for part in parts if part is not None and part.member is not None}
        if any(part is None or part.member is None for part in parts) or len(divisors) > 1:
            raise TypeError(f"column {column.key} is the mean of columns that are not there")
        if column.cost is not None and column.cost not in self.by_key:
            raise TypeError(f"column {column.key} has a cost that is not there")
        if column.cost is not None and column.cost.split is not None:
            raise TypeError(f"column {column.key} has an evaluation as cost")

    def find(self, key: Key) -> Column:
        """The column of a key.

        Raises:
            ConfigurationError: when there is none; the message names the first part that is wrong and its legal values.
        """
        column = self.by_key.get(key)
        if column is None:
            raise self._illegal(key)
        return column

    def _illegal(self, key: Key) -> ConfigurationError:
        """The error for a combination that does not exist, with the first part that is wrong and its legal values."""
        candidates = list(self.by_key)
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


def describe(file: ColumnFile) -> Description:
    """The description of a file, which fits its arrays.

    Args:
        file: with columns.

    Raises:
        DataError: when the file holds no table, or one of another version.
    """
    document = file.document
    if document.get("format") != FORMAT:
        raise damaged(file.path, f"its format is {str(document.get('format'))[:80]!r} instead of {FORMAT!r}")
    if document.get("version") != VERSION:
        raise DataError(
            f"{str(file.path)!r} has version {str(document.get('version'))[:80]} of the table format, this "
            f"sharewise reads version {VERSION}; import the benchmark again"
        )
    try:
        found = Description.from_json(document)
        _require_arrays(found, file, set(file.names))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(file.path, f"its description is not that of a table ({str(error)[:200]})") from error
    return found


def _require_arrays(found: Description, file: ColumnFile, names: Collection[str]) -> None:
    for column in found.columns:
        if column.member is not None and (column.member not in names or file.length(column.member) != found.rows):
            raise TypeError(f"column {column.key} has no array of {found.rows} values")
    if (CODES in names) != (ROWS in names) or (CODES in names and file.length(CODES) != file.length(ROWS)):
        raise TypeError("codes and their rows")
