"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a place beside a file; what is written there takes the file's name when the block ends well.

    The content is forced to disk before it takes its name, and the change of names as well where the system allows it.
    After an error the place is cleared and an earlier version of the file stays.

    Args:
        path: the final name; its folder exists.
        suffix: of the temporary name, for writers that go by it.

    Raises:
        OSError: when the disk is full or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "file"
        >>> with replacing(path) as place:
        ...     _ = place.write_text("whole")
        >>> path.read_text()
        'whole'
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    temporary.unlink(missing_ok=True)  # nobody's link lies where the block writes
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):
            _sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
