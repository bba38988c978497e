"""Selection by a threshold (Fair-DARTS): what weighs enough stays, whatever else there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from sharewise.engine.select import Selected, Selection, nearest, rested, within
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Decision, Option

if TYPE_CHECKING:
    from sharewise.engine.state import SearchState

__all__ = ["Threshold"]


@final
@dataclass(frozen=True)
class Threshold(Selection):
    """What weighs enough stays: each decision keeps its strongest option if that reaches a threshold, else nothing.

    For mixtures whose options do not compete, where a weight says by itself how much an option is wanted. Where a space
    keeps only some inputs of a node, those with the strongest such options stay; where its architectures cannot do
    without an option (all but those that are `sparse`), the strongest stays although it is too weak. A cell of which
    nothing reaches the threshold is no network: then the rule is the one of DARTS, and the result says so.

    Args:
        threshold: least weight of what is kept, in (0, 1).
        absence: the option that stands for nothing, in spaces that have it.

    Raises:
        ConfigurationError: when the threshold is out of range.

    References:
        X. Chu et al., *Fair DARTS*, ECCV 2020 (arXiv 1911.12126), and the released code (`threshold_sparse`, 0.85).
    """

    threshold: float = 0.85
    absence: Option | None = "none"
    reads_probabilities: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigurationError(f"the threshold of a selection must lie in (0, 1), got {self.threshold}")

    def select(self, state: SearchState) -> Selected:
        """See `Selection.select`."""
        found, mixture = self.projected(state), self._mixture(state)
        mixture = [(d, row) for d, row in mixture if not d.weighs]
        kept = sum(self._strong(d.options, row) for d, row in mixture)
        rule = f"options whose weight reaches {self.threshold:g}, {kept} of {len(mixture)} decisions"
        if self._is_empty(state):
            rule = f"strongest option other than {self.absence}, since too few weights reach {self.threshold:g}"
        elif weak := self._weak(state, found):
            rule += f"; {weak} more stay although they are weaker, since the space cannot leave them out"
        return Selected(found, f"{rule}{within(state)}{rested(state)}")

    def projected(self, state: SearchState) -> Architecture:
        """See `Selection.projected`."""
        empty, exclude = self._is_empty(state), state.recipe.exclude
        read = self._alone if state.distribution.relaxation.sparse else self._weights
        weights = {d.name: row if d.weighs else read(d.options, row, empty) for d, row in self._mixture(state)}
        if not empty:
            return nearest(state, weights, tuple(option for option in exclude if option != self.absence))
        return nearest(state, weights, exclude if self.absence is None else (*exclude, self.absence))

    def _mixture(self, state: SearchState) -> list[tuple[Decision, list[float]]]:
        mixture = state.distribution.mixture()
        return [(d, mixture[d.name].tolist()) for d in state.distribution.relaxation.decisions]

    def _strong(self, options: Sequence[Option], weights: Sequence[float]) -> bool:
        """Whether a decision keeps something."""
        pairs = zip(options, weights, strict=True)
        return any(weight >= self.threshold and option != self.absence for option, weight in pairs)

    def _weak(self, state: SearchState, found: Architecture) -> int:
        """How many options of a result do not reach the threshold."""
        encoding = state.distribution.relaxation.encode(found)
        return sum(
            taken > 0 and option != self.absence and weight < self.threshold
            for d, row in self._mixture(state)
            if not d.weighs
            for option, weight, taken in zip(d.options, row, encoding[d.name], strict=True)
        )

    def _is_empty(self, state: SearchState) -> bool:
        """Whether some kind of cell keeps nothing at all."""
        strong = {d.name for d, row in self._mixture(state) if self._strong(d.options, row)}
        return any(not strong & set(group) for group in state.distribution.relaxation.groups)

    def _alone(self, options: Sequence[Option], weights: Sequence[float], empty: bool) -> list[float]:
        """As a projection reads them that may leave everything out: the strongest option, if it is strong enough."""
        best = max(range(len(options)), key=lambda i: (options[i] != self.absence, weights[i], -i))
        kept = options[best] != self.absence and (empty or weights[best] >= self.threshold)
        return [weight if kept and i == best else 0.0 for i, weight in enumerate(weights)]

    def _weights(self, options: Sequence[Option], weights: Sequence[float], empty: bool) -> list[float]:
        """As a projection reads them: an option that is too weak counts only where there is nothing else."""
        nothing, scale = (0.0, 1.0) if empty or self._strong(options, weights) else (1.0, 1e-6)
        pairs = zip(options, weights, strict=True)
        return [nothing if option == self.absence else scale * weight for option, weight in pairs]
