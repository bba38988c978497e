"""GAEA: DARTS in the geometry of the simplex, bilevel and on a single level."""

from __future__ import annotations

from dataclasses import replace

from sharewise.data import bilevel, single_level
from sharewise.distribution import Expectation, Learned, Simplex
from sharewise.engine import Alternating, Cosine, DartsRule, EntropyPenalty, Recipe, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method, variant

__all__ = ["gaea_darts", "gaea_erm"]


@method("gaea-darts")
def gaea_darts(
    *,
    epochs: int = 25,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    schedule_stretch: float = 2.0,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 0.1,
    entropy_penalty: float = 0.0,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = ("none",),
) -> Recipe:
    """Geometry-aware DARTS: the mixture weights live on the simplex and move by exponentiated gradient.

    Replaces softmax and Adam of `darts` by::

        θ ← θ · exp(-η ∇_θ L_val(w, θ)),   θ ← max(θ, 1e-5),   θ ← θ / Σ θ

    per decision, from the uniform θ; everything else is first-order DARTS.

    Args:
        epochs: passes over the examples that train w; the authors run 25 of a schedule of 50.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        schedule_stretch: length of the cosine in multiples of `epochs`.
        weight_decay: of w.
        architecture_learning_rate: η.
        entropy_penalty: strength λ of λ Σ θ log(θ k), which keeps θ from collapsing.
        warm_up: fraction of the epochs in which θ rests, in [0, 1).
        exclude: options masked throughout; the authors exclude the zero operation on NAS-Bench-201.

    Returns:
        The recipe.

    Example:
        >>> gaea_darts(epochs=2).describe()
        'Simplex × Expectation × Alternating × DartsRule'

    References:
        L. Li, M. Khodak, M.-F. Balcan and A. Talwalkar, *Geometry-Aware Gradient Algorithms for Neural Architecture
        Search*, ICLR 2021 (arXiv 2004.07802), algorithm 1 and the released configurations.

    Deviations:
        The authors search NAS-Bench-201 with 24 channels; channels are an option of the network here (default 16).
    """
    return Recipe(
        name="gaea-darts",
        distribution=Learned(Simplex(architecture_learning_rate), Expectation()),
        level=Alternating(first="architecture"),
        roles=bilevel(),
        selection=DartsRule(),
        weights=WeightOptimization(
            Cosine(learning_rate, minimum_learning_rate, schedule_stretch), weight_decay=weight_decay
        ),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(EntropyPenalty(entropy_penalty),) if entropy_penalty else (),
        stages=stages(warm_up),
        exclude=exclude,
    )


@variant("gaea-erm", of=gaea_darts)
def gaea_erm(recipe: Recipe) -> Recipe:
    """GAEA on one level: w by SGD and θ by exponentiated gradient, both on the whole training set (ERM).

    The same steps and arguments as `gaea_darts` with other data roles. This is the variant whose cells the paper
    reports on NAS-Bench-201 (94.10 % on CIFAR-10).

    Args:
        recipe: that of `gaea_darts`, whose keyword arguments this method takes.

    Returns:
        The recipe.

    Example:
        >>> gaea_erm().exclude
        ('none',)

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for NAS*, ICLR 2021 (arXiv 2004.07802), sections 2 and 4.

    Deviations:
        The rounding gap of a single-level search is measured on training examples, since none are held out.
    """
    return replace(recipe, roles=single_level())
