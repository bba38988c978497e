"""Successive halving and Hyperband: many short trainings, few long ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.strategy.representation import Genotype, Representation
from sharewise.strategy.strategy import Proposal, Strategy, Trial

__all__ = ["Hyperband", "SuccessiveHalving"]


class _Bracket(NamedTuple):
    """A bracket in progress."""

    fidelities: tuple[int, ...]
    """All that the oracle offers."""
    first: int
    """Place of the fidelity at which this bracket begins."""
    rung: int
    """Place of the fidelity that is being asked for."""
    waiting: tuple[Genotype, ...]
    """Promoted to this rung and not asked about yet; empty on the first rung, which draws at random."""
    done: tuple[tuple[Genotype, float], ...]
    """Answers of this rung."""
    size: int
    """How many answers this rung shall have."""


@final
@dataclass(frozen=True)
class SuccessiveHalving(Strategy[_Bracket]):
    """Ask about many at the lowest fidelity, keep the best 1/η, ask about those at the next, and begin again.

    Args:
        width: architectures on the first rung; 0 for the smallest number that leaves one on the last.
        reduction: η, at least 2.

    Raises:
        ConfigurationError: when a value is out of range.

    References:
        K. Jamieson and A. Talwalkar, *Non-stochastic Best Arm Identification*, AISTATS 2016.

    Deviations:
        Rungs are the fidelities that the oracle has, however far apart. Every training is charged from its beginning,
        since the short and the long schedules of NAS-Bench-201 are separate trainings.
    """

    width: int = 0
    reduction: int = 3

    def __post_init__(self) -> None:
        _check(self.width, self.reduction)

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> _Bracket:
        """See `Strategy.start`."""
        _several(fidelities)
        return _opened(fidelities, 0, self.width, self.reduction)

    def propose(self, representation: Representation, state: _Bracket, rng: np.random.Generator) -> Proposal:
        """See `Strategy.propose`."""
        return _ask(representation, state, rng)

    def update(self, representation: Representation, state: _Bracket, trial: Trial) -> _Bracket:
        """See `Strategy.update`."""
        after = _answered(state, trial, self.reduction)
        return after or _opened(state.fidelities, 0, self.width, self.reduction)

    def assume(self, representation: Representation, state: _Bracket, proposal: Proposal) -> _Bracket | None:
        """See `Strategy.assume`: a rung is asked about together, and the next one waits for it."""
        return _assumed(state, proposal)


@final
@dataclass(frozen=True)
class Hyperband(Strategy[_Bracket]):
    """Successive halving from every fidelity in turn, which hedges against a misleading short signal.

    Bracket s begins at fidelity s of S with ⌈S / (S - s) · η^(S - s - 1)⌉ architectures; the last one trains to the end
    all it draws.

    Args:
        reduction: η, at least 2.

    Raises:
        ConfigurationError: when η is too small.

    References:
        L. Li et al., *Hyperband*, JMLR 2018, algorithm 1.

    Deviations:
        As for `SuccessiveHalving`.
    """

    reduction: int = 3

    def __post_init__(self) -> None:
        _check(0, self.reduction)

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> _Bracket:
        """See `Strategy.start`."""
        _several(fidelities)
        return self._open(fidelities, 0)

    def propose(self, representation: Representation, state: _Bracket, rng: np.random.Generator) -> Proposal:
        """See `Strategy.propose`."""
        return _ask(representation, state, rng)

    def update(self, representation: Representation, state: _Bracket, trial: Trial) -> _Bracket:
        """See `Strategy.update`."""
        after = _answered(state, trial, self.reduction)
        return after or self._open(state.fidelities, (state.first + 1) % len(state.fidelities))

    def assume(self, representation: Representation, state: _Bracket, proposal: Proposal) -> _Bracket | None:
        """See `Strategy.assume`: as for `SuccessiveHalving`."""
        return _assumed(state, proposal)

    def _open(self, fidelities: tuple[int, ...], first: int) -> _Bracket:
        rungs = len(fidelities) - first
        width = -(-len(fidelities) * self.reduction ** (rungs - 1) // rungs)
        return _opened(fidelities, first, width, self.reduction)


def _opened(fidelities: tuple[int, ...], first: int, width: int, reduction: int) -> _Bracket:
    count = width or reduction ** (len(fidelities) - 1 - first)
    return _Bracket(fidelities, first, first, (), (), count)


def _ask(representation: Representation, state: _Bracket, rng: np.random.Generator) -> Proposal:
    genotype = state.waiting[0] if state.waiting else representation.sample(rng)
    return Proposal(genotype, state.fidelities[state.rung])


def _answered(state: _Bracket, trial: Trial, reduction: int) -> _Bracket | None:
    """The bracket after an answer; `None` when it has come to its end."""
    done = (*state.done, (trial.genotype, trial.value))
    if len(done) < state.size:
        return state._replace(done=done, waiting=_without(state.waiting, trial.genotype))
    if state.rung == len(state.fidelities) - 1:
        return None
    ranked = sorted(done, key=lambda pair: -pair[1])  # stable: the earlier of equal ones is promoted
    kept = max(1, len(done) // reduction)
    return state._replace(rung=state.rung + 1, waiting=tuple(g for g, _ in ranked[:kept]), done=(), size=kept)


def _assumed(state: _Bracket, proposal: Proposal) -> _Bracket | None:
    """The rung with one answer fewer to ask for; `None` where that leaves none."""
    if state.size - 1 == len(state.done):
        return None
    return state._replace(size=state.size - 1, waiting=_without(state.waiting, proposal.genotype))


def _without(waiting: tuple[Genotype, ...], genotype: Genotype) -> tuple[Genotype, ...]:
    """All but the first of what equals it; on the first rung nothing waits."""
    place = waiting.index(genotype) if waiting else 0
    return waiting[:place] + waiting[place + 1 :]


def _check(width: int, reduction: int) -> None:
    if width < 0 or reduction < 2:
        raise ConfigurationError(f"width must be at least 0 and reduction at least 2, got {width} and {reduction}")


def _several(fidelities: tuple[int, ...]) -> None:
    if len(fidelities) < 2:
        raise ConfigurationError(
            f"successive halving needs signals of at least two lengths, and this oracle has {fidelities}; give more, "
            "such as --signal-epochs 12 200"
        )
