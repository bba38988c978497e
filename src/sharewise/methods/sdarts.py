"""SDARTS: DARTS whose weights are trained to do well all around the architecture parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sharewise.distribution import Setting
from sharewise.engine import Adversarial, Alternating, Perturbation, Ramp, RandomNoise, Recipe
from sharewise.methods.darts import darts
from sharewise.methods.registry import named, variant

__all__ = ["sdarts"]


@variant("sdarts", of=darts)
def sdarts(
    recipe: Recipe, *, perturbation: str = "random", radius: float = 0.3, initial_radius: float = 0.03
) -> Recipe:
    """Smooth DARTS: weight steps under perturbed mixtures, which flattens the loss around the architecture parameters.

    The steps and arguments of `darts`, with w trained at p + δ in place of p = softmax(α)::

        random:       w ← w - SGD(∇_w L_train(w, p + δ)),   δ ~ U(-ε, ε)
        adversarial:  w ← w - SGD(∇_w L_train(w, p + δ)),   δ = argmax over |δ| ≤ ε of L_train(w, p + δ)

    with the perturbed weights clamped and normalised again. Architecture steps see p itself.

    Args:
        recipe: that of `darts`, whose keyword arguments this method takes.
        perturbation: `"random"` or `"adversarial"`, which takes seven more passes of a batch forward and back.
        radius: of ε, towards which it grows, below one.
        initial_radius: ε in the first epoch.

    Returns:
        The recipe.

    Example:
        >>> sdarts(epochs=2, perturbation="adversarial").describe()
        'SoftmaxLogits × Expectation × Alternating under Adversarial × DartsRule × WeightDecay'

    References:
        X. Chen and C.-J. Hsieh, *Stabilizing Differentiable Architecture Search via Perturbation-based
        Regularization*, ICML 2020 (arXiv 2002.05283), sections 4.1 and 4.2, and the released code.

    Deviations:
        Running statistics of batch norm, which the ascent reads, follow weight steps alone; in the released code
        architecture steps move them as well.
    """
    form: Callable[[Setting], Perturbation] = named(
        "perturbation", perturbation, random=RandomNoise, adversarial=Adversarial
    )
    level = Alternating(first="architecture", perturbation=form(Ramp(initial_radius, radius)))
    return replace(recipe, level=level)
