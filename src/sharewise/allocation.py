"""What this process does with memory that a step gives back: keep it for the next one, and search little for more.

The C library returns large blocks to the system at once, which then fills them with zeros before a step may have them
again. A step of a small network allocates a few hundred times as much as it keeps, so that this is a part of its time.
So is Python's search for what refers to itself alone, among some 400,000 objects every few dozen steps.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keep_memory", "passing_over"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST, _ALLOWED = 2**30, 2**25
"""Bytes of a block: what is wanted, and what older versions of the C library grant."""


def keep_memory() -> bool:
    """Keep blocks of up to a GiB within the process, or 32 MiB; whether its C library does so (that of GNU)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    large = any(mallopt(_MMAP_THRESHOLD, size) == 1 for size in (_MOST, _ALLOWED))
    return mallopt(_TRIM_THRESHOLD, _MOST) == 1 and large


@contextmanager
def passing_over() -> Iterator[None]:
    """Within the block, Python does not search what there was before it for objects that refer to themselves alone.

    What such there are is found before. Where somebody else has said so already, nothing is changed.

    Example:
        >>> with passing_over():
        ...     gc.get_freeze_count() > 0
        True
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
