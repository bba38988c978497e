"""A search guided by a supernet: rank by proxy, train the best k alone, keep what trained best.

Its cost is charged in the unit of the others: first the supernet (its training and the scoring of the pool), then one
standalone training after another in the order of the scores. After k of them this is the TOP-k strategy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharewise.appraisal.agreement import paired
from sharewise.appraisal.regret import at_checkpoints, incumbents
from sharewise.errors import ConfigurationError

__all__ = ["GuidedSearch", "guided_search", "random_searches", "worth_in_trainings"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GuidedSearch:
    """One search with one supernet.

    Args:
        order: places of the architectures in the order of their training, `(n,)`.
        regrets: of the incumbent after each training, `(n,)`.
        spent: cost up to and including each training, the supernet's own before the first, `(n,)`.
        upfront: what the supernet cost before any training.
        random_ties: scores that tie with another, whose order was drawn at random.

    Example:
        >>> found = guided_search([3, 2, 1], [0.90, 0.94, 0.92], generator=np.random.default_rng(0), upfront=0.5)
        >>> found.regrets.round(2).tolist(), found.spent.tolist()
        ([0.04, 0.0, 0.0], [1.5, 2.5, 3.5])
        >>> found.top(1)[1]
        1.5
    """

    order: NDArray[np.intp]
    regrets: Floats
    spent: Floats
    upfront: float
    random_ties: int

    def top(self, k: int) -> tuple[float, float]:
        """Regret and cost of training the best k by proxy.

        Raises:
            ConfigurationError: when fewer than k architectures were scored.
        """
        if not 1 <= k <= len(self.order):
            raise ConfigurationError(f"TOP-{k} needs {k} scored architectures, and {len(self.order)} were scored")
        return float(self.regrets[k - 1]), float(self.spent[k - 1])

    def at(self, checkpoints: ArrayLike) -> Floats:
        """Regret at given costs, not a number before the first training is complete."""
        return at_checkpoints(self.spent, self.regrets, checkpoints)


def guided_search(
    proxy: ArrayLike,
    test: ArrayLike,
    *,
    generator: np.random.Generator,
    signal: ArrayLike | None = None,
    best: float | None = None,
    upfront: float = 0.0,
    costs: ArrayLike = 1.0,
) -> GuidedSearch:
    """Train architectures in the order of their scores, and follow the regret of the one that a user would keep.

    Args:
        proxy: scores with shared weights, `(n,)`; higher is better.
        test: what regret is judged by, in the same order.
        generator: breaks ties of scores.
        signal: what a standalone training shows to the search (validation accuracy), by which the incumbent is chosen;
            `None` lets the search see `test`, which flatters it.
        best: the best test value that was possible; `None` takes the best of the pool, which leaves out what the pool
            missed.
        upfront: training the supernet and scoring the pool, in the unit of `costs`.
        costs: of one standalone training each, `(n,)` or one number.

    Returns:
        The search; `top(k)` is the TOP-k strategy, `at(costs)` places it beside other searches.

    Raises:
        ConfigurationError: when lengths differ, a cost is negative, there are fewer than three architectures, or the
            scores are all the same (a failed supernet, which guides nowhere).
        NonFiniteError: when a value is infinite or not a number.
    """
    scores, judged = paired(proxy, test)
    if scores.min() == scores.max():
        raise ConfigurationError(
            f"every score is {scores[0]:.6g}: a supernet that failed guides no search; leave it out and say so"
        )
    shown = judged if signal is None else paired(scores, signal)[1]
    charged = np.broadcast_to(np.asarray(costs, dtype=np.float64), scores.shape)
    if not np.isfinite(charged).all() or charged.min() < 0 or not np.isfinite(upfront) or upfront < 0:
        raise ConfigurationError(f"costs must be finite and at least 0, got {upfront} and {charged.min()} or more")
    optimum = judged.max() if best is None else best
    order = np.lexsort((generator.random(len(scores)), -scores))
    _, counts = np.unique(scores, return_counts=True)
    regrets = optimum - judged[order][incumbents(shown[order])]
    spent = upfront + np.cumsum(charged[order])
    return GuidedSearch(order, regrets, spent, float(upfront), int(counts[counts > 1].sum()))


def random_searches(
    signal: ArrayLike,
    test: ArrayLike,
    trainings: int,
    *,
    repeats: int,
    generator: np.random.Generator,
    best: float | None = None,
) -> Floats:
    """Regrets of random search without replacement on a pool, after each training.

    Args:
        signal: what a training shows, `(n,)`.
        test: what regret is judged by, in the same order.
        trainings: of each repeat, from 1 to n.
        repeats: how many.
        generator: draws the orders.
        best: the best test value that was possible; `None` takes the best of the pool.

    Returns:
        `(repeats, trainings)`.

    Example:
        >>> random_searches([1, 2, 3], [1, 2, 3], 3, repeats=2, generator=np.random.default_rng(0))[:, -1].tolist()
        [0.0, 0.0]
    """
    shown, judged = paired(signal, test)
    if not 1 <= trainings <= len(shown) or repeats < 1:
        raise ConfigurationError(
            f"from a pool of {len(shown)} architectures 1 to {len(shown)} can be trained, in at least one repeat; got "
            f"{trainings} and {repeats}"
        )
    optimum = judged.max() if best is None else best
    found = np.empty((repeats, trainings))
    for row in found:
        order = generator.choice(len(shown), trainings, replace=False)
        row[:] = optimum - judged[order][incumbents(shown[order])]
    return found


def worth_in_trainings(regret: float, curve: ArrayLike) -> float | None:
    """How many trainings random search needs for a mean regret as small: what the supernet's advice is worth.

    Args:
        regret: mean regret of a guided search.
        curve: mean regret of random search after 1, 2, … trainings.

    Returns:
        The number, interpolated; 1 where a single random architecture does as well; `None` where no number of trainings
        on the curve suffices.

    Example:
        >>> worth_in_trainings(0.5, [2.0, 1.0, 0.6, 0.4]), worth_in_trainings(0.1, [2.0, 1.0])
        (3.5, None)
    """
    means = np.minimum.accumulate(np.asarray(curve, dtype=np.float64))
    reached = np.flatnonzero(means <= regret)
    if not len(reached):
        return None
    after = int(reached[0])
    if after == 0:
        return 1.0
    return after + float((means[after - 1] - regret) / (means[after - 1] - means[after]))
