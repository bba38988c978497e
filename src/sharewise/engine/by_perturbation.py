"""Selection by perturbation (DARTS-PT): an option matters as much as the supernet suffers when it is taken away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, final

import torch

from sharewise.distribution import Cosine, Factored
from sharewise.engine.course import Period
from sharewise.engine.score import Opened, fitness, require_examples, selection_scorer
from sharewise.engine.select import Selected, Selection, nearest
from sharewise.engine.stage import Stage
from sharewise.engine.surgery import Surgery
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import Architecture, Join, Option, Relaxation
from sharewise.supernet import BatchStatistics, Gate, Gates

if TYPE_CHECKING:
    from sharewise.engine.recipe import Recipe
    from sharewise.engine.state import SearchState

__all__ = ["ByPerturbation"]

Settled = Mapping[str, int | None]
"""The option that each settled decision has taken, `None` where its edge was removed."""


@final
@dataclass(frozen=True)
class ByPerturbation(Selection):
    """Settle one decision after the other, each by what the supernet loses without an option, and train on in between.

    In a random order over the decisions d, with the mixture weights p and w at hand, the option

        o*_d = argmin over o of metric(w, p with p_{d,o} = 0)

    is taken: the others of d leave the mixture for good, and o* weighs one. The weights of the other options are not
    normalised again while one is away, and batch norm uses the statistics of the evaluated batches. Then, in a random
    order over the nodes that keep only some inputs, the edges stay whose removal costs the metric most. Where a space
    has several kinds of cells, one decision of each is settled at a time. Between two such rounds the search trains on
    for `tuning_epochs`, after the last one for one epoch, w from a tenth of its learning rate along a cosine, θ as in
    the last stage of the recipe. What a round decides is a record of the history, and a resume repeats it.

    Args:
        tuning_epochs: between two rounds, not negative; with 0 everything is decided at the end, without any training.
        criterion: `"metric"`, the primary one of the task (accuracy), or `"loss"`.
        examples: how many selection examples judge a removal; `None` for all of them.
        minimum_learning_rate: of w, at the end of the cosine.
        exclude: options that are never taken, and so not removed either; those that a space does not have are ignored.

    Raises:
        ConfigurationError: when a value is out of range.

    References:
        R. Wang, M. Cheng, X. Chen, X. Tang and C.-J. Hsieh, *Rethinking Architecture Selection in Differentiable NAS*,
        ICLR 2021 (arXiv 2108.04392), algorithm 1, and the released code: 5 epochs between two of 17 rounds on the space
        of DARTS make 81.

    Deviations:
        The released code for NAS-Bench-201 holds the learning rate still while it tunes, and leaves one epoch less
        between the last two rounds; here, as in its code for DARTS. A run that ends before (`max_steps`) decides what
        is left without training, and says so. What breaks a budget is replaced by the architecture that differs in the
        fewest decisions.
    """

    tuning_epochs: int = 5
    criterion: Literal["metric", "loss"] = "metric"
    examples: int | None = None
    minimum_learning_rate: float = 1e-3
    exclude: tuple[Option, ...] = ("none",)
    reads_probabilities: bool = True

    def __post_init__(self) -> None:
        if self.tuning_epochs < 0:
            raise ConfigurationError(f"tuning epochs must not be negative, got {self.tuning_epochs}")
        if self.criterion not in ("metric", "loss"):
            raise unknown_name("criterion of a removal:", self.criterion, ("metric", "loss"))
        if self.examples is not None and self.examples < 1:
            raise ConfigurationError(f"the selection needs at least 1 example, got {self.examples}")
        if not 0 <= self.minimum_learning_rate < math.inf:
            raise ConfigurationError(
                f"a learning rate must be finite and not negative, got {self.minimum_learning_rate}"
            )

    def shortened(self) -> ByPerturbation:
        """At most one epoch between two rounds."""
        return replace(self, tuning_epochs=min(self.tuning_epochs, 1))

    def tuned(self, epochs: int) -> ByPerturbation:
        """See `Selection.tuned`."""
        return replace(self, tuning_epochs=epochs)

    def fits(self, recipe: Recipe) -> None:
        """Refuse a distribution without a mixture of all options of independent decisions."""
        if recipe.distribution.coordinates is None:
            raise ConfigurationError(
                f"selection {type(self).__name__} takes options out of a mixture, which distribution "
                f"{type(recipe.distribution).__name__} has not; use RankSampled"
            )

    def check(self, state: SearchState) -> None:
        """See `Selection.check`."""
        require_examples(state, BatchStatistics(), self.examples)

    def tuning(self, recipe: Recipe, relaxation: Relaxation) -> Period | None:
        """See `Selection.tuning`: a stage for each round."""
        rounds = _rounds(relaxation)
        if not self.tuning_epochs or not rounds:
            return None
        epochs, rate = self.tuning_epochs * (rounds - 1) + 1, recipe.weights.learning_rate(0, recipe.epochs) / 10
        moves, settling = recipe.stages[-1].architecture_steps, _Settling(self)
        lengths = [self.tuning_epochs] * (rounds - 1) + [1]
        stages = [Stage(length / epochs, moves, operations=(settling,)) for length in lengths]
        stages[0] = replace(stages[0], operations=(_FreshWeightOptimizer(), settling))
        return Period(epochs, tuple(stages), Cosine(rate, min(rate, self.minimum_learning_rate)))

    def projected(self, state: SearchState) -> Architecture | None:
        """What was decided, once nothing is left to decide."""
        settled = _distribution(state).settled
        return None if _is_open(state.distribution.relaxation, settled) else self._architecture(state, settled)

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`: what the run has decided, and without training what it has not."""
        relaxation, generator = state.distribution.relaxation, state.fresh_generator("selection")
        settled, late = dict(_distribution(state).settled), 0
        while _is_open(relaxation, settled):
            settled |= self.round(state, settled, generator)[0]
            late += 1
            state.announce(f"{len(settled)} of {len(relaxation.decisions)} decisions settled")
        rounds = _rounds(relaxation)
        rule = f"of every decision the option without which the {self._criterion(state)} is worst, in {rounds} rounds"
        if late:
            rule += f", {late} of them without training in between"
        return Selected(self._architecture(state, settled), rule)

    def round(
        self, state: SearchState, settled: Settled, generator: torch.Generator
    ) -> tuple[dict[str, int | None], dict[str, dict[str, float]]]:
        """Settle one decision, or the inputs of one node, of every kind of cell.

        Args:
            state: the search, which is only looked at.
            settled: what was decided before.
            generator: of the order.

        Returns:
            What is settled now, and the criterion without each option (or edge) that was tried, by decision (or node).
        """
        relaxation, found = state.distribution.relaxation, dict[str, int | None]()
        scores: dict[str, dict[str, float]] = {}
        with selection_scorer(state, BatchStatistics(), self.examples).opened() as score:
            for group in relaxation.groups:
                now = {**settled, **found}
                names, joins = [n for n in group if n not in now], _open_joins(relaxation, group, now)
                if names:
                    name = names[int(torch.randint(len(names), (), generator=generator))]
                    index, scores[name] = self._option(state, name, now, score)
                    found[name] = index
                elif joins:
                    join = joins[int(torch.randint(len(joins), (), generator=generator))]
                    gone, tried = self._removed(state, join, now, score)
                    found |= dict.fromkeys(gone)
                    scores[" ".join(join.edges)] = tried
        return found, scores

    def _option(self, state: SearchState, name: str, settled: Settled, score: Opened) -> tuple[int, dict[str, float]]:
        """The option of a decision that is missed most, ties going to the one listed first."""
        distribution = _distribution(state)
        row = [decision.name for decision in distribution.relaxation.decisions].index(name)
        options = distribution.relaxation.decisions[row].options
        legal = [i for i, on in enumerate(distribution.mask[row].tolist()) if on and options[i] not in self.exclude]
        if len(legal) == 1:
            return legal[0], {}
        gates, without = _gates(state, settled), list[Gates]()
        for index in legal:
            weights = gates[name].weights.clone()
            weights[index] = 0
            away = Gate(weights, tuple(i for i in gates[name].active if i != index))
            without.append({**gates, name: away})
        values = dict(zip(legal, self._values(state, score, without), strict=True))
        return min(values, key=values.__getitem__), {str(options[i]): value for i, value in values.items()}

    def _removed(
        self, state: SearchState, join: Join, settled: Settled, score: Opened
    ) -> tuple[list[str], dict[str, float]]:
        """The edges of a node that are missed least, ties going against the later ones."""
        gates = _gates(state, settled)
        edges = [edge for edge in join.edges if settled[edge] is not None]
        without = [{**gates, edge: Gate(torch.zeros_like(gates[edge].weights), ())} for edge in edges]
        values = dict(zip(edges, self._values(state, score, without), strict=True))
        ranked = sorted(edges, key=values.__getitem__)  # stable, so that ties stay in order
        return ranked[join.keep :], values

    def _values(self, state: SearchState, score: Opened, without: Sequence[Gates]) -> list[float]:
        return [self._value(state, scores) for scores in score.each(without)]

    def _value(self, state: SearchState, scores: Mapping[str, float]) -> float:
        """What is left without something, of which less means that it mattered more."""
        if self.criterion == "metric":
            return fitness(state.task, scores)
        return -scores["loss"] if math.isfinite(scores["loss"]) else -math.inf

    def _criterion(self, state: SearchState) -> str:
        return state.task.primary if self.criterion == "metric" else "loss"

    def _architecture(self, state: SearchState, settled: Settled) -> Architecture:
        probabilities = state.distribution.probabilities()
        weights = {
            decision.name: [float(i == settled[decision.name]) for i in range(decision.size)]
            if decision.name in settled
            else probabilities[decision.name].tolist()
            for decision in state.distribution.relaxation.decisions
        }
        return nearest(state, weights, (*self.exclude, *state.recipe.exclude))


