"""DARTS: first and second order, and first order on a single level."""

from __future__ import annotations

from dataclasses import replace

from sharewise.data import bilevel, single_level
from sharewise.distribution import Expectation, Learned, SoftmaxLogits
from sharewise.engine import Alternating, Cosine, DartsRule, Recipe, Unrolled, WeightDecay, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method, variant

__all__ = ["darts", "darts_erm", "darts_second_order"]


@method("darts")
def darts(
    *,
    epochs: int = 50,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 3e-4,
    architecture_weight_decay: float = 1e-3,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Differentiable architecture search, first order (DARTS).

    Relaxes every decision to a softmax mixture and descends a bilevel problem by alternation::

        α ← α - Adam(∇_α [L_val(w, α) + λ/2 ‖α‖²])
        w ← w - SGD(∇_w L_train(w, α)),   mixture weights softmax(α)

    with w and α on two halves of the training set.

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: of Adam on α.
        architecture_weight_decay: λ.
        warm_up: fraction of the epochs in which α rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> darts(epochs=2).describe()
        'SoftmaxLogits × Expectation × Alternating × DartsRule × WeightDecay'

    References:
        H. Liu, K. Simonyan and Y. Yang, *DARTS: Differentiable Architecture Search*, ICLR 2019 (arXiv 1806.09055),
        algorithm 1 with ξ = 0, section 3.1.

    Deviations:
        On NAS-Bench-201 the benchmark's authors pick the strongest option including `none`; the rule of the DARTS paper
        never returns `none`, also here.
    """
    return Recipe(
        name="darts",
        distribution=Learned(SoftmaxLogits(architecture_learning_rate), Expectation()),
        level=Alternating(first="architecture"),
        roles=bilevel(),
        selection=DartsRule(),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(WeightDecay(architecture_weight_decay),),
        stages=stages(warm_up),
        exclude=exclude,
    )


@variant("darts-erm", of=darts)
def darts_erm(recipe: Recipe) -> Recipe:
    """DARTS on one level: w and α both descend the empirical risk of the whole training set (ERM).

    The same steps and arguments as `darts` with other data roles: min over (w, α) of L_train(w, α) by alternation.

    Args:
        recipe: that of `darts`, whose keyword arguments this method takes.

    Returns:
        The recipe.

    Example:
        >>> darts_erm().roles.is_disjoint("weights", "architecture")
        False

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for NAS*, ICLR 2021 (arXiv 2004.07802), section 2.
    """
    return replace(recipe, roles=single_level())


@variant("darts-second-order", of=darts)
def darts_second_order(recipe: Recipe, *, finite_difference: float = 0.0) -> Recipe:
    """DARTS, second order: α descends the validation loss at the weights that one training step would lead to.

    The steps and arguments of `darts`, with w*(α) approximated by one step of SGD instead of by w::

        w'(α) = w - ξ (∇_w L_train(w, α) + decay · w + momentum · buffer)
        ∇_α L_val(w'(α), α) = ∂_α L_val(w', α) - ξ ∂²_{α,w} L_train(w, α) · ∇_{w'} L_val(w', α)

    with ξ the present learning rate of w. Several times as expensive as first order, the exact product a little more so
    than the finite difference (docs/speed.md has figures).

    Args:
        recipe: that of `darts`, whose keyword arguments this method takes.
        finite_difference: R of the central difference with ε = R / ‖∇_{w'} L_val‖ that replaces the Hessian-vector
            product, 0.01 in the paper; 0 for the exact product.

    Returns:
        The recipe.

    Example:
        >>> darts_second_order(epochs=2).describe()
        'SoftmaxLogits × Expectation × Unrolled × DartsRule × WeightDecay'

    References:
        H. Liu, K. Simonyan and Y. Yang, *DARTS*, ICLR 2019 (arXiv 1806.09055), equations 6 to 8.

    Deviations:
        The product is exact by default; see `Unrolled`.
    """
    return replace(recipe, level=Unrolled(radius=finite_difference or None))
