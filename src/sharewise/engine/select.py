"""Selection: from a trained supernet and distribution to one architecture."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from sharewise.data import Batch
from sharewise.distribution import host_rng
from sharewise.engine.evaluate import evaluate
from sharewise.engine.part import Part
from sharewise.errors import ConfigurationError
from sharewise.ledger import EVALUATION
from sharewise.space import Architecture, Option, crossover, mutate
from sharewise.supernet import (
    BatchStatistics,
    Gates,
    NormPolicy,
    RecalibratedStatistics,
    discrete,
    norms,
    to_device,
)

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState

__all__ = ["DartsRule", "Evolution", "Mode", "RankSampled", "Selected", "Selection", "evaluate_gates"]


@dataclass(frozen=True)
class Selected:
    """The outcome of a selection.

    Args:
        architecture: the choice.
        rule: in words.
        candidates: architectures with their scores, best first, where the rule compared any.
    """

    architecture: Architecture
    rule: str
    candidates: tuple[tuple[Architecture, dict[str, float]], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for the result file."""
        return {
            "rule": self.rule,
            "candidates": [{"architecture": str(a), **scores} for a, scores in self.candidates],
        }


class Selection(Part):
    """A rule that picks an architecture at the end of a search."""

    reads_probabilities: bool
    """Whether the rule needs a learned distribution."""
    exclude: tuple[Option, ...] = ()
    """Options that are never part of the result."""

    @abstractmethod
    def select(self, state: SearchState) -> Selected:
        """Pick; the supernet, its statistics and its mode are left as they were."""

    def projected(self, state: SearchState) -> Architecture | None:
        """The architecture that the rule would pick now, if that costs no evaluation; else `None`."""
        return None

    def fits(self, recipe: Recipe) -> None:
        """Refuse a distribution without the probabilities that the rule reads."""
        if self.reads_probabilities and not recipe.distribution.learns:
            raise ConfigurationError(
                f"selection {type(self).__name__} reads learned probabilities, but distribution "
                f"{type(recipe.distribution).__name__} has none; use RankSampled"
            )


@final
@dataclass(frozen=True)
class Mode(Selection):
    """The most probable option of every decision, projected to a legal architecture."""

    reads_probabilities: bool = True

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        return Selected(self.projected(state), f"mode of the distribution{_within(state)}{_rested(state)}")

    def projected(self, state: SearchState) -> Architecture:
        """See `Selection.projected`."""
        return _project(state, ())


@final
@dataclass(frozen=True)
class DartsRule(Selection):
    """The discretisation of DARTS: `none` takes part in the mixture but never in the result.

    Each edge takes its strongest other operation; where a space keeps only some inputs of a node, those with the
    strongest such operation stay.

    Args:
        exclude: options that are never picked; those that a space does not have are ignored.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 2.4.
    """

    exclude: tuple[Option, ...] = ("none",)
    reads_probabilities: bool = True

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        others = ", ".join(map(str, self.exclude))
        rule = f"strongest option other than {others}{_within(state)}{_rested(state)}"
        return Selected(self.projected(state), rule)

    def projected(self, state: SearchState) -> Architecture:
        """See `Selection.projected`."""
        return _project(state, self.exclude)


def _rested(state: SearchState) -> str:
    """A word of warning where the run was too short for any step on θ."""
    return "" if state.moves else " (θ has never moved in this run, which was too short for that: its initial value)"


def _project(state: SearchState, exclude: tuple[Option, ...]) -> Architecture:
    probabilities = {name: row.tolist() for name, row in state.distribution.probabilities().items()}
    wish = state.distribution.relaxation.project(probabilities, (*exclude, *state.recipe.exclude))
    return wish if state.affordable is None else state.affordable.best(probabilities, wish)


def _within(state: SearchState) -> str:
    """How a budget took part in a projection."""
    if state.affordable is None:
        return ""
    exact = "the most probable one" if state.affordable.exact else "a probable one, found by evolution,"
    return f", where it keeps the budget, else {exact} that does"