@final
@dataclass(frozen=True)
class _Settling(Surgery):
    """A round of a selection, between two stages in which the search trains on."""

    selection: ByPerturbation

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        settled, scores = self.selection.round(state, _distribution(state).settled, generator)
        state.spend("selection")
        return {"settled": settled, "without": scores}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        _distribution(state).settle(record["settled"])


@final
@dataclass(frozen=True)
class _FreshWeightOptimizer(Surgery):
    """The optimiser of w anew, without momentum."""

    def decide(self, state: SearchState, generator: torch.Generator) -> Mapping[str, Any]:
        return {}

    def apply(self, state: SearchState, record: Mapping[str, Any]) -> None:
        state.weight_optimizer = state.recipe.weights.build(state.supernet.parameters())


def _distribution(state: SearchState) -> Factored:
    assert isinstance(state.distribution, Factored)  # see `ByPerturbation.fits`
    return state.distribution


def _gates(state: SearchState, settled: Settled) -> Gates:
    """The mixture of all options, with one option where a decision is settled."""
    gates = {}
    for name, row in state.distribution.mixture().items():
        chosen = [float(i == settled.get(name)) for i in range(len(row))]
        weights = row.new_tensor(chosen) if name in settled else row
        gates[name] = Gate(weights, tuple(weights.nonzero().flatten().tolist()))
    return gates


def _open_joins(relaxation: Relaxation, group: tuple[str, ...], settled: Settled) -> list[Join]:
    """The nodes of a kind of cell that have more inputs left than they keep."""
    return [
        join
        for join in relaxation.joins
        if set(join.edges) <= set(group) and sum(settled.get(edge) is not None for edge in join.edges) > join.keep
    ]


def _is_open(relaxation: Relaxation, settled: Settled) -> bool:
    return any(
        any(name not in settled for name in group) or _open_joins(relaxation, group, settled)
        for group in relaxation.groups
    )


def _rounds(relaxation: Relaxation) -> int:
    """Until every decision is settled and every node has the inputs that it keeps."""
    return max(
        (len(group) + len(_open_joins(relaxation, group, dict.fromkeys(group, 0))) for group in relaxation.groups),
        default=0,
    )
