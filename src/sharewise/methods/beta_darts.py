"""β-DARTS: DARTS whose logits are held low by a decay of their own."""

from __future__ import annotations

from dataclasses import replace

from sharewise.engine import BetaDecay, Ramp, Recipe
from sharewise.methods.darts import darts
from sharewise.methods.registry import variant

__all__ = ["beta_darts"]


@variant("beta-darts", of=darts)
def beta_darts(recipe: Recipe, *, beta_decay: float = 50.0) -> Recipe:
    """DARTS with β-decay, which keeps the architecture parameters from growing apart early.

    The steps and arguments of `darts`, with one more term in the loss of architecture steps::

        ∇_α [L_val(w, α) + decay/2 ‖α‖² + λ_t · mean over decisions of log Σ_o exp(α_o)],   λ_t = λ · epoch / epochs

    Args:
        recipe: that of `darts`, whose keyword arguments this method takes.
        beta_decay: λ, towards which the strength grows from zero.

    Returns:
        The recipe.

    Example:
        >>> beta_darts(epochs=2).describe()
        'SoftmaxLogits × Expectation × Alternating × DartsRule × WeightDecay × BetaDecay'

    References:
        P. Ye et al., *β-DARTS: Beta-Decay Regularization for Differentiable Architecture Search*, CVPR 2022
        (arXiv 2203.01665), and the released search on NAS-Bench-201.

    Deviations:
        The released search on NAS-Bench-201 runs 100 epochs; here as many as `darts` by default.
    """
    return replace(recipe, penalties=(*recipe.penalties, BetaDecay(Ramp(0.0, beta_decay))))
