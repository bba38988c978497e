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
    """How much may be spent; whichever limit is met first ends a run.

    Args:
        cost: in the oracle's unit.
        evaluations: questions.

    Raises:
        ConfigurationError: when there is no limit, or one is not positive.

    Example:
        >>> Budget(evaluations=100)
        Budget(cost=None, evaluations=100)
    """

    cost: float | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.cost is None and self.evaluations is None:
            raise ConfigurationError("a budget needs a limit: cost=, evaluations=, or both")
        for name in ("cost", "evaluations"):
            limit = getattr(self, name)
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise ConfigurationError(f"the budget's {name} must be positive and finite, got {limit}")


@final
@dataclass(frozen=True, eq=False)
class History(Sequence[Evaluation]):
    """All evaluations of a run in their order; immutable.

    Args:
        representation: of the space.
        trials: what was asked and answered.
        unit: of the costs.
    """

    representation: Representation
    trials: tuple[Trial, ...]
    unit: str

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
        """The cost up to and including each evaluation; the ledger of the run."""
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