@final
@dataclass(frozen=True)
class RankSampled(Selection):
    """The best of some architectures drawn from the distribution, by their score with the shared weights.

    A sampler draws them uniformly (or as it does in training), a controller as it has learned to. Every candidate sees
    the same selection examples and the same recalibration batches. With finalists, each round scores its candidates on
    few examples, then its best ones again on all; the best of all rounds by the second score wins. No architecture is a
    candidate twice, so that a small space may leave later rounds with few or none.

    Args:
        candidates: different architectures to score in a round, at least 1; fewer where so many cannot be found.
        policy: which batch-norm statistics a candidate uses.
        examples: how many selection examples each candidate sees; `None` for all of them.
        finalists: candidates of a round that are scored again on all selection examples; 0 for none.
        rounds: independent rounds; 0 for one per 10,000 steps of training, at least one.

    Raises:
        ConfigurationError: when a number is out of range.

    References:
        L. Li and A. Talwalkar, *Random Search and Reproducibility for NAS*, UAI 2019, section 3.1.
    """

    candidates: int = 100
    policy: NormPolicy = field(default_factory=RecalibratedStatistics)
    examples: int | None = None
    finalists: int = 0
    rounds: int = 1
    reads_probabilities: bool = False

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ConfigurationError(f"the selection needs at least 1 candidate, got {self.candidates}")
        if self.examples is not None and self.examples < 1:
            raise ConfigurationError(f"the selection needs at least 1 example, got {self.examples}")
        if self.finalists < 0 or self.rounds < 0:
            raise ConfigurationError(
                f"finalists and rounds must not be negative, got {self.finalists} and {self.rounds}"
            )

    def shortened(self) -> RankSampled:
        """At most three candidates."""
        return replace(self, candidates=min(self.candidates, 3))

    def check(self, state: SearchState) -> None:
        """Batch statistics need two examples."""
        smallest = min(state.data.size("selection"), self.examples or 2)
        if isinstance(self.policy, BatchStatistics) and norms(state.supernet) and smallest < 2:
            raise ConfigurationError(
                f"candidates are normalised by the batch, which needs at least 2 selection examples, got {smallest}"
            )

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        generator = state.fresh_generator("selection")
        rounds = self.rounds or max(1, state.total_steps // 10_000)
        some = state.evaluation_batches("selection", self.examples)
        everything = state.evaluation_batches("selection") if self.finalists else []
        calibration = state.calibration_batches(self.policy.batches)
        finals: list[Scored] = []
        others: list[Scored] = []
        met: set[Architecture] = set()
        for index in range(rounds):
            chosen = _different(state, generator, self.candidates, met)
            met |= set(chosen)
            title = f"round {index + 1} of {rounds}: " if rounds > 1 else ""
            scored = self._scored(state, chosen, some, calibration, f"{title}ranked")
            best = [architecture for architecture, _ in scored[: self.finalists]]
            finals += self._scored(state, best, everything, calibration, f"{title}ranked again")
            others += scored[self.finalists :]
        broken = [pair for pair in finals if not math.isfinite(pair[1][state.task.primary])]
        ranked = _ranked(state, [pair for pair in finals if pair not in broken]) + _ranked(state, others) + broken
        again = f", the best {self.finalists} of each round again on all examples" if self.finalists else ""
        times = f" in {rounds} rounds" if rounds > 1 else ""
        rule = f"best {state.task.primary} of {len(ranked)} sampled architectures with shared weights{times}{again}"
        return Selected(ranked[0][0], rule, tuple(ranked))

    def _scored(
        self,
        state: SearchState,
        chosen: Sequence[Architecture],
        batches: Sequence[Batch],
        calibration: Sequence[Batch],
        verb: str,
    ) -> list[Scored]:
        scored = []
        for index, architecture in enumerate(chosen):
            gates = discrete(state.distribution.relaxation.encode(architecture))
            scored.append((architecture, evaluate_gates(state, gates, batches, self.policy, calibration)))
            state.announce(f"{verb} {index + 1} of {len(chosen)} candidates")
        return _ranked(state, scored)


@final
@dataclass(frozen=True)
class Evolution(Selection):
    """Evolution of architectures by their score with the shared weights.

    The first generation is drawn at random. Every later one consists of mutants of the best so far, of children of
    pairs of them, and of new random architectures where these are too few. All candidates see the same examples, each
    once; those that break a budget are never scored.

    Args:
        generations: at least 1; with the population, the number of architectures that are scored.
        population: of a generation, at least 1.
        parents: how many of the best so far have children, at least 1.
        crossover: children of two parents in a generation.
        mutation: mutants in a generation.
        mutation_probability: with which every choice of a mutant changes; at least one does.
        policy: which batch-norm statistics a candidate uses.
        examples: how many selection examples each candidate sees; `None` for all of them.

    Raises:
        ConfigurationError: when a number is out of range.

    References:
        Z. Guo et al., *Single Path One-Shot*, ECCV 2020 (arXiv 1904.00420), algorithm 1: 20 generations of 50, of which
        10 have children, 25 by crossover and 25 by mutation with probability 0.1.

    Deviations:
        A mutant changes a binomially distributed number of choices one after another, each to a legal neighbour, so
        that the operator serves spaces whose choices depend on each other; a choice may change twice.
    """

    generations: int = 20
    population: int = 50
    parents: int = 10
    crossover: int = 25
    mutation: int = 25
    mutation_probability: float = 0.1
    policy: NormPolicy = field(default_factory=RecalibratedStatistics)
    examples: int | None = None
    reads_probabilities: bool = False

    def __post_init__(self) -> None:
        for name in ("generations", "population", "parents"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"evolution needs {name} of at least 1, got {getattr(self, name)}")
        if min(self.crossover, self.mutation) < 0 or self.crossover + self.mutation > self.population:
            raise ConfigurationError(
                f"a generation of {self.population} cannot have {self.crossover} children by crossover and "
                f"{self.mutation} by mutation"
            )
        if not 0 <= self.mutation_probability <= 1:
            raise ConfigurationError(f"mutation_probability must lie in [0, 1], got {self.mutation_probability}")
        if self.examples is not None and self.examples < 1:
            raise ConfigurationError(f"the selection needs at least 1 example, got {self.examples}")

    def shortened(self) -> Evolution:
        """Two generations of four."""
        return replace(self, generations=min(self.generations, 2), population=4, parents=2, crossover=2, mutation=2)

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        generator = state.fresh_generator("selection")
        rng = host_rng(generator)
        batches = state.evaluation_batches("selection", self.examples)
        calibration = state.calibration_batches(self.policy.batches)
        scored: list[Scored] = []
        for generation in range(self.generations):
            met = {architecture for architecture, _ in scored}
            best = [architecture for architecture, _ in scored[: self.parents]]
            chosen = self._children(state, rng, best, met) if best else []
            chosen += _different(state, generator, self.population - len(chosen), met | set(chosen))
            for architecture in chosen:
                gates = discrete(state.distribution.relaxation.encode(architecture))
                scored.append((architecture, evaluate_gates(state, gates, batches, self.policy, calibration)))
            scored = _ranked(state, scored)
            state.announce(f"generation {generation + 1} of {self.generations}")
        rule = (
            f"best {state.task.primary} of {len(scored)} architectures with shared weights, by evolution over "
            f"{self.generations} generations"
        )
        return Selected(scored[0][0], rule, tuple(scored))

    def _children(
        self, state: SearchState, rng: np.random.Generator, parents: Sequence[Architecture], met: Set[Architecture]
    ) -> list[Architecture]:
        space = state.distribution.space

        def mutant() -> Architecture:
            child = _drawn(parents, rng)
            for _ in range(max(1, int(rng.binomial(len(child), self.mutation_probability)))):
                child = mutate(space, child, rng)
            return child

        def child() -> Architecture:
            return crossover(space, _drawn(parents, rng), _drawn(parents, rng), rng)

        chosen: dict[Architecture, None] = {}
        for make, count in ((mutant, self.mutation), (child, self.crossover)):
            end = len(chosen) + count
            for _ in range(10 * count):
                if len(chosen) == end:
                    break
                new = make()
                if new not in met and (state.affordable is None or state.affordable.admits(new)):
                    chosen.setdefault(new)
        return list(chosen)


def _drawn(parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
    return parents[int(rng.integers(len(parents)))]


Scored = tuple[Architecture, dict[str, float]]


def _different(
    state: SearchState, generator: torch.Generator, count: int, met: Set[Architecture]
) -> list[Architecture]:
    """Up to `count` different new architectures; the distribution may have fewer, or hardly any likely ones."""
    chosen: dict[Architecture, None] = {}
    attempts = 0
    while len(chosen) < count and attempts < 20 * count:
        architecture = state.distribution.sample(generator)
        if architecture not in met and (state.affordable is None or state.affordable.admits(architecture)):
            chosen.setdefault(architecture)
        attempts += 1
    rng, attempts = host_rng(generator), 0
    while state.affordable is not None and len(chosen) < count and attempts < 20 * count:  # a tight budget
        architecture = state.affordable.sample(rng)
        if architecture not in met:
            chosen.setdefault(architecture)
        attempts += 1
    return list(chosen)


def _ranked(state: SearchState, scored: Sequence[Scored]) -> list[Scored]:
    """Best first; a score that is no number comes last."""
    sign = -1.0 if state.task.higher_is_better else 1.0

    def badness(pair: Scored) -> float:
        value = pair[1][state.task.primary]
        return sign * value if math.isfinite(value) else math.inf

    return sorted(scored, key=badness)


def evaluate_gates(
    state: SearchState,
    gates: Gates,
    batches: Sequence[Batch],
    policy: NormPolicy,
    calibration: Sequence[Batch] = (),
    part: str = "selection",
) -> dict[str, float]:
    """Loss and metrics of the supernet under fixed gates, charged to the ledger.

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
    placed = to_device(gates, state.numerics.device, state.numerics.dtype)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        state.charge(part, gates, len(inputs), EVALUATION)
        with state.numerics.autocast():
            outputs: torch.Tensor = state.supernet(inputs, placed)
        return outputs

    with torch.no_grad(), policy.applied(state.supernet, forward, [batch.inputs for batch in calibration]):
        return evaluate(forward, batches, state.task)
