"""A file as a task of language modelling, by characters or by bytes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sharewise.data.dataset import Dataset, Examples, Sealed, provenance
from sharewise.data.reading import read_text, read_whole
from sharewise.data.sources import locate, single_file
from sharewise.data.task import language_modelling
from sharewise.errors import ConfigurationError, DataError

__all__ = ["byte_text", "text"]

_MOST = 1 << 30  # bytes; in memory a character takes sixteen


def text(path: str | os.PathLike[str] | None = None, length: int = 64) -> Dataset:
    r"""Read a text for language modelling by characters: the first 90 % train, the last 10 % test.

    The vocabulary is every character of the file, where line ends of any system are `\n` and a byte-order mark is none.
    The text is cut into windows of `length + 1` characters that do not overlap; a window without its last character is
    the input, without its first one the target.

    Args:
        path: the file in UTF-8, or a folder that holds one `.txt`; `None` for `$SHAREWISE_DATA/text`.
        length: characters per example, at least 1.

    Returns:
        The data set; `class_names` are the characters, in the order of their numbers.

    Raises:
        ConfigurationError: when no path is known, or `length` is below 1.
        DataError: when the file is no text, or too short for one window in either part.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "abc.txt").write_text("abc" * 20)
        ...     data = text(folder, length=4)
        >>> data.train.inputs[0], data.train.targets[0]
        (tensor([0, 1, 2, 0]), tensor([1, 2, 0, 1]))
    """
    _require_length(length)
    file = single_file(locate("text", path), ".txt")
    points = np.frombuffer(read_text(file, _MOST, linked=True).encode("utf-32-le"), np.uint32)
    vocabulary, tokens = np.unique(points, return_inverse=True)
    return _dataset(file, tokens, tuple(map(chr, vocabulary)), length, "characters")


def byte_text(path: str | os.PathLike[str] | None = None, length: int = 64) -> Dataset:
    """Read any file for language modelling by bytes: the first 90 % train, the last 10 % test.

    The vocabulary is that of all 256 bytes, whatever the file holds; windows are those of `text`.

    Args:
        path: the file, or a folder that holds one `.txt`; `None` for `$SHAREWISE_DATA/bytes`.
        length: bytes per example, at least 1.

    Returns:
        The data set; `class_names` are the bytes as Python writes them.

    Raises:
        ConfigurationError: when no path is known, or `length` is below 1.
        DataError: when the file cannot be read, or is too short for one window in either part.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "abc.txt").write_text("abc" * 20)
        ...     data = byte_text(folder, length=4)
        >>> data.train.inputs[0], data.task.outputs, data.class_names[97]
        (tensor([97, 98, 99, 97]), 256, "b'a'")
    """
    _require_length(length)
    file = single_file(locate("bytes", path), ".txt")
    tokens = np.frombuffer(read_whole(file, _MOST, linked=True), np.uint8)
    return _dataset(file, tokens, tuple(repr(bytes([i])) for i in range(256)), length, "bytes")


def _require_length(length: int) -> None:
    if length < 1:
        raise ConfigurationError(f"the length of a text example must be at least 1 token, got {length}")


def _dataset(
    file: Path, tokens: npt.NDArray[np.integer], vocabulary: tuple[str, ...], length: int, what: str
) -> Dataset:
    cut = len(tokens) * 9 // 10
    if min(cut, len(tokens) - cut) < length + 1:
        raise DataError(
            f"{str(file)!r} has {len(tokens)} {what}, too few for examples of {length}: training and "
            f"test need {length + 1} each, so give at least {10 * (length + 1)} {what}, or a smaller "
            "length"
        )
    ids = torch.from_numpy(tokens.astype(np.int64))
    train, test = _windows(ids[:cut], length), _windows(ids[cut:], length)
    return Dataset(
        name=file.stem,
        task=language_modelling(len(vocabulary)),
        input_kind="text",
        train=train,
        test=Sealed(test),
        class_names=vocabulary,
        provenance=provenance(f"the user's file {file.name!r}", "not stated", train, test),
        sequential=True,
    )


def _windows(ids: Tensor, length: int) -> Examples:
    windows = ids.unfold(0, length + 1, length + 1)
    return Examples(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())
