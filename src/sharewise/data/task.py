"""A task: the loss, the metrics and the kind of input, as one value beside the data.

The loop, the levels and the selections know a task only by this value, so a classification of images, a
regression on a table and a language model run through the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.errors import ConfigurationError

__all__ = ["InputKind", "Objective", "Task", "classification", "language_modelling", "regression"]

InputKind = Literal["image", "table", "text"]
Objective = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """What is to be learnt: how outputs are scored against targets.

    Args:
        name: a word for reports (`"classification"`).
        outputs: size of the last dimension that a network must produce (number of classes, of regression
            targets, or of tokens).
        loss: maps `(outputs, targets)` to a scalar to be minimised, a mean over the batch.
        metrics: scalars to report, each a mean over the batch, by name.
        primary: the metric by which architectures are compared.
        higher_is_better: whether a larger primary metric is better.

    Example:
        >>> task = classification(3)
        >>> logits = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> float(task.metrics["accuracy"](logits, torch.tensor([0, 1])))
        0.5
    """

    name: str
    outputs: int
    loss: Objective
    metrics: Mapping[str, Objective] = field(default_factory=dict)
    primary: str = "accuracy"
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise ConfigurationError(f"a task needs at least one output, got outputs={self.outputs}")
        if self.primary != "loss" and self.primary not in self.metrics:
            legal = ", ".join(["loss", *self.metrics])
            raise ConfigurationError(f"primary metric {self.primary!r} is not among the task's metrics: {legal}")


@dataclass(frozen=True)
class _CrossEntropy:
    """Mean cross-entropy over every position; the class dimension is the last one of the outputs."""

    label_smoothing: float = 0.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        rows = outputs.flatten(0, -2)
        if rows.dtype in (torch.float16, torch.bfloat16):
            rows = rows.float()
        return F.cross_entropy(rows, targets.flatten(), label_smoothing=self.label_smoothing)


def _accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) == targets).double().mean()


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets)


def classification(classes: int, *, label_smoothing: float = 0.0) -> Task:
    """Classification with cross-entropy and accuracy.

    Args:
        classes: number of classes, at least 2.
        label_smoothing: mass spread evenly over all classes, in [0, 1).

    Returns:
        The task, whose primary metric is accuracy as a fraction in [0, 1].

    Raises:
        ConfigurationError: when an argument is out of range.

    Example:
        >>> classification(10).primary
        'accuracy'
    """
    if classes < 2:
        raise ConfigurationError(f"classification needs at least 2 classes, got {classes}")
    if not 0 <= label_smoothing < 1:
        raise ConfigurationError(f"label smoothing must lie in [0, 1), got {label_smoothing}")
    return Task("classification", classes, _CrossEntropy(label_smoothing), {"accuracy": _accuracy})


def regression(targets: int = 1) -> Task:
    """Regression with the mean squared error, which is loss and primary metric at once.

    Args:
        targets: number of real values to predict per example.

    Returns:
        The task; lower is better.

    Example:
        >>> float(regression().loss(torch.ones(4, 1), torch.zeros(4, 1)))
        1.0
    """
    return Task("regression", targets, _squared_error, {}, primary="loss", higher_is_better=False)


def language_modelling(vocabulary: int) -> Task:
    """Prediction of the next token, scored by cross-entropy in nats per token.

    Args:
        vocabulary: number of different tokens.

    Returns:
        The task; lower is better. Outputs have shape `(n, length, vocabulary)`, targets `(n, length)`.

    Example:
        >>> task = language_modelling(4)
        >>> round(float(task.loss(torch.zeros(2, 5, 4), torch.zeros(2, 5, dtype=torch.long))), 4)
        1.3863
    """
    metrics = {"accuracy": _accuracy}
    return Task("language modelling", vocabulary, _CrossEntropy(), metrics, primary="loss", higher_is_better=False)
