"""How much memory is left, so that what cannot fit is refused in one line before it is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sharewise.errors import ConfigurationError

__all__ = ["available_memory", "require_memory"]


def available_memory() -> int | None:
    """Bytes that a process may still take on this machine, or within its control group; `None` where nobody says.

    Example:
        >>> (available_memory() or 1) > 0
        True
    """
    found = [*_of_machine(), *_of_group()]
    return max(0, min(found)) if found else None


def require_memory(needed: float, what: str, advice: str) -> None:
    """Refuse what needs more memory than there is.

    Args:
        needed: bytes.
        what: needs them, with its verb (`"the images need"`).
        advice: what to do.

    Raises:
        ConfigurationError: when they are not there.

    Example:
        >>> require_memory(1e30, "the images need", "give a smaller --image-size")
        Traceback (most recent call last):
        sharewise.errors.ConfigurationError: the images need 1e+21 GB of memory, and ... GB are free; give a smaller ...
    """
    free = available_memory()
    if free is not None and needed > free:
        raise ConfigurationError(f"{what} {needed / 1e9:.3g} GB of memory, and {free / 1e9:.3g} GB are free; {advice}")


def _of_machine() -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024


def _of_group() -> Iterator[int]:
    """What a container leaves; a group without a limit says `max`, or a number beyond all memory."""
    for root, limit, usage in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            yield int((Path(root) / limit).read_text()) - int((Path(root) / usage).read_text())
