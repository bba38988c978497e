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
    parts: tuple[int, ...] = (),
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Dirichlet neural architecture search (DrNAS).

    The mixture weights of every decision are a random point of the simplex, whose distribution is learned on the other
    half of the training set::

        x ~ Dir(β),   β = elu(α) + 1,   min over α of E_x [L_val(w, x)] + λ d(β, 1)

    with the gradient along the sample's path. The anchor term holds β near the uniform Dir(1). Progressive learning:
    with `keep`, stages of equal length each begin by pruning to the most probable options; with `parts`, operations
    begin on a part of the channels, and are widened by copies of random channels at the same moments. Both optimisers
    and the one cosine go on.

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
            variant keeps 3 of 5 on NAS-Bench-201, 4 of 7 on the space of DARTS.
        parts: K of every stage, in which operations see 1/K of the channels; none for all of them throughout. The
            authors' has 4 and 2 on NAS-Bench-201, 6 and 4 on the space of DARTS.
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
        After pruning the authors draw from the Dirichlet of all options, drop the masked ones and divide by the sum of
        the rest. That has the distribution of a Dirichlet of the remaining options, from which samples are drawn here:
        the gradient of α is that of the same expectation, and masked options have none. For the same reason the
        divergence of the anchor `"kl"` is that of the remaining options. Where a space keeps some edges of a node they
        are ranked by the mean β / Σ β, the authors' by softmax(α), which picks the same operations but may rank edges
        otherwise. On NAS-Bench-201 the authors' code counts the gradient of α into the norm at which it clips the
        gradient of w; here w is clipped by its own. See also `Widening`.
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
        stages=pruning(keep, warm_up, parts),
        exclude=exclude,
        network={"partial": parts[0]} if parts else {},
    )
