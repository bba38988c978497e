"""A file of the user's own that makes a space: a value, made of what the user typed and never of what a folder holds.

A run records which file and which function made its space, and a checksum. That record opens nothing: whoever goes on
with the run names the file again, and what lies there must be what the run began with.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sharewise.errors import ConfigurationError, UnnamedFileError, shown
from sharewise.files import expanded, read_bytes
from sharewise.given import got

__all__ = ["OwnFile", "is_reference", "own_file", "own_of", "require_named"]


@final
@dataclass(frozen=True)
class OwnFile:
    """A function in a user's file that makes a space, without arguments; who has the value may execute the file.

    Args:
        file: its whole path.
        factory: name of the function.
        checksum: of the file and of all files in its folder that it imports.
    """

    file: Path
    factory: str
    checksum: str

    @property
    def reference(self) -> str:
        """As a command line has it."""
        return f"{self.file}:{self.factory}"

    def sources(self) -> dict[str, bytes]:
        """Content by path from the folder of the file; the file itself is called "".

        Raises:
            ConfigurationError: when it is not what it was when it was named.
        """
        found = _sources(self.file)
        if _checksum(found) != self.checksum:
            raise ConfigurationError(f"{self.file} was changed while it was in use; begin again")
        return found

    def require(self, stored: Mapping[str, Any]) -> None:
        """Refuse another file than the one with which a configuration was stored; it may have moved.

        Raises:
            ConfigurationError: saying in what they differ.
        """
        there, checksum = stored.get("space"), str(stored.get("space_checksum"))
        if not is_reference(there):
            raise ConfigurationError(f"the space is {shown(there)} there, and none of {self.file}: leave --space out")
        name = str(there).rpartition(":")[2]
        why = f"its checksum was {checksum[:12]} and is {self.checksum[:12]}: it, or what it imports, was changed"
        if name != self.factory:
            why = f"the function was {name}"
        if (name, checksum) != (self.factory, self.checksum):
            raise ConfigurationError(f"{self.reference} is not what the run began with, {shown(there)}: {why}")


def is_reference(text: object) -> bool:
    """Whether a name of a space is a file and a function in it, rather than a space of ours.

    Example:
        >>> is_reference("models/mine.py:factory"), is_reference("darts:S1")
        (True, False)
    """
    return isinstance(text, str) and text.rpartition(":")[0].endswith(".py")


def own_file(text: str) -> OwnFile:
    """What a user names as `FILE:FACTORY`; nothing is executed.

    Raises:
        ConfigurationError: when it has another form, or there is no such file.

    Example:
        >>> own_file("absent.py:factory")
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: there is no file absent.py
    """
    path, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier():
        raise ConfigurationError(f"expected FILE:FACTORY, such as model.py:factory, got {text!r}")
    file = expanded(path).resolve()
    if not file.is_file():
        raise ConfigurationError(f"there is no file {path}")
    return OwnFile(file, name, _checksum(_sources(file)))


def own_of(given: OwnFile | str | None) -> OwnFile | None:
    """A file as a user of Python names it: by its value, or as `FILE:FACTORY`.

    Raises:
        ConfigurationError: for anything else.
    """
    if isinstance(given, str):
        return own_file(given)
    if given is not None and not isinstance(given, OwnFile):
        raise ConfigurationError(f"own must be a file and a function in it, such as 'model.py:factory', {got(given)}")
    return given


def require_named(stored: Mapping[str, Any], own: OwnFile | None) -> None:
    """Refuse to go on with a space of a file that the user did not name, or with another file.

    Args:
        stored: a configuration, as anyone may have written it.
        own: what the user named.

    Raises:
        UnnamedFileError: when nobody named it.
        ConfigurationError: when another one was named.
    """
    if own is not None:
        own.require(stored)
    elif is_reference(stored.get("space")):
        raise UnnamedFileError(str(stored["space"]))


# ---------------------------------------------------------------------------------------------------------------------
# What belongs to a file, by its text


def _checksum(sources: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(sources.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _sources(file: Path) -> dict[str, bytes]:
    """The file and all that it imports from its own folder, and what that imports; the file may be renamed."""
    found = {"": _read(file)}
    waiting = [(file, found[""])]
    while waiting:
        place, content = waiting.pop()
        for neighbour in _imported(place, content, file.parent):
            name = neighbour.relative_to(file.parent).as_posix()
            if name not in found and neighbour != file:
                found[name] = _read(neighbour)
                waiting.append((neighbour, found[name]))
    return found


def _read(file: Path) -> bytes:
    try:
        return read_bytes(file, follow=True)
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None


def _imported(place: Path, content: bytes, folder: Path) -> Iterator[Path]:
    """Files below a folder that the source of a file imports."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return  # executing it says what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (path for alias in node.names for path in _modules(folder, alias.name.split(".")))
        elif isinstance(node, ast.ImportFrom):
            start = place.parents[min(node.level, len(place.parents)) - 1] if node.level else folder
            parts = node.module.split(".") if node.module else []
            if start.is_relative_to(folder):
                yield from (path for alias in node.names for path in _modules(start, [*parts, alias.name]))


def _modules(start: Path, parts: list[str]) -> Iterator[Path]:
    """The files of a dotted name and of the packages that hold it, as far as there are any."""
    for part in parts:
        start = start / part
        yield from (path for path in (start.with_name(f"{part}.py"), start / "__init__.py") if path.is_file())
