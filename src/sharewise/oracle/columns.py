"""A file of typed columns: an uncompressed zip archive of `.npy` arrays and one JSON document, read in place.

`numpy.load` opens it as well, without sharewise. Arrays start at multiples of 64 bytes and are stored as they lie in
memory, so that a reader maps the file and touches only the pages that it needs.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from sharewise.atomic import replacing
from sharewise.errors import DataError

__all__ = ["Array", "ColumnFile", "write_columns"]

Array = npt.NDArray[Any]

_DOCUMENT = "manifest.json"
_TYPES = ("|u1", "<u2", "<u4", "<u8", "<i4", "<f4", "<f8")
_ALIGNMENT = 64
_PADDING = 0xD935  # the identifier by which zipalign marks an extra field that only moves the content
_LOCAL = struct.Struct("<4s22xHH")
_LIMIT = 64 << 20  # bytes of the JSON document
_NAME = re.compile(r"[a-z0-9_]+")


def write_columns(path: str | os.PathLike[str], document: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a file of columns at once: either the whole file appears under its name, or nothing does.

    The same arrays and document give the same bytes.

    Args:
        path: the file; one that exists is replaced in a single step.
        document: anything that JSON holds; sizes and SHA-256 sums of the arrays are added to it as `"members"`.
        arrays: one-dimensional, of unsigned, 32-bit integer or floating type, by name (lower-case letters, digits and
            `_`).

    Raises:
        DataError: when the file cannot be written.
    """
    target = Path(path)
    contents = {name: _npy(values) for name, values in arrays.items()}
    members = {
        name: {"type": values.dtype.newbyteorder("<").str, "length": len(values), "sha256": _sum(contents[name])}
        for name, values in arrays.items()
    }
    text = json.dumps({**document, "members": members}, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        with (
            replacing(target, suffix=".partial") as temporary,
            temporary.open("wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
        ):
            for name, content in ((_DOCUMENT, text), *((f"{n}.npy", c) for n, c in contents.items())):
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                gap = -(file.tell() + _LOCAL.size + len(name) + 4) % _ALIGNMENT
                entry.extra = struct.pack("<HH", _PADDING, gap) + bytes(gap)
                archive.writestr(entry, content)
    except OSError as error:
        raise DataError(f"cannot write {str(target)!r}: {error.strerror or error}") from error


def _npy(values: Array) -> bytes:
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    assert plain.ndim == 1, plain.shape
    assert plain.dtype.str in _TYPES, plain.dtype
    return _header(plain.dtype.str, len(plain)) + plain.tobytes()


def _sum(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


@final
@dataclass(frozen=True)
class _Member:
    """Where a column lies: `start` and `end` of its `.npy` content, and `offset` of its first value."""

    start: int
    end: int
    offset: int
    kind: np.dtype[Any]
    length: int
    checksum: str


@final
class ColumnFile:
    """An open file of columns.

    Opening reads the directory, the document and the header of every column, and checks that sizes fit together;
    values are read when they are used, and every column is compared with its checksum the first time.

    Args:
        path: of the file.

    Raises:
        DataError: when the file is missing, damaged, truncated, or none of this kind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_columns(folder + "/numbers.table", {"about": "primes"}, {"prime": np.array([2, 3, 5], np.uint8)})
        ...     file = ColumnFile(folder + "/numbers.table")
        ...     file.document["about"], file.column("prime").tolist()
        ('primes', [2, 3, 5])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._verified: set[str] = set()
        try:
            with self.path.open("rb") as file:
                self.size = os.fstat(file.fileno()).st_size
                self.document, self._members = _read(file, self.path, self.size)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise DataError(
                f"there is no table at {str(self.path)!r}; make one with sharewise benchmark import SOURCE OUT"
            ) from None
        except IsADirectoryError:
            raise DataError(
                f"{str(self.path)!r} is a folder, not a table; if it holds a benchmark's files, convert them with "
                "sharewise benchmark import SOURCE OUT"
            ) from None
        except OSError as error:
            raise DataError(f"cannot read {str(self.path)!r}: {error.strerror or error}") from error

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._members)

    def length(self, name: str) -> int:
        """The number of a column's values."""
        return self._members[name].length

    def column(self, name: str) -> Array:
        """A column as a read-only view of the file.

        Args:
            name: one of `names`.

        Raises:
            DataError: when it differs from its SHA-256 sum.
        """
        member = self._members[name]
        if name not in self._verified:
            self._verify(name)
        return np.frombuffer(self._map, member.kind, member.length, member.offset)

    def verify(self) -> None:
        """Compare every column with its SHA-256 sum.

        Raises:
            DataError: naming the first column that differs.
        """
        for name in self._members:
            self._verify(name)

    def _verify(self, name: str) -> None:
        member = self._members[name]
        if _sum(memoryview(self._map)[member.start : member.end]) != member.checksum:
            raise damaged(self.path, f"column {name!r} differs from its SHA-256 sum")
        self._verified.add(name)


def damaged(path: Path, reason: str) -> DataError:
    """The error for a file that is broken or foreign."""
    return DataError(
        f"{str(path)!r} is no sound table: {reason}; write it again with sharewise benchmark import SOURCE OUT"
    )


def _read(file: io.BufferedReader, path: Path, size: int) -> tuple[dict[str, Any], dict[str, _Member]]:
    if file.read(4) != b"PK\x03\x04":
        raise damaged(path, "it does not begin as one")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            document_entry = entries.pop(_DOCUMENT, None)
            if document_entry is None or document_entry.file_size > _LIMIT or document_entry.compress_type:
                raise damaged(path, f"it has no plain {_DOCUMENT}")
            document = json.loads(archive.read(document_entry))
    except DataError:
        raise
    except Exception as error:  # zipfile answers damage with many kinds
        raise damaged(path, f"its directory or {_DOCUMENT} cannot be read ({error})") from error
    described = document.get("members") if isinstance(document, dict) else None
    if not isinstance(described, dict) or {f"{name}.npy" for name in described} != set(entries):
        raise damaged(path, f"{_DOCUMENT} and the columns in it do not agree")
    members = {}
    for name, description in described.items():
        members[name] = _member(file.fileno(), path, size, name, entries[f"{name}.npy"], description)
    return document, members


def _member(descriptor: int, path: Path, size: int, name: str, entry: zipfile.ZipInfo, description: Any) -> _Member:
    """Check a column's place, type and length without reading its values."""

    def wrong(reason: str) -> DataError:
        return damaged(path, f"column {name!r} {reason}")

    try:
        kind, length, checksum = description["type"], description["length"], description["sha256"]
        sound = kind in _TYPES and type(length) is int and length >= 0 and isinstance(checksum, str)
    except (TypeError, KeyError):
        sound = False
    if not (sound and _NAME.fullmatch(name)):
        raise wrong("is not described")
    dtype = np.dtype(kind)
    # pread leaves the map alone, whose every touched page would count as resident
    local = os.pread(descriptor, _LOCAL.size, entry.header_offset) if 0 <= entry.header_offset < size else b""
    if len(local) < _LOCAL.size or local[:4] != b"PK\x03\x04" or entry.compress_type or entry.flag_bits & 1:
        raise wrong("is not stored plainly")
    _, name_length, extra_length = _LOCAL.unpack(local)
    start = entry.header_offset + _LOCAL.size + name_length + extra_length
    header = _header(kind, length)
    end = start + len(header) + length * dtype.itemsize
    if entry.file_size != entry.compress_size or entry.file_size != end - start or end > size:
        raise wrong(f"should take {end - start} bytes, it has {entry.file_size} in a file of {size}")
    if os.pread(descriptor, len(header), start) != header:
        raise wrong("has another header than its description")
    return _Member(start, end, start + len(header), dtype, length, checksum)


def _header(kind: str, length: int) -> bytes:
    """The only `.npy` header that a column may have: version 1.0, padded to a multiple of 64 bytes."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({length},), }}"
    padding = -(len(text) + 11) % _ALIGNMENT
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + padding + 1) + (text + " " * padding + "\n").encode()
