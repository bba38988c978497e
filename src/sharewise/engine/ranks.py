"""Ranks: the processes that share one search, each with its rows of every batch.

All ranks draw the same order, the same augmentation and the same gates from the named streams, so nothing but sums over
rows has to be exchanged: gradients of parameters that were used, dL/dgate, losses and the moments of batch norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch import distributed as dist

from sharewise.data import Batch
from sharewise.data.columns import Inputs
from sharewise.data.task import Objective, pooled
from sharewise.engine.rows import AsOne, Layout, RanksError
from sharewise.errors import SharewiseError

__all__ = ["ALONE", "BATCH_NORMS", "LedError", "Ranks", "RanksError", "Rows", "split"]

BATCH_NORMS = ("synchronised", "per-rank")
"""Whose moments batch norm takes where several processes share a run."""


class LedError(SharewiseError):
    """The first process has failed, and says why."""


@final
class Rows(Batch):
    """Some examples of a batch: those of one of several processes, or of one of several micro-batches.

    Args:
        inputs: of these examples.
        targets: likewise.
        whole: examples of the batch.
        together: examples that all processes compute at once; the whole batch if not given.
    """

    def __new__(cls, inputs: Inputs, targets: Tensor, whole: int, together: int | None = None) -> Rows:
        """Inputs and targets, and how many examples there are elsewhere as well."""
        rows = super().__new__(cls, inputs, targets)
        rows._whole, rows._together = whole, whole if together is None else together
        return rows

    _whole: int
    _together: int

    @property
    def together(self) -> int:
        """Of the micro-batch."""
        return self._together

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
        shard: whether each rank keeps a part of the weights; see `sharewise.engine.shards`.
    """

    rank: int = 0
    world: int = 1
    batch_norm: Literal["synchronised", "per-rank"] = "synchronised"
    shard: bool = False

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self.world == 1

    @property
    def sharded(self) -> bool:
        """Whether no rank has all weights: whoever calls the network then does it with all others."""
        return self.shard and not self.alone

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
        return split(size, self.world)[self.rank]

    def part(self, batch: Batch, parts: int = 1) -> Batch:
        """This rank's rows of a batch: its rows of every micro-batch, one after the other.

        Args:
            batch: as one process would see it.
            parts: micro-batches that it is computed in.

        Raises:
            RanksError: when there are fewer examples in a micro-batch than ranks.
        """
        if self.alone:
            return batch
        whole = len(batch.inputs)
        if whole < self.world * parts:
            shared = f"a batch of {whole}" if parts == 1 else f"a micro-batch of {whole // parts}"
            raise RanksError(f"{shared} cannot be shared by {self.world} processes; start fewer of them")
        own = []
        for some in split(whole, parts):
            rows = self.rows(some.stop - some.start)
            place = slice(some.start + rows.start, some.start + rows.stop)
            own.append(Batch(batch.inputs[place], batch.targets[place]))
        found = own[0] if parts == 1 else Batch.joined(own)
        return Rows(found.inputs, found.targets, whole)

    def micro_batches(self, batch: Batch, parts: int) -> Iterator[tuple[slice, Batch]]:
        """The micro-batches of a batch, each with the rows that it is of what `part` gave.

        Example:
            >>> batch = Batch(torch.zeros(5, 1), torch.zeros(5))
            >>> [(rows.start, rows.stop, some.examples) for rows, some in ALONE.micro_batches(batch, 2)]
            [(0, 2, 5), (2, 5, 5)]
        """
        if parts == 1:
            yield slice(None), batch
            return
        start = 0
        for some in split(batch.examples, parts):
            together = some.stop - some.start
            own = self.rows(together)
            rows = slice(start, start + own.stop - own.start)
            yield rows, Rows(batch.inputs[rows], batch.targets[rows], batch.examples, together)
            start = rows.stop

    def share(self, batch: Batch) -> float:
        """The fraction of a batch that its rows here are."""
        return len(batch.inputs) / batch.examples

    def forward(self, batch: Batch, layout: Layout) -> AbstractContextManager[Any]:
        """The context of a forward pass on this rank's rows: batch norm and random draws are those of all rows.

        Args:
            batch: the rows.
            layout: of what the pass draws; see `Layouts`.
        """
        return nullcontext() if self.alone else AsOne(self, len(batch.inputs), batch.together, layout).entered()

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

    def metric(self, metric: Objective, answers: Sequence[tuple[Any, Tensor]]) -> Tensor:
        """A metric of a whole batch.

        Args:
            metric: a mean over examples, or `Pooled`.
            answers: outputs and targets of this rank's rows, by micro-batch.
        """
        if self.alone and len(answers) == 1:
            return metric(*answers[0])
        counting = pooled(metric)
        counts = torch.stack([counting.counts(outputs, targets) for outputs, targets in answers]).sum(0)
        self.add_up([counts])
        return counting.score(counts)

    def divided(self, count: int, width: int, row: Callable[[int], Sequence[float]]) -> list[list[float]]:
        """Rows of numbers, of which each rank computes every world-th one by itself; all ranks get all of them.

        Where none has all weights, all compute every row together, and go by what the first one has got.

        Args:
            count: how many rows there are.
            width: numbers in a row.
            row: numbers by index, for which no rank needs another one.

        Example:
            >>> ALONE.divided(2, 1, lambda index: [index / 2])
            [[0.0], [0.5]]
        """
        rows = torch.zeros(count, width, dtype=torch.float64)
        for index in range(count) if self.sharded else range(self.rank, count, self.world):
            numbers = torch.tensor(row(index), dtype=torch.float64)
            if self.first or not self.sharded:
                rows[index] = numbers
        if not self.alone and count:
            rows = rows.to(self._device)
            self._reduce(rows)  # beside zeros, so that every number keeps its bits
        found: list[list[float]] = rows.tolist()
        return found

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

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """A block in which torch sends messages of its own, as it does for weights that are divided.

        Raises:
            RanksError: when another rank has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.sharded or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise self._lost(error) from None

    @property
    def _device(self) -> torch.device | str:
        return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"

    def _reduce(self, tensor: Tensor) -> None:
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise self._lost(error) from None

    def _lost(self, error: RuntimeError) -> RanksError:
        reason = str(error).splitlines()[0].rpartition("] ")[2][:80]
        return RanksError(
            f"process {self.rank} of {self.world} cannot reach the others, of which one has ended ({reason}); "
            "start all of them again with --resume and the run folder"
        )


def split(size: int, parts: int) -> list[slice]:
    """Rows of micro-batches in order, whose sizes differ by one at most.

    Example:
        >>> split(5, 2)
        [slice(0, 2, None), slice(2, 5, None)]
    """
    return [slice(part * size // parts, (part + 1) * size // parts) for part in range(parts)]


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
