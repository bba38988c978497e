"""Fair-DARTS: options that do not compete, pushed towards zero or one."""

from __future__ import annotations

from typing import Literal

from sharewise.data import bilevel
from sharewise.distribution import Expectation, Learned, SigmoidLogits
from sharewise.engine import (
    Alternating,
    Cosine,
    Recipe,
    Threshold,
    WeightDecay,
    WeightOptimization,
    ZeroOnePenalty,
)
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method, named

__all__ = ["fair_darts"]


@method("fair-darts")
def fair_darts(
    *,
    epochs: int = 50,
    batch_size: int = 128,
    learning_rate: float = 0.005,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 3e-3,
    architecture_weight_decay: float = 1e-3,
    zero_one_strength: float = 10.0,
    zero_one_norm: str = "l2",
    threshold: float = 0.85,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = ("none",),
) -> Recipe:
    """Fair differentiable architecture search: every option has a weight of its own, which no other one takes away.

    The steps of `darts` with σ(α) in place of softmax(α), and a loss that pushes the weights to zero or one::

        α ← α - Adam(∇_α [L_val(w, α) + decay/2 ‖α‖² - λ · mean over options of (σ(α) - 1/2)²])
        w ← w - SGD(∇_w L_train(w, α)),   mixture weights σ(α)

    The result keeps an operation where its weight reaches the threshold (see `Threshold`).

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: of Adam on α.
        architecture_weight_decay: of α.
        zero_one_strength: λ.
        zero_one_norm: `"l2"`, as above, or `"l1"`, |σ(α) - 1/2|.
        threshold: least σ(α) of an operation that is kept, in (0, 1).
        warm_up: fraction of the epochs in which α rests, in [0, 1).
        exclude: options masked throughout; an edge without an operation needs no zero operation.

    Returns:
        The recipe.

    Example:
        >>> fair_darts(epochs=2).describe()
        'SigmoidLogits × Expectation × Alternating × Threshold × WeightDecay × ZeroOnePenalty'

    References:
        X. Chu, T. Zhou, B. Zhang and J. Li, *Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture
        Search*, ECCV 2020 (arXiv 1911.12126), and the released search.

    Deviations:
        In the paper a node of the DARTS cell may have no input, and leaves the concatenation then: search space
        `darts:fair` for that, where the derivation is the released one (of every edge the strongest operation, of every
        node the two strongest edges, of these what reaches the threshold). The architectures of space `darts` have two
        inputs a node: weaker ones fill the places up, and the result says how many. On NAS-Bench-201 an edge without an
        operation is `none`, and no number of inputs is imposed.
    """
    norm: Literal["l2", "l1"] = named("zero_one_norm", zero_one_norm, l2="l2", l1="l1")
    geometry = SigmoidLogits(architecture_learning_rate, betas=(0.9, 0.999), scale=0.0)
    return Recipe(
        name="fair-darts",
        distribution=Learned(geometry, Expectation()),
        level=Alternating(first="architecture"),
        roles=bilevel(),
        selection=Threshold(threshold),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(WeightDecay(architecture_weight_decay), ZeroOnePenalty(zero_one_strength, norm)),
        stages=stages(warm_up),
        exclude=exclude,
    )
