"""Named random streams: one seed, one independent generator per purpose, all of them saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derived_seed", "seeded_modules", "stream"]


def derived_seed(seed: int, name: str) -> int:
    """A 63-bit seed for the stream `name`, the same in every process and on every machine.

    Example:
        >>> derived_seed(0, "data") != derived_seed(0, "weights")
        True
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, name: str) -> torch.Generator:
    """A generator on the host for one purpose.

    Adding a consumer to one stream never changes what another one yields.

    Args:
        seed: of the run.
        name: of the purpose, such as `"architecture"`.

    Returns:
        A generator that belongs to the caller alone.
    """
    return torch.Generator().manual_seed(derived_seed(seed, name))


@contextmanager
def seeded_modules(seed: int, name: str, device: torch.device | None = None) -> Iterator[None]:
    """Seed the global generator that `torch.nn` uses for initialisation and dropout; restore it afterwards.

    Args:
        seed: of the run.
        name: of the stream.
        device: whose generator is meant beside that of the host, for a run on CUDA.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(derived_seed(seed, name))  # of other devices nothing is touched
        if devices:
            with torch.cuda.device(devices[0]):
                torch.cuda.manual_seed(derived_seed(seed, name))
        yield
