"""SPOS: uniform single paths, then a ranking with recalibrated batch norm."""

from __future__ import annotations

from sharewise.data import held_out
from sharewise.distribution import Uniform
from sharewise.engine import Cosine, RankSampled, Recipe, WeightOptimization, WeightsOnly
from sharewise.methods.registry import method
from sharewise.supernet import RecalibratedStatistics

__all__ = ["spos"]


@method("spos")
def spos(
    *,
    epochs: int = 250,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 5e-4,
    candidates: int = 100,
    recalibration_batches: int = 4,
    selection_examples: int = 2048,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Single path one-shot search with uniform sampling (SPOS).

    Trains the shared weights under one uniformly drawn architecture a ∼ U(A) per step, min over w of
    E_a L_train(w(a)), and afterwards ranks architectures by their accuracy with inherited weights on held-out examples,
    each with its own recalibrated batch-norm statistics.

    Args:
        epochs: passes over the examples that train w.
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
        >>> spos(epochs=2).describe()
        'Uniform × WeightsOnly × RankSampled'

    References:
        Z. Guo et al., *Single Path One-Shot Neural Architecture Search with Uniform Sampling*, ECCV 2020
        (arXiv 1904.00420), equations 7 and 8.

    Deviations:
        The paper searches with an evolutionary algorithm over 1,000 candidates and recalibrates with 200 mini-batches
        of ImageNet; defaults here follow the practice on NAS-Bench-201 (100 sampled candidates) and the measurement of
        *To Share or Not To Share* (4 mini-batches, arXiv 2002.04289). Optimiser settings are those for NAS-Bench-201 of
        the TangleNAS paper (arXiv 2312.10440, table 23), a cosine instead of SPOS's linear decay.
    """
    return Recipe(
        name="spos",
        distribution=Uniform(),
        level=WeightsOnly(),
        roles=held_out(),
        selection=RankSampled(candidates, RecalibratedStatistics(recalibration_batches), selection_examples),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        exclude=exclude,
    )
