"""A task: the loss, the metrics and the kind of input, as one value beside the data.

The loop, the levels and the selections know a task only by this value, so a classification of images, a
regression on a table and a language model run through the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.errors import ConfigurationError

__all__ = [
    "VOID",
    "InputKind",
    "Moves",
    "Objective",
    "Pooled",
    "Task",
    "classification",
    "language_modelling",
    "pooled",
    "regression",
    "segmentation",
]

VOID = -1
"""The label of a pixel whose class is not known: no loss and no metric counts it."""

InputKind = Literal["image", "table", "text", "array", "columns"]
Moves = Literal["nothing", "masks"]
Objective = Callable[[Tensor, Tensor], Tensor]


@final
@dataclass(frozen=True)
class Pooled:
    """A metric that is no mean over examples, but a function of counts that add up over batches, such as mean IoU.

    Args:
        counts: maps `(outputs, targets)` of a batch to counts of any shape.
        score: maps the sum of the counts to a scalar.

    Example:
        >>> largest = Pooled(lambda outputs, targets: F.one_hot(targets, 3).sum(0), lambda counts: counts.max())
        >>> float(largest(torch.zeros(4), torch.tensor([1, 2, 2, 0])))
        2.0
    """

    counts: Objective
    score: Callable[[Tensor], Tensor]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The score of one batch alone."""
        return self.score(self.counts(outputs, targets))


def pooled(metric: Objective) -> Pooled:
    """See every metric as counts that add up: a mean over a batch counts its sum and its examples.

    Args:
        metric: a mean over the examples of a batch, or a `Pooled` one.

    Returns:
        The metric, to be summed over batches of any sizes.

    Example:
        >>> metric = pooled(lambda outputs, targets: (outputs == targets).double().mean())
        >>> metric.counts(torch.tensor([1, 2]), torch.tensor([1, 0]))
        tensor([1., 2.], dtype=torch.float64)
    """
    if isinstance(metric, Pooled):
        return metric

    def counts(outputs: Tensor, targets: Tensor) -> Tensor:
        value = metric(outputs, targets).detach().double() * len(targets)
        return torch.stack([value, torch.full_like(value, len(targets))])

    return Pooled(counts, lambda sums: sums[0] / sums[1])


