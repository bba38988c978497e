"""Selection: from a trained supernet and distribution to one architecture."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, final

import torch

from sharewise.distribution import host_rng
from sharewise.engine.part import Part
from sharewise.engine.score import Scorer, fitness, require_examples, selection_scorer
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Option
from sharewise.strategy.evolution import Generations, distinct
from sharewise.strategy.population import Best
from sharewise.strategy.representation import Plain
from sharewise.strategy.variation import Crossover, SeveralChoices
from sharewise.supernet import NormPolicy, RecalibratedStatistics

if TYPE_CHECKING:
    from sharewise.engine.course import Period
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState
    from sharewise.space import Probabilities, Relaxation

__all__ = ["DartsRule", "Evolution", "Mode", "RankSampled", "Selected", "Selection", "nearest", "rested", "within"]


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
    absence: Option | None = None
    """The option that a result has where the rule keeps nothing of a decision, also if the recipe excludes it."""

    def tuning(self, recipe: Recipe, relaxation: Relaxation) -> Period | None:
        """Epochs that follow those of the recipe, in which the rule settles one decision after the other and the search
        trains on; they are part of the run, charged, recorded and resumed as the others. `None` for a rule that only
        looks at the end.

        Args:
            recipe: that the rule is a part of.
            relaxation: names the decisions.
        """
        return None

    def tuned(self, epochs: int) -> Selection:
        """The same rule with other epochs between two of its rounds.

        Raises:
            ConfigurationError: for a rule that has none.
        """
        raise ConfigurationError(
            f"selection {type(self).__name__} only looks at the end of a search, so that tuning epochs would do "
            "nothing; leave them out, or take the selection perturbation"
        )

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
        return Selected(self.projected(state), f"mode of the distribution{within(state)}{rested(state)}")

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
        rule = f"strongest option other than {others}{within(state)}{rested(state)}"
        return Selected(self.projected(state), rule)

    def projected(self, state: SearchState) -> Architecture:
        """See `Selection.projected`."""
        return _project(state, self.exclude)


def rested(state: SearchState) -> str:
    """A word of warning where the run was too short for any step on θ."""
    return "" if state.moves else " (θ has never moved in this run, which was too short for that: its initial value)"


def _project(state: SearchState, exclude: tuple[Option, ...]) -> Architecture:
    probabilities = {name: row.tolist() for name, row in state.distribution.probabilities().items()}
    return nearest(state, probabilities, (*exclude, *state.recipe.exclude))


def nearest(state: SearchState, weights: Probabilities, exclude: tuple[Option, ...]) -> Architecture:
    """The projection of weights, within the budget where there is one."""
    wish = state.distribution.relaxation.project(weights, exclude)
    return wish if state.affordable is None else state.affordable.best(weights, wish)


def within(state: SearchState) -> str:
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
        """See `Selection.check`."""
        require_examples(state, self.policy, self.examples)

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        generator = state.fresh_generator("selection")
        rounds = self.rounds or max(1, state.total_steps // 10_000)
        some = selection_scorer(state, self.policy, self.examples)
        everything = replace(some, batches=state.evaluation_batches("selection")) if self.finalists else some
        finals: list[Scored] = []
        others: list[Scored] = []
        met: set[Architecture] = set()
        for index in range(rounds):
            chosen = _different(state, generator, self.candidates, met)
            met |= set(chosen)
            title = f"round {index + 1} of {rounds}: " if rounds > 1 else ""
            scored = _scored(some, chosen, f"{title}ranked")
            best = [architecture for architecture, _ in scored[: self.finalists]]
            finals += _scored(everything, best, f"{title}ranked again")
            others += scored[self.finalists :]
        broken = [pair for pair in finals if not math.isfinite(pair[1][state.task.primary])]
        ranked = _ranked(state, [pair for pair in finals if pair not in broken]) + _ranked(state, others) + broken
        again = f", the best {self.finalists} of each round again on all examples" if self.finalists else ""
        times = f" in {rounds} rounds" if rounds > 1 else ""
        rule = f"best {state.task.primary} of {len(ranked)} sampled architectures with shared weights{times}{again}"
        return Selected(ranked[0][0], rule, tuple(ranked))


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
        _ = self._generations  # which refuses what no generation can be
        if self.examples is not None and self.examples < 1:
            raise ConfigurationError(f"the selection needs at least 1 example, got {self.examples}")

    def shortened(self) -> Evolution:
        """Two generations of four."""
        return replace(self, generations=min(self.generations, 2), population=4, parents=2, crossover=2, mutation=2)

    @property
    def _generations(self) -> Generations:
        variations = ((SeveralChoices(self.mutation_probability), self.mutation), (Crossover(), self.crossover))
        return Generations(self.generations, self.population, Best(self.parents), variations)

    def check(self, state: SearchState) -> None:
        """See `Selection.check`."""
        require_examples(state, self.policy, self.examples)

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        generator = state.fresh_generator("selection")
        rng, scorer = host_rng(generator), selection_scorer(state, self.policy, self.examples)
        scores: dict[Architecture, dict[str, float]] = {}
        with scorer.opened() as score:

            def scored(born: Sequence[Architecture]) -> list[float]:
                found = score.each([scorer.gates(architecture) for architecture in born])
                scores.update(zip(born, found, strict=True))
                return [fitness(state.task, one) for one in found]

            populations = self._generations.populations(
                Plain(state.distribution.space),
                scored,
                lambda count, taken: _different(state, generator, count, taken),
                rng,
                state.admits,
            )
            for generation, population in enumerate(populations):
                ranked = tuple((architecture, scores[architecture]) for architecture, _ in population)
                state.announce(f"generation {generation + 1} of {self.generations}")
        rule = (
            f"best {state.task.primary} of {len(ranked)} architectures with shared weights, by evolution over "
            f"{self.generations} generations"
        )
        return Selected(ranked[0][0], rule, ranked)


Scored = tuple[Architecture, dict[str, float]]


def _different(
    state: SearchState, generator: torch.Generator, count: int, met: Set[Architecture]
) -> list[Architecture]:
    """Up to `count` different new architectures; the distribution may have fewer, or hardly any likely ones."""
    affordable, attempts = state.affordable, 20 * count
    chosen: list[Architecture] = distinct(
        lambda: state.distribution.sample(generator), count, attempts, lambda a: a not in met and state.admits(a)
    )
    rng = host_rng(generator)
    if affordable is not None:  # a tight budget
        rest = count - len(chosen)
        chosen += distinct(lambda: affordable.sample(rng), rest, attempts, lambda a: a not in met and a not in chosen)
    return chosen


def _scored(scorer: Scorer, chosen: Sequence[Architecture], verb: str) -> list[Scored]:
    """Architectures with their scores, best first."""
    with scorer.opened() as score:
        found = score.each(
            [scorer.gates(architecture) for architecture in chosen],
            lambda done: scorer.state.announce(f"{verb} {done} of {len(chosen)} candidates"),
        )
    return _ranked(scorer.state, list(zip(chosen, found, strict=True)))


def _ranked(state: SearchState, scored: Sequence[Scored]) -> list[Scored]:
    """Best first; a score that is no number comes last."""
    return sorted(scored, key=lambda pair: fitness(state.task, pair[1]), reverse=True)
