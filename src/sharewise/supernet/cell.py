"""A cell as a graph: which nodes there are, and which edges join them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space.choice import Option

__all__ = ["Wiring"]


@final
@dataclass(frozen=True)
class Wiring:
    """Nodes and edges of a cell, for any cell space; what an edge computes is somebody else's business.

    Node j is the sum of its incoming edges, x_j = Σ_{e: i → j} e(x_i); input nodes are given. The cell's output is the
    concatenation over channels of its output nodes.

    Where operations sit at nodes and inputs are gated, as in NAS-Bench-1Shot1, a block is two nodes: one that sums its
    gated inputs, and one that an edge with the block's mixture leads to.

    Args:
        inputs: number of input nodes, which come first.
        edges: source and target of each edge by name, in the order in which sums are taken: targets ascend.
        outputs: nodes whose concatenation is the output.
        stride: by which nodes that are computed are smaller than input nodes, in each dimension of space; 2 in the
            reduction cells of DARTS. It serves to know the shape of a node that nothing reaches.
        channels: of nodes that are computed, where they differ from those of input nodes, for the same purpose.

    Raises:
        ConfigurationError: when an edge does not lead from an earlier node to a later one that is no input, targets do
            not ascend, or an output is no node.

    Example:
        >>> wiring = Wiring(1, {"a": (0, 1), "b": (0, 2), "c": (1, 2)}, outputs=(1, 2))
        >>> wiring.nodes, wiring.incoming(2)
        (3, ('b', 'c'))
    """

    inputs: int
    edges: Mapping[str, tuple[int, int]]
    outputs: tuple[int, ...]
    stride: int = 1
    channels: int | None = None

    def __post_init__(self) -> None:
        last = self.inputs
        for name, (source, target) in self.edges.items():
            if not (0 <= source < target and last <= target):
                raise ConfigurationError(
                    f"edge {name!r} leads from node {source} to node {target}; edges lead to later nodes, from "
                    f"{self.inputs} (the number of inputs) on, and are given in the order of their targets"
                )
            last = target
        wrong = [node for node in self.outputs if not 0 <= node < self.nodes]
        if wrong or not self.outputs:
            raise ConfigurationError(
                f"output nodes {self.outputs} of a cell with {self.nodes} nodes; name at least one of them"
            )

    @cached_property
    def nodes(self) -> int:
        """Number of nodes, inputs among them."""
        return max([self.inputs, *(target + 1 for _, target in self.edges.values())])

    @cached_property
    def _incoming(self) -> tuple[tuple[str, ...], ...]:
        return tuple(
            tuple(name for name, (_, target) in self.edges.items() if target == node) for node in range(self.nodes)
        )

    def inputs_of_nodes(self, kind: str = "") -> Mapping[str, Mapping[Option, str]]:
        """The inputs of every computed node, as `EdgeWeights` weighs them: the edge from each, by its source.

        Args:
            kind: of the cell, where a space has several; it precedes the names of decisions, and those of edges.

        Example:
            >>> Wiring(1, {"a": (0, 1), "b": (0, 2), "c": (1, 2)}, outputs=(2,)).inputs_of_nodes()["inputs_of_2"]
            {0: 'b', 1: 'c'}
        """
        return {
            f"{kind}inputs_of_{node}": {self.edges[name][0]: f"{kind}{name}" for name in self.incoming(node)}
            for node in range(self.inputs, self.nodes)
        }

    def incoming(self, node: int) -> tuple[str, ...]:
        """Names of the edges that lead to `node`, in order."""
        return self._incoming[node]
