"""The history of a run: a file of JSON lines, of which every checkpoint holds the length and the digest.

A checkpoint that held the history itself would grow with it, and so would the time of writing it. So the file is the
only copy, and a checkpoint says which of its lines belong to it: what a run wrote after its last checkpoint is cut off
by a resume, and whatever else differs is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from sharewise.errors import CheckpointError, SharewiseWarning
from sharewise.files import append, open_regular, read_bytes
from sharewise.run.writing import finite, unwritable, write_atomically
from sharewise.sealed_json import parse_json

__all__ = ["History"]


@final
class History:
    """The lines of one run.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines, self._bytes, self._digest = 0, 0, hashlib.sha256()

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line.

        Raises:
            SharewiseError: when the disk is full.
        """
        line = _line(record)
        try:
            append(self.path, line)
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._note(line, 1)

    def mark(self) -> dict[str, Any]:
        """What a checkpoint holds of the lines so far, once they are safely on the disk: number, bytes and digest.

        Raises:
            SharewiseError: when they cannot be brought there.
        """
        self.sync()
        return {"lines": self._lines, "bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def sync(self) -> None:
        """Bring the lines to the disk: nothing may vouch for what a power cut can take.

        Raises:
            SharewiseError: when that fails.
        """
        try:
            if os.path.lexists(self.path):
                with open_regular(self.path, os.O_WRONLY | os.O_APPEND) as file:
                    os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from None

    def digest(self) -> str:
        """Of the whole file, as the result of a finished run holds it."""
        return f"sha256:{hashlib.sha256(self._content()).hexdigest()}"

    def records(self, mark: Mapping[str, Any]) -> list[Any]:
        """The lines that belong to a checkpoint, parsed.

        Args:
            mark: of the checkpoint.

        Raises:
            CheckpointError: when they are not what the run wrote.
        """
        return self._parsed(self._belonging(mark))

    def finished(self, digest: object) -> list[Any]:
        """All lines of a finished run, parsed.

        Args:
            digest: as its result holds it; `None` for one of an older version, which held none.

        Raises:
            CheckpointError: when they are damaged or were changed.
        """
        content = self._content()
        if digest is not None and digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            raise self._changed()
        return self._parsed(content)

    def go_on(self, mark: Mapping[str, Any]) -> list[Any]:
        """Cut off what was written after a checkpoint, and go on behind its lines.

        Args:
            mark: of the checkpoint.

        Returns:
            The lines but for the first, which is of the start.

        Raises:
            CheckpointError: when they are not what the run wrote.
        """
        content = self._belonging(mark)
        records = self._parsed(content)
        self._rewrite(content)
        self._restart(content, len(records))
        return records[1:]

    def begin(self, records: list[Mapping[str, Any]]) -> None:
        """Write the file anew: from a checkpoint of an older version, which held the history itself, or empty."""
        there, lines = self._content(), b"".join(_line(record) for record in records)
        if there[: len(lines)] != lines[: len(there)]:
            message = f"{self.path} was changed after it was written; it is written again from the checkpoint"
            warnings.warn(message, SharewiseWarning, stacklevel=2)
        self._rewrite(lines)
        self._restart(lines, len(records))

    # -----------------------------------------------------------------------------------------------------------------

    def _restart(self, content: bytes, lines: int) -> None:
        self._lines, self._bytes, self._digest = 0, 0, hashlib.sha256()
        self._note(content, lines)

    def _note(self, content: bytes, lines: int) -> None:
        self._lines, self._bytes = self._lines + lines, self._bytes + len(content)
        self._digest.update(content)

    def _rewrite(self, content: bytes) -> None:
        """Not in place: the file may have other names on this disk, under which it must not change."""
        write_atomically(self.path, lambda file: file.write(content))

    def _belonging(self, mark: Mapping[str, Any]) -> bytes:
        content = self._content()[: int(mark["bytes"])]
        if hashlib.sha256(content).hexdigest() != mark["sha256"]:
            raise self._changed(len(content) < int(mark["bytes"]))
        return content

    def _content(self) -> bytes:
        try:
            return read_bytes(self.path)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror}") from None

    def _parsed(self, content: bytes) -> list[Any]:
        try:
            return [parse_json(line) for line in content.split(b"\n") if line.strip()]
        except ValueError as error:
            raise CheckpointError(f"{self.path} is damaged: {error}") from None

    def _changed(self, shorter: bool = False) -> CheckpointError:
        what = "is missing" if not os.path.lexists(self.path) else "was shortened" if shorter else "was changed"
        return CheckpointError(
            f"{self.path} {what} since the run wrote it, and no other file holds its lines; restore it from a copy, or "
            "start a new run with --out"
        )


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(finite(record), ensure_ascii=False, allow_nan=False).encode() + b"\n"
