"""A supernet as an oracle: architectures are judged with inherited weights."""

from __future__ import annotations

from typing import final

import numpy as np

from sharewise.engine.score import fitness, selection_scorer
from sharewise.engine.state import SearchState
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture
from sharewise.strategy.oracle import Evaluation, Oracle
from sharewise.supernet import NormPolicy, RecalibratedStatistics

__all__ = ["SupernetOracle"]


@final
class SupernetOracle(Oracle):
    """The score of an architecture with the weights of a trained supernet, on the selection examples of its search.

    The supernet's weights and statistics are left as they were. All architectures are judged on the same examples. The
    cost is that of the forward passes, those that recalibrate batch norm included.

    Args:
        state: of a search that has ended, such as `sharewise.search(…).state`.
        policy: which batch-norm statistics an architecture uses; by default its own, estimated again.
        examples: how many selection examples to judge on; `None` for all.

    Example:
        >>> import sharewise as sw
        >>> from sharewise.strategy import Budget, RandomSearch, run_strategy
        >>> result = sw.search(sw.spaces.toy_tied_width(), sw.methods.spos(candidates=1), sw.data.digits(),
        ...                    max_steps=2, device="cpu")
        >>> oracle = SupernetOracle(result.state, examples=64)
        >>> history = run_strategy(RandomSearch(), oracle, Budget(evaluations=2), np.random.default_rng(0))
        >>> len(history), oracle.unit
        (2, 'multiply-accumulates')
    """

    unit = "multiply-accumulates"

    def __init__(self, state: SearchState, policy: NormPolicy | None = None, examples: int | None = None) -> None:
        self.space = state.supernet.space
        self._scorer = selection_scorer(state, policy or RecalibratedStatistics(), examples, part="oracle")

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """See `Oracle.evaluate`; a score that is not a number is the worst there is."""
        if fidelity != 0:
            raise ConfigurationError(f"a supernet has no fidelities, got {fidelity}")
        architecture = self.space.own(architecture)
        ledger, task = self._scorer.state.ledger, self._scorer.state.task
        before = ledger.multiply_accumulates
        with self._scorer.opened() as score:
            scores = score(self._scorer.gates(architecture))
        return Evaluation(architecture, fitness(task, scores), float(ledger.multiply_accumulates - before))
