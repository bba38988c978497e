"""Random search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sharewise.strategy.representation import Representation
from sharewise.strategy.strategy import Proposal, Strategy, Trial

__all__ = ["RandomSearch"]


class _Order(NamedTuple):
    indices: NDArray[np.int64] | None
    """A random order of all indices, read-only; `None` where architectures may repeat."""
    place: int


@final
@dataclass(frozen=True)
class RandomSearch(Strategy[_Order]):
    """Ask about architectures at random: the baseline that every other strategy must beat.

    After n draws with replacement the incumbent is among the best share q of the space with probability
    1 - (1 - q)^n, whatever the signal's shape.

    Args:
        replacement: whether an architecture may be drawn again, as in the programs of the benchmarks. Without, the
            order is a random permutation of all architectures, which needs a listing in memory, and the run ends when
            all are known.

    References:
        L. Li and A. Talwalkar, *Random Search and Reproducibility for NAS*, UAI 2019.
    """

    replacement: bool = True

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> _Order:
        """See `Strategy.start`."""
        if self.replacement:
            return _Order(None, 0)
        order = rng.permutation(representation.indices)
        order.setflags(write=False)
        return _Order(order, 0)

    def propose(self, representation: Representation, state: _Order, rng: np.random.Generator) -> Proposal | None:
        """See `Strategy.propose`."""
        if state.indices is None:
            return Proposal(representation.sample(rng))
        if state.place == len(state.indices):
            return None
        return Proposal(representation.at(int(state.indices[state.place])))

    def update(self, representation: Representation, state: _Order, trial: Trial) -> _Order:
        """See `Strategy.update`."""
        return state if state.indices is None else _Order(state.indices, state.place + 1)

    def assume(self, representation: Representation, state: _Order, proposal: Proposal) -> _Order:
        """See `Strategy.assume`."""
        return state if state.indices is None else _Order(state.indices, state.place + 1)
