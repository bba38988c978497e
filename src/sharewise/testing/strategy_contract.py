"""The contract of a strategy: a fold of the history, a function of its generator, and nothing beside them."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sharewise.oracle import Reporter, Table
from sharewise.space import Choice, Space
from sharewise.strategy import Oracle, Proposal, Representation, Strategy, Trial, represent
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.expect import expect

__all__ = ["check_strategy"]

_CHOICES = (
    Choice("width", (8, 16, 32), ordered=True),
    Choice("operation", ("a", "b")),
    Choice("depth", (1, 2, 3, 4), ordered=True),
)
_SMALL = Space("small", _CHOICES)
_WORSE = -4.0  # deviations of the mean, beyond which later proposals are worse than chance


def check_strategy(
    strategy: Strategy[Any],
    space: Space | None = None,
    *,
    fidelities: tuple[int, ...] = (1, 3, 9),
    evaluations: int = 24,
    random: bool = True,
    learns: bool = False,
    seed: int = 0,
) -> None:
    """Check that a strategy is what the loop, its ledger and a resume take it for.

    *Legal*: everything that it proposes is an architecture that can be asked about, on a partial table too, at one of
    the fidelities. *Pure*: proposals are a function of the state and of the generator alone; the global generators stay
    where they are, and other seeds give other histories. *Fold*: a state is a value that later steps leave as it was,
    and `replay` of the first k answers proposes what the run proposed after them, also from a copy that never ran.
    *Blind*: the strategy can be sent to another process and holds no table, oracle or reporter, so that answers are all
    it knows. *Upwards*: higher is better, hence what it proposes late is not clearly worse than at random, and clearly
    better where it learns. *Curious*: it does not ask about one architecture all the time. *Steady*: an
    answer of -∞ (a training that failed) does not stop it. *Together*: it proposes for three workers, whose answers
    come in any order.

    Args:
        strategy: to be checked.
        space: to search; 24 architectures of three independent choices when absent.
        fidelities: epochs that can be asked for, ascending.
        evaluations: of each run.
        random: whether the strategy draws at all; false for one that enumerates.
        learns: whether so many evaluations of a space without traps are enough for it to propose better ones.
        seed: of the values and the runs.

    Raises:
        AssertionError: for the first law that is broken.
        ConfigurationError: when the strategy does not fit the space or the fidelities.

    Example:
        >>> from sharewise.strategy import RandomSearch
        >>> check_strategy(RandomSearch())
    """
    space = _SMALL if space is None else space
    objectives, values = max(1, strategy.objectives), np.random.default_rng(seed).random(len(space.listing))
    _check_blind(strategy)
    untouched = copy.deepcopy(strategy)
    covered = np.arange(len(space.listing)) % 6 != 1
    problem = _Problem(represent(space, covered), values, fidelities, objectives)
    with without_ambient_randomness(f"{_name(strategy)} proposes and"):
        run = _run(strategy, problem, evaluations, seed)
    asked = {problem.representation.index(answer.genotype) for answer in run.answers}
    expect(
        len(asked) > 1 or len(run.answers) < 3,
        f"{_name(strategy)} asks about one architecture {len(run.answers)} times, and about no other",
    )
    again = _run(copy.deepcopy(untouched), problem, evaluations, seed)
    expect(
        again.trials == run.trials,
        f"two runs of {_name(strategy)} with equal generators differ: "
        f"{_first_difference(again.trials, run.trials)}; all randomness must come from the generator that is passed in",
    )
    if random:
        others = [_run(copy.deepcopy(untouched), problem, evaluations, seed + other) for other in range(1, 5)]
        expect(
            any(other.trials != run.trials for other in others),
            f"{_name(strategy)} asks the same under five different seeds: it ignores its generator",
        )
    _check_fold(strategy, problem, run, seed, "")
    _check_fold(untouched, problem, run, seed, " of a copy that never ran")
    failing = np.where(np.arange(len(values)) % 3 == 0, -np.inf, values)
    _run(strategy, _Problem(represent(space), failing, fidelities, objectives), evaluations, seed)
    _check_together(strategy, problem, evaluations, seed)
    late = _late(strategy, space, fidelities, objectives, evaluations, seed)
    _check_upwards(strategy, late, learns)


@final
@dataclass(frozen=True, eq=False)
class _Problem:
    """Who answers: a value by index of the listing, at a cost that grows with the fidelity."""

    representation: Representation
    values: NDArray[np.float64]
    fidelities: tuple[int, ...]
    objectives: int

    def trial(self, proposal: Proposal) -> Trial:
        fidelity = self.fidelities[-1] if proposal.fidelity is None else proposal.fidelity
        index = self.representation.index(proposal.genotype)
        value = float(self.values[index])
        others = tuple(float(-((index * (n + 2)) % 7)) for n in range(self.objectives - 1))
        return Trial(proposal.genotype, value, float(max(1, fidelity)), fidelity, others, proposal.note)


class _Moment(NamedTuple):
    """Before a proposal: the state of the strategy and that of the generator."""

    state: Any
    generator: Any


class _Run(NamedTuple):
    trials: list[tuple[Any, ...]]
    """Without notes, which are the strategy's own."""
    answers: list[Trial]
    moments: list[_Moment]
    proposals: list[Proposal]


