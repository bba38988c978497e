"""NAS-Bench-101: the official TFRecord files, and the published tables as NumPy archives."""

from __future__ import annotations

import binascii
import json
import math
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError, DataError
from sharewise.oracle.columns import Array
from sharewise.oracle.draft import Draft
from sharewise.oracle.quantity import Key
from sharewise.oracle.readers.archive import arrays_of
from sharewise.oracle.readers.model_metrics import Evaluation, model_metrics
from sharewise.oracle.readers.provenance import provenance
from sharewise.oracle.readers.tfrecord import frames
from sharewise.space import Listing
from sharewise.spaces.nasbench101 import Cell

__all__ = ["RESULTS", "nasbench101_tables", "nasbench101_tfrecord"]

RESULTS = "nasbench101_test108.npz"
_RUNS = "nasbench101_runs108.npz"
_IMAGES, _REPEATS = 9_984, 3
_NONE = 65_535
_EPOCHS = (4, 12, 36, 108)
_SPLITS = ("train", "valid", "test")
_MEANING = {
    "train": "accuracy on training images",
    "valid": "validation on 9,984 of 10,000 held-out images",
    "test": "test on 9,984 of 10,000 images",
}
_NOTES = [
    "accuracies are fractions of the 9,984 images that the benchmark evaluates",
    "trained on 40,000 images of CIFAR-10; seed counts the three repeats from 0, the release states no seeds",
    "epochs 54 is half-way through the schedule of 108 epochs, not a schedule of its own (2, 6 and 18 likewise)",
]


# The published tables


def nasbench101_tables(folder: Path) -> Draft:
    """Read the folder of NumPy archives of NAS-Bench-101.

    `nasbench101_test108.npz` (all cells, mean test accuracy) is required; `nasbench101_runs108.npz` (single runs of
    some) is read where it is, and the table says how many cells it covers.

    Args:
        folder: that holds them.

    Raises:
        DataError: when a file is damaged, or its cells are not those of the benchmark.
    """
    names = [name for name in (RESULTS, _RUNS) if (folder / name).is_file()]
    all_cells = arrays_of(
        folder / RESULTS, {"hash": "u1", "edges": "u4", "ops": "u1", "params": "i4", "test_correct_sum": "u2"}
    )
    origin = provenance(
        "tables of NAS-Bench-101 (C. Ying et al., ICML 2019)",
        [folder / name for name in names],
        [*_NOTES, "no results of 4, 12 and 36 epochs"],
    )
    draft = Draft("NAS-Bench-101", "nasbench101", origin)
    rows = _rows(draft.space.listing, all_cells, folder / RESULTS)

    def ordered(values: Array) -> Array:
        result = np.empty_like(values)
        result[rows] = values
        return result

    for index in np.flatnonzero(all_cells["params"] <= 0)[:1].tolist():
        raise DataError(
            f"params of {RESULTS!r} should be more than 0, got {all_cells['params'][index]} for cell {index}"
        )
    note = "trainable parameters"
    draft.add(Key("parameters", "cifar10"), ordered(all_cells["params"]), "count", note)
    mean = Key("accuracy", "cifar10", "test", 108, "mean")
    timed = Key("training_time", "cifar10", None, 108, "mean")
    covered = _RUNS in names
    note = f"{_MEANING['test']} after 108 epochs, mean of three runs (test_correct_sum)"
    total = all_cells["test_correct_sum"]
    if total.max() > _REPEATS * _IMAGES:
        raise DataError(f"test_correct_sum of {RESULTS!r} exceeds the {_REPEATS * _IMAGES} images of three runs")
    cost = timed if covered else None
    draft.add(mean, ordered(total), "fraction", note, divisor=_REPEATS * _IMAGES, cost=cost)
    if covered:
        _single_runs(draft, folder / _RUNS, rows, total)
    return draft


