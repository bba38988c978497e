"""Files of a folder that others may have touched: regular ones only, never through a link, never emptied by opening."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sharewise.errors import CheckpointError, ConfigurationError

__all__ = ["CONFIGURATION_BYTES", "append", "expanded", "is_locked", "locked", "open_regular", "read_bytes"]

CONFIGURATION_BYTES = 1 << 19
"""No configuration that people write or programs keep comes near this size."""

_ODD = (errno.ELOOP, errno.EMLINK, errno.ENXIO)
"""What systems answer when a link is not to be followed, or nobody reads a pipe."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path as a user writes it, whose `~` is a home.

    Raises:
        ConfigurationError: when it is nobody's.

    Example:
        >>> expanded("~nobody-of-that-name/model.py")
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: no user has the home in '~nobody-of-that-name/model.py'; write ...
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigurationError(f"no user has the home in {str(path)!r}; write ./~… for a file of that name") from None


def open_regular(path: Path, flags: int = os.O_RDONLY, *, follow: bool = False) -> BinaryIO:
    """Open a regular file without emptying it; a link, a pipe or a device is refused, and nothing waits for one.

    Args:
        path: of the file.
        flags: of `os.open`.
        follow: whether a link may lead to the file, as it may where the user named it.

    Raises:
        OSError: when it is something else, or cannot be opened.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "link").symlink_to("/etc/hostname")
        >>> open_regular(folder / "link")
        Traceback (most recent call last):
        OSError: [Errno ...] it is no regular file but a link, a pipe or a device...
    """
    careful = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    careful |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags | careful, 0o666)
    except OSError as error:
        if error.errno in _ODD:
            raise _no_file(path) from None
        raise
    refusal = _refusal(os.fstat(descriptor), path, writing=bool(flags & os.O_WRONLY))
    if refusal is not None:
        os.close(descriptor)
        raise refusal
    mode = {os.O_RDONLY: "rb", os.O_WRONLY: "ab", os.O_RDWR: "r+b"}[flags & (os.O_WRONLY | os.O_RDWR)]
    return os.fdopen(descriptor, mode)  # type: ignore[return-value]


def read_bytes(path: Path, *, most: int | None = None, follow: bool = False) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        most: bytes that it may have; `None` for any number.
        follow: as for `open_regular`.

    Raises:
        OSError: when it cannot be read, is no regular file, or is larger.
    """
    with open_regular(path, follow=follow) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        return file.read() if most is None else file.read(most)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a regular file, which is made where there is none.

    Raises:
        OSError: when it cannot be written, or is no regular file.
    """
    with open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
        file.write(content)


def _refusal(found: os.stat_result, path: Path, *, writing: bool) -> OSError | None:
    if stat.S_ISDIR(found.st_mode):
        return IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        return _no_file(path)
    if writing and found.st_nlink > 1:
        reason = "it has a second name on this disk (a hard link), under which it would change too; copy it first"
        return OSError(errno.EMLINK, reason, str(path))
    return None


def _no_file(path: Path) -> OSError:
    reason = "it is no regular file but a link, a pipe or a device; remove it, or put the file itself in its place"
    return OSError(errno.ELOOP, reason, str(path))


@contextmanager
def locked(folder: Path, before: str, name: str = ".lock") -> Iterator[None]:
    """Keep other processes from writing to a folder; the lock ends with the process, however that ends.

    Args:
        folder: that is there.
        before: what has to wait, in words for the message.
        name: of the file in it that carries the lock; it is made where it is absent, and never emptied.

    Raises:
        CheckpointError: when another process holds it, or what should be its file is none.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix: there is nothing to lock with
        yield
        return
    try:
        file = open_regular(folder / name, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise CheckpointError(f"cannot lock {folder / name}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"another process is writing to {folder}; wait for it or stop it {before}") from None
        except OSError:
            pass  # a file system without locks
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of a folder; `False` where systems have none, or nobody ever locked it."""
    try:
        import fcntl

        with open_regular(folder / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False
