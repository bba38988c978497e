"""SPOS: uniform single paths, then a ranking with recalibrated batch norm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sharewise.data import held_out
from sharewise.distribution import Blueprint, Proportional, Uniform
from sharewise.engine import (
    AdamOptimization,
    Cosine,
    Evolution,
    Linear,
    Optimization,
    RankSampled,
    Recipe,
    RootMeanSquareOptimization,
    Selection,
    WeightOptimization,
    WeightsOnly,
)
from sharewise.errors import ConfigurationError
from sharewise.methods.registry import method, named
from sharewise.supernet import NormPolicy, RecalibratedStatistics

__all__ = ["ranked", "spos"]


@method("spos")
def spos(
    *,
    epochs: int = 250,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 5e-4,
    optimizer: str = "sgd",
    train_fraction: float = 0.5,
    paths: int = 1,
    sampling: str = "uniform",
    path_dropout: float = 0.0,
    selection: str = "random",
    candidates: int = 100,
    population: int = 50,
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
        optimizer: `"sgd"` with momentum 0.9 and the gradient clipped to norm 5, `"adam"` with the same clip, `"adamw"`
            for transformers, or `"rmsprop"` with the semantics of TensorFlow, the same momentum and no clip, as
            NAS-Bench-101 was trained (see `RootMeanSquare`).
        train_fraction: of the training examples that train w, in (0, 1); the others rank architectures.
        paths: architectures per step, whose losses on a batch are averaged (AVG-n of *To Share or Not To Share*).
        sampling: `"uniform"`, or `"proportional"` to the trainable parameters of an architecture (PRO-RATA there).
        path_dropout: probability in [0, 1), rising linearly from 0 in the first epoch to this value in the last, with
            which a weight step leaves out what a decision (that has the option `none`) has chosen, also where `none` is
            excluded from the architectures.
        selection: `"random"` for the best of some random architectures, `"evolution"` for the algorithm of the paper.
        candidates: architectures that are ranked, in whole generations by evolution; 1,000 in the paper's.
        population: architectures per generation of the evolution, at most `candidates`; a fifth of them have children.
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
        The paper searches by evolution over 1,000 candidates and recalibrates with 200 mini-batches of ImageNet;
        `selection="evolution", candidates=1000, recalibration_batches=200` is that (see `Evolution`), and defaults
        follow the practice on NAS-Bench-201 (100 sampled candidates) and the measurement of *To Share or Not To Share*
        (4 mini-batches, arXiv 2002.04289). Optimiser settings are those for NAS-Bench-201 of
        the TangleNAS paper (arXiv 2312.10440, table 23), a cosine instead of SPOS's linear decay.
        The supernets of *To Share or Not To Share* are those of NAS-Bench-101 with `channels=16` (and
        `single_kernel=True`) under `epochs=432, batch_size=256, optimizer="rmsprop", learning_rate=0.2,
        minimum_learning_rate=0.0, weight_decay=1e-4, train_fraction=0.8`; there the first 40,000 images train, here a
        random part that is balanced over classes does, and the learning rate follows epochs instead of steps.
        Path dropout here leaves out decisions of a single path, independently; Bender et al. drop from a supernet in
        which all options run at once.
    """
    if not 0 <= path_dropout < 1:
        raise ConfigurationError(f"path_dropout is a probability in [0, 1), got {path_dropout}")
    if path_dropout and epochs < 2:
        raise ConfigurationError(f"path_dropout rises from 0 over the epochs, which needs at least 2, got {epochs}")
    sampler: Callable[..., Blueprint] = named("sampling", sampling, uniform=Uniform, proportional=Proportional)
    movers: dict[str, Callable[..., Optimization]] = {
        "sgd": WeightOptimization,
        "adam": AdamOptimization,
        "adamw": partial(AdamOptimization, decoupled=True),
        "rmsprop": RootMeanSquareOptimization,
    }
    mover = named("optimizer", optimizer, **movers)
    return Recipe(
        name="spos",
        distribution=sampler(paths, Linear(0.0, path_dropout) if path_dropout else None),
        level=WeightsOnly(),
        roles=held_out(train_fraction),
        selection=ranked(selection, candidates, population, recalibration_batches, selection_examples),
        weights=mover(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        exclude=exclude,
    )


def ranked(rule: str, candidates: int, population: int, recalibration_batches: int, examples: int | None) -> Selection:
    """The best by inherited weights, each with recalibrated statistics, of what one of two rules asks about.

    Args:
        rule: `"random"`, or `"evolution"` for the algorithm of the paper.
        candidates: that are scored, in whole generations by evolution.
        population: of the evolution.
        recalibration_batches: for statistics of an architecture's own.
        examples: behind each score; `None` for all.

    Raises:
        ConfigurationError: for an unknown rule, or a population that candidates cannot make.
    """
    policy = RecalibratedStatistics(recalibration_batches)
    at_random: Callable[..., Selection] = partial(RankSampled, candidates)
    by_evolution: Callable[..., Selection] = partial(_evolved, candidates, population)
    return named("selection", rule, random=at_random, evolution=by_evolution)(policy=policy, examples=examples)


def _evolved(candidates: int, population: int, *, policy: NormPolicy, examples: int | None) -> Evolution:
    """The evolution of the paper, which scores so many candidates."""
    if not 2 <= population <= candidates:
        raise ConfigurationError(f"population must lie between 2 and candidates = {candidates}, got {population}")
    half = population // 2
    return Evolution(candidates // population, population, max(1, population // 5), half, half, 0.1, policy, examples)
