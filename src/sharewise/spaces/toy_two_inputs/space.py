"""A toy cell in which each node picks two of its possible inputs, as in DARTS, so that decisions are not choices.

Two inputs (nodes 0 and 1) and two computing nodes (2 and 3). Node j picks a pair of earlier nodes and an operation on
each of the two edges: the *choices* are `inputs_j`, `first_j` and `second_j`. A supernet, however, mixes an operation
on every possible edge: the *decisions* are the five `edge_i_j`. `encode` leaves unchosen edges without any active
option, and `project` keeps the two strongest edges of each node (the rule of DARTS).

`none` is an option of the decisions but no legal result, so there are (1 · 3²) · (3 · 3²) = 243 architectures: node 2
has one pair of inputs, node 3 has three.

References:
    H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 2.4: the discretisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations
from typing import final

from sharewise.space import (
    Architecture,
    Choice,
    Decision,
    Encoding,
    Join,
    Option,
    Picture,
    Probabilities,
    Relaxation,
    Space,
)
from sharewise.space.relaxation import one_hot, strongest

__all__ = ["EDGES", "INPUTS", "NODES", "OPERATIONS", "toy_two_inputs"]

OPERATIONS = ("none", "skip_connect", "linear", "tanh")
INPUTS = 2
_SIDES = ("first", "second")
NODES = (2, 3)
EDGES = tuple((source, target) for target in NODES for source in range(target))


@final
class _TwoInputs(Relaxation):
    """Operations on every edge stand for pairs of inputs with operations."""

    def __init__(self, space: Space) -> None:
        self.space = space
        chosen = {option for node in NODES for side in _SIDES for option in space[f"{side}_{node}"].options}
        options = tuple(option for option in OPERATIONS if option == "none" or option in chosen)
        self.decisions = tuple(Decision(f"edge_{s}_{t}", options) for s, t in EDGES)
        self.joins = tuple(Join(tuple(f"edge_{s}_{node}" for s in range(node)), INPUTS) for node in NODES)

    def encode(self, architecture: Architecture) -> Encoding:
        architecture = self.space.own(architecture)
        chosen: dict[str, Option] = {}
        for node in NODES:
            pair = architecture[f"inputs_{node}"]
            assert isinstance(pair, tuple)
            for source, side in zip(pair, _SIDES, strict=True):
                chosen[f"edge_{source}_{node}"] = architecture[f"{side}_{node}"]
        nothing = (0.0,) * self.decisions[0].size
        return {d.name: one_hot(d, chosen[d.name]) if d.name in chosen else nothing for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        # `none` weakens an edge but is never a result, as in DARTS; excluding it again changes nothing.
        values: dict[str, Option] = {}
        for node in NODES:
            found = {pair: self._edges(node, pair, probabilities, exclude) for pair in _pairs(self.space, node)}
            pair = min(found, key=lambda pair: sorted((-weight, source) for weight, source, _ in found[pair]))
            values[f"inputs_{node}"] = pair
            values |= {f"{side}_{node}": edge[2] for side, edge in zip(_SIDES, found[pair], strict=True)}
        return self.space.architecture(values)

    def _edges(
        self, node: int, pair: tuple[int, ...], probabilities: Probabilities, exclude: tuple[Option, ...]
    ) -> list[tuple[float, int, Option]]:
        """The strongest operation of each edge from a pair of inputs: its weight, the input, the operation."""
        by_edge, best = {d.name: d for d in self.decisions}, []
        for source, side in zip(pair, _SIDES, strict=True):
            decision, legal = by_edge[f"edge_{source}_{node}"], self.space[f"{side}_{node}"].options
            weights = probabilities[decision.name]
            index = strongest(decision, weights, (*exclude, *(o for o in decision.options if o not in legal)))
            best.append((float(weights[index]), source, decision.options[index]))
        return best


def _pairs(space: Space, node: int) -> tuple[tuple[int, ...], ...]:
    """The pairs of inputs that a node may have."""
    return tuple(pair for pair in space[f"inputs_{node}"].options if isinstance(pair, tuple))


def _draw(architecture: Architecture) -> Picture:
    names: Mapping[int, str] = {0: "input 0", 1: "input 1", 2: "node 2", 3: "node 3"}
    edges = []
    for node in NODES:
        pair = architecture[f"inputs_{node}"]
        assert isinstance(pair, tuple)
        for source, side in zip(pair, _SIDES, strict=True):
            edges.append((names[source], names[node], str(architecture[f"{side}_{node}"])))
    return Picture((*names.values(), "output"), (*edges, ("node 2", "output", ""), ("node 3", "output", "")))


@cache
def toy_two_inputs() -> Space:
    """The space itself.

    Returns:
        The space of 243 architectures; the same object at every call.

    Example:
        >>> toy_two_inputs().size, len(toy_two_inputs().relaxation.decisions)
        (243, 5)
    """
    operations = tuple(option for option in OPERATIONS if option != "none")
    choices = tuple(
        choice
        for node in NODES
        for choice in (
            Choice(f"inputs_{node}", tuple(combinations(range(node), 2))),
            Choice(f"first_{node}", operations),
            Choice(f"second_{node}", operations),
        )
    )
    return Space(
        name="toy-two-inputs",
        choices=choices,
        relax=_TwoInputs,
        networks="sharewise.spaces.toy_two_inputs.supernet",
        draw=_draw,
        summary="toy cell: each of 2 nodes picks two of its inputs, as in DARTS (decisions are not choices)",
    )
