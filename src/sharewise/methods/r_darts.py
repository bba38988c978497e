"""R-DARTS: DARTS that watches the dominant eigenvalue of ∂²L_val/∂θ², and stops early or regularises more."""

from __future__ import annotations

from dataclasses import replace

from sharewise.alarm import EigenvalueRise
from sharewise.engine import AdaptiveDecay, EarlyStop, Reaction, Recipe
from sharewise.methods.darts import darts_second_order
from sharewise.methods.registry import named, variant

__all__ = ["r_darts"]


@variant("r-darts", of=darts_second_order)
def r_darts(
    recipe: Recipe,
    *,
    stop: str = "early",
    eigenvalue_interval: int = 2,
    eigenvalue_window: int = 5,
    eigenvalue_delta: int = 4,
    eigenvalue_factor: float = 1.3,
    eigenvalue_start: int = 10,
    eigenvalue_examples: int = 64,
    decay_factor: float = 3.0,
    largest_weight_decay: float = 0.0243,
) -> Recipe:
    """R-DARTS: second-order DARTS that goes back when the loss of the architecture becomes sharp.

    The steps and arguments of `darts_second_order`. Every few epochs the dominant eigenvalue λ of ∂²L_val/∂α² is
    measured, by exact Hessian-vector products. With λ̄ its mean over the last few measurements, as soon as ::

        λ̄ now / λ̄ `delta` measurements earlier > factor

    the search becomes what it was `window // 2 + delta` measurements ago: w, α and optimisers. `early` (DARTS-ES) ends
    there; `adaptive` (DARTS-ADA) multiplies the weight decay of w and goes on, and may go back again.

    Args:
        recipe: that of `darts_second_order`, whose keyword arguments this method takes.
        stop: what follows, early or adaptive.
        eigenvalue_interval: epochs between two measurements.
        eigenvalue_window: measurements in an average.
        eigenvalue_delta: measurements between the two averages.
        eigenvalue_factor: by which the average may rise.
        eigenvalue_start: the first epoch, from 0, to which the search may go back.
        eigenvalue_examples: of the validation half on which the eigenvalue is measured.
        decay_factor: of the weight decay of w, if adaptive.
        largest_weight_decay: of w, if adaptive.

    Returns:
        The recipe.

    Example:
        >>> r_darts(epochs=2, stop="adaptive").describe()
        'SoftmaxLogits × Expectation × Unrolled × DartsRule × WeightDecay × AdaptiveDecay'

    References:
        A. Zela et al., *Understanding and Robustifying Differentiable Architecture Search*, ICLR 2020
        (arXiv 1909.09656), sections 4.3 and 4.4. The paper gives the name R-DARTS also to DARTS with the weight decay
        0.0243, or with drop path, throughout, which need no method of their own.

    Deviations:
        The eigenvalue is measured on the same examples each time, see `sharewise.engine.curvature`; early stopping
        takes the shared weights back with the architecture, see `EarlyStop`; and those of `darts_second_order`.
    """
    rule = EigenvalueRise(
        every=eigenvalue_interval,
        window=eigenvalue_window,
        delta=eigenvalue_delta,
        factor=eigenvalue_factor,
        start=eigenvalue_start,
    )
    early: Reaction = EarlyStop(rule, eigenvalue_examples)
    adaptive: Reaction = AdaptiveDecay(rule, eigenvalue_examples, decay_factor, largest_weight_decay)
    return replace(recipe, reactions=(named("stop", stop, early=early, adaptive=adaptive),))
