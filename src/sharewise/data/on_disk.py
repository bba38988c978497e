"""Inputs that stay on disk: rows are read when a batch asks for them, so that data may be larger than memory.

Which rows make a batch is decided by the same generators as for data in memory, and only then are they read. So the
order, and a resume, are those of the same data in memory. The batch after the one that was asked for is read ahead, by
a thread beside the computation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, final

import torch
from torch import Tensor

from sharewise.data.columns import Inputs
from sharewise.data.resizing import bilinear

__all__ = ["Ahead", "OnDisk", "Rows", "in_memory", "pieces"]

_AT_ONCE = 1 << 20
"""Numbers that are looked at together where all are."""

_reading = threading.RLock()
"""Held while rows are read, since those of a stranger may share a file and its position."""


def _let_go() -> None:
    """Let a forked process read, whatever the threads that it does not have were doing."""
    global _reading
    _reading = threading.RLock()


os.register_at_fork(after_in_child=_let_go)


class Rows(Protocol):
    """Reads images from disk by their number; a value that another process can be given."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one: channels, height and width."""

    def read(self, rows: Tensor) -> Tensor:
        """Read some: in any thread, but never in two at a time.

        Args:
            rows: their numbers, shape `(m,)`.

        Returns:
            uint8 of shape `(m, channels, height, width)`, in that order.

        Raises:
            DataError: when they cannot be read, or are not what they were.
        """


@final
class OnDisk:
    """Images on disk that are seen as a tensor is, and read when they are brought to a device.

    `index_select` and slices choose rows without reading them; `to(device)` reads those that are left.

    Args:
        source: where rows come from.
        rows: which, shape `(n,)`; `None` for all.
        size: height and width to which images are resized when they are read; `None` to keep theirs.

    Example:
        >>> class Counting:
        ...     count, shape = 5, (1, 1, 1)
        ...     def read(self, rows):
        ...         return rows.to(torch.uint8).reshape(-1, 1, 1, 1)
        >>> images = OnDisk(Counting())
        >>> images.shape, images.index_select(0, torch.tensor([3, 1]))[:1].to("cpu").flatten()
        ((5, 1, 1, 1), tensor([3], dtype=torch.uint8))
    """

    dtype = torch.uint8

    def __init__(self, source: Rows, rows: Tensor | None = None, size: int | None = None) -> None:
        self._source, self._size = source, size
        self._rows = torch.arange(source.count) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"{self.shape[1:]} uint8 on disk"

    def __getitem__(self, key: slice | Tensor) -> OnDisk:
        return OnDisk(self._source, self._rows[key], self._size)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all: examples, channels, height and width."""
        channels, *sides = self._source.shape
        return (len(self), channels, *(sides if self._size is None else (self._size, self._size)))

    @property
    def ndim(self) -> int:
        """Four."""
        return len(self.shape)

    def dim(self) -> int:
        """Four."""
        return self.ndim

    def numel(self) -> int:
        """Numbers in all images."""
        return torch.Size(self.shape).numel()

    def is_floating_point(self) -> bool:
        """No."""
        return False

    def index_select(self, dim: int, rows: Tensor) -> OnDisk:
        """Some of the images, unread."""
        return self[rows]

    def resized(self, size: int) -> OnDisk:
        """The same images, brought from their own to another size when they are read."""
        return OnDisk(self._source, self._rows, size)

    def to(self, place: Any, *, non_blocking: bool = False) -> Tensor:
        """Read all rows.

        Args:
            place: device on which they are wanted.
            non_blocking: as of a tensor.
        """
        with _reading:
            read = self._source.read(self._rows)
        return (read if self._size is None else bilinear(read, self._size)).to(place, non_blocking=non_blocking)


@final
class Ahead:
    """Reads the images that will be asked for next while those of now are computed with.

    What is read is a function of the rows alone, so that nothing but time depends on it; what cannot be read is an
    error when it is asked for, and no sooner.

    Args:
        images: of which rows are asked for.

    Example:
        >>> class Counting:
        ...     count, shape = 5, (1, 1, 1)
        ...     def read(self, rows):
        ...         return rows.to(torch.uint8).reshape(-1, 1, 1, 1)
        >>> ahead = Ahead(OnDisk(Counting()))
        >>> ahead.take(torch.tensor([3, 1]), then=torch.tensor([4])).flatten()
        tensor([3, 1], dtype=torch.uint8)
        >>> ahead.take(torch.tensor([4]), then=None).flatten()
        tensor([4], dtype=torch.uint8)
    """

    def __init__(self, images: OnDisk) -> None:
        self._images = images
        self._reader: ThreadPoolExecutor | None = None
        self._expected: tuple[Tensor, Future[Tensor]] | None = None
        self._process = os.getpid()

    def take(self, rows: Tensor, *, then: Tensor | None) -> Tensor:
        """Images as a tensor on the host.

        Args:
            rows: which, shape `(m,)`.
            then: which are likely to be asked for next, `None` for none.
        """
        if self._process != os.getpid():  # a fork, into which no thread has come
            self._reader, self._expected, self._process = None, None, os.getpid()
        expected, self._expected = self._expected, None
        known = expected is not None and torch.equal(expected[0], rows)
        found = expected[1].result() if expected is not None and known else self._read(rows)
        if then is not None:
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix="sharewise-reading-ahead")
            self._expected = then, self._reader.submit(self._read, then)
        return found

    def _read(self, rows: Tensor) -> Tensor:
        return self._images[rows].to("cpu")


def in_memory(inputs: Inputs) -> Inputs:
    """Inputs as tensors, read where they lie on disk."""
    return inputs.to("cpu") if isinstance(inputs, OnDisk) else inputs


def pieces(inputs: Inputs) -> Iterator[Tensor]:
    """All of a tensor or of images on disk, some rows at a time."""
    rows = max(1, _AT_ONCE * len(inputs) // max(1, inputs.numel()))
    for start in range(0, len(inputs), rows):
        yield in_memory(inputs[start : start + rows])
