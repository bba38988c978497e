"""The bridge from pairs of inputs to mixtures on all edges of the DARTS cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from sharewise.space import Architecture, Decision, Encoding, Join, Option, Probabilities, Relaxation, Space
from sharewise.space.relaxation import one_hot, strongest
from sharewise.spaces.darts.genotype import KINDS, NODES

__all__ = ["TwoInputs"]

_SIDES = ("first", "second")


@final
class TwoInputs(Relaxation):
    """A decision over operations on every edge; a result keeps two edges a node, by the rule of DARTS.

    An edge is as strong as its strongest operation other than `none`, which takes part in the mixture but never in the
    result. A node keeps its two strongest edges, each with that operation; ties go to the earlier node, and to the
    operation that is listed first.

    Args:
        options: what may be mixed on each edge, by the name of its decision.
        space: whose choices say which operations may be chosen.

    References:
        H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 2.4.
    """

    def __init__(self, options: Mapping[str, tuple[str, ...]], space: Space) -> None:
        self.space = space
        self.decisions = tuple(Decision(name, self._mixed(name, legal)) for name, legal in options.items())
        self._by_name = {decision.name: decision for decision in self.decisions}
        self.joins = tuple(
            Join(tuple(f"{kind}_{source}_{node}" for source in range(node)), len(_SIDES))
            for kind in KINDS
            for node in NODES
        )

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The edges of the normal cell, and those of the reduction cell."""
        return tuple(tuple(name for name in self._by_name if name.startswith(kind)) for kind in KINDS)

    def _mixed(self, edge: str, options: tuple[str, ...]) -> tuple[str, ...]:
        """What is mixed on an edge of the space, which may be a part of its whole."""
        kind, _, target = edge.split("_")
        chosen = {option for side in _SIDES for option in self.space[f"{kind}_{side}_{target}"].options}
        return tuple(option for option in options if option == "none" or option in chosen)

    def encode(self, architecture: Architecture) -> Encoding:
        """One-hot on the edges that are kept, nothing on the others."""
        architecture = self.space.own(architecture)
        found: dict[str, tuple[float, ...]] = {d.name: (0.0,) * d.size for d in self.decisions}
        for kind in KINDS:
            for node in NODES:
                pair = architecture[f"{kind}_inputs_{node}"]
                assert isinstance(pair, tuple)
                for source, side in zip(pair, _SIDES, strict=True):
                    decision = self._by_name[f"{kind}_{source}_{node}"]
                    found[decision.name] = one_hot(decision, architecture[f"{kind}_{side}_{node}"])
        return found

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """See the class; of the pairs that the space allows the one that holds the strongest edges."""
        values: dict[str, Option] = {}
        for kind in KINDS:
            for node in NODES:
                pairs = [pair for pair in self.space[f"{kind}_inputs_{node}"].options if isinstance(pair, tuple)]
                found = {pair: self._edges(kind, node, pair, probabilities, exclude) for pair in pairs}
                pair = min(found, key=lambda pair: sorted((-weight, source) for weight, source, _ in found[pair]))
                values[f"{kind}_inputs_{node}"] = pair
                values |= {f"{kind}_{side}_{node}": e[2] for side, e in zip(_SIDES, found[pair], strict=True)}
        return self.space.architecture(values)

    def _edges(
        self, kind: str, node: int, pair: tuple[int, ...], probabilities: Probabilities, exclude: tuple[Option, ...]
    ) -> list[tuple[float, int, Option]]:
        """The strongest operation of each edge from a pair of inputs: its weight, the input, the operation."""
        best = []
        for source, side in zip(pair, _SIDES, strict=True):
            decision = self._by_name[f"{kind}_{source}_{node}"]
            legal, weights = self.space[f"{kind}_{side}_{node}"].options, probabilities[decision.name]
            index = strongest(decision, weights, (*exclude, *(o for o in decision.options if o not in legal)))
            best.append((float(weights[index]), source, decision.options[index]))
        return best