def _single_runs(draft: Draft, path: Path, rows: npt.NDArray[np.int64], total: Array) -> None:
    counts = ("valid_correct", "test_correct", "train_correct", "half_valid_correct", "half_test_correct")
    runs = arrays_of(path, {"index": "i4", **dict.fromkeys(counts, "u2"), "train_seconds": "f4"})
    index, size = runs["index"], len(rows)
    if index.ndim != 1 or (len(index) and (index.min() < 0 or index.max() >= size or (np.diff(index) <= 0).any())):
        raise DataError(f"index of {path.name!r} must ascend within 0 to {size - 1}")
    for name in (*counts, "train_seconds"):
        if runs[name].shape != (len(index), _REPEATS):
            raise DataError(f"{name} of {path.name!r} must have shape {(len(index), _REPEATS)}, got {runs[name].shape}")
        if name in counts and len(index) and runs[name].max() > _IMAGES:
            raise DataError(f"{name} of {path.name!r} exceeds the {_IMAGES} images of an evaluation")
    seconds = runs["train_seconds"]
    for place, repeat in np.argwhere(~(np.isfinite(seconds) & (seconds >= 0)))[:1].tolist():
        raise DataError(
            f"train_seconds of {path.name!r} should be finite numbers of 0 or more, got {seconds[place, repeat]} for "
            f"cell {index[place]}, repeat {repeat}"
        )
    if not np.array_equal(runs["test_correct"].sum(axis=1), total[index]):
        raise DataError(f"the single runs of {path.name!r} do not add up to the means of {RESULTS!r}")
    place = rows[index]
    _add_repeats(
        draft,
        Key("training_time", "cifar10", None, 108),
        _spread(runs["train_seconds"], place, size, np.nan),
        "seconds",
        "training time of 108 epochs (train_seconds)",
    )
    for name in counts:
        half, split = name.startswith("half_"), name.removeprefix("half_").removesuffix("_correct")
        epochs = 54 if half else 108
        when = "half-way, after 54 of 108 epochs" if half else "after 108 epochs"
        values = _spread(runs[name], place, size, _NONE)
        # the time of half a training is not in the tables
        _add_repeats(
            draft,
            Key("accuracy", "cifar10", split, epochs),
            values,
            "fraction",
            f"{_MEANING[split]}, {when} ({name})",
            counts=True,
            timed=not half,
        )


def _spread(values: Array, place: npt.NDArray[np.int64], size: int, missing: float) -> Array:
    result = np.full((size, _REPEATS), missing, values.dtype)
    result[place] = values
    return result


def _add_repeats(
    draft: Draft, key: Key, values: Array, unit: str, note: str, *, counts: bool = False, timed: bool = False
) -> None:
    """Add one column for each repeat, and their mean where the source does not state it."""

    def with_seed(seed: Any, metric: str = key.metric) -> Key:
        split = key.split if metric == key.metric else None
        return Key(metric, key.dataset, split, key.epochs, seed)

    keys = [with_seed(repeat) for repeat in range(_REPEATS)]
    for repeat, each in enumerate(keys):
        cost = with_seed(repeat, "training_time") if timed else None
        divisor, missing = (_IMAGES, _NONE) if counts else (1, None)
        draft.add(each, values[:, repeat], unit, note, divisor=divisor, missing=missing, cost=cost)
    mean = with_seed("mean")
    if all(column.key != mean for column in draft.columns):
        draft.add_mean(mean, keys, note, cost=with_seed("mean", "training_time") if timed else None)


def _rows(listing: Listing, cells: Mapping[str, Array], path: Path) -> npt.NDArray[np.int64]:
    """The row in the listing of each cell of the file, found by its code."""
    edges, operations, hashes = cells["edges"], cells["ops"], cells["hash"]
    size = len(listing)
    shapes = {"edges": (size,), "ops": (size, 5), "hash": (size, 16), "params": (size,), "test_correct_sum": (size,)}
    for name, shape in shapes.items():
        if cells[name].shape != shape:
            raise DataError(f"{name} of {path.name!r} must have shape {shape}, got {cells[name].shape}")
    code = edges.astype(np.uint64)
    for vertex in range(5):
        code = code << np.uint64(2) | np.where(operations[:, vertex] == 255, 0, operations[:, vertex]).astype(np.uint64)
    found = listing.codes()
    assert found is not None
    codes, rows = found
    place = np.minimum(np.searchsorted(codes.astype(np.uint64), code), len(codes) - 1)
    result = rows[place].astype(np.int64)
    if (codes[place] != code).any() or (np.bincount(result, minlength=size) != 1).any():
        raise DataError(f"{path.name!r} must have each of the {size:,} cells of NAS-Bench-101 once")
    for index in np.linspace(0, size - 1, 50).astype(int):
        if Cell.from_code(int(code[index])).hash != hashes[index].tobytes().hex():
            raise DataError(f"cell {index} of {path.name!r} has another graph hash than it states")
    return result


# The official files


