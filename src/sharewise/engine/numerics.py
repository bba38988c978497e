"""Numerics: where and how precisely a run computes, as one value that every step reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sharewise.data import Batch
from sharewise.engine.ranks import ALONE, Ranks
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.supernet.native import can_be_compiled
from sharewise.supernet.own_forms import by_kernels

__all__ = ["PRECISIONS", "Numerics", "numerics"]

PRECISIONS = ("float32", "float64", "bfloat16")


@final
@dataclass(frozen=True)
class Numerics:
    """Device and precision of a run.

    Args:
        device: where the network computes.
        precision: `"float32"`, `"float64"` (weights and all), or `"bfloat16"` (weights in float32, convolutions and
            matrix products in bfloat16 by automatic mixed precision, which needs no loss scaling).
        channels_last: whether image networks store channels innermost, which is faster on tensor cores and
            not slower on CPUs.
        ranks: the processes that share the run.
        accumulate: micro-batches in which every batch of a step is computed, one after the other, at least 1. Their
            gradients add up to those of the batch, but for the order of sums; batch norm takes the moments of each
            micro-batch, and its running statistics move once for each.
        compile: whether steps execute compiled programs; see `sharewise.engine.compilation`.
        capture: whether steps replay CUDA graphs; see `sharewise.engine.capture`.
        native: whether compiled kernels compute the layers that they know; see `sharewise.supernet.native`.
    """

    device: torch.device
    precision: str = "float32"
    channels_last: bool = True
    ranks: Ranks = ALONE
    accumulate: int = 1
    compile: bool = False
    capture: bool = False
    native: bool = False

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ConfigurationError(
                f"accumulate is a number of micro-batches in which a batch is computed, at least 1, got "
                f"{self.accumulate}"
            )

    def micro_batches(self, batch: Batch) -> Iterator[tuple[slice, Batch]]:
        """What of a batch is computed at once, with the rows that it is of the batch of this process."""
        return self.ranks.micro_batches(batch, self.accumulate)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and inputs."""
        return torch.float64 if self.precision == "float64" else torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    @contextmanager
    def kernels(self, network: nn.Module) -> Iterator[None]:
        """A block in which compiled kernels compute what they know of a network, if the run takes them.

        Where they cannot be compiled, as where a run of another machine is looked at, torch does: results agree up to
        rounding.
        """
        with by_kernels(network) if self.has_kernels else nullcontext():
            yield

    @property
    def has_kernels(self) -> bool:
        """Whether the run takes compiled kernels, and there are such on this machine."""
        return self.native and self.device.type == "cpu" and can_be_compiled()

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, precision and memory format; one that is to be divided stays on the host.

        Parts of weights are rows of contiguous ones. Images are stored as ever, and so is what is made of them.
        """
        if self.ranks.sharded:
            return module.to(dtype=self.dtype)
        if self.channels_last:
            return module.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return module.to(device=self.device, dtype=self.dtype)

    def arrange(self, batch: Batch) -> Batch:
        """Give images the memory format of the network."""
        if not self.channels_last or not isinstance(batch.inputs, Tensor) or batch.inputs.dim() != 4:
            return batch
        if self.ranks.sharded:  # whose weights do not tell how images of one channel are stored
            images = torch.empty_like(batch.inputs, memory_format=torch.channels_last)
            return Batch(images.copy_(batch.inputs), batch.targets)
        return Batch(batch.inputs.contiguous(memory_format=torch.channels_last), batch.targets)


def numerics(device: str = "auto", precision: str = "float32") -> Numerics:
    """Read device and precision as a user gives them.

    Args:
        device: `"auto"` (CUDA where there is one, else the CPU) or any name that torch knows.
        precision: one of `PRECISIONS`.

    Returns:
        The numerics.

    Raises:
        ConfigurationError: when the device is unknown or absent, or the precision unknown.

    Example:
        >>> numerics("cpu").dtype
        torch.float32
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        place = torch.device(name)
        torch.ones((), device=place).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"device {device!r} cannot be used: {reason}. Try --device cpu") from None
    return Numerics(place, precision)
