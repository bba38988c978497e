"""Disjoint sharing: a weighted sum of the outputs of separate operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.execution import Mixture, Term, term
from sharewise.supernet.gate import Gate, Gates, add, weighted

__all__ = ["MixedOperation"]


@final
class MixedOperation(Mixture):
    """The mixture of one decision: sum over active options i of g_i · o_i(x).

    This is the readable form of every algorithm: DARTS has all options active, GDAS one, ProxylessNAS two, a uniform
    sampler one with weight one. Options that are not active are not executed and receive no gradient.

    Args:
        decision: its options index the gate.
        operations: the module of each option; an option that is absent computes zero and costs nothing (`none`).

    Example:
        >>> import torch
        >>> mixed = MixedOperation(Decision("edge", ("none", "skip")), {"skip": nn.Identity()})
        >>> mixed(torch.ones(2), Gate(torch.tensor([0.75, 0.25]), active=(0, 1)))
        tensor([0.2500, 0.2500])

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), equation 2.
    """

    def __init__(self, decision: Decision, operations: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for option in operations:
            if option not in decision.options:
                raise ConfigurationError(f"operation {option!r} is not an option of decision {decision.name!r}")
        self.decision = decision
        self.operations = nn.ModuleDict(operations)

    def forward(self, x: Tensor, gate: Gate) -> Tensor | None:
        """The weighted sum, or `None` where no active option computes anything but zero."""
        total: Tensor | None = None
        for index in gate.active:
            option = str(self.decision.options[index])
            if option in self.operations:
                total = add(total, weighted(gate, index, self.operations[option](x)))
        return total

    def terms(self, gates: Gates) -> list[Term]:
        """The parts of the active operations, each scaled by its weight."""
        gate, options, operations = gates[self.decision.name], self.decision.options, self.operations._modules
        active = ((index, operations.get(str(options[index]))) for index in gate.active)
        return [
            term(operation, None if gate.unit else gate.weights[index])
            for index, operation in active
            if operation is not None
        ]

    def alone(self, x: Tensor, gates: Gates) -> Tensor | None:
        """As `forward`, under the gate of its decision."""
        total: Tensor | None = self(x, gates[self.decision.name])
        return total

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the one active operation, or of the `nn.ModuleDict` of several; nothing where all are absent.

        Raises:
            ConfigurationError: when an active option has another weight than one, as no architecture has it.
        """
        gate = gates[self.decision.name]
        if len(gate.active) > 1 and not gate.unit:
            raise ConfigurationError(
                f"decision {self.decision.name!r} mixes {len(gate.active)} active options, as no architecture does"
            )
        options = [str(self.decision.options[index]) for index in gate.active]
        states = {option: self.operations[option].state_dict() for option in options if option in self.operations}
        if len(states) == 1:
            return dict(next(iter(states.values())))
        return {f"{option}.{name}": value for option, state in states.items() for name, value in state.items()}