def _run(strategy: Strategy[Any], problem: _Problem, evaluations: int, seed: int) -> _Run:
    rng, representation = np.random.default_rng(seed), problem.representation
    legal = set(representation.indices.tolist())
    state = strategy.start(representation, problem.fidelities, rng)
    run = _Run([], [], [], [])
    for _ in range(evaluations):
        run.moments.append(_Moment(state, copy.deepcopy(rng.bit_generator.state)))
        proposal = strategy.propose(representation, state, rng)
        if proposal is None:
            break
        _check_legal(strategy, problem, proposal, legal)
        run.proposals.append(proposal)
        run.answers.append(problem.trial(proposal))
        run.trials.append(tuple(run.answers[-1])[:-1])
        state = strategy.update(representation, state, run.answers[-1])
    expect(bool(run.trials), f"{_name(strategy)} has nothing to ask although nothing was asked yet")
    return run


def _check_together(strategy: Strategy[Any], problem: _Problem, evaluations: int, seed: int, workers: int = 3) -> None:
    """Some workers ask, and answer in a random order."""
    rng, order, representation = np.random.default_rng(seed), np.random.default_rng(seed + 1), problem.representation
    legal, asking = set(representation.indices.tolist()), list[Proposal]()
    state = strategy.start(representation, problem.fidelities, rng)
    for _ in range(evaluations):
        while len(asking) < workers:
            assumed = state
            for proposal in asking:
                assumed = strategy.assume(representation, assumed, proposal) if assumed is not None else None
            found = None if assumed is None else strategy.propose(representation, assumed, rng)
            if found is None:
                break
            _check_legal(strategy, problem, found, legal)
            asking.append(found)
        if not asking:
            return
        answer = problem.trial(asking.pop(int(order.integers(len(asking)))))
        try:
            state = strategy.update(representation, state, answer)
        except Exception as error:  # whatever a foreign strategy raises
            raise AssertionError(
                f"{_name(strategy)} cannot take the answers of {workers} workers in the order in which they come "
                f"({type(error).__name__}: {error}); its `assume` returns `None` where an answer has to be waited for"
            ) from error


def _check_legal(strategy: Strategy[Any], problem: _Problem, proposal: Proposal, legal: set[int]) -> None:
    try:
        hash(proposal.genotype)
        index = problem.representation.index(proposal.genotype)
    except Exception as error:  # whatever a foreign genotype raises
        raise AssertionError(
            f"{_name(strategy)} proposed {proposal.genotype!r}, which is no genotype of this space: {error}"
        ) from error
    expect(
        index in legal,
        f"{_name(strategy)} proposed {proposal.genotype!r}, which is no architecture that can be asked about",
    )
    expect(
        proposal.fidelity is None or proposal.fidelity in problem.fidelities,
        f"{_name(strategy)} asked for fidelity {proposal.fidelity}, which is none of {problem.fidelities}",
    )


