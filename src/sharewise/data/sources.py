"""The registry of data sets: names and summaries without torch, so that they can be listed at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, final

from sharewise.errors import ConfigurationError, DataError, unknown_name
from sharewise.files import expanded

if TYPE_CHECKING:
    from sharewise.data.dataset import Dataset

__all__ = ["SOURCES", "Source", "load", "locate", "relocated", "single_file"]

_VARIABLE = "SHAREWISE_DATA"


@final
@dataclass(frozen=True)
class Source:
    """A kind of data that can be asked for by name.

    Args:
        name: the name on the command line.
        summary: one line on what it is and what the path must hold.
        function: where the function lies that reads it, as `module:name`.
        needs_path: whether the data lie outside the package.
        options: names of the integer options that the function accepts.

    Example:
        >>> SOURCES["digits"].needs_path
        False
    """

    name: str
    summary: str
    function: str
    needs_path: bool = True
    options: tuple[str, ...] = ()

    def load(self, path: str | os.PathLike[str] | None = None, **options: int) -> Dataset:
        """Read the data set.

        Args:
            path: file or folder; `None` for `$SHAREWISE_DATA/<name>`.
            options: those named in the field `options`.

        Returns:
            The data set.

        Raises:
            ConfigurationError: when a path is missing, or given to a built-in data set, or an option does not
                apply.
            DataError: when the files are missing or damaged.

        Example:
            >>> SOURCES["digits"].load().name
            'digits'
        """
        for option in options:
            if option not in self.options:
                raise ConfigurationError(
                    f"data set {self.name!r} has no option {option!r}; its options: "
                    f"{', '.join(self.options) or '(none)'}"
                )
        module, _, name = self.function.partition(":")
        read = getattr(import_module(module), name)
        if self.needs_path:
            dataset: Dataset = read(path, **options)
        elif path is None:
            dataset = read(**options)
        else:
            raise ConfigurationError(
                f"data set {self.name!r} is built in and takes no path, got {os.fspath(path)!r}; leave --data-path out"
            )
        return dataset


def _sources(*sources: Source) -> Mapping[str, Source]:
    return MappingProxyType({source.name: source for source in sources})


SOURCES: Mapping[str, Source] = _sources(
    Source(
        "digits",
        "1,797 handwritten digits of 8x8 grey pixels, built in",
        "sharewise.data.embedded:digits",
        needs_path=False,
    ),
    Source(
        "cifar10",
        "60,000 colour images of 32x32 in 10 classes: the official Python archive, its folder, or sheets",
        "sharewise.data.cifar:cifar10",
    ),
    Source(
        "cifar100",
        "60,000 colour images of 32x32 in 100 classes: the official Python archive, its folder, or sheets",
        "sharewise.data.cifar:cifar100",
    ),
    Source(
        "arrays",
        "your own .npz with x_train, y_train, x_test, y_test: images or a table",
        "sharewise.data.array_file:arrays",
    ),
    Source(
        "folder",
        "your own images as train/<class>/* and test/<class>/*",
        "sharewise.data.image_files:image_folder",
        options=("size",),
    ),
    Source(
        "arrays-on-disk",
        "your own images in x_train.npy, y_train.npy, x_test.npy, y_test.npy, read while they are used",
        "sharewise.data.array_file:arrays_on_disk",
    ),
    Source(
        "folder-on-disk",
        "your own images as for folder, decoded while they are used; needs an image size",
        "sharewise.data.image_files:folder_on_disk",
        options=("size", "workers"),
    ),
    Source(
        "sheets",
        "your own images tiled on sheets train_00.webp, ... with label arrays",
        "sharewise.data.image_files:sheets",
        options=("tile",),
    ),
    Source(
        "text",
        "a text file for language modelling by characters",
        "sharewise.data.text_file:text",
        options=("length",),
    ),
    Source(
        "bytes",
        "any file for language modelling by bytes",
        "sharewise.data.text_file:byte_text",
        options=("length",),
    ),
)


def load(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    image_size: int | None = None,
    length: int | None = None,
    train_examples: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read a data set by its name and bring it to the size that is wanted, as the command line does.

    Args:
        name: a name in `SOURCES`.
        path: file or folder; `None` for `$SHAREWISE_DATA/<name>`, or for data that are built in.
        image_size: height and width in pixels to which images are resized; `None` to keep theirs.
        length: tokens per example of a text; `None` for the default.
        train_examples: how many training examples to keep; `None` for all.
        seed: of the draw of the training examples.

    Returns:
        The data set.

    Raises:
        ConfigurationError: when the name is unknown, or an option does not apply to this data.
        DataError: when the files are missing or damaged.

    Example:
        >>> data = load("digits", train_examples=100)
        >>> len(data.train), len(data.test)
        (100, 360)
    """
    if name not in SOURCES:
        raise unknown_name("data set", name, SOURCES)
    source = SOURCES[name]
    options = {} if length is None else {"length": length}
    if image_size is not None and "size" in source.options:
        options["size"] = image_size  # resized while reading: these images may differ in size
    dataset = source.load(path, **options)
    if image_size is not None:
        dataset = dataset.resized(image_size)
    return dataset.limited(train_examples, seed=seed)