def nasbench101_tfrecord(path: Path, report: Callable[[str], None] = lambda line: None) -> Draft:
    """Read `nasbench_only108.tfrecord` or `nasbench_full.tfrecord` without TensorFlow.

    Args:
        path: of the file.
        report: is given a line of progress now and then.

    Raises:
        DataError: when a frame is damaged or a record is not one of the benchmark's; the message names it.
    """
    origin = provenance("official TFRecord of NAS-Bench-101 (C. Ying et al., ICML 2019)", [path], _NOTES)
    draft = Draft("NAS-Bench-101", "nasbench101", origin)
    listing = draft.space.listing
    found = listing.codes()
    assert found is not None
    codes, rows = found
    results = _Results(len(listing))

    @lru_cache(maxsize=65_536)
    def row_of(adjacency: str, operations: str) -> int:
        code = _cell(adjacency, operations).pruned().code
        place = int(codes.searchsorted(codes.dtype.type(code)))
        if place == len(codes) or codes[place] != code:
            raise ConfigurationError("the cell is none of the benchmark's")
        return int(rows[place])

    number = 0
    for batch in frames(path):
        for payload in batch:
            try:
                digest, epochs, adjacency, operations, metrics = _fields(payload)
                row = row_of(adjacency, operations)
                if number % 1009 == 0 and _cell(adjacency, operations).hash != digest:
                    raise ValueError(f"its graph hash is not {digest[:40]!r}")
                results.add(
                    row, epochs, model_metrics(binascii.a2b_base64(metrics.replace("\n", ""), strict_mode=True))
                )
            except (ValueError, TypeError, struct.error, IndexError, RecursionError) as error:
                raise DataError(f"record {number} of {path.name!r} is no record of NAS-Bench-101: {error}") from None
            number += 1
            if number % 100_000 == 0:
                report(f"{number:,} records")
    if not number:
        raise DataError(f"{path.name!r} has no records")
    draft.provenance["records"] = {"count": number}
    results.fill(draft)
    return draft


def _fields(payload: bytes) -> tuple[str, int, str, str, str]:
    """The five entries of a record, typed."""
    value = json.loads(payload)
    if not isinstance(value, list) or len(value) != 5:
        raise ValueError("expected a list of five entries")
    digest, epochs, adjacency, operations, metrics = value
    if type(epochs) is not int or not all(isinstance(t, str) for t in (digest, adjacency, operations, metrics)):
        raise ValueError("expected a hash, a number of epochs, a matrix, operations and metrics")
    return digest, epochs, adjacency, operations, metrics


def _cell(adjacency: str, operations: str) -> Cell:
    size = math.isqrt(len(adjacency))
    if size * size != len(adjacency) or not set(adjacency) <= {"0", "1"}:
        raise ValueError(f"{adjacency[:80]!r} is no square matrix of zeros and ones")
    matrix = [[int(entry) for entry in adjacency[s * size : (s + 1) * size]] for s in range(size)]
    return Cell.from_matrix(matrix, operations.split(","))


@final
class _Results:
    """Values by epochs, repeat and moment."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.parameters = np.zeros(size, np.int64)
        self.repeats: dict[int, npt.NDArray[np.uint8]] = {}
        self.values: dict[int, npt.NDArray[np.float64]] = {}

    def add(self, row: int, epochs: int, metrics: tuple[list[Evaluation], int, float]) -> None:
        if epochs not in self.values:
            if epochs not in _EPOCHS:
                raise ValueError(f"{epochs} epochs; the benchmark has {', '.join(map(str, _EPOCHS))}")
            self.repeats[epochs] = np.zeros(self.size, np.uint8)
            self.values[epochs] = np.full((9, _REPEATS, self.size), np.nan)
        evaluations, parameters, total = metrics
        repeat = int(self.repeats[epochs][row])
        if repeat == _REPEATS:
            raise ValueError(f"a fourth training of its cell with {epochs} epochs")
        if self.parameters[row] not in (0, parameters):
            raise ValueError(f"its cell has {self.parameters[row]} parameters elsewhere, here {parameters}")
        self.parameters[row] = parameters
        self.repeats[epochs][row] += 1
        half, end = evaluations[1], evaluations[2]
        self.values[epochs][:, repeat, row] = (*half[1:], *end[1:], total)

    def fill(self, draft: Draft) -> None:
        draft.add(Key("parameters", "cifar10"), self.parameters, "count", "trainable parameters", missing=0)
        for epochs in sorted(self.values):
            values = self.values[epochs]
            for offset, moment in ((0, epochs // 2), (4, epochs)):
                half = moment != epochs
                when = f"half-way, after {moment} of {epochs} epochs" if half else f"after {epochs} epochs"
                time = Key("training_time", "cifar10", None, moment)
                _add_repeats(draft, time, values[offset].T, "seconds", f"training time {when} (training_time)")
                for place, split in enumerate(_SPLITS, start=offset + 1):
                    key = Key("accuracy", "cifar10", split, moment)
                    name = {"train": "train", "valid": "validation", "test": "test"}[split]
                    note = f"{_MEANING[split]}, {when} ({name}_accuracy)"
                    _add_repeats(draft, key, values[place].T, "fraction", note, timed=True)
            if not np.isnan(values[8]).all():
                note = f"time of training and evaluation, {epochs} epochs (total_time)"
                _add_repeats(draft, Key("total_time", "cifar10", None, epochs), values[8].T, "seconds", note)
