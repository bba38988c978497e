"""GDAS: one sampled path per step with a straight-through Gumbel gradient."""

from __future__ import annotations

from sharewise.data import bilevel
from sharewise.distribution import Learned, SoftmaxLogits, StraightThroughGumbel
from sharewise.engine import Alternating, Cosine, Linear, Mode, Recipe, WeightDecay, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method

__all__ = ["gdas"]


@method("gdas")
def gdas(
    *,
    epochs: int = 250,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 5e-4,
    architecture_learning_rate: float = 3e-4,
    architecture_weight_decay: float = 1e-3,
    temperature: float = 10.0,
    minimum_temperature: float = 0.1,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Gradient-based search using a differentiable architecture sampler (GDAS).

    Each step executes one architecture, drawn by the Gumbel-max trick, and differentiates the relaxed sample::

        p̃ = softmax((log softmax(α) + G) / τ),   gate = one-hot(argmax p̃) - stop(p̃) + p̃

    with w and α on two halves of the training set and τ falling linearly. Time and memory are those of one path.

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: of Adam on α.
        architecture_weight_decay: of α.
        temperature: τ in the first epoch.
        minimum_temperature: τ in the last epoch, positive.
        warm_up: fraction of the epochs in which α rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> gdas(epochs=2).describe()
        'SoftmaxLogits × StraightThroughGumbel × Alternating × Mode × WeightDecay'

    References:
        X. Dong and Y. Yang, *Searching for A Robust Neural Architecture in Four GPU Hours*, CVPR 2019
        (arXiv 1910.04465); settings for NAS-Bench-201 from the benchmark's paper (arXiv 2001.00326).

    Deviations:
        See `StraightThroughGumbel`. The learning rate of w follows epochs; the benchmark's code moves it along its
        cosine in every step, and τ every epoch. Architecture steps leave running statistics alone, which in the
        authors' code follow their batches too; no training step reads them. The rounding gap compares the projected
        architecture with the mixture at p, which this method never executes in training.
    """
    return Recipe(
        name="gdas",
        distribution=Learned(
            SoftmaxLogits(architecture_learning_rate),
            StraightThroughGumbel(Linear(temperature, minimum_temperature)),
        ),
        level=Alternating(first="weights"),
        roles=bilevel(),
        selection=Mode(),
        weights=WeightOptimization(
            Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay, nesterov=True
        ),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(WeightDecay(architecture_weight_decay),),
        stages=stages(warm_up),
        exclude=exclude,
    )
