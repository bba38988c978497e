"""GAEA: DARTS and GDAS in the geometry of the simplex."""

from __future__ import annotations

from dataclasses import replace

from sharewise.data import bilevel, single_level
from sharewise.distribution import Expectation, Learned, Simplex, StraightThroughGumbel
from sharewise.engine import Alternating, Cosine, DartsRule, EntropyPenalty, Linear, Mode, Recipe, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method, variant

__all__ = ["gaea_darts", "gaea_erm", "gaea_gdas"]


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
        They return the cell of the epoch with the best validation accuracy of the supernet; here it is that of the end.
        Architecture steps leave running statistics alone, which in the authors' code follow
        their batches too; no training step reads them.
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


@method("gaea-gdas")
def gaea_gdas(
    *,
    epochs: int = 100,
    batch_size: int = 64,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    architecture_learning_rate: float = 0.01,
    entropy_penalty: float = 0.01,
    temperature: float = 10.0,
    minimum_temperature: float = 0.1,
    warm_up: float = 0.5,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Geometry-aware GDAS: sampled single paths, with θ on the simplex.

    Replaces softmax and Adam of `gdas` by exponentiated gradient, with log θ in place of log softmax(α)::

        p̃ = softmax((log θ + G) / τ),   gate = one-hot(argmax p̃) - stop(p̃) + p̃
        θ ← θ · exp(-η ∇_θ [L_val + λ Σ θ log(θ k)]),   normalised

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: η.
        entropy_penalty: λ, which keeps θ from collapsing.
        temperature: τ in the first epoch.
        minimum_temperature: τ in the last epoch, positive.
        warm_up: fraction of the epochs in which θ rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> gaea_gdas(epochs=2).describe()
        'Simplex × StraightThroughGumbel × Alternating × Mode × EntropyPenalty'

    References:
        L. Li et al., *GAEA*, ICLR 2021 (arXiv 2004.07802), and the released configuration of EGDAS on NAS-Bench-201.

    Deviations:
        The authors search with 24 channels (an option of the network here) and warm up for 50 epochs, leave the number
        of epochs and the data split to the user, and restart their cosine at half height after those 50; here one
        cosine spans the run, and w and θ train on two halves. Their temperature waits for the end of the warm-up and
        then falls more slowly than to its minimum; here it falls from the first epoch on. See also
        `StraightThroughGumbel`.
    """
    return Recipe(
        name="gaea-gdas",
        distribution=Learned(
            Simplex(architecture_learning_rate), StraightThroughGumbel(Linear(temperature, minimum_temperature))
        ),
        level=Alternating(first="architecture"),
        roles=bilevel(),
        selection=Mode(),
        weights=WeightOptimization(Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(EntropyPenalty(entropy_penalty),) if entropy_penalty else (),
        stages=stages(warm_up),
        exclude=exclude,
    )
