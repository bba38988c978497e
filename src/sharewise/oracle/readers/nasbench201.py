"""The published tables of NAS-Bench-201 as compressed text: accuracies, single runs, proxies and latencies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharewise.errors import DataError
from sharewise.oracle.draft import Draft
from sharewise.oracle.quantity import Key
from sharewise.oracle.readers.provenance import provenance
from sharewise.oracle.readers.text_table import ANY_FINITE, NOT_NEGATIVE, PERCENT, TextTable

__all__ = ["RESULTS", "nasbench201_tables"]

RESULTS = "nasbench201.csv.gz"
_RUNS, _PROXIES, _LATENCY = "nasbench201_runs.csv.gz", "nasbench201_proxies.csv.gz", "nasbench201_latency.csv.gz"
_SEEDS = (777, 888, 999)
_DATASETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}
_TRAINED = {"cifar10": "cifar10-valid", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}
_VALID = {
    "cifar10": "validation on 25,000 images after training on the other 25,000",
    "cifar100": "validation on one half (5,000) of the test images after training on all 50,000",
    "imagenet16": "validation on one half (3,000) of the test images after training on all",
}
_TEST = {
    "cifar10": "test on 10,000 images after training on all 50,000",
    "cifar100": "test on the other half (5,000) of the test images after training on all 50,000",
    "imagenet16": "test on the other half (3,000) of the test images after training on all",
}
_METRICS = {"naswot": "NASWOT", "synflow": "SynFlow", "logsynflow": "LogSynFlow", "nregions": "linear regions"}
Floats = npt.NDArray[np.float64]


def nasbench201_tables(folder: Path) -> Draft:
    """Read the folder of text tables of NAS-Bench-201.

    `nasbench201.csv.gz` is required; `nasbench201_runs.csv.gz`, `nasbench201_proxies.csv.gz` and
    `nasbench201_latency.csv.gz` are read where they are.

    Args:
        folder: that holds them.

    Returns:
        The table in the benchmark's own order of 15,625 architectures.

    Raises:
        DataError: when a file is damaged, or its rows are not those of the benchmark.
    """
    names = [name for name in (RESULTS, _RUNS, _PROXIES, _LATENCY) if (folder / name).is_file()]
    draft = Draft(
        "NAS-Bench-201",
        "nasbench201",
        provenance(
            "text tables of NAS-Bench-201 (X. Dong and Y. Yang, ICLR 2020)",
            [folder / name for name in names],
            [
                "accuracies in percent, as the tables print them; a mean of single runs is computed from the runs",
                "cifar10, split valid: trained on 25,000 images; cifar10, split test: trained on all 50,000",
                "the training times of 12 epochs are 12/200 of those of 200: the benchmark states one time per epoch",
            ],
        ),
    )
    _results(draft, folder / RESULTS)
    if _RUNS in names:
        _runs(draft, folder / _RUNS)
    if _PROXIES in names:
        _proxies(draft, folder / _PROXIES)
    if _LATENCY in names:
        _latencies(draft, folder / _LATENCY)
    return draft


def _results(draft: Draft, path: Path) -> None:
    long, schedules = ("cifar100", "imagenet16"), (200, 12)
    required = ["index", "arch", "n_runs_200", "params_cifar10", "cifar10_valid_12", "cifar10_test_200"]
    required += ["cifar10_test_12", *(f"cifar10_valid_200_run{run}" for run in range(len(_SEEDS)))]
    required += [f"{name}_{split}_{e}" for e in schedules for name in long for split in ("valid", "test")]
    required += [_seconds_column(short) for short in _TRAINED]
    table = TextTable(path, required)
    _require_all(table, len(draft.space.listing))
    codes = draft.space.listing.code
    for row, text in enumerate(table.text("arch")):
        if codes(text) != row:
            raise DataError(f"line {row + 2} of {str(path)!r}: {text!r} is not architecture {row} of NAS-Bench-201")
    _trainings(draft, table)
    _single_runs(draft, table)
    for short in _DATASETS:
        for split, meaning in (("valid", _VALID[short]), ("test", _TEST[short])):
            for epochs in (12, 200):
                if (short, split, epochs) != ("cifar10", "valid", 200):
                    _accuracy(draft, table, meaning, (short, split, epochs))
    note = "trainable parameters with 10 classes (params_cifar10)"
    draft.add(Key("parameters", "cifar10"), table.integers("params_cifar10"), "count", note)
    note = "runs of 200 epochs behind the means (n_runs_200)"
    draft.add(Key("runs", None, None, 200), table.integers("n_runs_200"), "count", note)


def _seconds_column(short: str) -> str:
    return f"{short}{'valid' if short == 'cifar10' else ''}_train_seconds_200"


def _trainings(draft: Draft, table: TextTable) -> None:
    for short, trained in _TRAINED.items():
        column = _seconds_column(short)
        seconds = table.numbers(column, within=NOT_NEGATIVE)
        note = f"training time of 200 epochs, the same for all runs ({column})"
        draft.add(Key("training_time", trained, None, 200, "mean"), seconds, "seconds", note)
        note = f"12/200 of the training time of 200 epochs ({column}): the benchmark states one time per epoch"
        draft.add(Key("training_time", trained, None, 12, "mean"), seconds * 12 / 200, "seconds", note, derived=True)


def _single_runs(draft: Draft, table: TextTable) -> None:
    """The runs whose validation accuracy on CIFAR-10 is stated one by one, and their mean."""
    cost, keys = _cost("cifar10", 200), []
    for run, seed in enumerate(_SEEDS):
        column = f"cifar10_valid_200_run{run}"
        keys.append(Key("accuracy", "cifar10", "valid", 200, seed))
        values = table.numbers(column, empty=run == 2, within=PERCENT)
        draft.add(keys[-1], values, "percent", f"{_VALID['cifar10']}, 200 epochs ({column})", cost=cost)
    note = f"{_VALID['cifar10']}, 200 epochs (cifar10_valid_200_run0 to run2)"
    draft.add_mean(Key("accuracy", "cifar10", "valid", 200, "mean"), keys, note, cost=cost)


_RUNS_BEHIND = {("cifar10", "valid", 12): "mean of two runs"}
_SCHEDULES = {12: ("a schedule of its own of 12 epochs", "one run"), 200: ("200 epochs", "mean of the runs")}


def _accuracy(draft: Draft, table: TextTable, meaning: str, which: tuple[str, str, int]) -> None:
    (short, split, epochs), column = which, "_".join(map(str, which))
    schedule, runs = _SCHEDULES[epochs]
    # the time on all 50,000 images of CIFAR-10 is not in the tables
    cost = None if (short, split) == ("cifar10", "test") else _cost(short, epochs)
    note = f"{meaning}, {schedule}, {_RUNS_BEHIND.get(which, runs)} ({column})"
    values = table.numbers(column, within=PERCENT)
    draft.add(Key("accuracy", _DATASETS[short], split, epochs, "mean"), values, "percent", note, cost=cost)


def _cost(short: str, epochs: int) -> Key:
    return Key("training_time", _TRAINED[short], None, epochs, "mean")


def _runs(draft: Draft, path: Path) -> None:
    both = {"cifar100": "cifar100_validtest_200", "imagenet16": "imagenet16_validtest_200"}
    table = TextTable(path, ["index", "run", "cifar10_valid_200", *both.values()])
    index, run, size = table.integers("index"), table.integers("run"), len(draft.space.listing)
    place = index * len(_SEEDS) + run
    if len(place) and (index.max() >= size or run.max() >= len(_SEEDS) or (np.diff(place) <= 0).any()):
        raise DataError(f"{str(path)!r}: index and run must ascend, up to {size - 1} and {len(_SEEDS) - 1}")

    def spread(column: str) -> Floats:
        values = np.full(size * len(_SEEDS), np.nan)
        values[place] = table.numbers(column, within=PERCENT)
        return values.reshape(size, len(_SEEDS))

    known = np.stack([draft.arrays[_member(draft, seed)] for seed in _SEEDS], axis=1)
    if not np.array_equal(spread("cifar10_valid_200"), known, equal_nan=True):
        raise DataError(f"{str(path)!r} and {RESULTS!r} state different CIFAR-10 validation accuracies")
    for short, column in both.items():
        values, keys, dataset = spread(column), [], _DATASETS[short]
        note = f"the validation and test halves together, 200 epochs ({column})"
        for position, seed in enumerate(_SEEDS):
            keys.append(Key("accuracy", dataset, "valid+test", 200, seed))
            draft.add(keys[-1], values[:, position], "percent", note, cost=_cost(short, 200))
        draft.add_mean(Key("accuracy", dataset, "valid+test", 200, "mean"), keys, note, cost=_cost(short, 200))


def _member(draft: Draft, seed: int) -> str:
    key = Key("accuracy", "cifar10", "valid", 200, seed)
    return next(column.member for column in draft.columns if column.key == key and column.member is not None)


def _proxies(draft: Draft, path: Path) -> None:
    table = TextTable(path, ["index"])
    _require_all(table, len(draft.space.listing))
    for column in table.names[1:]:
        short, _, metric = column.partition("_")
        if short not in _DATASETS or metric not in _METRICS:
            raise DataError(f"{str(path)!r} has a column {column!r} that names no score of a data set")
        note = f"{_METRICS[metric]} at initialisation, without training ({column})"
        # NASWOT is a log-determinant, −inf where no image is told from another
        values = table.numbers(column, within=(-math.inf, ANY_FINITE[1]))
        draft.add(Key(metric, _DATASETS[short]), values, "score", note)


def _latencies(draft: Draft, path: Path) -> None:
    table = TextTable(path, ["index"])
    _require_all(table, len(draft.space.listing))
    for device in table.names[1:]:
        note = f"measured latency of one forward pass on {device}; the source names no data set ({_LATENCY})"
        values = table.numbers(device, within=NOT_NEGATIVE)
        draft.add(Key("latency", device=device), values, "milliseconds", note)


def _require_all(table: TextTable, size: int) -> None:
    if not np.array_equal(table.integers("index"), np.arange(size)):
        raise DataError(f"{str(table.path)!r} must have the {size:,} rows of NAS-Bench-201 in order of their index")
