"""The contract of a reader of official files: what a release states, in the right column, row and unit, and no more."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import DataError
from sharewise.oracle import Reporter, open_table
from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import PARTS, Column, Key
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.expect import expect

__all__ = ["Fact", "check_reader"]

Floats = npt.NDArray[np.float64]
Read = Callable[[Path], Draft]

_FACTORS = {100.0: "percent and fractions", 60.0: "minutes", 3600.0: "hours", 1e3: "thousandths", 1e6: "millions"}
_RANGES: Mapping[str, tuple[float, float]] = {
    "percent": (0.0, 100.0),
    "fraction": (0.0, 1.0),
    "seconds": (0.0, math.inf),
    "milliseconds": (0.0, math.inf),
    "count": (0.0, math.inf),
    "million": (0.0, math.inf),
    "score": (-math.inf, math.inf),
}


@final
@dataclass(frozen=True)
class Fact:
    """One value that somebody has read in the release or in its paper, not by the reader that is checked.

    Args:
        architecture: in the standard form of the space.
        key: what was measured.
        value: in `unit`; not-a-number where the release states that there is none.
        unit: of the value.

    Example:
        >>> Fact("8:8:8:8:8", Key("parameters", "cifar10"), 5064.0, "count").value
        5064.0
    """

    architecture: str
    key: Key
    value: float
    unit: str


def check_reader(
    read: Read, source: Path, facts: Iterable[Fact], *, architectures: int | None = None, damage: bool = True
) -> None:
    """Check a reader of a benchmark's files against facts that were found without it.

    *Facts enough*: every stored column has a fact, and any two columns of one unit differ in one of theirs, or a swap
    would go unnoticed (unless facts state all of both). *Right*: every fact is found, in its column, row and unit.
    *Whole*: a column covers all architectures of the source unless a fact says that it has gaps; no value is infinite
    or outside what its unit allows; percents are not fractions. *Consistent*: a stored mean over seeds lies between its
    seeds, and trainings take longer with more epochs. *Repeatable*: two readings give the same bytes, and the global
    generators stay. *Its origin*: the provenance lists every file with its SHA-256 sum; a file of which half is missing
    is refused by a `DataError`.

    Args:
        read: makes a draft from a folder or a file.
        source: the folder (or file) of the release, or a small one in the same form.
        facts: published values.
        architectures: of which the source has results; the whole space when absent.
        damage: whether to read damaged copies as well, which copies the source.

    Raises:
        AssertionError: for the first law that is broken, naming the column.

    Example:
        >>> import gzip, tempfile
        >>> from sharewise.oracle.readers.provenance import provenance
        >>> from sharewise.oracle.readers.text_table import TextTable
        >>> from sharewise.spaces import load
        >>> def read(folder):
        ...     table = TextTable(folder / "widths.csv.gz", ["parameters"])
        ...     draft = Draft("widths", "toy-tied-width", provenance("made up", [table.path], []))
        ...     draft.add(Key("parameters"), table.integers("parameters"), "count", "trainable parameters")
        ...     return draft
        >>> listing, folder = load("toy-tied-width").listing, Path(tempfile.mkdtemp())
        >>> with gzip.open(folder / "widths.csv.gz", "wt") as file:
        ...     _ = file.write("\\n".join(["parameters", *(str(100 + row) for row in range(len(listing)))]))
        >>> check_reader(read, folder, [Fact(str(listing.at(2)), Key("parameters"), 102, "count")])
    """
    facts = tuple(facts)
    with without_ambient_randomness("the reader"):
        draft = read(source)
    values = _values(draft)
    units = {column.key: column.unit for column in draft.columns}
    expected = len(draft.space.listing) if architectures is None else architectures
    _check_facts_suffice(draft, facts, expected)
    _check_facts(draft, values, units, facts)
    gaps = {fact.key for fact in facts if math.isnan(fact.value)}
    for column in draft.columns:
        _check_coverage(column, values[column.key], expected, gaps)
        _check_range(column, values[column.key])
    _check_means(values)
    _check_times(values, units)
    _check_provenance(draft, source)
    _check_repeats(read, source, draft)
    if damage:
        _check_damage(read, source, [str(entry["name"]) for entry in draft.provenance["files"]])


def _values(draft: Draft) -> dict[Key, Floats]:
    """All columns, as a table that was written and opened again hands them out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "draft.table")
        write_table(draft, path)
        reporter: Reporter = open_table(path).reporter()
        return {
            column.key: np.array(reporter.column(**{name: getattr(column.key, name) for name in _parts(column.key)}))
            for column in draft.columns
        }


