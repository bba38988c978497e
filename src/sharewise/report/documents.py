"""Documents of results that are shown again: read from a folder, and named where they are damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sharewise.errors import CheckpointError, SharewiseError
from sharewise.files import read_bytes
from sharewise.sealed_json import parse_json, unsealed

__all__ = ["Document", "showing"]

Document = Mapping[str, Any]


@contextmanager
def showing(folder: Path, kind: str, remedy: str) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Show the documents of a folder.

    Args:
        folder: of the results.
        kind: what it holds, in one word; also the name of its main document.
        remedy: what to do where that is damaged.

    Returns:
        A context that yields a function which reads a document by the name of its file.

    Raises:
        CheckpointError: when a document is missing or damaged.
        SharewiseError: when the folder cannot be written.
    """

    def read(name: str) -> dict[str, Any]:
        path = folder / name
        try:
            value = parse_json(read_bytes(path))
        except FileNotFoundError:
            raise CheckpointError(f"{path} is missing; {remedy} with --out {folder}") from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from None
        if not isinstance(value, dict):
            raise CheckpointError(f"{path} is damaged: it holds no {kind}")
        try:
            return unsealed(value)[0]
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}; {remedy} with --out {folder}") from None

    try:
        yield read
    except SharewiseError:
        raise
    except OSError as error:
        raise SharewiseError(f"cannot write the report into {folder}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{folder} is damaged ({type(error).__name__}: {error}); {remedy}") from None
