"""PC-DARTS: partial channels and edge weights, under softmax with Adam or on the simplex (GAEA)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sharewise.data import bilevel, single_level
from sharewise.distribution import Expectation, Learned, Simplex, SoftmaxLogits
from sharewise.engine import Alternating, Cosine, DartsRule, Recipe, WeightDecay, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method, variant

__all__ = ["gaea_pc_darts", "gaea_pc_darts_erm", "pc_darts"]


_NETWORK: Mapping[str, Any] = {"partial": 4, "edge_weights": True}


@method("pc-darts")
def pc_darts(
    *,
    epochs: int = 50,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    minimum_learning_rate: float = 0.0,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 6e-4,
    architecture_weight_decay: float = 1e-3,
    warm_up: float = 0.3,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Partially-connected DARTS (PC-DARTS): mixtures of a quarter of the channels, and edges that are weighed.

    First-order `darts` on a network whose nodes are::

        x_j = Σ_i softmax(β_j)_i · shuffle(concat(Σ_o softmax(α_ij)_o o(x_i[: C/K]), x_i[C/K :]))

    α and β move together by Adam on the half of the training set that w does not see. It asks its network for K = 4
    (`partial`) and for `edge_weights`; what remains of an edge is judged by softmax(β) times softmax(α).

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: of Adam on α and β.
        architecture_weight_decay: λ of λ/2 (‖α‖² + ‖β‖²).
        warm_up: fraction of the epochs in which α and β rest, in [0, 1); 15 of 50 in the authors' code.
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> dict(pc_darts(epochs=2).network)
        {'partial': 4, 'edge_weights': True}

    References:
        Y. Xu et al., *PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search*, ICLR 2020
        (arXiv 1907.05737), equations 1 and 2, and the released settings for CIFAR-10.

    Deviations:
        An architecture step reads its half of the examples in passes of its own; the authors draw a batch anew from it
        at every step.
    """
    return Recipe(
        name="pc-darts",
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
        network=_NETWORK,
    )


@method("gaea-pc-darts")
def gaea_pc_darts(
    *,
    epochs: int = 50,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    minimum_learning_rate: float = 0.0,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 0.1,
    edge_learning_rate: float = 0.1,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Geometry-aware PC-DARTS: operations and edge weights live on the simplex and move by exponentiated gradient.

    Replaces softmax and Adam of `pc_darts`, on the operations θ of an edge and on the weights e of the edges into a
    node::

        θ ← θ · exp(-η ∇_θ L_val),    θ ← max(θ, 1e-5),   θ ← θ / Σ θ
        e ← e · exp(-η' ∇_e L_val),   e ← e / Σ e

    from uniform θ and e; edges are never clamped, and nothing warms up.

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: η.
        edge_learning_rate: η'.
        warm_up: fraction of the epochs in which θ and e rest, in [0, 1).
        exclude: options masked throughout; none here, unlike on NAS-Bench-201.

    Returns:
        The recipe.

    Example:
        >>> gaea_pc_darts(epochs=2).describe()
        'Simplex × Expectation × Alternating × DartsRule'

    References:
        L. Li, M. Khodak, M.-F. Balcan and A. Talwalkar, *Geometry-Aware Gradient Algorithms for Neural Architecture
        Search*, ICLR 2021 (arXiv 2004.07802), algorithm 1, and the released code and settings on the space of PC-DARTS.

    Deviations:
        Where the floor of θ is reached see `ExponentiatedGradient`. An architecture step reads its half of the examples
        in passes of its own; the authors draw a batch anew from it at every step.
    """
    return Recipe(
        name="gaea-pc-darts",
        distribution=Learned(Simplex(architecture_learning_rate, edge_learning_rate=edge_learning_rate), Expectation()),
        level=Alternating(first="architecture"),
        roles=bilevel(),
        selection=DartsRule(),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        stages=stages(warm_up),
        exclude=exclude,
        network=_NETWORK,
    )


@variant("gaea-pc-darts-erm", of=gaea_pc_darts)
def gaea_pc_darts_erm(recipe: Recipe) -> Recipe:
    """Geometry-aware PC-DARTS on one level: w, θ and e descend the empirical risk of the whole training set (ERM).

    The same steps and arguments as `gaea_pc_darts` with other data roles.

    Args:
        recipe: that of `gaea_pc_darts`, whose keyword arguments this method takes.

    Returns:
        The recipe.

    Example:
        >>> gaea_pc_darts_erm().roles.is_disjoint("weights", "architecture")
        False

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for NAS*, ICLR 2021 (arXiv 2004.07802), section 2.

    Deviations:
        The paper reports this method in its bilevel form.
    """
    return replace(recipe, roles=single_level())
