"""What lies in a folder of images: what is read, and what is not, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sharewise.data.picture import SUFFIXES
from sharewise.errors import DataError

__all__ = ["class_folders", "in_words", "is_hidden", "may_be_data", "pictures"]

_OF_SYSTEMS = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"})
_BESIDE = frozenset({".txt", ".json", ".csv", ".xml", ".md", ".html", ".yaml", ".yml", ".pdf"})


def is_hidden(name: str) -> bool:
    """Tell names that systems and programs leave behind.

    Args:
        name: of a file or folder, without its path.

    Returns:
        Whether it begins with a dot, or is a well-known name of that kind.

    Example:
        >>> is_hidden("._1.png"), is_hidden("1.png")
        (True, False)
    """
    return name.startswith(".") or name in _OF_SYSTEMS


def class_folders(split: Path) -> tuple[list[str], list[Path]]:
    """List the folders of the classes.

    Args:
        split: the folder that holds them.

    Returns:
        Their names, sorted, and the files beside them, which belong to no class.

    Raises:
        DataError: when there is a link, a pipe or a device, a name cannot be printed, or the folder cannot be read.

    Example:
        >>> names, beside = class_folders(Path(__file__).parents[1])
        >>> "data" in names, "errors.py" in {path.name for path in beside}
        (True, True)
    """
    folders, beside = [], []
    for entry in _entries(split):
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.isprintable():
                raise DataError(f"the name of the class folder {entry.path!r} cannot be printed; rename it")
            folders.append(entry.name)
        else:
            beside.append(Path(entry.path))
    return sorted(folders), sorted(beside)


def pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the pictures of a class, those in sub-folders too.

    Args:
        folder: of the class.

    Returns:
        The pictures and the other files, each sorted by path; what is hidden is in neither.

    Raises:
        DataError: when there is a link, a pipe or a device, or a folder cannot be read.

    Example:
        >>> pictures(Path(__file__).parent)[0]
        []
    """
    found: list[Path] = []
    others: list[Path] = []
    pending = [folder]
    while pending:
        for entry in _entries(pending.pop()):
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif path.suffix.lower() in SUFFIXES:
                found.append(path)
            else:
                others.append(path)
    return sorted(found), sorted(others)


def may_be_data(path: Path) -> bool:
    """Tell whether a file that is skipped might have been meant as an example.

    Args:
        path: of the file.

    Returns:
        False for texts, tables and documents, which often lie beside images.

    Example:
        >>> may_be_data(Path("cat.heic")), may_be_data(Path("notes.txt"))
        (True, False)
    """
    return path.suffix.lower() not in _BESIDE


def in_words(paths: list[Path], root: Path) -> str:
    """Name some files.

    Args:
        paths: at least one.
        root: from where their names count.

    Returns:
        Their number and the first three.

    Example:
        >>> in_words([Path("a/b.heic")], Path("a"))
        "1 file ('b.heic')"
    """
    names = ", ".join(repr(str(path.relative_to(root))) for path in paths[:3])
    return f"{len(paths):,} file{'s' * (len(paths) > 1)} ({names}{', …' * (len(paths) > 3)})"


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise DataError(f"cannot read the folder {str(folder)!r} ({error.strerror}); check it") from None
    for entry in found:
        if entry.is_symlink():
            raise DataError(
                f"{entry.path!r} is a link, which is not followed; put what it points to there, or remove it"
            )
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            raise DataError(f"{entry.path!r} is a pipe or device, which is not read; remove it")
        yield entry
