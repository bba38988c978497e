"""The contract of a task: a loss that is a mean, metrics that do not depend on the batches, and the right direction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sharewise.data import VOID, Objective, Task, pooled
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.expect import expect

__all__ = ["check_task"]

Perfect = Callable[[Tensor], Tensor]
_SURE = 12.0  # the logit of a class that a network is sure of


def check_task(task: Task, targets: Tensor | None = None, perfect: Perfect | None = None, *, seed: int = 0) -> None:
    """Check the loss and the metrics of a task on outputs that are perfect, random, and wrong.

    *A mean*: loss and metrics of a batch are the averages of those of its parts, weighted by their examples (or the
    score of counts that add up, for a `Pooled` metric), and an order of examples does not matter; so a score does not
    depend on the batch size. *Honest*: the loss of perfect
    outputs is lower than that of any others, its gradient is finite, and a small step against it lowers it. *The right
    way*: the primary metric of perfect outputs is the better one, as `higher_is_better` says. *Functions*: equal
    arguments give equal scalars, which are not changed in place, and no global generator moves. *Masks*: what is put
    out where the class of a pixel is not known (`VOID`) changes nothing, and a class that occurs nowhere takes nothing
    from perfect outputs.

    Args:
        task: loss and metrics.
        targets: at least eight examples; masks or class indices when absent, or real values where the loss takes no
            classes.
        perfect: the outputs of a network that answers these targets perfectly; when absent, the targets themselves
            where they are real, and a large logit at each class in the last dimension where they are indices.
        seed: of targets and outputs.

    Raises:
        AssertionError: for the first law that is broken.

    Example:
        >>> from sharewise.data import classification, regression
        >>> check_task(classification(3))
        >>> check_task(regression(2))
    """
    generator = torch.Generator().manual_seed(seed)
    if targets is None:
        targets = _targets(task, generator)
    answers = perfect or (lambda values: _perfect(task, values))
    best = answers(targets).double()
    noise = torch.randn(best.shape, generator=generator, dtype=torch.float64) * best.std().clamp_min(1.0)
    case = _Case(targets, best, noise)
    for name, objective in {"loss": task.loss, **task.metrics}.items():
        _check_function(name, objective, case)
        _check_mean(name, objective, case)
    _check_loss(task, case)
    if task.moves == "masks":
        _check_masks(task, case, answers)
    primary = task.metrics.get(task.primary, task.loss)
    good, bad = float(primary(case.best, targets)), float(primary(case.noise, targets))
    expect(
        good > bad if task.higher_is_better else good < bad,
        f"perfect outputs have {task.primary} {good:.4g} and random ones {bad:.4g}, but the task says "
        f"higher_is_better={task.higher_is_better}",
    )


class _Case(NamedTuple):
    targets: Tensor
    best: Tensor
    """Perfect outputs."""
    noise: Tensor
    """Random outputs of the same shape."""


def _targets(task: Task, generator: torch.Generator) -> Tensor:
    """Of the kind that the loss takes: masks, classes, else real values."""
    if task.moves == "masks":
        masks = torch.randint(task.outputs, (12, 3, 4), generator=generator)
        masks[:9, 0, :3] = VOID  # so that images have unequal numbers of known pixels
        return masks
    classes = torch.arange(12) % task.outputs
    try:
        with _quiet():
            task.loss(torch.randn(12, task.outputs, generator=generator), classes)
    except (RuntimeError, ValueError, IndexError):
        return torch.randn(12, task.outputs, generator=generator, dtype=torch.float64)
    return classes[torch.randperm(12, generator=generator)]


@contextmanager
def _quiet() -> Iterator[None]:
    """A trial whose warnings are about the trial alone, such as that of a broadcast."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            yield
        except UserWarning as warning:
            raise ValueError(str(warning)) from None


def _perfect(task: Task, targets: Tensor) -> Tensor:
    return targets if targets.is_floating_point() else _SURE * F.one_hot(targets.clamp_min(0), task.outputs)


