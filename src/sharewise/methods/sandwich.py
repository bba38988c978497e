"""The sandwich rule: the largest network, some random ones and the smallest in every step (BigNAS)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sharewise.data import held_out
from sharewise.distribution import Uniform
from sharewise.engine import (
    AdamOptimization,
    Cosine,
    Optimization,
    Recipe,
    Sandwich,
    WarmUp,
    WeightOptimization,
)
from sharewise.errors import ConfigurationError
from sharewise.methods.registry import method, named
from sharewise.methods.spos import ranked

__all__ = ["sandwich"]


@method("sandwich")
def sandwich(
    *,
    epochs: int = 360,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    warm_up: float = 0.014,
    weight_decay: float = 1e-5,
    optimizer: str = "sgd",
    train_fraction: float = 0.8,
    random_paths: int = 2,
    distillation: bool = True,
    selection: str = "random",
    candidates: int = 100,
    population: int = 50,
    recalibration_batches: int = 4,
    selection_examples: int = 2048,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Training of an elastic supernet by the sandwich rule with in-place distillation (BigNAS).

    Every step trains the largest network on the targets, then random ones and last the smallest one on the outputs of
    the largest, and adds up their gradients before one update (see `Sandwich`). Then architectures are ranked by their
    accuracy with inherited weights, each with its own recalibrated batch-norm statistics.

    Args:
        epochs: passes over the examples that train w; each costs a largest network, some random ones and a smallest.
        batch_size: examples per step.
        learning_rate: of w, at the start of the cosine to zero; 0.1 per 256 examples of a batch.
        warm_up: part of the epochs in which the learning rate rises to it.
        weight_decay: of w.
        optimizer: of w, `"sgd"` with Nesterov momentum, or `"adam"` and `"adamw"` for transformers.
        train_fraction: of the training examples that train w, in (0, 1); the others rank architectures.
        random_paths: architectures between the largest and the smallest, at least 0.
        distillation: whether they and the smallest learn from the largest; else from the targets (HW-GPT-Bench).
        selection: `"random"` for the best of some random architectures, `"evolution"` for the algorithm of SPOS.
        candidates: architectures that are ranked, in whole generations by evolution.
        population: architectures per generation of the evolution, at most `candidates`.
        recalibration_batches: training mini-batches that re-estimate the statistics of each candidate.
        selection_examples: held-out examples on which every candidate is scored, all of them where there are fewer.
        exclude: options that are never drawn.

    Returns:
        The recipe.

    Example:
        >>> sandwich(epochs=2).describe()
        'Uniform × Sandwich × RankSampled'

    References:
        J. Yu et al., *BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models*, ECCV 2020
        (arXiv 2003.11142), section 3.1. Settings are those of the released AttentiveNAS (arXiv 2011.09011), which
        trains its baseline so: 360 epochs of which 5 rise, Nesterov momentum 0.9, weight decay 1e-5, 2 random networks.

    Deviations:
        The authors smooth labels by 0.1, drop out and drop connections (0.2) in the largest network alone, leave norms
        and biases without weight decay and clip each entry of the gradient at 1; here the loss is that of the task,
        regularisation that of the network, weight decay acts on everything and the norm of the gradient is clipped at
        5. They recalibrate statistics with 64 batches, here with 4, and select by evolution, here by default from a
        random sample. Choices without an order have no largest option: there the largest and the smallest network keep
        what was drawn for them, so that a space of operations alone is trained along random paths that learn from one
        of them.
    """
    if random_paths < 0:
        raise ConfigurationError(f"random_paths must not be negative, got {random_paths}")
    movers: dict[str, Callable[..., Optimization]] = {
        "sgd": partial(WeightOptimization, nesterov=True, gradient_clip=5.0),
        "adam": AdamOptimization,
        "adamw": partial(AdamOptimization, decoupled=True),
    }
    mover = named("optimizer", optimizer, **movers)
    return Recipe(
        name="sandwich",
        distribution=Uniform(random_paths + 2),
        level=Sandwich(distil=distillation),
        roles=held_out(train_fraction),
        selection=ranked(selection, candidates, population, recalibration_batches, selection_examples),
        weights=mover(WarmUp(Cosine(learning_rate), warm_up), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        exclude=exclude,
    )
