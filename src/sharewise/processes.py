"""Which of the processes of `torchrun` this is, as it tells each of them; without torch, so that verbs know at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sharewise.errors import ConfigurationError

__all__ = ["by_itself", "device_here", "rank_here"]

_TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rank_here() -> tuple[int, int]:
    """The number of this process and how many there are; `(0, 1)` without `torchrun`.

    Raises:
        ConfigurationError: when what it says makes no sense.
    """
    if not all(name in os.environ for name in _TOLD):
        return 0, 1
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError:
        rank, world = -1, 0
    if not 0 <= rank < world:
        raise ConfigurationError(
            f"RANK={os.environ['RANK']!r} of WORLD_SIZE={os.environ['WORLD_SIZE']!r} is no process of a group; unset "
            "them, or start with torchrun"
        )
    return rank, world


def device_here() -> int | None:
    """The number of the device among those of this machine that is this process's, also while it is by itself.

    `None` for a process that nobody has started among others.

    Raises:
        ConfigurationError: when what `torchrun` says makes no sense.
    """
    rank, world = rank_here()
    if world == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:  # which stays while it is by itself
        return None
    told = os.environ.get("LOCAL_RANK")
    if told is None:
        return None if world == 1 else rank
    if not (told.isascii() and told.isdigit()):
        raise ConfigurationError(f"LOCAL_RANK={told!r} is no number of a device; unset it, or start with torchrun")
    return int(told)


@contextmanager
def by_itself() -> Iterator[None]:
    """Within the block this process, and what it starts, belongs to no group.

    Example:
        >>> with by_itself():
        ...     rank_here()
        (0, 1)
    """
    told = {name: os.environ.pop(name) for name in _TOLD if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(told)
