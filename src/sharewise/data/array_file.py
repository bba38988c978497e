"""A user's own arrays in one `.npz` file: images or a table, classes or real values."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sharewise.data.array_bytes import NpyRows, read_npy, read_npz
from sharewise.data.augmentation import Augmentation
from sharewise.data.dataset import Dataset, Examples, Sealed, provenance
from sharewise.data.image_files import default_augmentation
from sharewise.data.on_disk import OnDisk
from sharewise.data.sources import locate, single_file
from sharewise.data.task import VOID, Task, classification, regression, segmentation
from sharewise.errors import DataError, DataWarning

__all__ = ["arrays", "arrays_on_disk"]

_CLASSES = 4096  # of the pixels of a mask
_NARROW = 1e-6  # of the size of a column
_KEYS = ("x_train", "y_train", "x_test", "y_test")


def arrays(path: str | os.PathLike[str] | None = None) -> Dataset:
    """Read your own data from an `.npz` file with the arrays `x_train`, `y_train`, `x_test` and `y_test`.

    The inputs say what they are: uint8 of shape `(n, height, width, channels)`, `(n, channels, height,
    width)` or `(n, height, width)` with 1 or 3 channels are images; floating point of shape `(n, features)`
    is a table, whose features are standardised by the training examples; a feature that is constant in them, or
    varies no more than its own rounding, becomes 0. So do the targets: integers of shape `(n,)` are classes from 0,
    floating point of shape `(n,)` or `(n, outputs)` are values for regression, which are left as they are, and signed
    integers of shape `(n, height, width)` are masks for segmentation, with -1 where the class of a pixel is not known.

    Args:
        path: the file, or a folder that holds one `.npz`; `None` for `$SHAREWISE_DATA/arrays`.

    Returns:
        The data set. The recommended augmentation of images has no flip: add one with `dataclasses.replace`
        where a mirrored image keeps its class.

    Raises:
        ConfigurationError: when no path is known.
        DataError: when the file is damaged, an array is missing, arrays are of another kind or do not fit together, or
            a shape can be read in two ways.

    Warns:
        DataWarning: when a feature varies no more than its own rounding, or a class has no training example.

    Example:
        >>> import tempfile
        >>> x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(folder + "/mine.npz", x_train=x[:15], y_train=y[:15], x_test=x[15:], y_test=y[15:])
        ...     data = arrays(folder)
        >>> data.name, data.input_kind, data.input_shape, data.task.name
        ('mine', 'table', (3,), 'classification')
    """
    file = single_file(locate("arrays", path), ".npz")
    found, others = _read(file)
    for split in ("train", "test"):
        _require_alike(file, split, len(found[f"x_{split}"]), found[f"y_{split}"])
    targets, task, names = _targets(file, found)
    notes = {"skipped": f"arrays {', '.join(others)}"} if others else {}
    if found["x_train"].dtype == np.uint8:
        inputs: dict[str, npt.NDArray[Any]] = {key: _images(file, key, found[key]) for key in ("x_train", "x_test")}
        augmentation = default_augmentation(min(inputs["x_train"].shape[2:]))
    else:
        inputs, constant = _table(file, found["x_train"], found["x_test"])
        notes |= {"constant features": ", ".join(map(str, constant))} if constant else {}
        augmentation = Augmentation()
    train, test = (
        Examples(torch.from_numpy(inputs[f"x_{split}"]), torch.from_numpy(targets[f"y_{split}"]))
        for split in ("train", "test")
    )
    _require_one_shape(file, train, test, found)
    return Dataset(
        name=file.stem,
        task=task,
        input_kind="image" if train.inputs.dtype == torch.uint8 else "table",
        train=train,
        test=Sealed(test),
        class_names=names,
        augmentation=augmentation,
        provenance=provenance(f"the user's file {file.name!r}", "not stated", train, test) | notes,
    )


def arrays_on_disk(path: str | os.PathLike[str] | None = None) -> Dataset:
    """Read images from `x_train.npy` and `x_test.npy` row by row, so that they may be larger than memory.

    Beside them lie `y_train.npy` and `y_test.npy`, which are held in memory. Order, statistics and checksum are those
    that `arrays` gives to the same arrays; to find the last two, all images are read once.

    Args:
        path: the folder; `None` for `$SHAREWISE_DATA/arrays-on-disk`.

    Returns:
        The data set.

    Raises:
        ConfigurationError: when no path is known.
        DataError: when a file is missing or damaged, or does not hold what `arrays` takes for images.

    Example:
        >>> import tempfile
        >>> x, y = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), np.uint8), np.arange(20) % 2
        >>> folder = Path(tempfile.mkdtemp())
        >>> for key, values in (("x_train", x[:15]), ("y_train", y[:15]), ("x_test", x[15:]), ("y_test", y[15:])):
        ...     np.save(folder / f"{key}.npy", values)
        >>> arrays_on_disk(folder).train
        Examples(15, inputs (3, 6, 6) uint8 on disk, targets () int64)
    """
    place = locate("arrays-on-disk", path).resolve()
    if not place.is_dir():
        raise DataError(f"{str(place)!r} must be a folder that holds {', '.join(f'{key}.npy' for key in _KEYS)}")
    stored = {key: NpyRows.of(place / f"{key}.npy") for key in ("x_train", "x_test")}
    found = {key: read_npy(place / f"{key}.npy") for key in ("y_train", "y_test")}
    for key, values in found.items():
        _require_finite(place, key, values)
    sources = {}
    for split in ("train", "test"):
        rows = stored[f"x_{split}"]
        _require_alike(place, split, rows.shape[0] if rows.shape else 0, found[f"y_{split}"])
        sources[split] = _ImageRows(rows, _layout(place, f"x_{split}", rows.dtype, rows.shape))
    targets, task, names = _targets(place, found)
    train, test = (
        Examples(OnDisk(sources[split]), torch.from_numpy(targets[f"y_{split}"])) for split in ("train", "test")
    )
    _require_one_shape(place, train, test, stored)
    return Dataset(
        name=place.name,
        task=task,
        input_kind="image",
        train=train,
        test=Sealed(test),
        class_names=names,
        augmentation=default_augmentation(min(train.inputs.shape[2:])),
        provenance=provenance(f"the user's folder {place.name!r}", "not stated", train, test),
    )


@final
@dataclass(frozen=True)
class _ImageRows:
    """Images in a `.npy` file.

    Args:
        stored: the file.
        layout: brings some of its rows to the order `(n, channels, height, width)`.
    """

    stored: NpyRows
    layout: Layout

    @property
    def count(self) -> int:
        """See `Rows.count`."""
        return self.stored.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Rows.shape`."""
        return self.layout(np.empty((0, *self.stored.shape[1:]), np.uint8)).shape[1:]

    def read(self, rows: Tensor) -> Tensor:
        """See `Rows.read`."""
        return torch.from_numpy(self.layout(self.stored.read(rows.tolist())))


