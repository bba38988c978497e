"""Where a run computes, where it is kept, and what it starts from: three values in place of a corridor of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

import torch

from sharewise.engine import Extension, Numerics, numerics
from sharewise.errors import ConfigurationError
from sharewise.processes import device_here
from sharewise.run.joining import joined, ranks_here

__all__ = ["NOWHERE", "PLAIN", "PROGRAMS", "WHERE", "Keep", "Place", "Setting"]

PROGRAMS = ("compile", "capture")
"""Options that ask for programs in the place of the network, which steps execute and nothing else."""

WHERE = ("device", "threads", "native", "shard", *PROGRAMS)
"""Options of where a run computes: they change the last bits of sums at most."""

PLAIN: Mapping[str, bool] = {"shard": False, **dict.fromkeys(PROGRAMS, False)}
"""A run by itself in one process, step by step."""

_MOST_THREADS = 1024
"""More than any machine has; OpenMP ends the process where it cannot start as many as it was told to."""


@final
@dataclass(frozen=True)
class Place:
    """Where a run computes, and how precisely.

    Args:
        device: `"auto"` (CUDA where there is one, else the CPU), `"cpu"`, `"cuda"`, …
        precision: `"float32"`, `"float64"` or `"bfloat16"`.
        threads: of the CPU; `None` to choose them by the size of a step (`sharewise.run.threads`).
        batch_norm: of several processes that share a run; see `Ranks`.
        accumulate: micro-batches in which every batch is computed; see `Numerics`.
        shard: whether each of several processes keeps a part of the weights; see `Ranks`.
        compile: whether steps execute compiled programs; see `Numerics`.
        capture: whether steps replay CUDA graphs; see `Numerics`.
        native: whether to take compiled kernels; `None` to choose by measurement (`sharewise.run.native`).

    Raises:
        ConfigurationError: when the number of threads is out of range.

    Example:
        >>> Place("cpu").numerics().dtype
        torch.float32
    """

    device: str = "auto"
    precision: str = "float32"
    threads: int | None = None
    batch_norm: Literal["synchronised", "per-rank"] = "synchronised"
    accumulate: int = 1
    shard: bool = False
    compile: bool = False
    capture: bool = False
    native: bool | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= _MOST_THREADS:
            raise ConfigurationError(f"threads must lie between 1 and {_MOST_THREADS}, got {self.threads}")

    def numerics(self) -> Numerics:
        """Device and precision as the engine reads them, and which of the processes of `torchrun` this is.

        Raises:
            ConfigurationError: when the device is unknown or absent, or the precision unknown.
        """
        ranks, device = ranks_here(self.batch_norm, self.shard), self.device
        if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
            own = device_here()
            device = device if own is None else f"cuda:{own}"
        found = numerics(device, self.precision)
        found = replace(found, ranks=ranks, accumulate=self.accumulate)
        return replace(found, compile=self.compile, capture=self.capture, native=bool(self.native))

    def require_others(self, keep: Keep) -> None:
        """Refuse to begin a run of divided weights in one process; one that was begun so may go on in one.

        Raises:
            ConfigurationError: with the command that starts several.
        """
        if self.shard and not keep.resume and ranks_here().alone:
            raise ConfigurationError(
                "shard divides weights among several processes, and this is one: start them with torchrun "
                "--nproc-per-node N -m sharewise …, or leave shard out"
            )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Reach the other processes of the run within the block."""
        with joined(self.numerics()):
            yield


@final
@dataclass(frozen=True)
class Keep:
    """Where a run is kept.

    Args:
        folder: of the run; `None` keeps nothing.
        resume: whether the folder holds the run, to be continued.
        every: steps between checkpoints within an epoch; one is always written after each epoch.
        extension: what a run that has ended shall go on by.

    Raises:
        ConfigurationError: when something is to be kept nowhere.
    """

    folder: Path | None = None
    resume: bool = False
    every: int | None = None
    extension: Extension | None = None

    def __post_init__(self) -> None:
        if self.folder is None and (self.resume or self.every is not None):
            raise ConfigurationError("resume and checkpoint_every need a run folder: give out=")

    @property
    def holds_checkpoint(self) -> bool:
        """Whether the run goes on from a checkpoint, which holds all weights."""
        return self.resume and self.folder is not None and (self.folder / "checkpoint.pt").exists()

    @classmethod
    def at(cls, folder: Path | None, every: int | None = None) -> Keep:
        """Begin in a folder, or go on there if it holds a run already."""
        return cls(folder, folder is not None and (folder / "config.yaml").exists(), every)


NOWHERE = Keep()
"""Nothing is kept."""


@final
@dataclass(frozen=True)
class Setting:
    """What a run starts from, beside its space, recipe and data.

    Args:
        network: options of the network by name; missing ones take their defaults.
        seed: of every random stream.
        place: where it computes.
        max_steps: stop after so many steps.
    """

    network: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    place: Place = field(default_factory=Place)
    max_steps: int | None = None