def _parts(key: Key) -> list[str]:
    return [name for name in PARTS if getattr(key, name) is not None]


def _check_facts_suffice(draft: Draft, facts: Sequence[Fact], architectures: int) -> None:
    """A suite is as good as its facts: they must tell every column from every other, or state both of them whole."""
    known: dict[Key, dict[str, float]] = defaultdict(dict)
    for fact in facts:
        known[fact.key][fact.architecture] = fact.value
    stored = [column for column in draft.columns if column.member is not None and not column.derived]
    bare = [str(column.key) for column in stored if column.key not in known]
    expect(not bare, f"no fact is given for {bare[:5]}, so that a swap with another column would go unnoticed")
    for place, first in enumerate(stored):
        for second in stored[:place]:
            if first.unit != second.unit:
                continue
            common = known[first.key].keys() & known[second.key].keys()
            whole = len(common) >= architectures  # and columns that are equal throughout are no worse for a swap
            alike = all(_same(known[first.key][a], known[second.key][a]) for a in common)
            expect(
                bool(common) and (whole or not alike),
                f"the facts for {first.key} and {second.key} are equal or about different architectures, so that a "
                "swap of the two would go unnoticed; add a fact that tells them apart",
            )


def _check_facts(draft: Draft, values: Mapping[Key, Floats], units: Mapping[Key, str], facts: Sequence[Fact]) -> None:
    listing = draft.space.listing
    rows = {text: listing.index(draft.space.parse(text)) for text in {fact.architecture for fact in facts}}
    for fact in facts:
        expect(fact.key in values, f"the source states {fact.key}, of which the reader makes no column")
        expect(units[fact.key] == fact.unit, f"{fact.key} is in {fact.unit}, but the reader calls it {units[fact.key]}")
        found = float(values[fact.key][rows[fact.architecture]])
        if not _same(found, fact.value):
            raise AssertionError(
                f"{fact.key} of {fact.architecture} is {fact.value!r}, but the reader has {found!r}"
                + _suspicion(fact, found, values, facts)
            )


def _suspicion(fact: Fact, found: float, values: Mapping[Key, Floats], facts: Sequence[Fact]) -> str:
    """What has probably gone wrong."""
    for other in facts:
        if other.key != fact.key and other.architecture == fact.architecture and _same(found, other.value):
            return f", which is {other.key}: are two columns swapped?"
    for factor, name in _FACTORS.items():
        if any(_same(found, fact.value * f) for f in (factor, 1 / factor)):
            return f", a factor of {factor:g} apart: are {name} mixed up?"
    elsewhere = np.flatnonzero(np.isclose(values[fact.key], fact.value, rtol=1e-6, atol=0))
    return f", and that value stands in row {elsewhere[0]}: are rows in another order?" if len(elsewhere) else ""


def _same(first: float, second: float) -> bool:
    if math.isnan(first) or math.isnan(second):
        return math.isnan(first) and math.isnan(second)
    return first == second or math.isclose(first, second, rel_tol=1e-6)


def _check_coverage(column: Column, values: Floats, expected: int, gaps: set[Key]) -> None:
    covered = int(np.count_nonzero(~np.isnan(values)))
    expect(column.covered == covered, f"{column.key} says that it covers {column.covered}, but has {covered:,} values")
    incomplete = gaps & {column.key, *column.mean_of}
    expect(
        covered == expected or (covered < expected and bool(incomplete)),
        f"{column.key} has values of {covered:,} architectures, the source has results of {expected:,}; rows were lost "
        "or invented, or a fact should say where there is no value",
    )


