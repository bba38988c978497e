"""ENAS: a recurrent controller that learns from the reward of the architectures it samples."""

from __future__ import annotations

from sharewise.data import bilevel
from sharewise.distribution import Autoregressive
from sharewise.engine import CosineRestarts, RankSampled, Recipe, Reward, WeightOptimization
from sharewise.engine import warm_up as stages
from sharewise.methods.registry import method
from sharewise.supernet import BatchStatistics

__all__ = ["enas"]


@method("enas")
def enas(
    *,
    epochs: int = 150,
    batch_size: int = 128,
    learning_rate: float = 0.05,
    minimum_learning_rate: float = 0.0005,
    weight_decay: float = 2.5e-4,
    controller_learning_rate: float = 1e-3,
    controller_steps: int = 50,
    controller_samples: int = 20,
    baseline_decay: float = 0.99,
    entropy_bonus: float = 1e-4,
    candidates: int = 100,
    selection_examples: int = 2048,
    warm_up: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Efficient neural architecture search via parameter sharing (ENAS).

    An LSTM samples architectures, p(a) = Π_d p(a_d | a_1 … a_{d-1}). Every epoch trains the shared weights along its
    samples, min over w of E_a L_train(w(a)), and then the controller by REINFORCE on rewards from the other half of the
    training set::

        ∇_θ E_a [R(a)] ≈ mean over samples of (R(a) - b) ∇_θ log p_θ(a),   b ← δ b + (1 - δ) R(a)

    with b moved before it is subtracted, and R the accuracy on one batch plus an entropy bonus. In the end the best of
    some samples of the controller is taken.

    Args:
        epochs: passes over the examples that train w, each followed by the training of the controller.
        batch_size: examples per weight step and per reward.
        learning_rate: of w, at the start of each of four cosines of doubling length (10, 20, 40, 80 of 150 epochs).
        minimum_learning_rate: of w, at their ends.
        weight_decay: of w.
        controller_learning_rate: of Adam.
        controller_steps: steps on the controller per epoch.
        controller_samples: architectures, and batches, per such step.
        baseline_decay: δ.
        entropy_bonus: strength of the bonus -log p(a).
        candidates: architectures that are sampled and ranked in the end.
        selection_examples: held-out examples on which every candidate is scored, all of them where there are fewer.
        warm_up: fraction of the epochs in which the controller rests, in [0, 1).
        exclude: options masked throughout.

    Returns:
        The recipe.

    Example:
        >>> enas(epochs=2).describe()
        'Autoregressive × Reward × RankSampled'

    References:
        H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, *Efficient Neural Architecture Search via Parameter Sharing*, ICML
        2018 (arXiv 1802.03268), section 2.2; settings for NAS-Bench-201 from the benchmark's paper (arXiv 2001.00326).

    Deviations:
        The benchmark's code repeats cosines of 10 epochs down and up over 250 epochs; here they restart and double over
        150, as in the ENAS paper, and stretch with another number of epochs. The learning rate follows epochs, in that
        code single steps. It holds the baseline still during an
        epoch; here it follows every sample, as in the ENAS code, from the first reward on, and is updated before it is
        subtracted. Rewards and ranking use the statistics of the batch in every layer; the benchmark's code uses
        running ones in stem and residual blocks. Candidates see the same examples, not one batch each. For the entropy
        bonus see `Reward`.
    """
    return Recipe(
        name="enas",
        distribution=Autoregressive(learning_rate=controller_learning_rate),
        level=Reward(controller_steps, controller_samples, baseline_decay, entropy_bonus),
        roles=bilevel(),
        selection=RankSampled(candidates, BatchStatistics(), selection_examples),
        weights=WeightOptimization(
            CosineRestarts(learning_rate, minimum_learning_rate), weight_decay=weight_decay, nesterov=True
        ),
        epochs=epochs,
        batch_size=batch_size,
        stages=stages(warm_up),
        exclude=exclude,
    )
