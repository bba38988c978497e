"""Readers that are broken on purpose, each caught by `check_reader` for what is wrong; and those of the house."""

from __future__ import annotations

import bz2
import csv
import gzip
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharewise.errors import DataError
from sharewise.oracle.draft import Draft
from sharewise.oracle.quantity import Key
from sharewise.oracle.readers import read_benchmark
from sharewise.oracle.readers.provenance import provenance
from sharewise.oracle.readers.text_table import PERCENT, TextTable
from sharewise.spaces import load
from sharewise.spaces.nasbench101 import Cell, architecture_of
from sharewise.testing import Fact, check_reader
from sharewise.unpickle import read_record

SPACE = "toy-tied-width"
LISTING = load(SPACE).listing
NAMES = [str(LISTING.at(row)) for row in range(len(LISTING))]
KEYS = {
    "valid_0": Key("accuracy", "digits", "valid", 12, 0),
    "valid_1": Key("accuracy", "digits", "valid", 12, 1),
    "test": Key("accuracy", "digits", "test", 12, "mean"),
    "seconds_4": Key("training_time", "digits", None, 4, "mean"),
    "seconds_12": Key("training_time", "digits", None, 12, "mean"),
    "parameters": Key("parameters", "digits"),
}
UNITS = dict.fromkeys(KEYS, "percent") | {
    "seconds_4": "seconds",
    "seconds_12": "seconds",
    "parameters": "count",
}
MEAN = Key("accuracy", "digits", "valid", 12, "mean")


def published() -> dict[str, np.ndarray]:
    """What the release states; the third architecture has no second run."""
    rng, n = np.random.default_rng(0), len(NAMES)
    values = {name: np.round(60 + 30 * rng.random(n), 2) for name in ("valid_0", "valid_1", "test")}
    values["valid_1"][2] = np.nan
    values["seconds_4"] = np.round(100 + 50 * rng.random(n), 1)
    values["seconds_12"] = 3 * values["seconds_4"]
    values["parameters"] = np.arange(n) * 100.0 + 67
    return values


