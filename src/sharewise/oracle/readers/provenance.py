"""Where a table comes from: names, sizes and checksums of the files that were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sharewise.errors import DataError

__all__ = ["file_sum", "provenance"]

_CHUNK = 1 << 22


def provenance(source: str, files: Iterable[Path], notes: Sequence[str]) -> dict[str, Any]:
    """The origin of a table, as JSON.

    Args:
        source: the release, in words.
        files: what was read.
        notes: what a user of the values has to know.

    Raises:
        DataError: when a file cannot be read.
    """
    listed = [{"name": path.name, "bytes": path.stat().st_size, "sha256": file_sum(path)} for path in files]
    return {"source": source, "files": listed, "notes": list(notes)}


def file_sum(path: Path) -> str:
    """The SHA-256 sum of a file.

    Raises:
        DataError: when it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    return digest.hexdigest()
