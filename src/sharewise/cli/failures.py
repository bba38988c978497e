"""What went wrong, in one line: failures of the machine and of files that no function below answers for."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from sharewise.errors import SharewiseError

__all__ = ["explained"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SMALLER = "choose a smaller network (--channels, --cells), batch (--batch-size) or image (--image-size)"


def explained(error: BaseException) -> str | None:
    """One line about an error that is no fault of the program; `None` for one that is: a traceback helps to mend it.

    Args:
        error: as it reached the command line; what it was raised from counts as well.

    Example:
        >>> explained(OSError(errno.ENOSPC, "No space left on device", "result.json"))
        'cannot write result.json: the disk is full'
        >>> explained(KeyError("name")) is None
        True
    """
    if isinstance(error, SharewiseError):
        return _line(error)
    for one in _chain(error):
        if isinstance(one, OSError):
            return _of_system(one)
        if isinstance(one, MemoryError) or _ran_out(one):
            return f"out of memory; {_SMALLER}"
        if isinstance(one, RuntimeError) and "PytorchStreamWriter" in str(one):
            return "cannot write a file of weights; the disk may be full"
        if isinstance(one, RecursionError):
            return "a value is nested too deeply to be read; look for brackets or indentation without an end"
        if isinstance(one, OverflowError):
            return f"a number is too large: {_line(one)}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from; torch wraps a failed write without saying so."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        wraps = isinstance(seen, RuntimeError) and not seen.__suppress_context__
        seen = seen.__cause__ or (seen.__context__ if wraps else None)


def _of_system(error: OSError) -> str:
    place = "standard output" if error.filename is None else str(error.filename)
    reason = "the disk is full" if error.errno in _FULL else (error.strerror or _line(error))
    verb = "write" if error.errno in (*_FULL, errno.EROFS) or error.filename is None else "use"
    return f"cannot {verb} {place}: {reason}"


def _ran_out(error: BaseException) -> bool:
    """Whether torch found no memory: on the CPU it raises a RuntimeError, on other devices a kind of its own."""
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