def _check_function(name: str, objective: Objective, case: _Case) -> None:
    outputs, targets = case.noise.clone(), case.targets.clone()
    with without_ambient_randomness(f"the {name}"):
        value = objective(outputs, targets)
    expect(value.shape == (), f"the {name} of a batch is a scalar, got shape {tuple(value.shape)}")
    expect(bool(value.isfinite()), f"the {name} of random outputs is {float(value)}")
    expect(
        torch.equal(outputs, case.noise) and torch.equal(targets, case.targets),
        f"the {name} changes its arguments in place",
    )
    expect(torch.equal(value, objective(outputs, targets)), f"the {name} of equal outputs is not the same again")


def _check_mean(name: str, objective: Objective, case: _Case) -> None:
    outputs, targets, n = case.noise, case.targets, len(case.targets)
    whole = float(objective(outputs, targets))
    twice = float(objective(torch.cat([outputs, outputs]), torch.cat([targets, targets])))
    expect(
        _close(twice, whole),
        f"the {name} of a batch is {whole:.6g}, and of the batch taken twice {twice:.6g}: it is no mean over examples",
    )
    order = torch.arange(n).flip(0)
    turned = float(objective(outputs[order], targets[order]))
    expect(_close(turned, whole), f"the {name} depends on the order of the examples: {whole:.6g} and {turned:.6g}")
    counted = pooled(objective)
    for size in (1, n // 3, n // 2 + 1):
        parts = [counted.counts(outputs[i : i + size], targets[i : i + size]) for i in range(0, n, size)]
        together = float(counted.score(torch.stack(parts).sum(0)))
        expect(
            _close(together, whole),
            f"the {name} of {n} examples is {whole:.6g}, but {together:.6g} from batches of {size}: it depends on how "
            "examples are batched",
        )


def _check_loss(task: Task, case: _Case) -> None:
    outputs = case.noise.clone().requires_grad_()
    loss = task.loss(outputs, case.targets)
    expect(loss.requires_grad, "the loss carries no graph to the outputs: nothing could be trained by it")
    (gradient,) = torch.autograd.grad(loss, outputs)
    expect(bool(gradient.isfinite().all()), "the gradient of the loss is not finite")
    expect(bool(gradient.any()), "the gradient of the loss at random outputs is zero: nothing could be trained by it")
    step = 1e-4 / gradient.norm()
    after = float(task.loss(case.noise - step * gradient, case.targets))
    expect(
        after < float(loss.detach()),
        f"a small step against its gradient takes the loss from {float(loss.detach()):.9g} to {after:.9g}",
    )
    best = float(task.loss(case.best, case.targets))
    for words, others in (("random outputs", case.noise), ("the outputs of other examples", case.best.roll(1, 0))):
        value = float(task.loss(others, case.targets))
        expect(
            best < value,
            f"the loss of perfect outputs is {best:.4g}, and that of {words} {value:.4g}: it rewards the wrong answer",
        )


def _check_masks(task: Task, case: _Case, perfect: Perfect) -> None:
    unknown = (case.targets == VOID)[..., None]
    other = torch.where(unknown, case.noise.roll(1, -1), case.noise)
    present = case.targets.clamp_max(max(0, task.outputs - 2))
    for name, objective in {"loss": task.loss, **task.metrics}.items():
        before, after = float(objective(case.noise, case.targets)), float(objective(other, case.targets))
        expect(
            _close(before, after),
            f"the {name} counts pixels of no known class: it becomes {after:.6g} in place of {before:.6g} when the "
            "outputs there change",
        )
        if name != "loss":
            whole, part = (float(objective(perfect(t).double(), t)) for t in (case.targets, present))
            expect(
                _close(whole, part),
                f"the {name} of perfect outputs is {whole:.6g}, but {part:.6g} where a class occurs in no mask",
            )


def _close(first: float, second: float) -> bool:
    return abs(first - second) <= 1e-9 * max(1.0, abs(first), abs(second))
