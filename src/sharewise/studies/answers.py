"""Answers by architecture in a file that grows as they come, so that a sitting that was cut off goes on."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from sharewise.errors import CheckpointError, SharewiseError, SharewiseWarning
from sharewise.files import append, open_regular, read_bytes
from sharewise.run.writing import write_atomically
from sharewise.sealed_json import digest, parse_json
from sharewise.space import Architecture

__all__ = ["Answers"]

_VERSION = 2
_WITHOUT_CHECKSUMS = 1


@final
class Answers:
    """JSON lines: the first says what the rest depend on, each other one holds an architecture, its answer, a checksum.

    A line is added whole; one that a power cut has torn is dropped when the file is opened again, and one that was
    changed is refused. Files of before lines had checksums open with a warning.

    Args:
        path: of the file; `None` keeps the answers in memory.
        kind: what they are, in one word.
        facts: everything that an answer depends on, beside the architecture; JSON.

    Raises:
        CheckpointError: when the file is damaged, or belongs to other facts.
        SharewiseError: when the folder cannot be used.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.jsonl"
        >>> Answers(path, "scores", {"seed": 0}).add("a", 0.5)
        >>> Answers(path, "scores", {"seed": 0})["a"]
        0.5
        >>> Answers(path, "scores", {"seed": 1})
        Traceback (most recent call last):
        sharewise.errors.CheckpointError: ...scores.jsonl holds scores that depend on other facts...
    """

    def __init__(self, path: Path | None, kind: str, facts: Mapping[str, Any]) -> None:
        identity = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:24]
        self._path, self._kind, self._head = path, kind, {"answers": _VERSION, "kind": kind, "identity": identity}
        self._known: dict[str, Any] = {} if path is None else self._open(path)

    def __contains__(self, architecture: str) -> bool:
        return architecture in self._known

    def __getitem__(self, architecture: str) -> Any:
        return self._known[architecture]

    def add(self, architecture: str, answer: Any) -> None:
        """Keep an answer, on disk before the call returns."""
        self._known[architecture] = answer
        if self._path is None:
            return
        try:
            append(self._path, self._answered(architecture, answer))
        except OSError as error:
            raise SharewiseError(
                f"cannot write {self._path}: {error.strerror}; what it holds is kept, and the same command goes on"
            ) from None

    def to_all(
        self,
        architectures: Sequence[Architecture],
        ask: Callable[[list[Architecture]], Iterable[tuple[Architecture, Any]]],
    ) -> list[Any]:
        """The answers to all questions, of which those without one are asked.

        Args:
            architectures: different ones.
            ask: answers those that are missing, in any order.

        Returns:
            In the order of the architectures.
        """
        missing = [architecture for architecture in architectures if str(architecture) not in self]
        for architecture, answer in ask(missing):
            self.add(str(architecture), answer)
        if missing:
            self.arrange([str(architecture) for architecture in architectures])
        return [self[str(architecture)] for architecture in architectures]

    def arrange(self, order: Sequence[str]) -> None:
        """Bring the lines into an order that does not depend on who was first; others follow."""
        rest = set(self._known) - set(order)
        self._known = {name: self._known[name] for name in [*order, *(n for n in self._known if n in rest)]}
        if self._path is not None:
            self._write(self._path)

    def _write(self, path: Path) -> None:
        lines = [self._answered(name, answer) for name, answer in self._known.items()]
        write_atomically(path, lambda file: file.write(b"".join([_line(self._head), *lines])))

    def _open(self, path: Path) -> dict[str, Any]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = read_bytes(path) if os.path.lexists(path) else b""
        except OSError as error:
            raise SharewiseError(f"cannot use {path} for {self._kind}: {error.strerror}") from None
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            self._known = {}
            self._write(path)
            return {}
        try:
            head, *rest = [parse_json(line) for line in whole.decode().splitlines()]
            if not isinstance(head, dict) or head.get("kind") != self._kind:
                raise TypeError(f"it holds no {self._kind}")
            if {**head, "answers": _VERSION} != self._head:  # checksums of lines know the facts, and would differ too
                raise CheckpointError(
                    f"{path} holds {self._kind} that depend on other facts (another run, or other options); choose "
                    "another folder, or delete the file to begin again"
                )
            checked = head.get("answers") != _WITHOUT_CHECKSUMS
            known = dict(self._verified(number, line, checked) for number, line in enumerate(rest, 2))
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path} is damaged ({str(error)[:120]}); delete it to begin again") from None
        if not checked:
            message = f"{path} was written before answers had checksums: whether it was changed cannot be told"
            warnings.warn(message, SharewiseWarning, stacklevel=2)
        if len(whole) < len(content):
            with open_regular(path, os.O_WRONLY | os.O_APPEND) as file:
                file.truncate(len(whole))
        return known

    def _answered(self, architecture: str, answer: Any) -> bytes:
        return _line({"architecture": architecture, "answer": answer, "checksum": self._checksum(architecture, answer)})

    def _checksum(self, architecture: str, answer: Any) -> str:
        """Of an answer in this file: a line of another file does not pass for one of this."""
        return digest([self._head["identity"], architecture, answer])[-16:]

    def _verified(self, number: int, line: Any, checked: bool) -> tuple[str, Any]:
        architecture, answer = str(line["architecture"]), line["answer"]
        if ("checksum" in line or checked) and line.get("checksum") != self._checksum(architecture, answer):
            raise ValueError(f"line {number} was changed after it was written")
        return architecture, answer


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode() + b"\n"
