"""An edge whose operations share weights in groups: entangled convolutions beside separate operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.execution import Mixture, Term, term
from sharewise.supernet.gate import Gates, add
from sharewise.supernet.mixed import MixedOperation
from sharewise.supernet.slices import EntangledConvolution

__all__ = ["GroupedOperation"]


@final
class GroupedOperation(Mixture):
    """The mixture of one decision, some of whose options are nested in one another.

    Σ over groups of the entangled convolution of the group, plus Σ over the other active options i of g_i · o_i(x).

    Args:
        decision: its options index the gate.
        groups: entangled convolutions by name; no option belongs to two.
        others: the modules of options outside the groups; an option that is absent computes zero (`none`).

    Raises:
        ConfigurationError: when an option occurs twice.
    """

    def __init__(
        self,
        decision: Decision,
        groups: Mapping[str, EntangledConvolution],
        others: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        taken = [decision.options[index] for group in groups.values() for index in group.group] + list(others or {})
        if len(set(taken)) < len(taken):
            raise ConfigurationError(f"an option of decision {decision.name!r} occurs in two groups: {taken}")
        self.decision = decision
        self.groups = nn.ModuleDict(groups)
        self.others = MixedOperation(decision, others or {})

    @property
    def scales_weights(self) -> bool:
        """Where there are groups, whose kernels are mixed."""
        return len(self.groups) > 0

    def forward(self, x: Tensor, gates: Gates) -> Tensor | None:
        """The mixture, or `None` where no active option computes anything but zero."""
        total: Tensor | None = self.others(x, gates[self.decision.name])
        for group in self.groups.values():
            total = add(total, group(x, gates))
        return total

    def terms(self, gates: Gates) -> list[Term]:
        """The parts of the active operations, a group being one, whose norm is scaled by its mass."""
        found = self.others.terms(gates)
        for group in self.groups.values():
            assert isinstance(group, EntangledConvolution)
            share = group.share(gates)
            if share is not None:
                inner, mass = share
                found.append(term(group.layers.layers, mass, inner))
        return found

    def alone(self, x: Tensor, gates: Gates) -> Tensor | None:
        """As `forward`."""
        total: Tensor | None = self(x, gates)
        return total

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the one active option."""
        state = self.others.inherited(gates)
        for group in self.groups.values():
            assert isinstance(group, EntangledConvolution)
            state |= group.inherited(gates)
        return state
