"""Joining: which of the processes of `torchrun` this is, and how it reaches the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import distributed as dist

from sharewise.engine import Numerics
from sharewise.engine.ranks import ALONE, Ranks
from sharewise.errors import ConfigurationError

__all__ = ["joined", "rank_here", "ranks_here"]

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` tells each of its processes."""


def rank_here() -> tuple[int, int]:
    """The number of this process and how many there are, as `torchrun` says; `(0, 1)` without it.

    Raises:
        ConfigurationError: when what it says makes no sense.
    """
    if not all(name in os.environ for name in _NEEDED):
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


def ranks_here(batch_norm: Literal["synchronised", "per-rank"] = "synchronised") -> Ranks:
    """The ranks of a run, for this process.

    Args:
        batch_norm: see `Ranks`.
    """
    rank, world = rank_here()
    return ALONE if world == 1 else Ranks(rank, world, batch_norm)


@contextmanager
def joined(place: Numerics) -> Iterator[None]:
    """Reach the other processes within the block: by gloo on CPUs, by nccl on CUDA devices.

    A group that is there already, of a program that calls sharewise, is used and left.

    Args:
        place: of this process.
    """
    if place.ranks.alone or dist.is_initialized():
        yield
        return
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    dist.init_process_group("nccl" if place.device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
