"""RS-WS: random search with weight sharing."""

from __future__ import annotations

from sharewise.data import held_out
from sharewise.distribution import Uniform
from sharewise.engine import Cosine, RankSampled, Recipe, WeightOptimization, WeightsOnly
from sharewise.methods.registry import method
from sharewise.supernet import RecalibratedStatistics, RunningStatistics

__all__ = ["rs_ws"]


@method("rs-ws")
def rs_ws(
    *,
    epochs: int = 150,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    gradient_clip: float = 1.0,
    candidates: int = 1000,
    examples: int = 640,
    finalists: int = 10,
    rounds: int = 0,
    recalibration_batches: int = 0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Random search with weight sharing (RS-WS).

    Trains the shared weights under one uniformly drawn architecture per step, on half of the training set. Then, in
    each of several rounds, draws architectures at random, scores each with inherited weights on a few examples of the
    other half, and its best ones again on all of them. The best of all rounds is the result.

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        gradient_clip: largest norm of the gradient of w.
        candidates: random architectures per round.
        examples: on which every candidate is scored first.
        finalists: candidates of a round that are scored again on all held-out examples.
        rounds: how many; 0 for one per 10,000 steps of training, at least one.
        recalibration_batches: training mini-batches that re-estimate the statistics of each candidate; 0 for the
            running statistics of the supernet, as published.
        exclude: options that are never drawn.

    Returns:
        The recipe.

    Example:
        >>> rs_ws(epochs=2).describe()
        'Uniform × WeightsOnly × RankSampled'

    References:
        L. Li and A. Talwalkar, *Random Search and Reproducibility for Neural Architecture Search*, UAI 2019, section
        3.1 and the best setting on CIFAR-10, with the numbers of the released code.

    Deviations:
        All candidates are scored on the same examples; the authors' code lets an iterator go on, so that each sees
        others. It also writes the winner of the first round; here the best of all rounds wins, as the paper says. On
        NAS-Bench-201 the authors' 24 channels are an option of the network.
    """
    policy = RecalibratedStatistics(recalibration_batches) if recalibration_batches else RunningStatistics()
    return Recipe(
        name="rs-ws",
        distribution=Uniform(),
        level=WeightsOnly(),
        roles=held_out(),
        selection=RankSampled(candidates, policy, examples, finalists, rounds),
        weights=WeightOptimization(
            Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay, gradient_clip=gradient_clip
        ),
        epochs=epochs,
        batch_size=batch_size,
        exclude=exclude,
    )
