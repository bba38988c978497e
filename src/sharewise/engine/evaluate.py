"""Evaluation: loss and metrics of a network on given batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sharewise.data import Batch, Task
from sharewise.errors import DataError

__all__ = ["evaluate"]


def evaluate(forward: Callable[[Tensor], Tensor], batches: Iterable[Batch], task: Task) -> dict[str, float]:
    """Mean loss and metrics over all examples of the batches, without gradients.

    The mode of the network is the caller's business (see `sharewise.supernet.NormPolicy`). The host waits for the
    device once, at the end.

    Args:
        forward: outputs for a batch of inputs.
        batches: what to evaluate on; at least one.
        task: its loss and metrics.

    Returns:
        `loss` and each metric, averaged over examples, and `examples`, their number.

    Raises:
        DataError: when there are no batches.

    Example:
        >>> from sharewise.data import regression
        >>> batch = Batch(torch.ones(4, 1), torch.zeros(4, 1))
        >>> evaluate(lambda x: x, [batch], regression())
        {'loss': 1.0, 'examples': 4}
    """
    examples = 0
    totals: dict[str, Tensor] = {}
    with torch.no_grad():
        for batch in batches:
            size = len(batch.inputs)
            outputs = forward(batch.inputs)
            scores = {"loss": task.loss(outputs, batch.targets)}
            scores |= {name: metric(outputs, batch.targets) for name, metric in task.metrics.items()}
            for name, value in scores.items():
                weighted = value.detach().double() * size
                totals[name] = totals[name] + weighted if name in totals else weighted
            examples += size
    if examples == 0:
        raise DataError("there are no examples to evaluate on")
    values: dict[str, float] = {name: float(total) / examples for name, total in totals.items()}
    return {**values, "examples": examples}
