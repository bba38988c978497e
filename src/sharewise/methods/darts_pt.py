"""DARTS-PT: DARTS whose result is what the supernet would miss most, in place of what weighs most."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sharewise.engine import ByPerturbation, Recipe, Stage
from sharewise.methods.darts import darts
from sharewise.methods.registry import method, named, variant

__all__ = ["blank_pt", "darts_pt"]


@variant("darts-pt", of=darts, exclude=("none",))
def darts_pt(recipe: Recipe, *, tuning_epochs: int = 5, criterion: str = "metric") -> Recipe:
    """DARTS with perturbation-based selection, since the weight of an option says little of its worth.

    The steps and arguments of `darts`; after its epochs the decisions are settled one by one, each by the validation
    accuracy of the supernet without an option, with some epochs of the search in between (see `ByPerturbation`). Other
    methods take the same selection (`--selection perturbation`).

    Args:
        recipe: that of `darts`, whose keyword arguments this method takes.
        tuning_epochs: of the search between two rounds of decisions; the last one is followed by one epoch.
        criterion: by which a removal is judged, `"metric"` (accuracy) or `"loss"`.

    Returns:
        The recipe.

    Example:
        >>> darts_pt(epochs=2).describe()
        'SoftmaxLogits × Expectation × Alternating × ByPerturbation × WeightDecay'

    References:
        R. Wang, M. Cheng, X. Chen, X. Tang and C.-J. Hsieh, *Rethinking Architecture Selection in Differentiable NAS*,
        ICLR 2021 (arXiv 2108.04392), algorithm 1, and the released code.

    Deviations:
        On NAS-Bench-201 the authors let the zero operation be chosen; here, as in their space of DARTS, it is excluded.
        See also `ByPerturbation`.
    """
    return replace(recipe, selection=_perturbation(tuning_epochs, criterion))


@method("blank-pt")
def blank_pt(
    *,
    epochs: int = 50,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    tuning_epochs: int = 5,
    criterion: str = "metric",
    exclude: tuple[str, ...] = ("none",),
) -> Recipe:
    """Perturbation-based selection on a supernet whose architecture parameters never move.

    As `darts_pt` without a single architecture step, in the search and between two rounds of the selection: w trains
    under the uniform mixture, and what is taken is what it misses most.

    Args:
        epochs: passes over the examples that train w, before anything is decided.
        batch_size: examples per step.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        tuning_epochs: of the search between two rounds of decisions; the last one is followed by one epoch.
        criterion: by which a removal is judged, `"metric"` (accuracy) or `"loss"`.
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> blank_pt(epochs=2).stages[0].architecture_steps
        False

    References:
        R. Wang et al., *Rethinking Architecture Selection in Differentiable NAS*, ICLR 2021 (arXiv 2108.04392), the
        experiments with fixed α, and the released code (`blank`).

    Deviations:
        As for `darts_pt`.
    """
    recipe = darts(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        minimum_learning_rate=minimum_learning_rate,
        weight_decay=weight_decay,
        exclude=exclude,
    )
    resting = (Stage(architecture_steps=False),)
    return replace(recipe, stages=resting, penalties=(), selection=_perturbation(tuning_epochs, criterion))


def _perturbation(tuning_epochs: int, criterion: str) -> ByPerturbation:
    word: Literal["metric", "loss"] = named("criterion", criterion, metric="metric", loss="loss")
    return ByPerturbation(tuning_epochs, word)
