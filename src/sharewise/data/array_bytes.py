"""Arrays in NumPy's own formats, with no more memory than the bytes that are really there."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast, final

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from sharewise.data.reading import Budget, Written, check_memory, opened, require_unchanged, written_at
from sharewise.errors import DataError

__all__ = ["NpyRows", "read_npy", "read_npz"]

_MOST = 1 << 40  # bytes of a file; memory has a budget of its own
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_DIMENSIONS = 32


def read_npy(path: Path) -> npt.NDArray[Any]:
    """Read a `.npy` file from a stranger: no objects, and exactly the numbers that its header names.

    Args:
        path: of the file; no link.

    Returns:
        The array.

    Raises:
        DataError: when the file is missing, is damaged, or holds objects.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(folder + "/labels.npy", np.arange(3))
        ...     read_npy(Path(folder) / "labels.npy")
        array([0, 1, 2])
    """
    with opened(path, _MOST) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return _array(file, size, size, Budget(f"the array {str(path)!r}"))
        except DataError:
            raise
        except Exception as error:  # a damaged file can fail in any way
            raise _unreadable(path, error) from error


def read_npz(path: Path, keys: tuple[str, ...]) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]:
    """Read some arrays of an `.npz` file from a stranger, to the end of their checksums.

    Args:
        path: of the file, as the user named it.
        keys: names of the arrays that must be there.

    Returns:
        The arrays, and the names of those that were not asked for.

    Raises:
        DataError: when an array is missing, there twice, damaged or of objects, or when the file unpacks to far more
            than its size.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(folder + "/mine.npz", x=np.arange(3), y=np.ones(2))
        ...     read_npz(Path(folder) / "mine.npz", ("x",))
        ({'x': array([0, 1, 2])}, ('y',))
    """
    with opened(path, _MOST, linked=True) as file:
        try:
            return _arrays(path, file, keys)
        except DataError:
            raise
        except Exception as error:  # a damaged file can fail in any way
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            raise DataError(
                f"{str(path)!r} cannot be read as .npz ({reason}); write it again with numpy.savez"
            ) from error


def _arrays(path: Path, file: BinaryIO, keys: tuple[str, ...]) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]:
    if file.read(6) == b"\x93NUMPY":
        raise DataError(f"{str(path)!r} holds a single array; save all four with numpy.savez")
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        missing = [key for key in keys if key not in names]
        if missing:
            raise DataError(
                f"{str(path)!r} lacks {', '.join(missing)}; it must hold {', '.join(keys)}, it has "
                f"{', '.join(names[:20]) or 'nothing'}"
            )
        twice = [key for key in keys if names.count(key) > 1]
        if twice:
            raise DataError(f"{str(path)!r} holds {twice[0]} twice; write it again with numpy.savez")
        budget = Budget(f"the file {str(path)!r}")
        found = {}
        for key in keys:
            member = archive.infolist()[names.index(key)]
            with archive.open(member) as stream:
                found[key] = _array(cast("BinaryIO", stream), member.file_size, member.compress_size, budget)
    return found, tuple(name for name in names if name not in keys)


@final
@dataclass(frozen=True)
class NpyRows:
    """A `.npy` file of which some rows are read at a time, by seeking: no more of it is ever in memory.

    Args:
        path: of the file.
        shape: of the whole array.
        dtype: of its numbers.
        start: where they begin, in bytes.
        written: when, as it was read first.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    written: Written

    @staticmethod
    def of(path: Path) -> NpyRows:
        """Read the header of a file from a stranger.

        Raises:
            DataError: when the file is missing, is damaged, holds objects, or was written column by column.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     np.save(folder + "/x.npy", np.arange(6).reshape(3, 2))
            ...     NpyRows.of(Path(folder) / "x.npy").read([2, 0])
            array([[4, 5],
                   [0, 1]])
        """
        with opened(path, _MOST) as file:
            written = written_at(file.fileno())
            try:
                shape, fortran, dtype = _header(file, written[0])
            except Exception as error:  # a damaged file can fail in any way
                raise _unreadable(path, error) from error
            if fortran and len(shape) > 1:
                raise DataError(
                    f"{str(path)!r} was written column by column, so that no row can be read alone; write "
                    "numpy.ascontiguousarray of it"
                )
            return NpyRows(path, shape, dtype, file.tell(), written)

    def read(self, rows: Sequence[int]) -> npt.NDArray[Any]:
        """Some rows in the order of their numbers.

        Raises:
            DataError: when the file is gone or was written again, or the rows do not fit into memory.
        """
        what = f"{len(rows):,} rows of {self.path.name!r}"
        check_memory(len(rows) * self.dtype.itemsize * math.prod(self.shape[1:]), what)
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        size = found[:1].nbytes or self.dtype.itemsize * math.prod(self.shape[1:])
        with opened(self.path, _MOST) as file:
            require_unchanged(self.path, self.written, file.fileno())
            for place, row in enumerate(rows):
                file.seek(self.start + row * size)
                if file.readinto(found[place : place + 1].view(np.uint8).data) != size:  # type: ignore[attr-defined]
                    raise DataError(f"{str(self.path)!r} ends before row {row:,}; it was cut while it was in use")
        return found


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0][:200] or type(error).__name__
    return DataError(f"cannot read {str(path)!r} ({reason}); write it again with numpy.save")


def _array(stream: BinaryIO, size: int, packed: int, budget: Budget) -> npt.NDArray[Any]:
    """Read an array that must take up the whole stream, after its header was checked against the size."""
    shape, fortran, dtype = _header(stream, size)
    budget.charge(packed=packed, unpacked=size)
    values = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    view, place = values.data, 0
    while place < len(view):
        content = stream.read(min(1 << 24, len(view) - place))
        if not content:
            raise EOFError("it ends too early")
        view[place : place + len(content)] = content
        place += len(content)
    if stream.read(1):  # which also compares the checksum
        raise ValueError("it goes on behind its array")
    return values.view(dtype).reshape(shape, order="F" if fortran else "C")


def _header(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and kind of numbers, checked against the bytes that are there."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format is not known")
    shape, fortran, dtype = _HEADERS[version](stream, max_header_size=10_000)
    if dtype.hasobject or dtype.subdtype is not None or dtype.kind not in "biufU" or not dtype.itemsize:
        raise ValueError(f"an array of {dtype} holds no plain numbers")
    count = math.prod(shape)
    if len(shape) > _DIMENSIONS or min(shape, default=0) < 0 or stream.tell() + count * dtype.itemsize != size:
        raise ValueError(f"an array of {dtype} and shape {shape} does not fit into its {size:,} bytes")
    return shape, fortran, dtype