def _check_fold(strategy: Strategy[Any], problem: _Problem, run: _Run, seed: int, whose: str) -> None:
    """The states that were kept, and those that a replay makes, propose what the run proposed."""
    representation, last = problem.representation, len(run.proposals) - 1
    for k in sorted({0, 1, last // 3, last // 2, last}):
        proposed = run.proposals[k].genotype, run.proposals[k].fidelity
        if not whose:
            expect(
                _proposal(strategy, representation, run.moments[k].state, run.moments[k].generator) == proposed,
                f"the state of {_name(strategy)} after {k} answers was changed by what came later, or it is not all "
                "that a proposal depends on: a state is an immutable value",
            )
        replayed = strategy.replay(
            representation, problem.fidelities, tuple(run.answers[:k]), np.random.default_rng(seed)
        )
        found = _proposal(strategy, representation, replayed, run.moments[k].generator)
        expect(
            found == proposed,
            f"a replay{whose} of {k} answers makes {_name(strategy)} propose {found}, but the run proposed {proposed}: "
            "it could not be resumed",
        )


def _proposal(strategy: Strategy[Any], representation: Representation, state: Any, generator: Any) -> Any:
    rng = np.random.default_rng()
    rng.bit_generator.state = copy.deepcopy(generator)
    proposal = strategy.propose(representation, state, rng)
    return None if proposal is None else (proposal.genotype, proposal.fidelity)


def _check_blind(strategy: Strategy[Any]) -> None:
    """Everything that the strategy holds passes through a pickler, which looks for what knows the answers."""
    held: list[str] = []

    class Looking(pickle.Pickler):
        def persistent_id(self, obj: Any) -> str | None:
            if isinstance(obj, Oracle | Table | Reporter):
                held.append(type(obj).__name__)
                return "held"
            return None

    try:
        Looking(io.BytesIO()).dump(strategy)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"{_name(strategy)} cannot be sent to another process, as repeats need it: {error}"
        ) from error
    expect(
        not held,
        f"{_name(strategy)} holds {' and '.join(sorted(set(held)))}: a strategy knows the answers that it was given, "
        "and nothing else of what architectures are worth",
    )


def _late(
    strategy: Strategy[Any],
    space: Space,
    fidelities: tuple[int, ...],
    objectives: int,
    evaluations: int,
    seed: int,
) -> list[float]:
    """What is proposed late on a signal that adds over the choices, in deviations from what chance would propose."""
    places = [{c.name: c.index(a[c.name]) for c in space.choices if c.name in a} for a in _architectures(space)]
    values = np.array([sum(found.values()) for found in places], dtype=np.float64)
    if not values.std():
        return []
    problem = _Problem(represent(space), (values - values.mean()) / values.std(), fidelities, objectives)
    runs = [_run(strategy, problem, evaluations, seed + n) for n in range(8)]
    return [float(np.mean([trial.value for trial in run.answers[evaluations // 2 :]])) for run in runs]


def _check_upwards(strategy: Strategy[Any], late: Sequence[float], learns: bool) -> None:
    if not late:
        return
    deviation = float(np.mean(late)) / max(float(np.std(late, ddof=1)) / len(late) ** 0.5, 0.02)
    worth = f"what {_name(strategy)} proposes late is worth {np.mean(late):.2f} standard deviations of the space"
    expect(deviation > _WORSE, f"{worth} against 0 at random: higher is better, does it descend?")
    expect(not learns or deviation > -_WORSE, f"{worth}, about 0 as at random: does it learn from what it is told?")


def _architectures(space: Space) -> Sequence[Any]:
    return [space.listing.at(index) for index in range(len(space.listing))]


def _first_difference(first: Sequence[Any], second: Sequence[Any]) -> str:
    place = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    if place is None:
        return f"{len(first)} and {len(second)} evaluations"
    return f"evaluation {place} asks about {first[place][0]!r} and {second[place][0]!r}"


def _name(strategy: Strategy[Any]) -> str:
    return type(strategy).__name__
