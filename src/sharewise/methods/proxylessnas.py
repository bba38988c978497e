"""ProxylessNAS: binary gates, two paths compared per architecture step."""

from __future__ import annotations

from sharewise.data import bilevel
from sharewise.distribution import Learned, SoftmaxLogits, TwoPath
from sharewise.engine import Alternating, Cosine, ExpectedCost, Mode, Recipe, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method

__all__ = ["proxylessnas"]


@method("proxylessnas")
def proxylessnas(
    *,
    epochs: int = 160,
    batch_size: int = 256,
    learning_rate: float = 0.025,
    minimum_learning_rate: float = 0.0,
    weight_decay: float = 4e-5,
    architecture_learning_rate: float = 1e-3,
    architecture_every: int = 5,
    cost_penalty: float = 0.0,
    warm_up: float = 0.25,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """ProxylessNAS, gradient-based, with two paths.

    Weight steps train one path drawn from p = softmax(α). Architecture steps, on the other half of the training set,
    draw two options per decision, run both with binary gates g, and move the two logits against each other::

        ∂L/∂α_i ≈ Σ_j ∂L/∂g_j · q_j (δ_ij - q_i),   q = softmax of the two logits

    after which both are shifted so that the probabilities of all other options stay as they were. Memory is that of two
    paths.

    Args:
        epochs: passes over the examples that train w; the authors run 40 of warm-up and 120 more.
        batch_size: examples per step, for both steps.
        learning_rate: of w, at the start of the cosine.
        minimum_learning_rate: of w, at its end.
        weight_decay: of w.
        architecture_learning_rate: of Adam on α, which has no first moment.
        architecture_every: weight steps per architecture step.
        cost_penalty: λ of λ E[cost], with the cost in multiply-accumulates relative to the most expensive architecture.
        warm_up: fraction of the epochs in which α rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> proxylessnas(epochs=4).describe()
        'SoftmaxLogits × TwoPath × Alternating × Mode'

    References:
        H. Cai, L. Zhu and S. Han, *ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware*, ICLR
        2019 (arXiv 1812.00332), sections 3.2 and 3.3, and the released settings for ImageNet.

    Deviations:
        The authors' code compares all paths by default; this is the two-path form of the paper. It holds out 50,000 of
        1.2 million images for α, here half; it skips architecture steps in the first epoch after the warm-up, and for
        edges whose drawn operation is zero. The warm-up shares the cosine of the search instead of having one of its
        own; no label smoothing. The cost term counts multiply-accumulates, linearly; its gradient moves all logits,
        those of the pair and the others.
    """
    return Recipe(
        name="proxylessnas",
        distribution=Learned(
            SoftmaxLogits(architecture_learning_rate, betas=(0.0, 0.999), preserve_mass=not cost_penalty), TwoPath()
        ),
        level=Alternating(first="weights", every=architecture_every),
        roles=bilevel(),
        selection=Mode(),
        weights=WeightOptimization(
            Cosine(learning_rate, minimum_learning_rate), weight_decay=weight_decay, nesterov=True
        ),
        epochs=epochs,
        batch_size=batch_size,
        penalties=(ExpectedCost(cost_penalty),) if cost_penalty else (),
        stages=stages(warm_up),
        exclude=exclude,
    )