def locate(name: str, path: str | os.PathLike[str] | None) -> Path:
    """Find where a data set lies: at the path that the user gave, or below the folder in `$SHAREWISE_DATA`.

    Args:
        name: name of the source, which is also its name below `$SHAREWISE_DATA`.
        path: as given by the user, or `None`.

    Returns:
        An existing path.

    Raises:
        ConfigurationError: when neither a path nor `$SHAREWISE_DATA` is given.
        DataError: when there is nothing at the path.

    Example:
        >>> locate("cifar10", "no/such/folder")
        Traceback (most recent call last):
        sharewise.errors.DataError: data set 'cifar10' was not found at 'no/such/folder'; give its place ...
    """
    if path is not None:
        place = expanded(path)
    elif root := os.environ.get(_VARIABLE):
        place = expanded(root) / name
    else:
        raise ConfigurationError(
            f"data set {name!r} needs a path: give it by --data-path, or set {_VARIABLE} to the folder that "
            f"holds {name!r}"
        )
    if not place.exists():
        raise DataError(
            f"data set {name!r} was not found at {str(place)!r}; give its place by --data-path or {_VARIABLE}"
        )
    return place


def relocated(name: str, path: str | None) -> str | None:
    """Where data lie now that a run read at some path, which may have been on another machine.

    The recorded path is kept while it exists. Otherwise `$SHAREWISE_DATA` is asked, as for a run without a path; that
    the data are the same is for their checksum to say.

    Args:
        name: name of the source.
        path: as the run recorded it, or `None`.

    Returns:
        A path to try.

    Example:
        >>> relocated("digits", None) is None
        True
    """
    if path is None or Path(path).exists():
        return path
    root = os.environ.get(_VARIABLE)
    place = None if root is None else expanded(root) / name
    return path if place is None or not place.exists() else str(place)


def single_file(place: Path, suffix: str) -> Path:
    """Accept a folder in place of the one file of a kind that it holds.

    Args:
        place: a file, or a folder.
        suffix: ending of the file, with the dot.

    Returns:
        The file.

    Raises:
        DataError: when the folder holds no such file, several, or a link to one.

    Example:
        >>> single_file(Path(__file__), ".py").name
        'sources.py'
    """
    if not place.is_dir():
        return place
    found = sorted(file for file in place.glob(f"*{suffix}") if not file.name.startswith("."))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise DataError(f"the folder {str(place)!r} must hold one {suffix} file, found {names}; give the file itself")
    if found[0].is_symlink():
        raise DataError(f"{str(found[0])!r} is a link, which is not followed in a folder; give the file itself")
    return found[0]