FACTS = [
    Fact(NAMES[row], KEYS[name], float(column[row]), UNITS[name])
    for name, column in published().items()
    for row in (0, 2, 5, 7)
]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, values = tmp_path_factory.mktemp("release"), published()
    with gzip.open(folder / "results.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *values])
        for row in range(len(NAMES))[::-1]:  # in an order of its own
            cells = [column[row] for column in values.values()]
            writer.writerow([NAMES[row], *("" if math.isnan(c) else f"{c:g}" for c in cells)])
    return folder


class Reader:
    """Reads the release soundly; faults override a part."""

    columns: dict[str, str] = {name: name for name in KEYS}  # noqa: RUF012
    """Which column of the file is read for which key."""

    def __call__(self, folder: Path) -> Draft:
        table = TextTable(folder / "results.csv.gz", ["name", *KEYS])
        order = self.order(table)
        if not np.array_equal(np.sort(order), np.arange(len(NAMES))):
            raise DataError("results.csv.gz must have every architecture once")
        draft = Draft("widths", SPACE, self.origin(table.path))
        for name, key in KEYS.items():
            values = self.read(table, self.columns[name])
            placed = np.full(len(NAMES), np.nan)
            placed[order] = values
            self.add(draft, name, key, placed)
        self.mean(draft)
        return draft

    def order(self, table: TextTable) -> np.ndarray:
        return np.array([LISTING.code(text) for text in table.text("name")])

    def origin(self, path: Path) -> dict[str, Any]:
        return provenance("made up", [path], [])

    def read(self, table: TextTable, name: str) -> np.ndarray:
        within = PERCENT if UNITS[name] == "percent" else (0, 1e9)
        return table.numbers(name, empty=name == "valid_1", within=within)

    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        draft.add(key, values, UNITS[name], name)

    def mean(self, draft: Draft) -> None:
        draft.add_mean(MEAN, [KEYS["valid_0"], KEYS["valid_1"]], "mean of both runs")


def swapping(first: str, second: str) -> Reader:
    reader = Reader()
    reader.columns = {**reader.columns, first: second, second: first}
    return reader


class Fractions(Reader):
    """Stores fractions and calls them percents."""

    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        super().add(draft, name, key, values / 100 if UNITS[name] == "percent" else values)


class Hours(Reader):
    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        super().add(draft, name, key, values / 3600 if UNITS[name] == "seconds" else values)


class Misnamed(Reader):
    """The right numbers under the wrong unit."""

    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        draft.add(key, values, "milliseconds" if UNITS[name] == "seconds" else UNITS[name], name)


class FileOrder(Reader):
    """Takes the rows as they come."""

    def order(self, table: TextTable) -> np.ndarray:
        return np.arange(len(NAMES))


class Lossy(Reader):
    """Drops the last architecture."""

    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        values = values.copy()
        values[-1] = np.nan
        super().add(draft, name, key, values)


class Patched(Reader):
    """Fills what is missing."""

    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        super().add(draft, name, key, np.nan_to_num(values, nan=50.0))


class Infinite(Reader):
    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        values = values.copy()
        values[3] = np.inf if name == "seconds_12" else values[3]
        super().add(draft, name, key, values)


class Rounded(Reader):
    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        super().add(draft, name, key, np.round(values, 0))


class MeanOfOthers(Reader):
    """Stores a mean, of the wrong columns."""

    def mean(self, draft: Draft) -> None:
        values = published()
        draft.add(MEAN, (values["valid_0"] + 100) / 2, "percent", "mean of both runs", derived=True)


class Anonymous(Reader):
    def origin(self, path: Path) -> dict[str, Any]:
        return {"source": "made up", "files": [], "notes": []}


class OtherSum(Reader):
    def origin(self, path: Path) -> dict[str, Any]:
        found = provenance("made up", [path], [])
        found["files"][0]["sha256"] = "0" * 64
        return found


class Jittering(Reader):
    """Adds noise that no fact sees."""

    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        values = values.copy()
        if name == "test":
            values[9] = 50 + np.random.default_rng().random()
        super().add(draft, name, key, values)


class Patient(Reader):
    """Makes a table of whatever is left of a file."""

    def __call__(self, folder: Path) -> Draft:
        try:
            return super().__call__(folder)
        except DataError:
            draft = Draft("widths", SPACE, self.origin(folder / "results.csv.gz"))
            draft.add(KEYS["test"], np.zeros(len(NAMES)), "percent", "")
            return draft


class Startled(Reader):
    """Meets a damaged file with whatever the standard library raises."""

    def __call__(self, folder: Path) -> Draft:
        with gzip.open(folder / "results.csv.gz", "rb") as file:
            file.read()
        return super().__call__(folder)


class Seconds(Reader):
    """Leaves a column out."""

    def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
        if name != "seconds_4":
            super().add(draft, name, key, values)


BROKEN: list[tuple[str, Reader, str]] = [
    ("validation and test swapped", swapping("valid_0", "test"), "are two columns swapped"),
    ("seeds mislabelled", swapping("valid_0", "valid_1"), "split valid, epochs 12, seed [01]: are two columns swapped"),
    ("schedules swapped", swapping("seconds_4", "seconds_12"), "are two columns swapped"),
    ("fractions for percents", Fractions(), "a factor of 100 apart: are percent and fractions mixed up"),
    ("hours for seconds", Hours(), "a factor of 3600 apart: are hours mixed up"),
    ("the unit misnamed", Misnamed(), "is in seconds, but the reader calls it milliseconds"),
    ("rows in the order of the file", FileOrder(), "are rows in another order"),
    ("a row lost", Lossy(), f"has values of {len(NAMES) - 1} architectures, the source has results of {len(NAMES)}"),
    ("gaps filled", Patched(), "is nan, but the reader has 50.0"),
    ("an infinite value", Infinite(), "which are no seconds"),
    ("rounded", Rounded(), r"but the reader has \d+\.0"),
    ("a mean of something else", MeanOfOthers(), "is not between its runs"),
    ("no files named", Anonymous(), "the provenance lists no files"),
    ("another checksum", OtherSum(), "another SHA-256 sum"),
    ("noise", Jittering(), "a second reading gives other columns or values"),
    ("damage forgiven", Patient(), "half is missing, and the reader makes a table of it all the same"),
    ("damage not expected", Startled(), "which the reader meets with EOFError"),
    ("a column left out", Seconds(), "of which the reader makes no column"),
]


def test_the_sound_reader_passes(release: Path) -> None:
    check_reader(Reader(), release, FACTS)


@pytest.mark.parametrize(("read", "message"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_broken_readers_are_caught(read: Reader, message: str, release: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        check_reader(read, release, FACTS)


def test_times_that_do_not_grow_are_caught_without_a_fact(release: Path) -> None:
    class Shorter(Reader):
        def add(self, draft: Draft, name: str, key: Key, values: np.ndarray) -> None:
            super().add(draft, name, key, values / 10 if name == "seconds_12" else values)

    facts = [f if f.key != KEYS["seconds_12"] else Fact(f.architecture, f.key, f.value / 10, f.unit) for f in FACTS]
    with pytest.raises(AssertionError, match="takes no longer than"):
        check_reader(Shorter(), release, facts)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (lambda fact: fact.key != KEYS["test"], "no fact is given for"),
        (lambda fact: fact.key not in (KEYS["test"], KEYS["valid_0"]) or fact.architecture == NAMES[0], "swap"),
    ],
)
def test_too_few_facts_are_refused(kept: Callable[[Fact], bool], message: str, release: Path) -> None:
    """One fact for each of two columns suffices while the values differ; equal values do not."""
    facts = [fact for fact in FACTS if kept(fact)]
    if message == "swap":
        facts = [
            Fact(f.architecture, f.key, 70.0, f.unit) if f.key in (KEYS["test"], KEYS["valid_0"]) else f for f in facts
        ]
    with pytest.raises(AssertionError, match=message):
        check_reader(Reader(), release, facts)


# The readers of the house, against what `csv` alone reads in the published files


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    return float(text) if text else math.nan


def test_nasbench_macro(shared_data: Path) -> None:
    folder = shared_data / "nasbench_macro"
    rows, facts = rows_of(folder / "nasbench_macro_cifar10.csv.gz"), []
    for row in (rows[1], rows[3000], rows[-1]):
        for run in range(3):
            key = Key("accuracy", "cifar10", "test", None, run)
            facts.append(Fact(row["arch"], key, float(row[f"test_acc_run{run}"]), "percent"))
        facts.append(Fact(row["arch"], Key("parameters", "cifar10"), float(row["params"]), "count"))
        facts.append(Fact(row["arch"], Key("flops", "cifar10"), float(row["flops"]), "count"))
    check_reader(read_benchmark, folder, facts)


SETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}
SEEDS = (777, 888, 999)


def accuracies(row: dict[str, str]) -> Iterator[Fact]:
    for short, dataset in SETS.items():
        for split in ("valid", "test"):
            for epochs in (12, 200):
                if (short, split, epochs) != ("cifar10", "valid", 200):
                    key = Key("accuracy", dataset, split, epochs, "mean")
                    yield Fact(row["arch"], key, float(row[f"{short}_{split}_{epochs}"]), "percent")
        trained = "cifar10valid" if short == "cifar10" else short
        named = "cifar10-valid" if short == "cifar10" else dataset
        key = Key("training_time", named, None, 200, "mean")
        yield Fact(row["arch"], key, float(row[f"{trained}_train_seconds_200"]), "seconds")
    for run, seed in enumerate(SEEDS):
        key = Key("accuracy", "cifar10", "valid", 200, seed)
        yield Fact(row["arch"], key, number(row[f"cifar10_valid_200_run{run}"]), "percent")
    yield Fact(row["arch"], Key("parameters", "cifar10"), float(row["params_cifar10"]), "count")
    yield Fact(row["arch"], Key("runs", None, None, 200), float(row["n_runs_200"]), "count")


@pytest.mark.slow
def test_nasbench201(shared_data: Path) -> None:
    folder = shared_data / "nasbench201"
    main, single = rows_of(folder / "nasbench201.csv.gz"), rows_of(folder / "nasbench201_runs.csv.gz")
    proxies, latencies = (rows_of(folder / f"nasbench201_{name}.csv.gz") for name in ("proxies", "latency"))
    gap = next(place for place, row in enumerate(main) if not row["cifar10_valid_200_run2"])
    facts = []
    for place in (0, gap, 9930):
        name = main[place]["arch"]
        facts += accuracies(main[place])
        runs = {int(row["run"]): row for row in single if int(row["index"]) == place}
        for short in ("cifar100", "imagenet16"):
            for run, seed in enumerate(SEEDS):
                value = float(runs[run][f"{short}_validtest_200"]) if run in runs else math.nan
                facts.append(Fact(name, Key("accuracy", SETS[short], "valid+test", 200, seed), value, "percent"))
        for column, text in proxies[place].items():
            if column != "index":
                short, _, metric = column.partition("_")
                facts.append(Fact(name, Key(metric, SETS[short]), float(text), "score"))
        for device, text in latencies[place].items():
            if device != "index":
                facts.append(Fact(name, Key("latency", device=device), float(text), "milliseconds"))
    check_reader(read_benchmark, folder, facts, damage=False)


# NAS-Bench-101, against what NumPy alone reads in the published files

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
COUNTED = (
    ("valid_correct", "valid", 108),
    ("test_correct", "test", 108),
    ("train_correct", "train", 108),
    ("half_valid_correct", "valid", 54),
    ("half_test_correct", "test", 54),
)


def cell_at(arrays: Mapping[str, np.ndarray], row: int) -> Cell:
    """The cell of a row of `nasbench101_test108.npz`: bit x + y (y - 1) / 2 of `edges` is the edge from x to y."""
    size, edges = int(arrays["num_vertices"][row]), int(arrays["edges"][row])
    matrix = [[int(x < y and edges >> (x + y * (y - 1) // 2) & 1) for y in range(size)] for x in range(size)]
    names = [OPERATIONS[code] for code in arrays["ops"][row][: size - 2]]
    return Cell.from_matrix(matrix, ["input", *names, "output"])


@pytest.mark.slow
def test_nasbench101(shared_data: Path) -> None:
    folder = shared_data / "nasbench101"
    with np.load(folder / "nasbench101_test108.npz") as file:
        cells = dict(file)
    with np.load(folder / "nasbench101_runs108.npz") as file:
        runs = dict(file)
    alone = int(np.setdiff1d(np.arange(len(cells["edges"])), runs["index"])[0])
    counts = np.concatenate([runs[column] for column, _, _ in COUNTED], axis=1)
    apart = np.flatnonzero((np.diff(np.sort(counts, axis=1), axis=1) > 0).all(axis=1))  # all fifteen numbers differ
    facts: list[Fact] = []
    for row in (*runs["index"][apart[[0, len(apart) // 2]]].tolist(), alone):
        place = None if row == alone else int(np.searchsorted(runs["index"], row))
        name = str(architecture_of(cell_at(cells, row)))
        facts.append(Fact(name, Key("parameters", "cifar10"), float(cells["params"][row]), "count"))
        mean = float(cells["test_correct_sum"][row]) / 29_952
        facts.append(Fact(name, Key("accuracy", "cifar10", "test", 108, "mean"), mean, "fraction"))
        for seed in range(3):
            for column, split, epochs in COUNTED:
                value = math.nan if place is None else float(runs[column][place, seed]) / 9_984
                facts.append(Fact(name, Key("accuracy", "cifar10", split, epochs, seed), value, "fraction"))
            seconds = math.nan if place is None else float(runs["train_seconds"][place, seed])
            facts.append(Fact(name, Key("training_time", "cifar10", None, 108, seed), seconds, "seconds"))
    check_reader(read_benchmark, folder, facts, damage=False)


# NATS-Bench, against the records themselves


def stated(result: Mapping[str, Any], trained: str, epochs: int, seed: int) -> Iterator[tuple[Key, float, str]]:
    """What one training states after its last epoch; cifar10-valid is the half of CIFAR-10 whose rest validates."""

    def key(metric: str, dataset: str = trained, split: str | None = None) -> Key:
        return Key(metric, dataset, split, epochs, seed)

    last = epochs - 1
    yield key("training_time"), sum(result["train_times"].values()), "seconds"
    yield key("parameters"), result["params"], "million"
    yield key("flops"), result["flop"], "million"
    if result["latency"]:
        yield key("latency"), sum(result["latency"]) / len(result["latency"]), "seconds"
    for metric, entry, unit in (
        ("accuracy", "train_acc1es", "percent"),
        ("accuracy_top5", "train_acc5es", "percent"),
        ("loss", "train_losses", "score"),
    ):
        if result[entry] is not None:
            yield key(metric, trained, "train"), result[entry][last], unit
    names = {"x-valid": "valid", "x-test": "test", "ori-test": "valid+test"}
    for evaluation in result["eval_names"]:
        dataset, split = trained, names[evaluation]
        if trained == "cifar10-valid" and evaluation == "x-valid":
            dataset = "cifar10"
        elif trained in ("cifar10", "cifar10-valid"):
            split = "test"
        for metric, entry, unit in (
            ("accuracy", "eval_acc1es", "percent"),
            ("loss", "eval_losses", "score"),
            ("evaluation_time", "eval_times", "seconds"),
        ):
            yield key(metric, dataset, split), result[entry][f"{evaluation}@{last}"], unit


@pytest.mark.parametrize("folder", ["NATS-tss-v1_0-3ffb9-simple", "NATS-sss-v1_0-50262-simple"])
def test_nats_bench(folder: str, shared_data: Path) -> None:
    source, found = shared_data / "nasbench201" / "nats_official_samples" / folder, {}
    units: dict[Key, str] = {}
    for path in sorted(source.glob("0*.pickle.pbz2")):
        record = read_record(bz2.decompress(path.read_bytes()), path.name)
        assert isinstance(record, dict)
        for schedule, state in record.items():
            for (trained, seed), result in state["all_results"].items():
                for key, value, unit in stated(result, trained, int(schedule), seed):
                    found[state["arch_str"], key] = float(value)
                    units[key] = unit
    facts = [Fact(name, key, found.get((name, key), math.nan), units[key]) for key in units for name, _ in found]
    check_reader(read_benchmark, source, facts, architectures=3, damage=False)
