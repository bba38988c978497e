"""TangleNAS: gradient-based search on entangled weights, with every distribution of the house."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sharewise.data import bilevel
from sharewise.distribution import (
    Concentrations,
    DirichletPath,
    Expectation,
    Learned,
    Simplex,
    SoftmaxLogits,
    StraightThroughGumbel,
)
from sharewise.engine import (
    AdamOptimization,
    Alternating,
    Cosine,
    Linear,
    Mode,
    Optimization,
    Recipe,
    WeightDecay,
    WeightOptimization,
)
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method, named, variant

__all__ = ["tanglenas_darts", "tanglenas_drnas", "tanglenas_gaea", "tanglenas_gdas"]


@method("tanglenas-drnas")
def tanglenas_drnas(
    *,
    epochs: int = 100,
    batch_size: int = 64,
    optimizer: str = "sgd",
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    train_fraction: float = 0.5,
    architecture_learning_rate: float = 3e-4,
    architecture_weight_decay: float = 1e-3,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Weight entanglement meets gradient-based search, with Dirichlet samples (TangleNAS as its paper means it).

    Where options are nested in one largest weight, their mixture is one weight and one forward pass::

        W_mix = Σ_i x_i pad(W[option i]),   x ~ Dir(elu(α) + 1),   α ← α - Adam(∇_α [L_val(w, x) + λ/2 ‖α‖²])

    with w and α on two parts of the training set; then the most probable option of every decision. Superposition is how
    a supernet consumes gates, so the recipe is that of `drnas` with the settings of this paper, and runs on every
    space: entangled where the network is (conv-macro; `sharing="entangled"` elsewhere).

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        optimizer: of w: `"sgd"` with momentum 0.9, `"adamw"` for transformers, or `"adam"`, which the paper takes on
            conv-macro (with `learning_rate=3e-4, minimum_learning_rate=1e-4, weight_decay=5e-4`).
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        train_fraction: of the training examples that train w, in (0, 1); the others train α. The paper has 0.5 and 0.8.
        architecture_learning_rate: of Adam on α.
        architecture_weight_decay: λ.
        warm_up: fraction of the epochs in which α rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> tanglenas_drnas(epochs=2).describe()
        'Concentrations × DirichletPath × Alternating × Mode × WeightDecay'

    References:
        R. Sukthanker, A. Krishnakumar, M. Safari and F. Hutter, *Weight-Entanglement Meets Gradient-Based Neural
        Architecture Search*, AutoML 2024 (arXiv 2312.10440), algorithm 2, tables 21 to 25: settings for NAS-Bench-201.

    Deviations:
        Supernets apply each gate once and keep the mass of entangled operations before a norm; the network option
        `published` gives the authors' form. Gradients of w are clipped to norm 5, as in
        the released code. Architecture steps leave running statistics alone, which in that code follow their batches
        too; no training step reads them. Adam has the usual second beta of
        0.999; the released code takes 0.995 on conv-macro.
    """
    return Recipe(
        name="tanglenas-drnas",
        distribution=Learned(Concentrations(architecture_learning_rate), DirichletPath()),
        level=Alternating(first="architecture"),
        roles=bilevel(train_fraction),
        selection=Mode(),
        weights=_optimization(optimizer, learning_rate, minimum_learning_rate, weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(WeightDecay(architecture_weight_decay),),
        stages=stages(warm_up),
        exclude=exclude,
    )


@variant("tanglenas-darts", of=tanglenas_drnas)
def tanglenas_darts(recipe: Recipe) -> Recipe:
    """TangleNAS with the mixture of DARTS: gates are softmax(α).

    The steps and arguments of `tanglenas_drnas` with another distribution, x = softmax(α).

    Args:
        recipe: that of `tanglenas_drnas`, whose keyword arguments this method takes.

    Returns:
        The recipe.

    Example:
        >>> tanglenas_darts(epochs=2).describe()
        'SoftmaxLogits × Expectation × Alternating × Mode × WeightDecay'

    References:
        R. Sukthanker et al., AutoML 2024 (arXiv 2312.10440), section 4 and table 5.

    Deviations:
        The defaults are those of `tanglenas_drnas`, so that the distribution alone differs. The released configuration
        of DARTS on NAS-Bench-201 has 50 epochs, a weight decay of 5e-4 and Nesterov's momentum; and the released code
        weighs entangled operations by the sparsemax of α, not by its softmax.
    """
    rate = recipe.arguments["architecture_learning_rate"]
    return replace(recipe, distribution=Learned(SoftmaxLogits(rate), Expectation()))


@variant("tanglenas-gdas", of=tanglenas_drnas)
def tanglenas_gdas(recipe: Recipe, *, temperature: float = 10.0, minimum_temperature: float = 0.1) -> Recipe:
    """TangleNAS with the hard samples of GDAS: one slice of every weight per step.

    The steps and arguments of `tanglenas_drnas` with x = one-hot(argmax p̃) - stop(p̃) + p̃,
    p̃ = softmax((log softmax(α) + G) / τ).

    Args:
        recipe: that of `tanglenas_drnas`, whose keyword arguments this method takes.
        temperature: τ in the first epoch.
        minimum_temperature: τ in the last epoch, positive.

    Returns:
        The recipe.

    Example:
        >>> tanglenas_gdas(epochs=2).describe()
        'SoftmaxLogits × StraightThroughGumbel × Alternating × Mode × WeightDecay'

    References:
        R. Sukthanker et al., AutoML 2024 (arXiv 2312.10440), section 4: reported as degenerate on conv-macro.

    Deviations:
        The defaults are those of `tanglenas_drnas`, so that the distribution alone differs. The released configuration
        of GDAS on NAS-Bench-201 has 250 epochs, a weight decay of 5e-4 and Nesterov's momentum. See
        `StraightThroughGumbel`. Where a layer does not scale its bias (see `SlicedLinear`), neither does its
        sample; the released code multiplies bias and weight by the product of all gates of a layer.
    """
    rate = recipe.arguments["architecture_learning_rate"]
    estimator = StraightThroughGumbel(Linear(temperature, minimum_temperature))
    return replace(recipe, distribution=Learned(SoftmaxLogits(rate), estimator))


@method("tanglenas-gaea")
def tanglenas_gaea(
    *,
    epochs: int = 100,
    batch_size: int = 64,
    optimizer: str = "sgd",
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.001,
    weight_decay: float = 3e-4,
    train_fraction: float = 0.5,
    architecture_learning_rate: float = 0.1,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Geometry-aware search on entangled weights: gates are a point θ of the simplex (a combination nobody published).

    As `tanglenas_darts` with exponentiated gradient in place of softmax and Adam::

        W_mix = Σ_i θ_i pad(W[option i]),   θ ← θ · exp(-η ∇_θ L_val(w, θ)),   normalised

    Args:
        epochs: passes over the examples that train w.
        batch_size: examples per step, for both steps.
        optimizer: of w, `"sgd"`, `"adam"` or `"adamw"`, see `tanglenas_drnas`.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        train_fraction: of the training examples that train w, in (0, 1); the others train θ.
        architecture_learning_rate: η.
        warm_up: fraction of the epochs in which θ rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> tanglenas_gaea(epochs=2).describe()
        'Simplex × Expectation × Alternating × Mode'

    References:
        L. Li et al., *Geometry-Aware Gradient Algorithms for NAS*, ICLR 2021 (arXiv 2004.07802), for θ; R. Sukthanker
        et al., AutoML 2024 (arXiv 2312.10440), for everything else.

    Deviations:
        GAEA excludes `none` and stretches its cosine; here both are as in the other methods of this family, so that
        geometry alone differs.
    """
    return Recipe(
        name="tanglenas-gaea",
        distribution=Learned(Simplex(architecture_learning_rate), Expectation()),
        level=Alternating(first="architecture"),
        roles=bilevel(train_fraction),
        selection=Mode(),
        weights=_optimization(optimizer, learning_rate, minimum_learning_rate, weight_decay),
        epochs=epochs,
        batch_size=batch_size,
        stages=stages(warm_up),
        exclude=exclude,
    )


def _optimization(word: str, rate: float, minimum: float, weight_decay: float) -> Optimization:
    movers: dict[str, Callable[..., Optimization]] = {
        "sgd": WeightOptimization,
        "adam": AdamOptimization,
        "adamw": partial(AdamOptimization, decoupled=True),
    }
    mover = named("optimizer", word, **movers)
    return mover(Cosine(rate, minimum), weight_decay=weight_decay)
