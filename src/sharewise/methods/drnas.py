"""DrNAS: mixtures drawn from learned Dirichlet distributions."""

from __future__ import annotations

from collections.abc import Callable

from sharewise.data import bilevel
from sharewise.distribution import Concentrations, DirichletPath, Learned
from sharewise.engine import (
    Alternating,
    AnchorPenalty,
    Cosine,
    Mode,
    Penalty,
    Recipe,
    WeightDecay,
    WeightOptimization,
    pruning,
)
from sharewise.methods.registry import method, named

__all__ = ["drnas"]


@method("drnas")
def drnas(
    *,
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 3e-4,
    anchor: str = "l2",
    anchor_strength: float = 1e-3,
    keep: tuple[int, ...] = (),
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Dirichlet neural architecture search (DrNAS).

    The mixture weights of every decision are a random point of the simplex, whose distribution is learned on the other
    half of the training set::

        x ~ Dir(β),   β = elu(α) + 1,   min over α of E_x [L_val(w, x)] + λ d(β, 1)

    with the gradient along the sample's path. The anchor term holds β near the uniform Dir(1). Progressive learning:
    with `keep`, stages of equal length each begin by pruning to the most probable options.

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: of Adam on α.
        anchor: `"l2"`, λ/2 ‖α‖², or `"kl"`, λ Σ KL(Dir(β) ‖ Dir(1)).
        anchor_strength: λ.
        keep: options that remain from the second stage on, and so on; none for a single stage. The authors' progressive
            variant on NAS-Bench-201 keeps 3 of 5.
        warm_up: fraction of every stage in which α rests, in [0, 1); 0.2 in the authors' progressive variant.
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> drnas(epochs=2).describe()
        'Concentrations × DirichletPath × Alternating × Mode × WeightDecay'

    References:
        X. Chen, R. Wang, M. Cheng, X. Tang and C.-J. Hsieh, *DrNAS: Dirichlet Neural Architecture Search*, ICLR 2021
        (arXiv 2006.10355), sections 3.1 to 3.3 and the released settings for NAS-Bench-201.

    Deviations:
        Progressive learning prunes options without widening partial channels, and starts Adam on α anew. The authors'
        code counts the gradient of α into the norm at which it clips the gradient of w; here w is clipped by its own.
    """
    penalty: Callable[[float], Penalty] = named("anchor", anchor, l2=WeightDecay, kl=AnchorPenalty)
    return Recipe(
        name="drnas",
        distribution=Learned(Concentrations(architecture_learning_rate), DirichletPath()),
        level=Alternating(first="architecture"),
        roles=bilevel(),
        selection=Mode(),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(penalty(anchor_strength),),
        stages=pruning(keep, warm_up),
        exclude=exclude,
    )
