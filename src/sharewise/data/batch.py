"""A batch: what the loop moves around without ever looking inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sharewise.data.columns import Inputs, concatenated

__all__ = ["Batch"]


class Batch(NamedTuple):
    """Inputs and targets of one step.

    The loop treats both as opaque tensors; only the `Task` knows what they mean, so images, tables and text
    share it.

    Args:
        inputs: shape `(n, …)`, or `Columns` of such tensors; images `(n, channels, height, width)`, tables
            `(n, features)`, text `(n, length)` of integers.
        targets: shape `(n, …)`, as the task's loss expects them.

    Example:
        >>> batch = Batch(torch.zeros(2, 3), torch.tensor([0, 1]))
        >>> len(batch.inputs)
        2
    """

    inputs: Inputs
    targets: Tensor

    @property
    def examples(self) -> int:
        """How many there are, also where this process holds only some of them."""
        return len(self.inputs)

    @property
    def together(self) -> int:
        """How many are computed at once, by all processes."""
        return len(self.inputs)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """Move both tensors to `device`; inputs of floating point become `dtype` where one is given."""
        inputs: Inputs = self.inputs.to(device, non_blocking=True)
        if dtype is not None and inputs.is_floating_point():
            inputs = inputs.to(dtype)
        return Batch(inputs, self.targets.to(device, non_blocking=True))

    @staticmethod
    def joined(batches: Sequence[Batch]) -> Batch:
        """The examples of several batches in one."""
        return Batch(concatenated([b.inputs for b in batches]), torch.cat([b.targets for b in batches]))
