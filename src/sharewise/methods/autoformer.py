"""AutoFormer: uniform sampling of whole transformers, then evolution within a range of sizes."""

from __future__ import annotations

from sharewise.data import held_out
from sharewise.distribution import Uniform
from sharewise.engine import AdamOptimization, Cosine, Evolution, Recipe, WarmUp, WeightsOnly
from sharewise.methods.registry import method
from sharewise.supernet import RecalibratedStatistics

__all__ = ["autoformer"]


@method("autoformer")
def autoformer(
    *,
    epochs: int = 500,
    batch_size: int = 1024,
    learning_rate: float = 1e-3,
    minimum_learning_rate: float = 1e-5,
    weight_decay: float = 0.05,
    warm_up: float = 0.04,
    train_fraction: float = 0.9,
    generations: int = 20,
    population: int = 50,
    mutation_probability: float = 0.2,
    recalibration_batches: int = 4,
    selection_examples: int = 10_000,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """One-shot search of transformers with weight entanglement (AutoFormer).

    Trains the shared weights under one uniformly drawn architecture per step, depth first and then the choices of each
    layer that is there, by AdamW::

        m ← β₁ m + (1 - β₁) ∇L,  v ← β₂ v + (1 - β₂) (∇L)²,  w ← (1 - η λ) w - η m̂ / (√v̂ + ε)

    and then evolves architectures by their accuracy with inherited weights: the best 10 have children, half of a
    generation by mutation and half by crossover. A range of sizes (`min_parameters` and `max_parameters` of a search,
    or `Limit`) holds for all that is scored.

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step.
        learning_rate: of w, η at the start of the cosine; the authors' 5e-4 for each 512 examples of a batch.
        minimum_learning_rate: of w, at its end.
        weight_decay: λ.
        warm_up: fraction of the epochs over which the learning rate rises; 20 epochs of 500.
        train_fraction: of the training examples that train w, in (0, 1); the others score architectures.
        generations: of the evolution.
        population: architectures per generation, at least 4.
        mutation_probability: with which every choice of a mutant changes; at least one does.
        recalibration_batches: training mini-batches that re-estimate the statistics of each candidate, in networks that
            have batch norms.
        selection_examples: held-out examples on which every candidate is scored, all of them where there are fewer.
        exclude: options that are never drawn.

    Returns:
        The recipe.

    Example:
        >>> autoformer(epochs=2).describe()
        'Uniform × WeightsOnly × Evolution'

    References:
        M. Chen, H. Peng, J. Fu and H. Ling, *AutoFormer: Searching Transformers for Visual Recognition*, ICCV 2021
        (arXiv 2107.00651), section 3.3; microsoft/Cream, `AutoFormer/supernet_train.py` and `evolution.py`, commit
        4a13c40.

    Deviations:
        The authors train with label smoothing, RandAugment, mixup, cutmix, random erasing and repeated augmentation,
        which are settings of data and task, not of the search; they hold out 10,000 images of ImageNet's training set,
        here a tenth of any; biases, norms and tokens do not decay there. Their learning rate follows steps and starts
        at 1e-6, here epochs. Their mutants change depth and width with probability 0.4 and, with 0.2, the ratio and the
        heads of each layer, and draw the choices of new layers anew; their children of two parents have the depth of
        both. Here every choice has one probability, and layers that come about have the first options.
    """
    half = population // 2
    return Recipe(
        name="autoformer",
        distribution=Uniform(),
        level=WeightsOnly(),
        roles=held_out(train_fraction),
        selection=Evolution(
            generations,
            population,
            max(1, population // 5),
            half,
            half,
            mutation_probability,
            RecalibratedStatistics(recalibration_batches),
            selection_examples,
        ),
        weights=AdamOptimization(
            WarmUp(Cosine(learning_rate, minimum_learning_rate), warm_up),
            weight_decay=weight_decay,
            gradient_clip=None,
            decoupled=True,
        ),
        epochs=epochs,
        batch_size=batch_size,
        exclude=exclude,
    )
