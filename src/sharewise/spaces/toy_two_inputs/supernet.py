"""The supernet of the toy cell: a mixture on every possible edge, of which an architecture keeps two per node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from torch import Tensor, nn

from sharewise.space import Architecture, Decision, EdgeWeights, Space
from sharewise.spaces.limits import AT_LEAST_ONE, keep_limits
from sharewise.spaces.toy_two_inputs.network import Network, operation
from sharewise.spaces.toy_two_inputs.space import EDGES, INPUTS, NODES
from sharewise.supernet import Gates, MixedOperation, Networks, Supernet, Wiring, cell_edge, execute

__all__ = ["NETWORKS", "TwoInputsOptions", "TwoInputsSupernet"]


@final
@dataclass(frozen=True)
class TwoInputsOptions:
    """Options of the network.

    Args:
        width: of every node, at least 1.
        partial: K: operations of the supernet see 1/K of a node, a divisor of `width`; 1 for all of it.
        edge_weights: whether the supernet weighs the edges that lead to a node against each other.
    """

    width: int = 16
    partial: int = 1
    edge_weights: bool = False

    def __post_init__(self) -> None:
        keep_limits(self, width=AT_LEAST_ONE, partial=AT_LEAST_ONE)


_WIRING = Wiring(INPUTS, {f"edge_{s}_{t}": (s, t) for s, t in EDGES}, outputs=NODES)

_INPUTS = _WIRING.inputs_of_nodes()


def _edge(decision: Decision, width: int) -> MixedOperation:
    return MixedOperation(decision, {str(o): operation(str(o), width) for o in decision.options if o != "none"})


@final
class TwoInputsSupernet(Supernet):
    """All architectures of the toy cell in one.

    Args:
        space: the toy space.
        input_shape: of one example.
        outputs: size of the last layer.
        options: of the network.
    """

    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: TwoInputsOptions) -> None:
        super().__init__()
        self.space, self.options = space, options
        self.relaxation = weighed = EdgeWeights(space.relaxation, _INPUTS if options.edge_weights else {})
        self.input_shape, self.outputs = tuple(input_shape), outputs
        frame = Network({}, self.input_shape, outputs, options.width)
        self.inputs, self.head = frame.inputs, frame.head
        self.edges = nn.ModuleDict(
            {
                d.name: cell_edge(partial(_edge, d), options.width, partial=options.partial, weight=weighed.of(d.name))
                for d in weighed.within.decisions
            }
        )

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Outputs `(n, outputs)`."""
        nodes = [layer(inputs.flatten(1)) for layer in self.inputs]
        outputs: Tensor = self.head(execute(_WIRING, self.edges, nodes, gates))
        return outputs

    def plain(self, architecture: Architecture) -> nn.Module:
        """The plain network of `architecture`."""
        return _plain(self.space.own(architecture), self.input_shape, self.outputs, self.options)


def _plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: TwoInputsOptions
) -> nn.Module:
    operations = {}
    for node in NODES:
        pair = architecture[f"inputs_{node}"]
        assert isinstance(pair, tuple)
        for source, side in zip(pair, ("first", "second"), strict=True):
            operations[f"edge_{source}_{node}"] = str(architecture[f"{side}_{node}"])
    return Network(operations, tuple(input_shape), outputs, options.width)


NETWORKS = Networks(options=TwoInputsOptions, supernet=TwoInputsSupernet, plain=_plain, input_kinds=("image", "table"))
