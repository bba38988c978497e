"""Writing into a run folder: whole or not at all, and one line where that fails."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from sharewise.atomic import replacing
from sharewise.errors import SharewiseError

__all__ = ["finite", "unwritable", "write_atomically"]


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all, and force it to disk before it takes its name.

    Args:
        path: the final name; its folder exists.
        write: writes the content to an open binary file.

    Raises:
        SharewiseError: when the disk is full or the folder cannot be written; an earlier version of the file stays.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            write(file)
    except BaseException as error:
        cause = _os_error(error)
        if cause is not None:
            raise unwritable(path, cause) from None
        raise


def unwritable(path: Path, cause: OSError) -> SharewiseError:
    """The error of a file that the system did not let be written, and what to do."""
    reason = "the disk is full" if cause.errno in (errno.ENOSPC, errno.EDQUOT) else (cause.strerror or str(cause))
    return SharewiseError(
        f"cannot write {path}: {reason}. The run folder keeps its last complete state; "
        f"free some space or mend the folder's permissions, then continue with --resume {path.parent}"
    )


def finite(value: Any) -> Any:
    """The same value with `null` for numbers that are not finite, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _os_error(error: BaseException) -> OSError | None:
    """The operating system's error behind an exception; torch wraps a failed write in a RuntimeError."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error):
        return OSError(errno.EIO, "the write failed; the disk may be full")
    return None
