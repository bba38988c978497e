"""The bridges from the inputs of nodes to mixtures on all edges of the DARTS cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from sharewise.space import Architecture, Decision, Encoding, Join, Option, Probabilities, Relaxation, Space
from sharewise.space.relaxation import one_hot, strongest
from sharewise.spaces.darts.genotype import KINDS, NODES

__all__ = ["NOTHING", "AtMostTwo", "TwoInputs"]

NOTHING = "nothing"
"""In place of an input that a node does without."""

_SIDES = ("first", "second")


def _joins() -> tuple[Join, ...]:
    """Every node, which keeps two of the edges that lead to it."""
    return tuple(
        Join(tuple(f"{kind}_{source}_{node}" for source in range(node)), len(_SIDES))
        for kind in KINDS
        for node in NODES
    )


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
        self.joins = _joins()

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


@final
class AtMostTwo(Relaxation):
    """A decision over operations on every edge; a node of a result keeps its two strongest operations, or fewer.

    Two operations of one edge may both be kept, and none of a node; what weighs nothing is never kept. Which weights
    are too small to count is the matter of a selection (`Threshold` in Fair-DARTS). Ties go to the earlier node, then
    to the operation listed first.

    Args:
        options: what may be kept on each edge, by the name of its decision.
        space: whose options name an operation and the node that it reads, `"sep_conv_3x3 0"`, or end with `"nothing"`.

    References:
        X. Chu et al., *Fair DARTS*, ECCV 2020 (arXiv 1911.12126), section 4.
    """

    def __init__(self, options: Mapping[str, tuple[str, ...]], space: Space) -> None:
        self.space = space
        self.decisions = tuple(Decision(name, self._mixed(name, legal)) for name, legal in options.items())
        self.joins = _joins()
        self.sparse = all(NOTHING in choice.options for choice in space.choices)

    def _mixed(self, edge: str, options: tuple[str, ...]) -> tuple[str, ...]:
        """What is mixed on an edge of the space, which may be a part of its whole."""
        kind, source, target = edge.split("_")
        reads = {read for side in _SIDES for read in self.space[f"{kind}_{side}_{target}"].options}
        return tuple(option for option in options if f"{option} {source}" in reads)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The edges of the normal cell, and those of the reduction cell."""
        return tuple(tuple(d.name for d in self.decisions if d.name.startswith(kind)) for kind in KINDS)

    def choosing(self, option: Option) -> tuple[Option, ...]:
        """The operation with every node that it may read."""
        return tuple(f"{option} {source}" for source in range(NODES[-1]))

    def encode(self, architecture: Architecture) -> Encoding:
        """One at every operation that is kept, zero elsewhere."""
        architecture = self.space.own(architecture)
        kept = {
            (f"{kind}_{read.partition(' ')[2]}_{node}", read.partition(" ")[0])
            for kind in KINDS
            for node in NODES
            for read in (str(architecture[f"{kind}_{side}_{node}"]) for side in _SIDES)
        }
        return {d.name: tuple(float((d.name, option) in kept) for option in d.options) for d in self.decisions}

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """See the class; where the space cannot leave a node without input, the strongest fill it up."""
        found: dict[tuple[str, str], list[tuple[float, str]]] = {(k, str(n)): [] for k in KINDS for n in NODES}
        for decision in self.decisions:
            kind, source, node = decision.name.split("_")
            found[kind, node] += [
                (weight, f"{option} {source}")
                for option, weight in zip(decision.options, probabilities[decision.name], strict=True)
                if option not in exclude and (weight > 0 or not self.sparse)
            ]
        values: dict[str, Option] = {}
        for (kind, node), candidates in found.items():
            options = self.space[f"{kind}_first_{node}"].options
            two = [read for _, read in sorted(candidates, key=lambda candidate: -candidate[0])[:2]]
            ordered = [*sorted(two, key=options.index), NOTHING, NOTHING]
            values |= {f"{kind}_{side}_{node}": read for side, read in zip(_SIDES, ordered, strict=False)}
        return self.space.architecture(values)
