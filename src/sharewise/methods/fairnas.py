"""FairNAS: strict fairness, every operation trained equally often."""

from __future__ import annotations

from sharewise.data import held_out
from sharewise.distribution import Fair
from sharewise.engine import Cosine, RankSampled, Recipe, WeightOptimization, WeightsOnly
from sharewise.methods.registry import method
from sharewise.supernet import RecalibratedStatistics

__all__ = ["fairnas"]


@method("fairnas")
def fairnas(
    *,
    epochs: int = 150,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 5e-4,
    candidates: int = 100,
    recalibration_batches: int = 4,
    selection_examples: int = 2048,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Strictly fair training of a supernet (FairNAS).

    With k options per decision, every step draws independent permutations π_d of the options, trains the k paths
    a_i = (π_1(i), …, π_D(i)) on the same batch and adds up their gradients before one update::

        w ← w - η Σ_i ∇_w L_train(w(a_i))

    so that after any number of steps all operations have been updated equally often. Then architectures are ranked by
    their accuracy with inherited weights.

    Args:
        epochs: passes over the examples that train w; each costs k passes of a single path.
        batch_size: examples per step.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        candidates: architectures that are ranked.
        recalibration_batches: training mini-batches that re-estimate the statistics of each candidate.
        selection_examples: held-out examples on which every candidate is scored, all of them where there are fewer.
        exclude: options that are never drawn.

    Returns:
        The recipe.

    Example:
        >>> fairnas(epochs=2).describe()
        'Fair × WeightsOnly × RankSampled'

    References:
        X. Chu, B. Zhang and R. Xu, *FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture
        Search*, ICCV 2021 (arXiv 1907.01845), algorithm 1.

    Deviations:
        The paper searches by NSGA-II on accuracy and size; here sampled candidates are ranked. Optimiser settings are
        those of `spos`; layers that all paths share receive the sum of k gradients, as in the paper, and the gradient
        clip holds that in check.
    """
    return Recipe(
        name="fairnas",
        distribution=Fair(),
        level=WeightsOnly(),
        roles=held_out(),
        selection=RankSampled(candidates, RecalibratedStatistics(recalibration_batches), selection_examples),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        exclude=exclude,
    )
