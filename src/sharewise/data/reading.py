"""Files of strangers: regular ones only, no links, and no more memory than files of their size should need."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, final

from sharewise.errors import DataError
from sharewise.memory import available_memory

__all__ = ["Budget", "check_memory", "opened", "read_text", "read_whole"]

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FREE = 1 << 31  # bytes that files of any size may unpack to; beyond it counts how well they were packed
_RATIO = 100  # times; natural images and tables are packed 2 to 20 times


@contextmanager
def opened(path: Path, most: int, *, linked: bool = False) -> Iterator[BinaryIO]:
    """Open a file for reading if it is a regular one, without waiting for anybody to write to it.

    Args:
        path: of the file.
        most: the largest size in bytes that is accepted.
        linked: whether the path itself may be a link: so where the user named it, and not where a folder was searched.

    Yields:
        The open file, at its beginning.

    Raises:
        DataError: when it is missing, is a link, a folder, a pipe or a device, is too large, or cannot be read.

    Example:
        >>> with opened(Path(__file__), 1 << 20) as file:
        ...     file.read(3)
        b'\"\"\"'
        >>> with opened(Path(__file__).parent, 1 << 20) as file:
        ...     pass
        Traceback (most recent call last):
        sharewise.errors.DataError: cannot read '...data': it is a folder; put a file there, or name another one
    """
    try:
        descriptor = os.open(path, _FLAGS | (0 if linked else _NO_LINK))
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise DataError(f"cannot read {str(path)!r}: a link is not followed; put the file itself there") from None
        raise DataError(f"cannot read {str(path)!r} ({error.strerror}); check that it is there") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            kind = "folder" if stat.S_ISDIR(found.st_mode) else "pipe or device"
            raise DataError(f"cannot read {str(path)!r}: it is a {kind}; put a file there, or name another one")
        if found.st_size > most:
            raise DataError(f"cannot read {str(path)!r}: it has {found.st_size:,} bytes, at most {most:,} are read")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_whole(path: Path, most: int, *, linked: bool = False) -> bytes:
    """Read a regular file; arguments and errors are those of `opened`.

    Args:
        path: of the file.
        most: the largest size in bytes that is accepted.
        linked: whether the path itself may be a link.

    Returns:
        Its bytes.

    Raises:
        DataError: when it cannot be read, or is more than was asked for.

    Example:
        >>> read_whole(Path(__file__), 1 << 20)[:3]
        b'\"\"\"'
    """
    with opened(path, most, linked=linked) as file:
        try:
            return file.read(most)
        except OSError as error:
            raise DataError(f"cannot read {str(path)!r} ({error.strerror}); check the disk") from None


def read_text(path: Path, most: int, *, linked: bool = False) -> str:
    r"""Read a text in UTF-8 as every system writes it: line ends become `\n`, byte-order marks go.

    Args:
        path: of the file.
        most: the largest size in bytes that is accepted.
        linked: whether the path itself may be a link.

    Returns:
        The text.

    Raises:
        DataError: when it cannot be read, or is no text in UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "names.txt"
        ...     _ = path.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
        ...     read_text(path, 1 << 20)
        'cat\ndog\n'
    """
    content = read_whole(path, most, linked=linked)
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content
    try:
        found = content.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = "it begins like UTF-16" if wide else f"byte {error.start:,} is {content[error.start]:#04x}"
        raise DataError(f"{str(path)!r} is no text in UTF-8 ({reason}); convert it") from None
    if wide:
        raise DataError(f"{str(path)!r} is no text in UTF-8 (it has zero bytes, as UTF-16 and programs do); convert it")
    return found.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")


@final
class Budget:
    """What packed files may unpack to: 2 GiB, or a hundred times their size where that is more.

    Args:
        what: the files in words, for the error.

    Example:
        >>> budget = Budget("the folder 'photos'")
        >>> budget.charge(packed=1_000, unpacked=4_000)
        >>> budget.charge(packed=1_000, unpacked=1 << 40)
        Traceback (most recent call last):
        sharewise.errors.DataError: the folder 'photos' unpacks to 1,099,511,631,776 bytes or more from 2,000: ...
    """

    def __init__(self, what: str) -> None:
        self._what, self._packed, self._unpacked = what, 0, 0

    def charge(self, packed: int, unpacked: int) -> None:
        """Charge one file.

        Args:
            packed: its bytes on disk.
            unpacked: its bytes in memory.

        Raises:
            DataError: when that is more than files of their size should need, or than the machine has.

        Example:
            >>> Budget("a file").charge(packed=10, unpacked=20)
        """
        self._packed += packed
        self._unpacked += unpacked
        if self._unpacked > max(_FREE, _RATIO * self._packed):
            raise DataError(
                f"{self._what} unpacks to {self._unpacked:,} bytes or more from {self._packed:,}: that is no data but "
                "an attack on the memory; remove it"
            )
        check_memory(self._unpacked, self._what)


Written = tuple[int, int]
"""Bytes of a file, and when it was written last, in nanoseconds."""


def written_at(place: Path | int) -> Written:
    """When a file that is to be read again was written.

    Args:
        place: its path, or the number of the open file.

    Raises:
        DataError: when it is gone.
    """
    try:
        found = os.fstat(place) if isinstance(place, int) else os.stat(place, follow_symlinks=False)
    except OSError as error:
        raise DataError(f"cannot read {str(place)!r} ({error.strerror}); it was there before") from error
    return found.st_size, found.st_mtime_ns


def require_unchanged(path: Path, written: Written, place: Path | int | None = None) -> None:
    """Refuse a file that was written again since its checksum was taken.

    Args:
        path: of the file.
        written: when, as it was read first.
        place: the number of the file where it is open.

    Raises:
        DataError: when it was, or is gone.
    """
    if written_at(path if place is None else place) != written:
        raise DataError(f"{str(path)!r} was written again while it was in use; start again with what it is now")


def check_memory(size: int, what: str) -> None:
    """Refuse what cannot be held in memory before it is asked for.

    Args:
        size: in bytes.
        what: would take so much, in words, for the error.

    Raises:
        DataError: when less is free.

    Example:
        >>> check_memory(1 << 60, "an array")
        Traceback (most recent call last):
        sharewise.errors.DataError: an array would take 1,073,741,824.0 GiB of memory, this machine has ...
    """
    there = available_memory()
    if there is not None and size > there:
        raise DataError(
            f"{what} would take {size / 2**30:,.1f} GiB of memory, this machine has {there / 2**30:,.1f} free; give "
            "fewer or smaller examples"
        )
