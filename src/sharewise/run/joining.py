"""Joining: which of the processes of `torchrun` this is, and how it reaches the others."""

from __future__ import annotations

import atexit
import gc
import importlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import distributed as dist

from sharewise.engine import Numerics
from sharewise.engine.ranks import ALONE, Ranks
from sharewise.engine.rows import RanksError
from sharewise.interruption import answered
from sharewise.processes import rank_here

__all__ = ["joined", "let_go", "ranks_here"]

_COLLECTIONS = 8
"""At most."""


def ranks_here(batch_norm: Literal["synchronised", "per-rank"] = "synchronised", shard: bool = False) -> Ranks:
    """The ranks of a run, for this process.

    Args:
        batch_norm: see `Ranks`.
        shard: likewise.
    """
    rank, world = rank_here()
    return ALONE if world == 1 else Ranks(rank, world, batch_norm, shard)


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
    # The default arguments of this module would keep the group if a later import, by an optimizer, met it: its threads
    # would then outlive the block, and one that lets go of a tensor while Python ends aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    dist.init_process_group("nccl" if place.device.type == "cuda" else "gloo")
    lost = False
    try:
        yield
    except RanksError:
        lost = True
        raise
    finally:
        # Of processes of which one is lost torchrun ends all: not this one before it has said so itself.
        with answered(signal.SIG_IGN, [signal.SIGTERM]) if lost else nullcontext():
            dist.destroy_process_group()
        if place.ranks.sharded:  # a result that holds divided weights keeps the group: not until Python ends, too
            atexit.register(let_go)


def let_go() -> None:
    """Collect what nobody reaches, until nothing is found.

    A graph of torch, which Python cannot look into, may hold a second cycle: of layers that are divided and recomputed,
    it is freed by the first collection, and what it held by the next.
    """
    for _ in range(_COLLECTIONS):
        if gc.collect() == 0:
            return
