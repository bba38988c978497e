"""The supernet of the toy cell: a mixture on every possible edge, of which an architecture keeps two per node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Space
from sharewise.spaces.toy_two_inputs.network import Network, operation
from sharewise.spaces.toy_two_inputs.space import EDGES, INPUTS, NODES
from sharewise.supernet import Gates, MixedOperation, Networks, Supernet, Wiring, execute

__all__ = ["NETWORKS", "TwoInputsOptions", "TwoInputsSupernet"]


@final
@dataclass(frozen=True)
class TwoInputsOptions:
    """Options of the network.

    Args:
        width: of every node, at least 1.
    """

    width: int = 16

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigurationError(f"network option width must be at least 1, got {self.width}")


_WIRING = Wiring(INPUTS, {f"edge_{s}_{t}": (s, t) for s, t in EDGES}, outputs=NODES)


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
        self.space, self.relaxation, self.options = space, space.relaxation, options
        self.input_shape, self.outputs = tuple(input_shape), outputs
        frame = Network({}, self.input_shape, outputs, options.width)
        self.inputs, self.head = frame.inputs, frame.head
        self.edges = nn.ModuleDict(
            {
                d.name: MixedOperation(d, {str(o): operation(str(o), options.width) for o in d.options if o != "none"})
                for d in self.relaxation.decisions
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
