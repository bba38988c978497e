"""Scores with shared weights: what a supernet thinks of an architecture, on the same examples for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from sharewise.data import Batch, Task
from sharewise.engine.candidates import scores_in_order
from sharewise.engine.evaluate import evaluate
from sharewise.errors import ConfigurationError
from sharewise.ledger import EVALUATION, Ledger
from sharewise.space import Architecture
from sharewise.supernet import BatchStatistics, Gates, NormPolicy, discrete, norms, to_device
from sharewise.supernet.alike import Alike
from sharewise.supernet.scored import scored_alone, watched

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Opened", "ScoreGates", "Scorer", "evaluate_gates", "fitness", "require_examples", "selection_scorer"]

ScoreGates = Callable[[Gates], dict[str, float]]
"""Loss, metrics and number of examples under fixed gates, which are on the host; their graph is ignored."""


@final
@dataclass(frozen=True, eq=False)
class Scorer:
    """Evaluates a supernet under one gate after another, and charges what each evaluation costs.

    Whoever judges architectures by shared weights does it here: selections, oracles, appraisals and measurements. The
    supernet's statistics are as before after each evaluation, its modes when the block ends; what a policy must save
    for that it saves once.

    Args:
        state: of the search.
        policy: which batch-norm statistics to use.
        batches: what to evaluate on.
        calibration: training batches for the policy, as many as it asks for; a supernet without batch norm is not run
            on them.
        part: of the run to which the cost is charged.
        ledger: which is charged; by default the search's.

    Example:
        >>> import sharewise as sw
        >>> from sharewise.supernet import RunningStatistics
        >>> result = sw.search(sw.spaces.toy_tied_width(), sw.methods.spos(candidates=1), sw.data.digits(),
        ...                    max_steps=2, device="cpu")
        >>> scorer = selection_scorer(result.state, RunningStatistics(), examples=64)
        >>> with scorer.opened() as score:
        ...     scores = score(scorer.gates(result.architecture))
        >>> sorted(scores)
        ['accuracy', 'examples', 'loss']
    """

    state: SearchState
    policy: NormPolicy
    batches: Sequence[Batch]
    calibration: Sequence[Batch] = ()
    part: str = "selection"
    ledger: Ledger | None = None

    @contextmanager
    def opened(self, *, still: bool = True) -> Iterator[Opened]:
        """Give what scores, one architecture or many; until the block ends the supernet is not to be trained.

        Architectures that compute the same, since they differ where nothing is read, are evaluated once. Each is
        charged what its plain network would cost.

        Args:
            still: whether the shared weights stand still within the block; if not, every evaluation is made.
        """
        state, alike = self.state, Alike[dict[str, float]]()
        inputs = [batch.inputs for batch in self._calibration]
        with state.numerics.kernels(state.supernet), self.policy.opened(state.supernet) as applied:

            def evaluated(gates: Gates) -> dict[str, float]:
                forward = self._forward(gates)
                with applied(forward, inputs):
                    return evaluate(forward, self.batches, state.task)

            def score(gates: Gates) -> dict[str, float]:
                with torch.no_grad(), scored_alone(self.policy.own), _drawing_for_itself(state.numerics.device):
                    return dict(alike.once(gates, lambda: evaluated(gates)) if still else evaluated(gates))

            yield Opened(self, score)

    @cached_property
    def _calibration(self) -> Sequence[Batch]:
        """None where there are no statistics that they could move."""
        return self.calibration if self.calibration and norms(self.state.supernet) else ()

    def charge_all(self, gates: Gates) -> None:
        """Enter every pass of an evaluation into the ledger."""
        for batch in (*self._calibration, *self.batches):
            self.charge(gates, len(batch.inputs), EVALUATION)

    def gates(self, architecture: Architecture) -> Gates:
        """Those under which the supernet is the architecture."""
        return discrete(self.state.supernet.relaxation.encode(architecture))

    def charge(self, gates: Gates, examples: int, passes: int) -> None:
        """Enter a cost into the ledger; see `Ledger.charge`."""
        ledger, costs = self.state.ledger if self.ledger is None else self.ledger, self.state.costs
        ledger.charge(self.part, examples=examples, multiply_accumulates=costs.of(gates), passes=passes)

    def _forward(self, gates: Gates) -> Callable[[Tensor], Tensor]:
        state = self.state
        placed = watched(to_device(gates, state.numerics.device, state.numerics.dtype))

        def forward(inputs: Tensor) -> Tensor:
            with state.numerics.autocast():
                outputs: Tensor = state.supernet(inputs, placed)
            return outputs

        return forward


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """A scorer at work: a function of gates, which also answers for many of them at once.

    Args:
        scorer: what it is of.
        evaluated: scores under gates, which nobody is charged for.
    """

    scorer: Scorer
    evaluated: ScoreGates

    def __call__(self, gates: Gates) -> dict[str, float]:
        """Loss, metrics and number of examples under some gates."""
        instead = self.scorer.state.instead
        return self._charged(gates) if instead is None else instead(self.scorer, self._charged, gates)

    def each(
        self, candidates: Sequence[Gates], told: Callable[[int], None] = lambda done: None
    ) -> list[dict[str, float]]:
        """Scores of candidates that do not depend on each other's, in their order.

        Several processes that share a search divide them, and all get all answers: those of one process to the bit,
        since whoever scores a candidate sees every example, and recalibrates on every mini-batch. All are charged for
        all. One process forks others for them where `candidates_at_once` allows it.

        Args:
            candidates: gates; the same for all processes.
            told: how many are done, now and then.
        """
        state, ranks = self.scorer.state, self.scorer.state.numerics.ranks
        if state.instead is not None:
            return [self(gates) for gates in candidates]
        for gates in candidates:
            self.scorer.charge_all(gates)
        if ranks.alone:
            scores: list[dict[str, float]] = []
            for found in scores_in_order(self.evaluated, candidates, state.numerics):
                scores.append(found)
                told(len(scores))
            return scores
        names = ("loss", *state.task.metrics, "examples")

        def scored(index: int) -> list[float]:
            found = self.evaluated(candidates[index])
            told(min(index + ranks.world, len(candidates)))
            return [found[name] for name in names]

        rows = ranks.divided(len(candidates), len(names), scored)
        return [{**dict(zip(names, row, strict=True)), "examples": int(row[-1])} for row in rows]

    def _charged(self, gates: Gates) -> dict[str, float]:
        self.scorer.charge_all(gates)
        return self.evaluated(gates)


def _drawing_for_itself(device: torch.device) -> AbstractContextManager[None]:
    """What a network draws while it is scored is the same for all and moves no other draw, whoever scores it."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def selection_scorer(
    state: SearchState, policy: NormPolicy, examples: int | None = None, part: str = "selection"
) -> Scorer:
    """A scorer on the selection examples of a search.

    Args:
        state: of the search.
        policy: which batch-norm statistics to use.
        examples: how many, evenly spaced; `None` for all.
        part: of the run to which the cost is charged.
    """
    batches = state.evaluation_batches("selection", examples)
    return Scorer(state, policy, batches, state.calibration_batches(policy.batches), part)