def _check_range(column: Column, values: Floats) -> None:
    expect(column.unit in _RANGES, f"{column.key} has the unknown unit {column.unit!r}; legal: {', '.join(_RANGES)}")
    known = values[~np.isnan(values)]
    if not len(known):
        return
    low, high = _RANGES[column.unit]
    expect(
        low <= known.min() and known.max() <= high and (high < math.inf or not np.isposinf(known).any()),
        f"{column.key} has values from {known.min():g} to {known.max():g}, which are no {column.unit}",
    )
    if column.unit == "percent":
        expect(bool(known.max() > 1), f"no value of {column.key} exceeds 1: are these percents fractions?")
    if column.unit == "count":
        expect(bool((known == np.round(known)).all()), f"{column.key} counts, but has values that are no integers")


def _check_means(values: Mapping[Key, Floats]) -> None:
    """A mean lies between the single runs behind it."""
    for key, mean in values.items():
        if key.seed != "mean":
            continue
        same = [other for other in values if other.seed != "mean" and _but(other, "seed") == _but(key, "seed")]
        runs = [values[other] for other in same if other.seed is not None]
        if not runs:
            continue
        stacked = np.stack(runs)
        both = ~np.isnan(mean) & ~np.isnan(stacked).all(axis=0)
        low, high = (f.reduce(stacked[:, both], axis=0) for f in (np.fmin, np.fmax))
        slack = 1e-3 * np.maximum(1e-9, np.abs(high))
        wrong = np.flatnonzero((mean[both] < low - slack) | (mean[both] > high + slack))
        expect(
            not len(wrong),
            f"{key} is not between its runs in {len(wrong):,} rows, such as row {np.flatnonzero(both)[wrong[:1]]}: is "
            "it the mean of something else?",
        )


def _check_times(values: Mapping[Key, Floats], units: Mapping[Key, str]) -> None:
    """Of one training program, more epochs take longer."""
    timed = [key for key in values if key.metric == "training_time" and key.epochs is not None]
    for short in timed:
        for long in timed:
            if _but(short, "epochs") == _but(long, "epochs") and (short.epochs or 0) < (long.epochs or 0):
                both = ~np.isnan(values[short]) & ~np.isnan(values[long])
                less = np.median(values[short][both]) < np.median(values[long][both]) if both.any() else True
                expect(
                    bool(less) and units[short] == units[long],
                    f"{long} takes no longer than {short}: are the two swapped, or in different units?",
                )


def _but(key: Key, part: str) -> tuple[Any, ...]:
    return tuple(getattr(key, name) for name in PARTS if name != part)


def _check_provenance(draft: Draft, source: Path) -> None:
    files = draft.provenance.get("files")
    expect(bool(files), "the provenance lists no files; use sharewise.oracle.readers.provenance")
    folder = source if source.is_dir() else source.parent
    for entry in draft.provenance["files"]:
        path = folder / str(entry["name"])
        expect(path.is_file(), f"the provenance names a file {entry['name']!r} that the source does not have")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        expect(
            digest == entry["sha256"],
            f"the provenance states another SHA-256 sum for {entry['name']!r} than the file has",
        )


def _check_repeats(read: Read, source: Path, draft: Draft) -> None:
    again = read(source)
    same = [column.key for column in again.columns] == [column.key for column in draft.columns] and all(
        np.array_equal(again.arrays[name], array, equal_nan=array.dtype.kind == "f")
        for name, array in draft.arrays.items()
    )
    expect(same, "a second reading gives other columns or values: is something drawn, or is an order not fixed?")


def _check_damage(read: Read, source: Path, names: Sequence[str]) -> None:
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            if source.is_dir():
                copy = Path(folder, "source")
                shutil.copytree(source, copy)
                victim = copy / name
            else:
                copy = victim = Path(shutil.copy(source, folder))
            victim.chmod(0o644)
            content = victim.read_bytes()
            victim.write_bytes(content[: len(content) // 2])
            _check_refused(read, copy, name)


def _check_refused(read: Read, source: Path, name: str) -> None:
    try:
        read(source)
    except DataError:
        return
    except Exception as error:
        raise AssertionError(
            f"of {name!r} half is missing, which the reader meets with {type(error).__name__}: {error}; it should "
            "refuse it by a DataError"
        ) from error
    raise AssertionError(f"of {name!r} half is missing, and the reader makes a table of it all the same")