@dataclass(frozen=True)
class Task:
    """What is to be learnt: how outputs are scored against targets.

    Args:
        name: a word for reports (`"classification"`).
        outputs: size of the last dimension that a network must produce (number of classes, of regression
            targets, or of tokens).
        loss: maps `(outputs, targets)` to a scalar to be minimised, a mean over the batch.
        metrics: scalars to report, each a mean over the batch or `Pooled`, by name.
        primary: the metric by which architectures are compared.
        higher_is_better: whether a larger primary metric is better.
        moves: what of the targets moves with the pixels of an image: `"nothing"`, where a shifted, mirrored or resized
            image keeps its target; `"masks"`, where targets are a class for each pixel, signed integers of shape
            `(n, height, width)` with `VOID` where none is known: they are shifted, mirrored and resized (to the nearest
            pixel) like their images. `None` for anything else, such as boxes, or where it was not said: such images are
            neither augmented nor resized, unless the target is one class for a whole image.
        soft: maps `(outputs, outputs of a teacher)` to a scalar to be minimised, a mean over the batch, by which a
            network learns from another one; `None` where it was not said: such a task cannot be distilled.

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
    moves: Moves | None = None
    soft: Objective | None = None

    def __post_init__(self) -> None:
        if self.moves not in (None, "nothing", "masks"):
            raise ConfigurationError(f"what moves with an image must be 'nothing', 'masks' or None, got {self.moves!r}")
        if self.outputs < 1:
            raise ConfigurationError(f"a task needs at least one output, got outputs={self.outputs}")
        if self.primary != "loss" and self.primary not in self.metrics:
            legal = ", ".join(["loss", *self.metrics])
            raise ConfigurationError(f"primary metric {self.primary!r} is not among the task's metrics: {legal}")

    def reading(self, output: str | int) -> Task:
        """The same task for a network that returns several outputs, of which one is scored.

        Args:
            output: its name in a mapping or dataclass, or its place in a tuple or list.

        Returns:
            The task.

        Example:
            >>> task = regression().reading("price")
            >>> float(task.loss({"price": torch.ones(4, 1), "state": None}, torch.zeros(4, 1)))
            1.0
        """

        def read(objective: Objective) -> Objective:
            if isinstance(objective, Pooled):
                return replace(objective, counts=_Reading(objective.counts, output))
            return _Reading(objective, output)

        return replace(self, loss=read(self.loss), metrics={name: read(m) for name, m in self.metrics.items()})

    def answer(self, outputs: Any) -> Any:
        """What of the outputs of a network is scored: all of a single tensor, without the answer of an auxiliary head.

        Args:
            outputs: of a network for a batch.

        Raises:
            ConfigurationError: when the output that the task reads is not there.

        Example:
            >>> regression().reading("price").answer({"price": torch.ones(1), "state": None})
            tensor([1.])
        """
        if isinstance(self.loss, _Reading):
            return self.loss.picked(outputs)
        return outputs[0] if isinstance(outputs, tuple) else outputs

    def smoothed(self, label_smoothing: float) -> Objective:
        """The loss with part of each label's mass spread evenly over all classes.

        Args:
            label_smoothing: the mass to spread, in [0, 1).

        Returns:
            The loss.

        Raises:
            ConfigurationError: when the loss is not that of `classification`, or the mass is out of range.

        Example:
            >>> loss = classification(2).smoothed(0.5)
            >>> round(float(loss(torch.tensor([[4.0, 0.0]]), torch.tensor([0]))), 4)
            1.0181
        """
        loss = self.loss.objective if isinstance(self.loss, _Reading) else self.loss
        if not isinstance(loss, _CrossEntropy):
            raise ConfigurationError(f"label_smoothing needs a classification task, not {self.name}")
        smoothed = replace(loss, label_smoothing=label_smoothing)
        return replace(self.loss, objective=smoothed) if isinstance(self.loss, _Reading) else smoothed


@final
@dataclass(frozen=True)
class _Reading:
    """What is scored is one of several outputs."""

    objective: Objective
    output: str | int

    def __call__(self, outputs: Any, targets: Tensor) -> Tensor:
        return self.objective(self.picked(outputs), targets)

    def picked(self, outputs: Any) -> Tensor:
        """The output that is scored."""
        try:
            found = outputs[self.output] if hasattr(outputs, "__getitem__") else getattr(outputs, str(self.output))
        except (KeyError, IndexError, AttributeError, TypeError, ValueError):
            found = None
        if not isinstance(found, Tensor) or isinstance(outputs, Tensor):
            legal = list(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise ConfigurationError(
                f"the task reads the output {self.output!r}, which the network does not return as a tensor; it "
                f"returns {legal}"
            )
        return found


@dataclass(frozen=True)
class _CrossEntropy:
    """Mean cross-entropy of classes, whose labels may be smoothed."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigurationError(f"label smoothing must lie in [0, 1), got {self.label_smoothing}")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _cross_entropy(outputs, targets, self.label_smoothing)


def _cross_entropy(outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over every position; the class dimension is the last one of the outputs."""
    return F.cross_entropy(_rows(outputs), targets.flatten(), label_smoothing=label_smoothing)


def _rows(outputs: Tensor) -> Tensor:
    """One row of scores for each position, in at least single precision."""
    rows = outputs.flatten(0, -2)
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _soft_cross_entropy(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Mean over every position of -Σ_c softmax(teacher)_c log softmax(outputs)_c."""
    return F.cross_entropy(_rows(outputs), _rows(teacher).softmax(-1))


def _accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) == targets).double().mean()


def _surprise(outputs: Tensor, targets: Tensor) -> Tensor:
    """The sum of the negative log-probabilities of all tokens, and their number."""
    total = F.cross_entropy(_rows(outputs), targets.flatten(), reduction="none").double().sum()
    return torch.stack([total, torch.full_like(total, targets.numel())])


def _perplexity(counts: Tensor) -> Tensor:
    return _share(counts).exp()


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
    return Task(
        "classification",
        classes,
        _CrossEntropy(label_smoothing),
        {"accuracy": _accuracy},
        moves="nothing",
        soft=_soft_cross_entropy,
    )


