"""Edge weights: the inputs of a node weighed against each other, beside the operations on its edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space.architecture import Architecture
from sharewise.space.choice import Option
from sharewise.space.relaxation import Decision, Encoding, Probabilities, Relaxation

__all__ = ["EdgeWeights"]

_LEAST = 1e-12
"""What is left of a weight of zero, so that it still tells the operations of its edge apart."""


@final
class EdgeWeights(Relaxation):
    """A relaxation with one more decision per node, over the edges that lead to it (edge normalisation).

    Node j is Σ_i β_{ij} · f_{ij}(x_i), with β_j on the simplex and f_{ij} the mixture on the edge. An architecture has
    its edges unweighed: `encode` gives each a weight of one, and none to an edge without an operation. `project` asks
    the relaxation within for p_{ij,o} · β_{ij}, so that a rule which keeps the strongest edges compares these.

    Args:
        within: whose decisions are the operations on edges.
        nodes: by name of the new decision, the edges that lead to a node: for each the option that stands for it, and
            the decision of its operations. A node with a single edge has nothing to weigh and is left out.

    Raises:
        ConfigurationError: when an edge is no decision of the relaxation within.

    Example:
        >>> from sharewise.spaces import load
        >>> nodes = {"inputs_of_2": {0: "edge_0_2", 1: "edge_1_2"}}
        >>> weighed = EdgeWeights(load("nasbench201").relaxation, nodes)
        >>> weighed.decisions[-1].options, weighed.of("edge_1_2")
        ((0, 1), (Decision(name='inputs_of_2', options=(0, 1), weighs=True), 1))

    References:
        Y. Xu et al., *PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search*, ICLR 2020
        (arXiv 1907.05737), equation 2.
    """

    def __init__(self, within: Relaxation, nodes: Mapping[str, Mapping[Option, str]]) -> None:
        self.within, self.space, self.independent, self.joins = within, within.space, within.independent, within.joins
        several = {name: dict(edges) for name, edges in nodes.items() if len(edges) > 1}
        known = {decision.name for decision in within.decisions}
        for name, edges in several.items():
            for edge in edges.values():
                if edge not in known:
                    raise ConfigurationError(
                        f"decision {name!r} weighs edge {edge!r}, which is no decision of space {self.space.name!r}"
                    )
        inputs = {name: Decision(name, tuple(edges), weighs=True) for name, edges in several.items()}
        self.decisions = (*within.decisions, *inputs.values())
        self._places = {
            edge: (inputs[name], option) for name, edges in several.items() for option, edge in edges.items()
        }

    @property
    def sparse(self) -> bool:  # type: ignore[override]
        """As the relaxation within."""
        return self.within.sparse

    def choosing(self, option: Option) -> tuple[Option, ...]:
        """As the relaxation within."""
        return self.within.choosing(option)

    def of(self, edge: str) -> tuple[Decision, Option] | None:
        """The decision that weighs an edge and the option that stands for it; `None` where nothing does.

        Args:
            edge: name of the decision of its operations.
        """
        return self._places.get(edge)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Those of the relaxation within: weights of edges are no operations."""
        return self.within.groups

    def encode(self, architecture: Architecture) -> Encoding:
        """That of the relaxation within; edges with an operation weigh one."""
        encoding = dict(self.within.encode(architecture))
        kept = {place: float(any(encoding[edge])) for edge, place in self._places.items()}
        for decision in self.decisions[len(self.within.decisions) :]:
            encoding[decision.name] = tuple(kept[decision, option] for option in decision.options)
        return encoding

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """The rule of the relaxation within, on probabilities times the weight of their edge."""
        scaled = {decision.name: probabilities[decision.name] for decision in self.within.decisions}
        for edge, (decision, option) in self._places.items():
            weight = max(probabilities[decision.name][decision.options.index(option)], _LEAST)
            scaled[edge] = [weight * value for value in scaled[edge]]
        return self.within.project(scaled, exclude)
