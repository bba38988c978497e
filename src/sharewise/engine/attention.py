"""Attentive sampling: among architectures of about one cost, train the one that does best, or worst."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import torch

from sharewise.data import Batch
from sharewise.engine.step import Aim, gate_loss
from sharewise.engine.widest import narrowest, widest
from sharewise.errors import ConfigurationError
from sharewise.supernet.gate import Gates

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Attention"]

_ATTEMPTS = 50
"""Draws per candidate; a bin that is rarer keeps fewer candidates."""


@final
@dataclass(frozen=True)
class Attention:
    """BestUp-k and WorstUp-k: of k architectures in one bin of multiply-accumulates, the one with the lowest, or the
    highest, loss on the batch of the step.

    The bin is that of a uniformly drawn architecture, so that targets follow the costs of the space; the others are
    drawn uniformly until they fall into it. Bins divide the range from the smallest to the largest network evenly.

    Args:
        best: whether the lowest loss is chosen (BestUp), else the highest (WorstUp).
        candidates: k, at least 1.
        bins: at least 1.

    Raises:
        ConfigurationError: when a number is out of range.

    References:
        D. Wang et al., *AttentiveNAS*, CVPR 2021 (arXiv 2011.09011), section 3 and algorithm 1.

    Deviations:
        The authors draw candidates by a table of how often options occur at a cost; here they are drawn by rejection,
        which is exact. Their bins are 25 M multiply-accumulates wide, some 70 of them over their space. The loss of a
        candidate is the one that it would be trained with, in training mode, whose running statistics are not kept.
    """

    best: bool = True
    candidates: int = 3
    bins: int = 70

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.bins < 1:
            raise ConfigurationError(
                f"attention needs at least 1 candidate and 1 bin, got candidates={self.candidates}, bins={self.bins}"
            )

    def shortened(self) -> Attention:
        """Two candidates."""
        return replace(self, candidates=min(self.candidates, 2))

    def check(self, state: SearchState) -> None:
        """Nothing to refuse: where all networks cost the same there is one bin."""

    def chosen(self, state: SearchState, batch: Batch, drawn: Gates, aim: Aim) -> Gates:
        """The architecture to be trained in place of one that was drawn.

        Args:
            state: the search; its weight stream is the source of randomness.
            batch: of the step.
            drawn: gates of a uniformly drawn architecture.
            aim: of the outputs.
        """
        found = self._like(state, drawn)
        if len(found) == 1:
            return found[0]
        losses = torch.stack([gate_loss(state, batch, gates, "attention", aim) for gates in found])
        return found[int(losses.argmin() if self.best else losses.argmax())]

    def _like(self, state: SearchState, drawn: Gates) -> list[Gates]:
        """Different architectures in the bin of the drawn one, which is the first of them."""
        low, high = (state.costs.of(end(state.distribution, drawn)) for end in (narrowest, widest))
        width = max(high - low, 1) / self.bins

        def place(gates: Gates) -> int:
            return min(int((state.costs.of(gates) - low) / width), self.bins - 1)

        found, target = {_key(drawn): drawn}, place(drawn)
        for _ in range(_ATTEMPTS * (self.candidates - 1)):
            if len(found) == self.candidates:
                break
            with torch.no_grad():
                others = state.distribution.draw(state.generators["weights"], state.phase("weights"))
            for other in others:
                if len(found) < self.candidates and place(other) == target:
                    found.setdefault(_key(other), other)
        return list(found.values())


def _key(gates: Gates) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, gate.active) for name, gate in gates.items())