def require_examples(state: SearchState, policy: NormPolicy, examples: int | None = None) -> None:
    """Refuse a policy that the selection examples cannot serve.

    Args:
        state: of the search.
        policy: which batch-norm statistics a selection will use.
        examples: how many each architecture will see; `None` for all.

    Raises:
        ConfigurationError: when one example would be normalised by itself.
    """
    smallest = min(state.data.size("selection"), examples or 2)
    if isinstance(policy, BatchStatistics) and norms(state.supernet) and smallest < 2:
        raise ConfigurationError(
            f"candidates are normalised by the batch, which needs at least 2 selection examples, got {smallest}"
        )


def fitness(task: Task, scores: Mapping[str, float]) -> float:
    """The primary metric, of which higher is better; a score that is no number is the worst there is.

    Args:
        task: which names the metric.
        scores: of an architecture.
    """
    value = scores[task.primary] * (1.0 if task.higher_is_better else -1.0)
    return value if math.isfinite(value) else -math.inf


def evaluate_gates(
    state: SearchState,
    gates: Gates,
    batches: Sequence[Batch],
    policy: NormPolicy,
    calibration: Sequence[Batch] = (),
    part: str = "selection",
) -> dict[str, float]:
    """Loss and metrics of the supernet under fixed gates, charged to the ledger; see `Scorer` for many of them.

    Args:
        state: the search.
        gates: on the host; their graph is ignored.
        batches: what to evaluate on.
        policy: which batch-norm statistics to use.
        calibration: training batches for the policy, as many as it asks for.
        part: of the run to which the cost is charged.

    Returns:
        Loss, metrics and number of examples.
    """
    with Scorer(state, policy, batches, calibration, part).opened() as score:
        return score(gates)
