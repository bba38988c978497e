"""SNAS: soft samples of a concrete distribution, one loss for weights and architecture."""

from __future__ import annotations

from sharewise.data import single_level
from sharewise.distribution import Concrete, Learned, SoftmaxLogits
from sharewise.engine import Cosine, ExpectedCost, Joint, Linear, Mode, Recipe, WeightDecay, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method

__all__ = ["snas"]


@method("snas")
def snas(
    *,
    epochs: int = 150,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 3e-4,
    architecture_weight_decay: float = 1e-3,
    temperature: float = 1.0,
    minimum_temperature: float = 0.03,
    cost_penalty: float = 0.0,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Stochastic neural architecture search (SNAS).

    Every step mixes all options by a sample of the concrete distribution and descends, by one backward pass, the
    expected training loss over w and α, plus what the architecture is expected to cost::

        Z = softmax((log softmax(α) + G) / τ),   min over (w, α) of E_G [L_train(w, Z)] + λ E[cost]

    with Gumbel noise G and τ falling linearly, so that samples become one-hot.

    Args:
        epochs: passes over the training examples, which are not split.
        batch_size: examples per step.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: of Adam on α.
        architecture_weight_decay: of α.
        temperature: τ in the first epoch.
        minimum_temperature: τ in the last epoch, positive.
        cost_penalty: λ, with the cost in multiply-accumulates relative to the most expensive architecture.
        warm_up: fraction of the epochs in which α rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> snas(epochs=2).describe()
        'SoftmaxLogits × Concrete × Joint × Mode × WeightDecay'

    References:
        S. Xie, H. Zheng, C. Liu and L. Lin, *SNAS: Stochastic Neural Architecture Search*, ICLR 2019
        (arXiv 1812.09926), equations 4 to 8.

    Deviations:
        The paper does not print its temperatures; these are the ones of the released code. That code also regularises
        with drop-path 0.3, starts α at N(1, 0.01) (uniform as well), clips its gradient at 10 and adds the logarithm of
        the cost; here the cost itself.
    """
    return Recipe(
        name="snas",
        distribution=Learned(
            SoftmaxLogits(architecture_learning_rate), Concrete(Linear(temperature, minimum_temperature))
        ),
        level=Joint(),
        roles=single_level(),
        selection=Mode(),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(WeightDecay(architecture_weight_decay), *([ExpectedCost(cost_penalty)] if cost_penalty else ())),
        stages=stages(warm_up),
        exclude=exclude,
    )
