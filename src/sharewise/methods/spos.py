"""SPOS: uniform single paths, then a ranking with recalibrated batch norm."""

from __future__ import annotations

from sharewise.data import held_out
from sharewise.distribution import Proportional, Uniform
from sharewise.engine import Cosine, Linear, RankSampled, Recipe, WeightOptimization, WeightsOnly
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.methods.registry import method
from sharewise.supernet import RecalibratedStatistics

__all__ = ["spos"]

_SAMPLINGS: dict[str, type[Uniform] | type[Proportional]] = {"uniform": Uniform, "proportional": Proportional}


@method("spos")
def spos(
    *,
    epochs: int = 250,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 5e-4,
    paths: int = 1,
    sampling: str = "uniform",
    path_dropout: float = 0.0,
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
        paths: architectures per step, whose losses on a batch are averaged (AVG-n of *To Share or Not To Share*).
        sampling: `"uniform"`, or `"proportional"` to the trainable parameters of an architecture (PRO-RATA there).
        path_dropout: probability in [0, 1), rising linearly from 0 in the first epoch to this value in the last, with
            which a weight step leaves out what a decision (that has the option `none`) has chosen, also where `none` is
            excluded from the architectures.
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
        (arXiv 1904.00420), equations 7 and 8; A. Pourchot et al., *To Share or Not To Share* (arXiv 2002.04289),
        section 3.3; G. Bender et al., *Understanding and Simplifying One-Shot Architecture Search*, ICML 2018 (path
        dropout).

    Deviations:
        The paper searches with an evolutionary algorithm over 1,000 candidates and recalibrates with 200 mini-batches
        of ImageNet; defaults here follow the practice on NAS-Bench-201 (100 sampled candidates) and the measurement of
        *To Share or Not To Share* (4 mini-batches, arXiv 2002.04289). Optimiser settings are those for NAS-Bench-201 of
        the TangleNAS paper (arXiv 2312.10440, table 23), a cosine instead of SPOS's linear decay.
        Path dropout here leaves out decisions of a single path, independently; Bender et al. drop from a supernet in
        which all options run at once.
    """
    if sampling not in _SAMPLINGS:
        raise unknown_name("sampling", sampling, _SAMPLINGS)
    if not 0 <= path_dropout < 1:
        raise ConfigurationError(f"path_dropout is a probability in [0, 1), got {path_dropout}")
    if path_dropout and epochs < 2:
        raise ConfigurationError(f"path_dropout rises from 0 over the epochs, which needs at least 2, got {epochs}")
    return Recipe(
        name="spos",
        distribution=_SAMPLINGS[sampling](paths, Linear(0.0, path_dropout) if path_dropout else None),
        level=WeightsOnly(),
        roles=held_out(),
        selection=RankSampled(candidates, RecalibratedStatistics(recalibration_batches), selection_examples),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        exclude=exclude,
    )
