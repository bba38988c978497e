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
NODES = (2, 3)
EDGES = tuple((source, target) for target in NODES for source in range(target))


@final
class _TwoInputs(Relaxation):
    """Operations on every edge stand for pairs of inputs with operations."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.decisions = tuple(Decision(f"edge_{s}_{t}", OPERATIONS) for s, t in EDGES)

    def encode(self, architecture: Architecture) -> Encoding:
        chosen: dict[str, Option] = {}
        for node in NODES:
            pair = architecture[f"inputs_{node}"]
            assert isinstance(pair, tuple)
            for source, side in zip(pair, ("first", "second"), strict=True):
                chosen[f"edge_{source}_{node}"] = architecture[f"{side}_{node}"]
        nothing = (0.0,) * len(OPERATIONS)
        return {d.name: one_hot(d, chosen[d.name]) if d.name in chosen else nothing for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        # `none` weakens an edge but is never a result, as in DARTS; excluding it again changes nothing.
        exclude = (*exclude, "none")
        by_edge = {d.name: d for d in self.decisions}
        values: dict[str, Option] = {}
        for node in NODES:
            best: list[tuple[float, int, Option]] = []
            for source in range(node):
                decision = by_edge[f"edge_{source}_{node}"]
                weights = probabilities[decision.name]
                index = strongest(decision, weights, exclude)
                best.append((float(weights[index]), source, decision.options[index]))
            kept = sorted(sorted(best, key=lambda edge: (-edge[0], edge[1]))[:2], key=lambda edge: edge[1])
            values[f"inputs_{node}"] = (kept[0][1], kept[1][1])
            values[f"first_{node}"], values[f"second_{node}"] = kept[0][2], kept[1][2]
        return self.space.architecture(values)


def _draw(architecture: Architecture) -> Picture:
    names: Mapping[int, str] = {0: "input 0", 1: "input 1", 2: "node 2", 3: "node 3"}
    edges = []
    for node in NODES:
        pair = architecture[f"inputs_{node}"]
        assert isinstance(pair, tuple)
        for source, side in zip(pair, ("first", "second"), strict=True):
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
