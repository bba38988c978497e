"""Evaluation: loss and metrics of a network on given batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sharewise.data import Batch, Task, pooled
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
        `loss` and each metric over all examples, whatever the sizes of the batches, and `examples`, their number.

    Raises:
        DataError: when there are no batches.

    Example:
        >>> from sharewise.data import regression
        >>> batch = Batch(torch.ones(4, 1), torch.zeros(4, 1))
        >>> evaluate(lambda x: x, [batch], regression())
        {'loss': 1.0, 'examples': 4}
    """
    metrics = {name: pooled(metric) for name, metric in {"loss": task.loss, **task.metrics}.items()}
    examples = 0
    totals: dict[str, Tensor] = {}
    with torch.no_grad():
        for batch in batches:
            outputs = forward(batch.inputs)
            for name, metric in metrics.items():
                counts = metric.counts(outputs, batch.targets).double()
                totals[name] = totals[name] + counts if name in totals else counts
            examples += len(batch.inputs)
    if examples == 0:
        raise DataError("there are no examples to evaluate on")
    values: dict[str, float] = {name: float(metric.score(totals[name])) for name, metric in metrics.items()}
    return {**values, "examples": examples}
