"""Local search with restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from sharewise.strategy.representation import Genotype, Representation
from sharewise.strategy.strategy import Proposal, Strategy, Trial

__all__ = ["LocalSearch"]


class _Walk(NamedTuple):
    """Where a walk stands; the empty walk is about to begin at a random place."""

    centre: Genotype = None
    value: float = 0.0
    """Of the centre."""
    pending: tuple[Genotype, ...] = ()
    """Neighbours of the centre that are still to be asked about."""
    best: tuple[Genotype, float] | None = None
    """Of the neighbours asked about so far, one that beats the centre."""
    known: frozenset[Genotype] = frozenset()
    """Asked about at this centre or the one before, and so not worth asking again."""


@final
@dataclass(frozen=True)
class LocalSearch(Strategy[_Walk]):
    """Walk to a better neighbour until there is none, then begin again at a random architecture.

    Neighbours differ in one choice and are asked about in random order. Those that were asked about at the centre
    before, which share a choice with the step just made, are not asked about again.

    Args:
        first: move to the first neighbour that beats the centre; otherwise ask about all of them and move to the best.

    References:
        C. White et al., *Exploring the Loss Landscape in Neural Architecture Search*, UAI 2021 (arXiv 2005.02960),
        whose default asks about all neighbours.

    Deviations:
        The authors' program never pays twice for an architecture; here a walk that comes back after more than one step,
        or after a restart, does.
    """

    first: bool = False

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> _Walk:
        """See `Strategy.start`."""
        return _Walk()

    def propose(self, representation: Representation, state: _Walk, rng: np.random.Generator) -> Proposal:
        """See `Strategy.propose`."""
        if not state.pending:
            return Proposal(representation.sample(rng))
        return Proposal(state.pending[int(rng.random() * len(state.pending))])

    def update(self, representation: Representation, state: _Walk, trial: Trial) -> _Walk:
        """See `Strategy.update`."""
        if not state.pending:
            return self._moved(representation, trial.genotype, trial.value, frozenset())
        place = state.pending.index(trial.genotype)
        pending = state.pending[:place] + state.pending[place + 1 :]
        best = state.best
        if trial.value > (state.value if best is None else best[1]):
            best = (trial.genotype, trial.value)
        if best is not None and (self.first or not pending):
            # What is pending was not asked about, so it stays unknown at the next centre.
            return self._moved(representation, *best, state.known.difference(pending))
        return state._replace(pending=pending, best=best) if pending else _Walk()

    def assume(self, representation: Representation, state: _Walk, proposal: Proposal) -> _Walk | None:
        """See `Strategy.assume`: neighbours of one centre are asked about together, unless the first better one ends
        it; where a walk begins, and where it goes on when all are known, waits for answers."""
        pending = tuple(genotype for genotype in state.pending if genotype != proposal.genotype)
        return state._replace(pending=pending) if pending and not self.first else None

    def _moved(
        self, representation: Representation, centre: Genotype, value: float, seen: frozenset[Genotype]
    ) -> _Walk:
        around = representation.neighbours(centre)
        pending = tuple(genotype for genotype in around if genotype not in seen)
        return _Walk(centre, value, pending, None, frozenset((centre, *around))) if pending else _Walk()
