"""Progressive shrinking (Once-for-All): the largest network first, then kernels, depths and widths, in stages."""

from __future__ import annotations

from collections.abc import Sequence

from sharewise.data import held_out
from sharewise.distribution import Ending, Offered, Staged
from sharewise.engine import (
    Cosine,
    Offering,
    OwnTeacher,
    Recipe,
    Sorting,
    Stage,
    Summed,
    Surgery,
    WeightOptimization,
)
from sharewise.engine.shrinking import KINDS
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.methods.registry import method
from sharewise.methods.spos import ranked

__all__ = ["progressive_shrinking"]

_PATHS = {"kernel": 1, "depth": 2, "width": 4}
"""Networks per step once a kind is elastic."""

Phase = tuple[str, float, float, tuple[Surgery, ...]]
"""What becomes elastic, a share of the epochs, a factor of the learning rate, and what happens on entering."""


@method("progressive-shrinking")
def progressive_shrinking(
    *,
    epochs: int = 590,
    batch_size: int = 64,
    learning_rate: float = 0.03,
    weight_decay: float = 3e-5,
    train_fraction: float = 0.8,
    largest: float = 180.0,
    order: tuple[str, ...] = ("kernel", "depth", "width"),
    distillation: float = 1.0,
    importance: str = "readers",
    selection: str = "random",
    candidates: int = 100,
    population: int = 50,
    recalibration_batches: int = 4,
    selection_examples: int = 2048,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Progressive shrinking of a largest network into a supernet (Once-for-All).

    A first stage trains the largest network alone; as it is then, it becomes the teacher of all that follows. Then
    kernels become elastic, then depths, then widths; depths and widths first with their larger options alone, then with
    all. Before widths become elastic, and again before the second phase, channels are sorted by importance, the second
    time within the parts that the first phase has established. In each step some networks are drawn among what is
    offered, and the gradients of their losses are added::

        w ← w - η Σ_i ∇_w [ L(f(a_i), y) + λ L_soft(f(a_i), f(teacher)) ]

    All stages are one run: what each begins with is recorded in the history, and a run that is killed goes on. A stage
    without choices of its kind goes on with what is elastic already. Where a run has fewer epochs than stages, stages
    are left out, the last one never.

    Args:
        epochs: passes over the examples that train w, of all stages together.
        batch_size: examples per step.
        learning_rate: of w, at the start of the cosines of the largest network and of kernels; a first phase begins at
            a twelfth of it and a second one at a quarter.
        weight_decay: of w.
        train_fraction: of the training examples that train w, in (0, 1); the others rank architectures.
        largest: share of the first stage beside 120 for every kind and 25 for a first phase; 0 for a model that is
            trained already.
        order: kinds in the order in which they become elastic; heads are a width.
        distillation: λ; 0 for no teacher.
        importance: by which channels are sorted before widths (`sharewise.sort_by_importance`), or `"none"`.
        selection: `"random"` for the best of some random architectures, `"evolution"` for the algorithm of SPOS.
        candidates: architectures that are ranked, in whole generations by evolution.
        population: architectures per generation of the evolution, at most `candidates`.
        recalibration_batches: training mini-batches that re-estimate the statistics of each candidate.
        selection_examples: held-out examples on which every candidate is scored, all of them where there are fewer.
        exclude: options that are never drawn.

    Returns:
        The recipe.

    Example:
        >>> recipe = progressive_shrinking(epochs=59)
        >>> [round(stage.fraction * 59) for stage in recipe.stages]
        [18, 12, 3, 12, 2, 12]

    References:
        H. Cai et al., *Once-for-All: Train One Network and Specialize it for Efficient Deployment*, ICLR 2020
        (arXiv 1908.09791), section 3.3. Released code: kernels 120 epochs at 3e-2 with 1 network per step; depths 25 at
        2.5e-3, then 120 at 7.5e-3, with 2; widths the same with 4; Nesterov momentum 0.9, weight decay 3e-5, λ = 1.

    Deviations:
        The largest network trains in the same run, for 180 epochs at the rate of kernels. Learning rates do not rise at
        the beginning of a stage (5 epochs there). The authors smooth labels by 0.1 and vary the resolution; weight
        decay leaves out norms and biases there; the norm of the gradient is clipped at 5 here and not there. Their
        squeeze channels are sorted with the channels that they gate; here every group of channels has an order of its
        own. They recalibrate statistics with more batches and select by evolution with a predictor of accuracy.
    """
    for kind in order:
        if kind not in KINDS:
            raise unknown_name("kind of choice in order:", kind, KINDS)
    if len(set(order)) != len(order) or not order:
        raise ConfigurationError(f"order names each kind of choice once, of {', '.join(KINDS)}; got {list(order)}")
    if largest < 0 or distillation < 0:
        raise ConfigurationError(
            f"largest and distillation must not be negative, got largest={largest}, distillation={distillation}"
        )
    phases = _shortened(_phases(largest, order, distillation, importance), epochs)
    lengths = _lengths([share for _, share, _, _ in phases], epochs)
    rates: tuple[Ending, ...] = tuple(Cosine(learning_rate * factor) for _, _, factor, _ in phases)
    return Recipe(
        name="progressive-shrinking",
        distribution=Offered(),
        level=Summed(),
        roles=held_out(train_fraction),
        selection=ranked(selection, candidates, population, recalibration_batches, selection_examples),
        weights=WeightOptimization(Staged(tuple(map(float, lengths)), rates), weight_decay=weight_decay, nesterov=True),
        epochs=epochs,
        batch_size=batch_size,
        stages=tuple(
            Stage(length / epochs, operations=operations)
            for length, (_, _, _, operations) in zip(lengths, phases, strict=True)
        ),
        exclude=exclude,
    )


def _phases(largest: float, order: Sequence[str], distillation: float, importance: str) -> list[Phase]:
    """All phases of the published procedure."""
    phases: list[Phase] = [("largest", largest, 1.0, (Offering(),))] if largest else []
    teacher: tuple[Surgery, ...] = (OwnTeacher(distillation),) if distillation else ()
    sorting: tuple[Surgery, ...] = () if importance == "none" else (Sorting(importance),)
    for number, kind in enumerate(order):
        before, paths = tuple(order[:number]), _PATHS[kind]
        entering = (*(teacher if number == 0 else ()), *(sorting if kind == "width" else ()))
        if kind != "kernel":
            phases.append((f"{kind} partly", 25.0, 1 / 12, (*entering, Offering(before, kind, paths))))
            entering = sorting if kind == "width" else ()
        rate = 1.0 if kind == "kernel" else 1 / 4
        phases.append((kind, 120.0, rate, (*entering, Offering((*before, kind), None, paths))))
    return phases


def _shortened(phases: list[Phase], epochs: int) -> list[Phase]:
    """As many phases as there are epochs: the last one first, then the largest network, kinds, and first phases."""
    worth = {len(phases) - 1: 0} | {
        place: 1 if name == "largest" else 3 if name.endswith("partly") else 2
        for place, (name, *_) in enumerate(phases[:-1])
    }
    kept = sorted(sorted(worth, key=lambda place: (worth[place], place))[: max(1, epochs)])
    chosen = [phases[place] for place in kept]
    trained = chosen[0][0] == "largest" or phases[0][0] != "largest"  # else nobody is there to teach
    teacher = [op for *_, operations in phases for op in operations if isinstance(op, OwnTeacher) and trained]
    first = chosen[0][0] == "largest"
    return [
        (name, share, factor, (*(teacher if place == first else ()), *_without_teacher(operations)))
        for place, (name, share, factor, operations) in enumerate(chosen)
    ]


def _without_teacher(operations: tuple[Surgery, ...]) -> tuple[Surgery, ...]:
    return tuple(op for op in operations if not isinstance(op, OwnTeacher))


def _lengths(shares: Sequence[float], epochs: int) -> list[int]:
    """Whole epochs for every phase, at least one each, in proportion to shares, by largest remainders."""
    exact = [max(1.0, share * epochs / sum(shares)) for share in shares]
    lengths = [int(value) for value in exact]
    while sum(lengths) != epochs:
        step = 1 if sum(lengths) < epochs else -1
        allowed = [i for i in range(len(lengths)) if lengths[i] + step >= 1]
        place = max(allowed, key=lambda i: step * (exact[i] - lengths[i]))
        lengths[place] += step
    return lengths
