"""Selection by any strategy: what it finds where the shared weights answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sharewise.distribution import host_rng
from sharewise.engine.score import ScoreGates, Scorer, fitness, require_examples, selection_scorer
from sharewise.engine.select import Selected, Selection
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture
from sharewise.strategy.history import Budget
from sharewise.strategy.loop import run_strategy
from sharewise.strategy.oracle import Evaluation, Oracle
from sharewise.strategy.representation import Plain, Representation, represent
from sharewise.strategy.strategy import Strategy
from sharewise.supernet import NormPolicy, RecalibratedStatistics

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["ByStrategy"]


@final
@dataclass(frozen=True)
class ByStrategy(Selection):
    """The best architecture that a strategy finds by scores with the shared weights.

    The strategy sees the space of the search; under a budget only architectures that keep it, as `Plain` genotypes. An
    architecture that it asks about again is not scored again. Every one of several processes answers for itself: there
    is one candidate at a time, and sums over examples that are divided would differ in the last bits, by which a
    strategy may take another way.

    Args:
        strategy: any, such as `LocalSearch()`.
        evaluations: questions, at least 1.
        policy: which batch-norm statistics an architecture uses.
        examples: how many selection examples each architecture sees; `None` for all of them.

    Raises:
        ConfigurationError: when a number is out of range.

    Example:
        >>> from dataclasses import replace
        >>> import sharewise as sw
        >>> from sharewise.strategy import LocalSearch
        >>> recipe = replace(sw.methods.spos(), selection=ByStrategy(LocalSearch(), 6, examples=64))
        >>> result = sw.search(sw.spaces.toy_tied_width(), recipe, sw.data.digits(), max_steps=2, device="cpu")
        >>> 1 <= len(result.selected.candidates) <= 6
        True
    """

    strategy: Strategy[Any]
    evaluations: int = 100
    policy: NormPolicy = field(default_factory=RecalibratedStatistics)
    examples: int | None = None
    reads_probabilities: bool = False

    def __post_init__(self) -> None:
        for name, number in (("evaluation", self.evaluations), ("example", self.examples)):
            if number is not None and number < 1:
                raise ConfigurationError(f"the selection needs at least 1 {name}, got {number}")

    def check(self, state: SearchState) -> None:
        """See `Selection.check`; the strategy must fit the space, and a supernet has no fidelities."""
        require_examples(state, self.policy, self.examples)
        self.strategy.start(_representation(state), Oracle.fidelities, np.random.default_rng(0))

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        rng, representation = host_rng(state.fresh_generator("selection")), _representation(state)
        scorer = selection_scorer(state, self.policy, self.examples)
        with scorer.opened() as score:
            answers = _Answers(scorer, score)
            run_strategy(self.strategy, answers, Budget(evaluations=self.evaluations), rng, representation)
        ranked = sorted(answers.scores.items(), key=lambda pair: fitness(state.task, pair[1]), reverse=True)
        rule = (
            f"best {state.task.primary} of {len(ranked)} architectures with shared weights, found by "
            f"{type(self.strategy).__name__}"
        )
        return Selected(ranked[0][0], rule, tuple(ranked))


def _representation(state: SearchState) -> Representation:
    space = state.distribution.space
    return represent(space) if state.affordable is None else Plain(space, admits=state.admits)


@final
class _Answers(Oracle):
    """An opened scorer as an oracle that remembers."""

    unit = "evaluations"

    def __init__(self, scorer: Scorer, score: ScoreGates) -> None:
        self.space, self._scorer, self._score = scorer.state.distribution.space, scorer, score
        self.scores: dict[Architecture, dict[str, float]] = {}

    def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
        """See `Oracle.evaluate`."""
        state = self._scorer.state
        if architecture not in self.scores:
            self.scores[architecture] = self._score(self._scorer.gates(architecture))
            state.announce(f"scored {len(self.scores)} architectures")
        return Evaluation(architecture, fitness(state.task, self.scores[architecture]), 1.0)