def _require_alike(file: Path, split: str, count: int, targets: npt.NDArray[Any]) -> None:
    labelled = len(targets) if targets.ndim else 0
    if not count == labelled > 0:
        raise DataError(
            f"x_{split} and y_{split} in {file.name!r} must have the same number of examples, at least "
            f"one, got {count} and {labelled}"
        )


def _require_one_shape(file: Path, train: Examples, test: Examples, stored: Mapping[str, Any]) -> None:
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise DataError(
            f"the examples of x_train and x_test in {file.name!r} must have the same shape, got "
            f"{stored['x_train'].shape[1:]} and {stored['x_test'].shape[1:]}"
        )


def _read(file: Path) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]:
    found, others = read_npz(file, _KEYS)
    for key, values in found.items():
        if values.ndim == 0:
            raise DataError(f"{key} in {file.name!r} must be an array with one entry for each example, got a scalar")
        _require_finite(file, key, values)
    return found, others


def _require_finite(file: Path, key: str, values: npt.NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{key} in {file.name!r} has values that are infinite or not a number; fill or remove them")


def _targets(
    file: Path, found: dict[str, npt.NDArray[Any]]
) -> tuple[dict[str, npt.NDArray[Any]], Task, tuple[str, ...]]:
    """Tell classes from real values, and the task with them."""
    train, test = found["y_train"], found["y_test"]
    if train.dtype.kind in "iu" and test.dtype.kind in "iu" and train.ndim == test.ndim == 1:
        classes = int(train.max()) + 1
        low, high = min(int(train.min()), int(test.min())), max(int(train.max()), int(test.max()))
        if low < 0 or high >= classes or not 2 <= classes <= len(train):
            raise DataError(
                f"the labels in {file.name!r} must run from 0 to the largest one of y_train, with at least 2 "
                f"classes and no more than training examples, got {low} to {high} in y_train and y_test, "
                f"{train.max()} at most in y_train; number the classes from 0"
            )
        labels = {key: np.asarray(found[key], np.int64) for key in ("y_train", "y_test")}
        _check_numbering(file, np.bincount(labels["y_train"], minlength=classes), low)
        return labels, classification(classes), tuple(map(str, range(classes)))
    if (
        train.dtype.kind == test.dtype.kind == "f"
        and train.ndim == test.ndim <= 2
        and train.shape[1:] == test.shape[1:]
    ):
        values = {key: _single(file, key, found[key]).reshape(len(found[key]), -1) for key in ("y_train", "y_test")}
        return values, regression(values["y_train"].shape[1]), ()
    if train.dtype.kind == test.dtype.kind == "i" and train.ndim == test.ndim == 3 and train.size * test.size:
        return _masks(file, train, test)
    raise DataError(
        f"y_train and y_test in {file.name!r} must be integers of shape (n,) for classes, floating point of shape (n,) "
        f"or (n, outputs) for regression, or signed integers of shape (n, height, width) for masks, got {train.dtype} "
        f"{train.shape} and {test.dtype} {test.shape}"
    )


def _masks(
    file: Path, train: npt.NDArray[Any], test: npt.NDArray[Any]
) -> tuple[dict[str, npt.NDArray[Any]], Task, tuple[str, ...]]:
    masks = {"y_train": train.astype(np.int64), "y_test": test.astype(np.int64)}
    classes = int(train.max()) + 1
    low, high = min(int(train.min()), int(test.min())), max(int(train.max()), int(test.max()))
    if low < VOID or high >= classes or not 2 <= classes <= _CLASSES:
        raise DataError(
            f"the masks in {file.name!r} must hold 2 to {_CLASSES:,} classes from 0 to the largest one of y_train, and "
            f"{VOID} where none is known, got {low} to {high} in y_train and y_test, {train.max()} at most in y_train"
        )
    _check_numbering(file, np.bincount(masks["y_train"].ravel() - VOID, minlength=classes - VOID)[-VOID:], low)
    return masks, segmentation(classes), tuple(map(str, range(classes)))


def _check_numbering(file: Path, counts: npt.NDArray[np.intp], low: int) -> None:
    empty = np.flatnonzero(counts == 0).tolist()
    if low > 0 and empty == list(range(low)):
        raise DataError(
            f"the labels in {file.name!r} begin at {low}, so that class 0 would have no example; number the classes "
            "from 0"
        )
    if empty:
        warnings.warn(
            f"nothing in y_train of {file.name!r} has the label {', '.join(map(str, empty[:5]))}"
            f"{', …' * (len(empty) > 5)}, and a network still has an output for it",
            DataWarning,
            stacklevel=4,
        )


def _single(file: Path, key: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Bring numbers to float32, which is what networks compute in, or say that they do not fit."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        columns = np.flatnonzero(~np.isfinite(single.reshape(len(single), -1)).all(0))
        raise DataError(
            f"column {columns[0]} of {key} in {file.name!r} goes beyond what float32 can hold (3.4e38)"
            f"{' once it is standardised' * key.startswith('x')}; rescale or remove it"
        )
    return single


Layout = Callable[[npt.NDArray[Any]], npt.NDArray[np.uint8]]
"""Brings images as they are stored to the order `(n, channels, height, width)`."""


def _images(file: Path, key: str, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return _layout(file, key, values.dtype, values.shape)(values)


def _layout(file: Path, key: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Layout:
    """How images of some form are brought to the order `(n, channels, height, width)`."""
    form = f"{key} as {dtype} of shape {shape}"
    last, first = (len(shape) == 4 and shape[axis] in (1, 3) for axis in (3, 1))
    if last and first:
        raise DataError(
            f"images in {file.name!r} can be read in two ways, with channels first or last, got {form}; save grey "
            "images as (n, height, width), and colour images so that no side but that of the channels is 1 or 3"
        )
    if dtype == np.uint8 and len(shape) == 3:
        return _grey
    if dtype == np.uint8 and last:
        return _channels_last
    if dtype == np.uint8 and first:
        return np.ascontiguousarray
    raise DataError(
        f"images in {file.name!r} must be uint8 of shape (n, height, width, channels) or (n, channels, "
        f"height, width) with 1 or 3 channels, got {form}"
    )


def _grey(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(values[:, None])


def _channels_last(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def _table(
    file: Path, train: npt.NDArray[Any], test: npt.NDArray[Any]
) -> tuple[dict[str, npt.NDArray[Any]], list[int]]:
    """Standardise features by the training examples, and say which of them are constant."""
    for key, values in (("x_train", train), ("x_test", test)):
        if values.dtype.kind != "f" or values.ndim != 2 or not values.shape[1]:
            raise DataError(
                f"{key} in {file.name!r} must be uint8 images of 3 or 4 dimensions, or a table of floating "
                f"point with shape (n, features), got {values.dtype} of shape {values.shape}; convert it"
            )
    if train.shape[1] != test.shape[1]:
        return {"x_train": train, "x_test": test}, []
    exact = train.astype(np.float64)
    largest = np.abs(train).max(0)
    spread = exact.max(0) / 2 - exact.min(0) / 2
    noise = (spread > 0) & (spread <= 2 * np.spacing(largest))
    _warn(file, noise, "vary no more than their own rounding: read as constant")
    narrow = ~noise & (spread > 0) & (spread <= _NARROW * largest)
    _warn(file, narrow, "vary by less than a millionth of their size, and are stretched to deviation 1 like all others")
    constant = (spread == 0) | noise
    # a power of two changes no digit, and keeps squares in range
    powers = np.where(constant, 0, -np.frexp(largest.astype(np.float64))[1])
    exact = np.ldexp(np.where(noise, exact[0], exact), powers)
    mean, deviation = exact.mean(0), exact.std(0)
    deviation[constant] = 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        tested = np.ldexp(test.astype(np.float64), powers)
        inputs = {"x_train": (exact - mean) / deviation, "x_test": (tested - mean) / deviation}
    return {key: _single(file, key, values) for key, values in inputs.items()}, np.flatnonzero(constant).tolist()


def _warn(file: Path, columns: npt.NDArray[np.bool_], what: str) -> None:
    if columns.any():
        names = ", ".join(map(str, np.flatnonzero(columns)[:5])) + ", …" * bool(columns.sum() > 5)
        warnings.warn(f"columns {names} of x_train in {file.name!r} {what}", DataWarning, stacklevel=4)
