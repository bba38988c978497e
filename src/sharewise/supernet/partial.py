"""Edges as in PC-DARTS: with a weight of their own, and with a mixture that sees a part of the channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import final

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError, InheritanceError
from sharewise.space.choice import Option
from sharewise.space.relaxation import Decision
from sharewise.supernet.execution import Mixture, Step, Term, alone, joined, term, terms_of
from sharewise.supernet.extract import inherited_state
from sharewise.supernet.gate import Gates
from sharewise.supernet.layout import aligned, stored

__all__ = ["GatedOperation", "PartialOperation", "cell_edge"]


@final
class GatedOperation(Mixture):
    """β_k · e(x): an edge that is weighed against the other inputs of its node.

    The weight is that of one option of a decision, usually over the edges that lead to a node. Where the option is not
    active the edge is not executed.

    Args:
        edge: a mixture, or a module that is no matter of choice (`nn.Identity()` where nodes choose their inputs, as in
            NAS-Bench-1Shot1).
        decision: over inputs.
        option: the one that stands for this edge.

    Raises:
        ConfigurationError: when it is no option of the decision.

    Example:
        >>> from sharewise.supernet import Gate
        >>> edge = GatedOperation(nn.Identity(), Decision("inputs", ("a", "b")), "b")
        >>> edge.alone(torch.ones(1, 2), {"inputs": Gate(torch.tensor([0.75, 0.25]), (0, 1))})
        tensor([[0.2500, 0.2500]])

    References:
        Y. Xu et al., *PC-DARTS*, ICLR 2020 (arXiv 1907.05737), equation 2: edge normalisation.
    """

    def __init__(self, edge: nn.Module, decision: Decision, option: Option) -> None:
        super().__init__()
        if option not in decision.options:
            raise ConfigurationError(f"input {option!r} is not an option of decision {decision.name!r}")
        self.edge = edge
        self.decision = decision
        self.index = decision.options.index(option)

    def terms(self, gates: Gates) -> list[Term]:
        """The terms of the edge, each scaled by β_k."""
        gate = gates[self.decision.name]
        if self.index not in gate.active:
            return []
        terms = terms_of(self.edge, gates)
        return terms if gate.unit else [part.scaled(gate.weights[self.index]) for part in terms]

    def joined(self, lanes: Mapping[int, Tensor]) -> Tensor:
        """As the edge joins them."""
        return joined(self.edge, lanes)

    def alone(self, x: Tensor, gates: Gates) -> Tensor | None:
        """β_k times what the edge computes."""
        gate = gates[self.decision.name]
        value = alone(self.edge, x, gates) if self.index in gate.active else None
        return value if value is None or gate.unit else gate.weights[self.index].to(value.dtype) * value

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the edge where it is active, nothing elsewhere."""
        return inherited_state(self.edge, gates) if self.index in gates[self.decision.name].active else {}


@final
class PartialOperation(Mixture):
    """A mixture of the leading 1/K of the channels; the others go around it, and channels are shuffled.

    y = shuffle_K(concat(e(x[:C/K]), rest(x[C/K:]))). Shuffling commutes with sums over edges, so that a cell takes both
    sums at a node first and shuffles once.

    Args:
        edge: a mixture that maps C/K channels to C/K.
        parts: K, at least 2, a divisor of the number of channels.
        rest: what the other channels pass through: `nn.Identity()`, or 2×2 max pooling where the edge has stride 2.

    Raises:
        ConfigurationError: when K is less than 2.

    Example:
        >>> edge = PartialOperation(nn.Identity(), 2, nn.Identity())
        >>> edge.alone(torch.arange(4.0).reshape(1, 4, 1, 1), {}).flatten()
        tensor([0., 2., 1., 3.])

    References:
        Y. Xu et al., *PC-DARTS*, ICLR 2020 (arXiv 1907.05737), equation 1, and figure 2 for the shuffle.
    """

    def __init__(self, edge: nn.Module, parts: int, rest: nn.Module) -> None:
        super().__init__()
        if parts < 2:
            raise ConfigurationError(f"partial channels need at least 2 parts, got {parts}; without them leave it out")
        self.edge, self.parts, self.rest = edge, parts, rest

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The leading channels and the others, each stored by itself."""
        leading = x.shape[1] // self.parts
        first, second = torch.split(x, [leading, x.shape[1] - leading], 1)
        return stored(first, like=x), stored(second, like=x)

    def terms(self, gates: Gates) -> list[Term]:
        """Those of the mixture in lane 0, the other channels in lane 1."""
        split = Step(("split", self.parts), self._split)
        leading, others = (Step(("part", place), itemgetter(place)) for place in (0, 1))
        around = term(self.rest)
        return [
            *(part._replace(prefix=(split, leading, *part.prefix)) for part in terms_of(self.edge, gates)),
            around._replace(prefix=(split, others, *around.prefix), lane=1),
        ]

    def alone(self, x: Tensor, gates: Gates) -> Tensor | None:
        """The whole edge, shuffled."""
        leading, others = self._split(x)
        mixed, others = alone(self.edge, leading, gates), self.rest(others)
        return self.joined({1: others} if mixed is None else {0: mixed, 1: others})

    def joined(self, lanes: Mapping[int, Tensor]) -> Tensor:
        """Both sums side by side, with the channels of K groups interleaved."""
        others = lanes[1]
        n, channels, *space = others.shape
        mixed = lanes.get(0)
        if mixed is None:
            mixed = others.new_zeros((n, channels // (self.parts - 1), *space))
        return aligned(_shuffled(torch.cat([mixed, others], dim=1), self.parts))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """Nothing: the weights are those of 1/K of the channels.

        Raises:
            InheritanceError: always.
        """
        raise InheritanceError(
            f"no network can inherit weights from this search: with partial channels (K = {self.parts}) they were "
            f"trained for 1/{self.parts} of its channels. Train the architecture on its own (sharewise train, sw.train)"
        )


def _shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels of all groups in turn."""
    if x.dim() == 2:
        return torch.unflatten(x, 1, (groups, -1)).transpose(1, 2).flatten(1)
    shuffled: Tensor = torch.channel_shuffle(x, groups)
    return shuffled


def cell_edge(
    make: Callable[[int], nn.Module],
    channels: int,
    *,
    stride: int = 1,
    partial: int = 1,
    weight: tuple[Decision, Option] | None = None,
) -> nn.Module:
    """An edge of a cell in the form that the options of a network ask for.

    Args:
        make: the edge's mixture, on a number of channels.
        channels: of the nodes that it joins.
        stride: of the edge, 1 or 2.
        partial: K; 1 for a mixture that sees all channels.
        weight: the decision that weighs the edge and the option that stands for it (`EdgeWeights.of`), or `None`.

    Raises:
        ConfigurationError: when K does not divide the channels.

    Example:
        >>> edge = cell_edge(lambda channels: nn.Conv2d(channels, channels, 1), 8, partial=4)
        >>> edge.parts, edge.edge.out_channels
        (4, 2)
    """
    if channels % partial:
        raise ConfigurationError(
            f"partial channels of 1/{partial} need a number of channels that {partial} divides, got {channels}"
        )
    edge = make(channels // partial)
    if partial > 1:
        rest = nn.Identity() if stride == 1 else nn.MaxPool2d(stride, stride, ceil_mode=True)
        edge = PartialOperation(edge, partial, rest)
    return edge if weight is None else GatedOperation(edge, *weight)
