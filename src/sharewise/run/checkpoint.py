"""Checkpoints as files: written whole, followed by a digest, and verified before anything in them is read."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, final

import torch

from sharewise.errors import CheckpointError, SharewiseWarning
from sharewise.files import open_regular
from sharewise.run.writing import write_atomically

__all__ = ["CHECKPOINT_FORMAT", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_FORMAT = 4
"""Raised by one whenever an older checkpoint could not be understood, or must not be mistaken for a newer one."""

_WITHOUT_DIGEST = 2
"""The last format without a digest."""

_WITH_HISTORY = 3
"""The last format whose state holds the history; a later one marks the lines of a file."""

_SEAL = b"\nsharewise sha256 "
_SEAL_BYTES = len(_SEAL) + hashlib.sha256().digest_size
_CHUNK = 1 << 20
_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    ImportError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What torch and its archive raise on files without a digest that are no checkpoints."""

_KINDS: Mapping[str, type | tuple[type, ...]] = {"format": int, "fingerprint": dict, "state": dict}


@final
class _Digested:
    """A file for writing that takes the digest of what passes through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Write, and take note."""
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        """As of every file."""
        self._file.flush()


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a checkpoint: an archive of torch, and behind it the digest of all its bytes.

    Args:
        path: of the file.
        content: tensors and plain values.

    Raises:
        SharewiseError: when it cannot be written; the earlier one stays.
    """

    def write(file: IO[bytes]) -> None:
        through = _Digested(file)
        torch.save({"format": CHECKPOINT_FORMAT, **content}, through)  # type: ignore[arg-type]
        file.write(_SEAL + through.digest.digest())

    write_atomically(path, write)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint, without executing code; `None` where there is no file.

    Raises:
        CheckpointError: when it is damaged, changed, or of another version.
    """
    try:
        with open_regular(path) as file:
            verified = _verified(file, path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of foreign pickles, which are refused right after
                content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except CheckpointError:
        raise
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint ({_reason(error)}); restore it from a copy or start again"
        ) from None
    return _required(content, path, verified)


def _verified(file: BinaryIO, path: Path) -> bool:
    """Whether a digest stands behind the archive and fits it; the file is left at its beginning."""
    rest = max(os.fstat(file.fileno()).st_size - _SEAL_BYTES, 0)
    file.seek(rest)
    seal = file.read(_SEAL_BYTES)
    file.seek(0)
    if not seal.startswith(_SEAL):
        return False
    found = hashlib.sha256()
    while rest:
        chunk = file.read(min(_CHUNK, rest))
        found.update(chunk)
        rest -= len(chunk)
    file.seek(0)
    if found.digest() != seal[len(_SEAL) :]:
        raise CheckpointError(
            f"{path} is damaged: its digest does not fit its content; restore it from a copy or start again"
        )
    return True


def _required(content: Any, path: Path, verified: bool) -> dict[str, Any]:
    if not isinstance(content, dict) or not _KINDS.keys() <= content.keys():
        raise CheckpointError(f"{path} is not a checkpoint of sharewise")
    if any(not isinstance(content[key], kind) for key, kind in _KINDS.items()):
        raise CheckpointError(f"{path} is damaged: its entries are not what a checkpoint holds")
    if content["format"] not in (_WITHOUT_DIGEST, _WITH_HISTORY, CHECKPOINT_FORMAT):
        raise CheckpointError(
            f"{path} has format {content['format']}, this version of sharewise reads format {CHECKPOINT_FORMAT}; use "
            f"the version named in {path.with_name('environment.json')}"
        )
    if content["format"] > _WITHOUT_DIGEST and not verified:
        raise CheckpointError(f"{path} is damaged: its digest is missing; restore it from a copy or start again")
    if content["format"] == CHECKPOINT_FORMAT and not _is_mark(content.get("history")):
        raise CheckpointError(f"{path} is damaged: it does not say which lines of the history belong to it")
    if not verified:
        message = f"{path} was written before checkpoints had digests: whether it is damaged cannot be told"
        warnings.warn(message, SharewiseWarning, stacklevel=2)
    return content


def _is_mark(value: Any) -> bool:
    kinds = {"lines": int, "bytes": int, "sha256": str}
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in kinds.items())


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
