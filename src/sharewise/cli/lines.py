"""Progress of studies and appraisals in lines."""

from __future__ import annotations

import sys
import time
from typing import final

__all__ = ["Lines"]

_SECONDS = 5.0
"""Between two lines of progress where there is no terminal."""


@final
class Lines:
    """Progress on standard error: one line that is written over on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._live, self._last, self._began = sys.stderr.isatty(), 0.0, time.monotonic()

    def __call__(self, what: str, done: int, of: int) -> None:
        """Tell what is being done, and how much of it is finished."""
        now = time.monotonic()
        if done in (0, of) and not self._live:
            self._began = now if done == 0 else self._began
        elif now - self._last < (0.2 if self._live else _SECONDS) and done < of:
            return
        self._last = now
        end = "\n" if not self._live or done >= of else ""
        start = "\r\x1b[K" if self._live else ""
        print(f"{start}{what} {done:,} of {of:,}", end=end, file=sys.stderr, flush=True)
