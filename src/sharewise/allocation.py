"""What this process does with memory that a step gives back: it keeps it for the next one, and looks for little else.

The C library returns large blocks to the system at once, which then fills them with zeros before a step may have them
again. A step of a small network allocates a few hundred times as much as it keeps, so that this is a part of its time.
So is Python's search for what nothing but itself refers to, among some 400,000 objects every few dozen steps.
"""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["collect_rarely", "keep_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST, _ALLOWED = 2**30, 2**25
"""Bytes of a block: what is wanted, and what older versions of the C library grant."""

_YOUNGER = 100
"""Searches among younger objects, after which Python may search all; ten by itself."""


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


def collect_rarely() -> None:
    """Search all objects a tenth as often as Python does by itself; young ones are searched as ever.

    Example:
        >>> before = gc.get_threshold()
        >>> collect_rarely()
        >>> gc.get_threshold()[2]
        100
        >>> gc.set_threshold(*before)
    """
    gc.set_threshold(*gc.get_threshold()[:2], _YOUNGER)
