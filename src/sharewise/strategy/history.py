"""Histories and budgets: what was asked, what it cost, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import final, overload

import numpy as np
from numpy.typing import NDArray

from sharewise.errors import ConfigurationError
from sharewise.strategy.oracle import Evaluation
from sharewise.strategy.representation import Representation
from sharewise.strategy.strategy import Trial

__all__ = ["Budget", "History"]


@final
@dataclass(frozen=True)
class Budget:
    """How much may be spent, and by how many at once; whichever limit is met first ends a run.

    Args:
        cost: in the oracle's unit; with several workers that of each of them, which for seconds is wall-clock.
        evaluations: questions, of all workers together.
        workers: how many evaluate at the same time, at least 1.

    Raises:
        ConfigurationError: when there is no limit, or a number is not positive.

    Example:
        >>> Budget(evaluations=100)
        Budget(cost=None, evaluations=100, workers=1)
    """

    cost: float | None = None
    evaluations: int | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.cost is None and self.evaluations is None:
            raise ConfigurationError("a budget needs a limit: cost=, evaluations=, or both")
        for name in ("cost", "evaluations"):
            limit = getattr(self, name)
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise ConfigurationError(f"the budget's {name} must be positive and finite, got {limit}")
        if not isinstance(self.workers, int) or self.workers < 1:
            raise ConfigurationError(f"a run needs a whole number of workers, at least 1, got workers={self.workers}")


@final
@dataclass(frozen=True, eq=False)
class History(Sequence[Evaluation]):
    """All evaluations of a run in their order; immutable.

    Args:
        representation: of the space.
        trials: what was asked and answered, in the order of the answers.
        unit: of the costs.
        ended: when each was answered, on a clock that counts in that unit; `None` where costs alone say it.
    """

    representation: Representation
    trials: tuple[Trial, ...]
    unit: str
    ended: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.trials)

    @overload
    def __getitem__(self, place: int) -> Evaluation: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Evaluation, ...]: ...

    def __getitem__(self, place: int | slice) -> Evaluation | tuple[Evaluation, ...]:
        if isinstance(place, slice):
            return tuple(self[at] for at in range(*place.indices(len(self))))
        genotype, value, cost, fidelity, others, _ = self.trials[place]
        return Evaluation(self.representation.architecture(genotype), value, cost, fidelity, others)

    @cached_property
    def spent(self) -> NDArray[np.float64]:
        """The cost up to and including each evaluation, the ledger of the run; with several workers the wall-clock."""
        if self.ended is not None:
            return np.array(self.ended, dtype=np.float64)
        return np.array(list(accumulate(trial.cost for trial in self.trials)), dtype=np.float64)

    @cached_property
    def incumbents(self) -> NDArray[np.intp]:
        """After each evaluation the place of the best one so far, by signal; see `appraisal.regret.incumbents`."""
        from sharewise.appraisal.regret import incumbents  # with scipy, which a search that selects so need not load

        values = np.array([trial.value for trial in self.trials], dtype=np.float64)
        return incumbents(values, np.array([trial.fidelity for trial in self.trials], dtype=np.int64))

    @property
    def best(self) -> Evaluation:
        """The evaluation with the best signal at the highest fidelity that was reached.

        Raises:
            ConfigurationError: when nothing was evaluated.
        """
        if not self.trials:
            raise ConfigurationError("nothing was evaluated within the budget, so there is no best architecture")
        return self[int(self.incumbents[-1])]