def segmentation(classes: int) -> Task:
    """A class for every pixel, scored by cross-entropy and by mean intersection over union.

    With the predicted pixels P_c and the true pixels T_c of class c, over all images together,
    mIoU = mean over classes c with P_c ∪ T_c ≠ ∅ of |P_c ∩ T_c| / |P_c ∪ T_c|. The loss is the mean over images of the
    mean over their pixels. Pixels whose target is `VOID` count nowhere.

    Args:
        classes: number of classes, at least 2; the background is one of them.

    Returns:
        The task, whose primary metric is `mean_iou` in [0, 1]. Outputs have shape `(n, height, width, classes)`: end a
        convolutional network with `.movedim(1, -1)`. Targets have shape `(n, height, width)`.

    Raises:
        ConfigurationError: when there are fewer than 2 classes.

    Example:
        >>> task = segmentation(3)
        >>> truth = torch.tensor([[[0, 0], [1, VOID]]])
        >>> found = F.one_hot(torch.tensor([[[0, 1], [1, 2]]]), 3)
        >>> float(task.metrics["mean_iou"](found, truth)), round(float(task.metrics["pixel_accuracy"](found, truth)), 4)
        (0.5, 0.6667)

    Deviations:
        Unlike `cross_entropy` with `ignore_index`, every image weighs the same, however many of its pixels are known.
    """
    if classes < 2:
        raise ConfigurationError(f"segmentation needs at least 2 classes, got {classes}")
    metrics = {"mean_iou": Pooled(_overlaps, _mean_ratio), "pixel_accuracy": Pooled(_hits, _share)}
    return Task(
        "segmentation",
        classes,
        _mask_cross_entropy,
        metrics,
        primary="mean_iou",
        moves="masks",
        soft=_soft_cross_entropy,
    )


def _mask_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    _check_map(outputs, targets)
    losses = F.cross_entropy(_rows(outputs), targets.flatten().long(), ignore_index=VOID, reduction="none").view(
        len(targets), -1
    )
    known = (targets != VOID).flatten(1).sum(1).clamp(min=1)
    return (losses.sum(1) / known).mean()


def _overlaps(outputs: Tensor, targets: Tensor) -> Tensor:
    """Pixels in the intersection and in the union of prediction and truth, shape `(2, classes)`."""
    _check_map(outputs, targets)
    classes, truth, found = outputs.shape[-1], targets.long(), outputs.argmax(-1)
    known = truth != VOID

    def count(labels: Tensor, where: Tensor) -> Tensor:
        kept = torch.where(where, labels, classes).flatten()
        ones = torch.ones_like(kept, dtype=torch.float64)
        return torch.zeros(classes + 1, dtype=torch.float64, device=kept.device).scatter_add(0, kept, ones)[:classes]

    both = count(truth, known & (truth == found))
    return torch.stack([both, count(truth, known) + count(found, known) - both])


def _mean_ratio(counts: Tensor) -> Tensor:
    """Mean of intersection over union over the classes that occur."""
    both, either = counts[0], counts[1]
    return (both / either.clamp(min=1)).sum() / (either > 0).sum().clamp(min=1)


def _hits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Pixels that are right, and pixels that are known."""
    known = targets != VOID
    return torch.stack([((outputs.argmax(-1) == targets) & known).sum(), known.sum()]).double()


def _share(counts: Tensor) -> Tensor:
    return counts[0] / counts[1].clamp(min=1)


def _check_map(outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape[:-1] != targets.shape:
        raise ConfigurationError(
            f"segmentation needs outputs of shape (n, height, width, classes) for masks of shape "
            f"{tuple(targets.shape)}, got {tuple(outputs.shape)}; keep the size of the images, and end the network "
            "with .movedim(1, -1)"
        )


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
    return Task(
        "regression",
        targets,
        _squared_error,
        {},
        primary="loss",
        higher_is_better=False,
        moves="nothing",
        soft=_squared_error,
    )


def language_modelling(vocabulary: int) -> Task:
    """Prediction of the next token, scored by cross-entropy in nats per token, and by perplexity, its exponential.

    Args:
        vocabulary: number of different tokens.

    Returns:
        The task; lower is better. Outputs have shape `(n, length, vocabulary)`, targets `(n, length)`.

    Example:
        >>> task = language_modelling(4)
        >>> outputs, targets = torch.zeros(2, 5, 4), torch.zeros(2, 5, dtype=torch.long)
        >>> [round(float(score(outputs, targets)), 4) for score in (task.loss, task.metrics["perplexity"])]
        [1.3863, 4.0]
    """
    return Task(
        "language modelling",
        vocabulary,
        _cross_entropy,
        {"accuracy": _accuracy, "perplexity": Pooled(_surprise, _perplexity)},
        primary="loss",
        higher_is_better=False,
        moves="nothing",
        soft=_soft_cross_entropy,
    )
