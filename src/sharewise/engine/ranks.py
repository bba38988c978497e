"""Ranks: the processes that share one search, each with its rows of every batch.

All ranks draw the same order, the same augmentation and the same gates from the named streams, so nothing but sums over
rows has to be exchanged: gradients of parameters that were used, dL/dgate, losses and the moments of batch norm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sharewise.data import Batch
from sharewise.data.task import Objective, pooled
from sharewise.errors import SharewiseError

__all__ = ["ALONE", "BATCH_NORMS", "LedError", "Ranks", "RanksError", "Rows"]

BATCH_NORMS = ("synchronised", "per-rank")
"""Whose moments batch norm takes where several processes share a run."""


class RanksError(SharewiseError):
    """The processes of one search can no longer reach each other."""


class LedError(SharewiseError):
    """The first process has failed, and says why."""


@final
class Rows(Batch):
    """Some examples of a batch, in one of several processes.

    Args:
        inputs: of these examples.
        targets: likewise.
        whole: examples of the batch.
    """

    def __new__(cls, inputs: Tensor, targets: Tensor, whole: int) -> Rows:
        """Inputs and targets, and how many examples there are elsewhere as well."""
        rows = super().__new__(cls, inputs, targets)
        rows._whole = whole
        return rows

    _whole: int

    @property
    def examples(self) -> int:
        """Of the whole batch."""
        return self._whole


@final
@dataclass(frozen=True)
class Ranks:
    """One of the processes of a search, and how they work together.

    With n examples in a batch and n_r of them in the rows of rank r, the loss of a rank is (n_r / n) · its mean, so
    that losses and gradients *add up* over ranks to those of one process.

    Args:
        rank: of this process, from 0.
        world: how many there are.
        batch_norm: `"synchronised"` normalises by the moments of the whole batch, as one process does; `"per-rank"` by
            those of a rank's rows, which sends less. Running statistics are then the mean over ranks.
    """

    rank: int = 0
    world: int = 1
    batch_norm: Literal["synchronised", "per-rank"] = "synchronised"

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def rows(self, size: int) -> slice:
        """Those of this rank among `size` of a batch, in order; sizes differ by one at most.

        Example:
            >>> [Ranks(rank, 2).rows(5) for rank in (0, 1)]
            [slice(0, 2, None), slice(2, 5, None)]
        """
        return slice(self.rank * size // self.world, (self.rank + 1) * size // self.world)

    def part(self, batch: Batch) -> Batch:
        """This rank's rows of a batch.

        Raises:
            RanksError: when there are fewer examples than ranks.
        """
        if self.alone:
            return batch
        whole = len(batch.inputs)
        if whole < self.world:
            raise RanksError(f"a batch of {whole} cannot be shared by {self.world} processes; start fewer of them")
        rows = self.rows(whole)
        return Rows(batch.inputs[rows], batch.targets[rows], whole)

    def share(self, batch: Batch) -> float:
        """The fraction of a batch that its rows here are."""
        return len(batch.inputs) / batch.examples

    @contextmanager
    def forward(self, batch: Batch) -> Iterator[None]:
        """The context of a forward pass on this rank's rows: batch norm and random draws are those of all rows."""
        if self.alone:
            yield
            return
        with _AsOne(self, len(batch.inputs), batch.examples):
            yield

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over ranks, in place; one message for each type.

        Raises:
            RanksError: when another rank has ended.
        """
        if self.alone or not tensors:
            return
        by_type: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for group in by_type.values():
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in group])
            self._reduce(flat)
            for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.detach().copy_(part.view(tensor.shape))

    def added_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sums over ranks, differentiable any number of times: d(Σ_r x_r)/dx_r = 1, for the losses of all ranks."""
        if self.alone or not tensors:
            return list(tensors)
        flat = _added_up(self, torch.cat([tensor.reshape(-1) for tensor in tensors]))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for tensor, part in zip(tensors, parts, strict=True)]

    def slopes(self, loss: Tensor, slopes: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """A detached loss and its gradients by name, added up."""
        if self.alone:
            return loss.detach(), dict(slopes)
        loss, found = loss.detach().clone(), {name: slope.clone() for name, slope in slopes.items()}
        self.add_up([loss, *found.values()])
        return loss, found

    def metric(self, metric: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
        """A metric of the whole batch, of which the rows of this rank are given."""
        if self.alone:
            return metric(outputs, targets)
        counting = pooled(metric)
        counts = counting.counts(outputs, targets)
        self.add_up([counts])
        return counting.score(counts)

    def settle_statistics(self, network: nn.Module) -> None:
        """Where ranks normalise for themselves, give all of them the mean of their running statistics."""
        if self.alone or self.batch_norm == "synchronised":
            return
        running = [b for n, b in network.named_buffers() if n.endswith(("running_mean", "running_var"))]
        with torch.no_grad():
            for buffer in running:
                buffer /= self.world
        self.add_up(running)

    def any(self, here: bool) -> bool:
        """Whether it is so on some rank."""
        if self.alone:
            return here
        flag = torch.tensor(float(here), device=self._device)
        self._reduce(flag)
        return bool(flag > 0)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """A block that the first rank executes while the others wait in `led`; they hear how it ended."""
        failed = True
        try:
            yield
            failed = False
        finally:
            self.any(failed)

    def led(self) -> None:
        """Wait for the block of the first rank.

        Raises:
            LedError: when it failed, of which the first rank says why.
        """
        if self.any(False):
            raise LedError(f"the first process of {self.world} has stopped, and says why")

    @property
    def _device(self) -> torch.device | str:
        return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"

    def _reduce(self, tensor: Tensor) -> None:
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rpartition("] ")[2][:80]
            raise RanksError(
                f"process {self.rank} of {self.world} cannot reach the others, of which one has ended ({reason}); "
                "start all of them again with --resume and the run folder"
            ) from None


ALONE = Ranks()
"""One process."""


class _AddedUp(torch.autograd.Function):
    """Σ_r x_r. Since every rank's loss reads the sum, its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, ranks: Ranks, x: Tensor) -> Tensor:
        ctx.ranks = ranks
        total = x.detach().clone(memory_format=torch.contiguous_format)
        ranks._reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, _added_up(ctx.ranks, gradients[0])


def _added_up(ranks: Ranks, x: Tensor) -> Tensor:
    total: Tensor = _AddedUp.apply(ranks, x)  # type: ignore[no-untyped-call]
    return total


@final
class _AsOne(TorchFunctionMode):
    """Lets operations that look across rows, or draw for each, compute on some rows what they would on all of them.

    Args:
        ranks: of the search.
        here: rows of this rank.
        whole: rows of the batch.
    """

    def __init__(self, ranks: Ranks, here: int, whole: int) -> None:
        super().__init__()
        self.ranks, self.here, self.whole = ranks, here, whole

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace what looks across rows; everything else is as it was."""
        replacement = _REPLACED.get(func)
        if replacement is None:
            return func(*args, **(kwargs or {}))
        return replacement(self, func, *args, **(kwargs or {}))

    def drawn(self, func: Any, shape: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
        """Rows of what `func` draws for the whole batch; a shape that is not one row for each example stays."""
        uneven = self.whole % self.ranks.world and shape and shape[0] != self.here  # what all ranks see alike
        if not shape or not shape[0] or shape[0] % self.here or uneven:
            found: Tensor = func(shape, *args, **kwargs)
            return found
        each = shape[0] // self.here
        start = self.ranks.rows(self.whole).start
        whole: Tensor = func((each * self.whole, *shape[1:]), *args, **kwargs)
        return whole[each * start : each * (start + self.here)]


def _batch_norm(
    mode: _AsOne,
    func: Any,
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm whose moments are those of all ranks, combined without cancellation.

    With n_r, m_r, v_r of a rank: m = Σ (n_r/n) m_r and v = Σ (n_r/n) (v_r + (m_r - m)²).
    """
    if not training or mode.ranks.batch_norm != "synchronised":
        result: Tensor = func(x, mean, variance, weight, bias, training, momentum, eps)
        return result
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1 if axis != 1 else -1 for axis in range(x.dim())]
    share, values = mode.here / mode.whole, x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    own_variance, own_mean = torch.var_mean(values, axes, correction=0)
    center = _added_up(mode.ranks, share * own_mean)
    spread = _added_up(mode.ranks, share * (own_variance + (own_mean - center).square()))
    y = (values - center.view(shape)) * (spread + eps).rsqrt().view(shape)
    y = y if weight is None else y * weight.view(shape)
    y = y if bias is None else y + bias.view(shape)
    if mean is not None and variance is not None:
        count = mode.whole * math.prod(x.shape[2:])
        with torch.no_grad():
            mean.lerp_(center.detach().to(mean.dtype), momentum)
            variance.lerp_((spread.detach() * (count / max(1, count - 1))).to(variance.dtype), momentum)
    return y.to(x.dtype)


def _dropout(
    mode: _AsOne, func: Any, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """A mask that is drawn for all rows."""
    if not training or not p:
        result: Tensor = func(x, p, training, inplace)
        return result
    return x * mode.drawn(lambda shape: func(_like_in_memory(x, shape), p, True), x.shape)


def _like_in_memory(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Ones in the memory format of a tensor, in whose order numbers are drawn."""
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return x.new_ones(shape).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _rand(mode: _AsOne, func: Any, *size: Any, **kwargs: Any) -> Tensor:
    size = kwargs.pop("size", size)
    shape = size[0] if size and isinstance(size[0], Sequence) else size
    return mode.drawn(func, tuple(shape), **kwargs)


def _like(mode: _AsOne, func: Any, x: Tensor, **kwargs: Any) -> Tensor:
    return mode.drawn(lambda shape: func(_like_in_memory(x, shape), **kwargs), x.shape)


_REPLACED: Mapping[Any, Any] = {  # functions of Python, which call no other one of these
    F.batch_norm: _batch_norm,
    F.dropout: _dropout,
    F.dropout1d: _dropout,
    F.dropout2d: _dropout,
    F.dropout3d: _dropout,
    torch.rand: _rand,
    torch.randn: _rand,
    torch.rand_like: _like,
    torch.randn_like: _like,
}
