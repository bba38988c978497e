"""A folder of results with the plan that made them: begun once, gone on with, never mixed with another."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from sharewise.atomic import replacing
from sharewise.errors import CheckpointError, SharewiseError
from sharewise.files import locked, read_bytes
from sharewise.sealed_json import parse_json, sealed, unsealed

__all__ = ["ResultFolder"]


@final
@dataclass(frozen=True)
class ResultFolder:
    """A folder whose `plan.json` says what belongs into it.

    Args:
        path: of the folder.
        kind: what it holds, in one word.

    Example:
        >>> import tempfile
        >>> folder = ResultFolder(Path(tempfile.mkdtemp()) / "out", "comparison")
        >>> folder.begin({"seed": 0}), folder.begin({"seed": 0})
        (None, None)
        >>> folder.begin({"seed": 1})
        Traceback (most recent call last):
        sharewise.errors.CheckpointError: ... holds another comparison (see ...): seed is 0 there and 1 here; ...
    """

    path: Path
    kind: str

    @property
    def plan(self) -> Path:
        """The file that says what belongs here."""
        return self.path / "plan.json"

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Make the folder, or check that it was made for the same plan.

        Raises:
            CheckpointError: when it holds something else.
            SharewiseError: when it cannot be used.
        """
        text = _document(plan)
        try:
            if os.path.lexists(self.plan):
                stored = read_bytes(self.plan).decode()
                if stored == text:
                    return
                if not self._may_be_put_right(stored):
                    raise CheckpointError(
                        f"{self.path} holds another {self.kind} (see {self.plan}){_difference(stored, plan)}; choose "
                        "another --out"
                    )
            elif self.path.exists() and any(self.path.iterdir()):
                raise CheckpointError(f"{self.path} is not empty and holds no {self.kind}; choose another --out")
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SharewiseError(f"cannot use {self.path} as a folder of results: {error.strerror}") from None
        except UnicodeDecodeError:
            raise CheckpointError(f"{self.plan} is damaged; choose another --out") from None
        self.write("plan.json", lambda file: file.write(text.encode()))

    def _may_be_put_right(self, stored: str) -> bool:
        """A plan that names its kind, and under which nothing was kept, was a mistake in the command."""
        return f'"kind": "{self.kind}"' in stored and all(other == self.plan for other in self.path.iterdir())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from working on the same plan; the lock ends with the process, however that ends.

        Raises:
            CheckpointError: when another process holds it.
        """
        with locked(self.path, f"before you go on with the {self.kind}", self.plan.name):
            yield

    def read_json(self, name: str) -> dict[str, Any]:
        """A document, empty where there is none yet.

        Raises:
            CheckpointError: when it is damaged.
        """
        path = self.path / name
        try:
            value = parse_json(read_bytes(path)) if os.path.lexists(path) else {}
            value = unsealed(value)[0] if isinstance(value, dict) else value
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}; delete it to make it again") from None
        if not isinstance(value, dict):
            raise CheckpointError(f"{path} is damaged: it holds no mapping; delete it to make it again")
        return value

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a document whole or not at all, with a digest of its content."""
        text = _document(sealed(json.loads(_document(value))))
        self.write(name, lambda file: file.write(text.encode()))

    def write(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write a file whole or not at all.

        Raises:
            SharewiseError: when it cannot be written; an earlier version stays.
        """
        path = self.path / name
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                write(file)
        except OSError as error:
            raise SharewiseError(f"cannot write {path}: {error.strerror}") from None


def _document(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _difference(stored: str, plan: Mapping[str, Any]) -> str:
    """The first setting that differs from a stored plan, in words."""
    try:
        there = _flat(parse_json(stored))
    except ValueError:
        return ""
    here = _flat(json.loads(_document(plan)))
    for name in dict.fromkeys([*here, *there]):
        if here.get(name) != there.get(name):
            return f": {name} is {_short(there.get(name))} there and {_short(here.get(name))} here"
    return ""


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Entries of nested mappings and lists by their path."""
    if isinstance(value, dict):
        pairs: list[tuple[str, Any]] = list(value.items())
    elif isinstance(value, list):
        pairs = [(str(place), item) for place, item in enumerate(value)]
    else:
        return {name: value}
    found: dict[str, Any] = {} if pairs else {name: value}
    for key, item in pairs:
        found |= _flat(item, f"{name}.{key}" if name else key)
    return found


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
