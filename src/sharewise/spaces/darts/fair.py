"""The wider space of Fair-DARTS: DARTS cells whose nodes have none, one or two inputs, also two from one node.

Its architectures are no architectures of the space of DARTS, whose size and whose rule for results rest on two
different inputs a node; so it is a space of its own, which holds that one. A genotype with `none` among its inputs
belongs here too, where `none` is simply no input. The choices are `normal_first_2`, `normal_second_2` and so on, an
option naming an operation and the node that it reads. Nodes without inputs leave the concatenation, so that a cell is
narrower; a cell in which no node has any keeps all four, which are zero then. The supernet is that of `darts` without
`none`: the 28 edges of both cells mix seven operations each.

Node j has 1 + 7j + C(7j, 2) possible inputs, for which there are (106 · 232 · 407 · 631)² architectures, about 4e19.

References:
    X. Chu et al., *Fair DARTS*, ECCV 2020 (arXiv 1911.12126); xiaomi-automl/FairDARTS, `fairdarts/genotypes.py`.

Deviations:
    An operation that reads a node without inputs reads zero; the authors' network leaves the operation out, which is
    the same for all published cells, since only skip connections do so there. Paths are dropped edge by edge, as in
    DARTS, where the authors drop whole nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import final

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Codec, Constraint, Option, Picture, Space
from sharewise.spaces.darts.genotype import KINDS, NODES, Cell, read_genotype, write_triples
from sharewise.spaces.darts.published import PUBLISHED, WIDER
from sharewise.spaces.darts.relaxation import NOTHING, AtMostTwo
from sharewise.spaces.darts.space import OPERATIONS, draw_cells, everywhere, features_of_cells, skips_of_cells

__all__ = ["fair", "wide_cells_of"]

_READS = {node: tuple(f"{o} {s}" for s in range(node) for o in OPERATIONS if o != "none") for node in NODES}

_OPTIONS = everywhere(*OPERATIONS[1:])


def _names(kind: str, node: int) -> tuple[str, str]:
    return f"{kind}_first_{node}", f"{kind}_second_{node}"


@final
@dataclass(frozen=True)
class _InOrder:
    """Whether two inputs of a node are different and in order, so that a node has one way to be written."""

    kind: str
    node: int

    def __call__(self, values: Mapping[str, Option]) -> bool:
        order = (*_READS[self.node], NOTHING)
        first, second = (order.index(str(values[name])) for name in _names(self.kind, self.node))
        return first < second or first == second == len(order) - 1


def wide_cells_of(values: Mapping[str, Option]) -> Mapping[str, Cell]:
    """The operations of both cells, by kind; nodes and the inputs of a node ascend.

    Args:
        values: of all choices.
    """
    found: dict[str, Cell] = {}
    for kind in KINDS:
        cell: list[tuple[str, int, int]] = []
        for node in NODES:
            for read in (str(values[name]) for name in _names(kind, node)):
                if read != NOTHING:
                    operation, source = read.split()
                    cell.append((operation, node, int(source)))
        found[kind] = tuple(cell)
    return found


def _encode(values: Mapping[str, Option]) -> str:
    return write_triples(**wide_cells_of(values))


def _decode(text: str) -> dict[str, Option]:
    genotype = read_genotype(text)
    values: dict[str, Option] = {}
    for kind in KINDS:
        for node in NODES:
            reads = [f"{o} {source}" for o, target, source in genotype.cell(kind) if target == node and o != "none"]
            unknown = [read for read in reads if read not in _READS[node]]
            if unknown or len(reads) > 2 or len(set(reads)) < len(reads):
                raise ConfigurationError(
                    f"node {node} of the {kind} cell reads {', '.join(reads)}; in space 'darts:fair' a node has at "
                    f"most two inputs, which differ, with operations {', '.join(OPERATIONS[1:])}"
                )
            ordered = [*sorted(reads, key=_READS[node].index), NOTHING, NOTHING][:2]
            values |= dict(zip(_names(kind, node), ordered, strict=True))
        _require_concat(kind, genotype.cell(kind), genotype.concat(kind))
    return values


def _require_concat(kind: str, cell: Cell, concat: tuple[int, ...]) -> None:
    """Refuse an output that is neither of all nodes nor of those that read something."""
    reading = tuple(sorted({target for _, target, _ in cell}))
    if concat not in (NODES, reading):
        raise ConfigurationError(
            f"the {kind} cell of a genotype concatenates nodes {list(concat)}; nodes without inputs leave the "
            f"concatenation by themselves, so write {kind}_concat={list(reading)} or range(2, 6)"
        )


def _draw(architecture: Architecture) -> Picture:
    return draw_cells(wide_cells_of(architecture))


def _features(architecture: Architecture) -> dict[str, bool | float]:
    return features_of_cells(wide_cells_of(architecture))


def _skips(architecture: Architecture) -> dict[str, float]:
    return skips_of_cells(wide_cells_of(architecture))


@cache
def fair() -> Space:
    """The space itself.

    Returns:
        The space, which names all published cells; the same object at every call.

    Example:
        >>> fair().size == (106 * 232 * 407 * 631) ** 2
        True
        >>> fair().parse("FairDARTS_a")["normal_first_3"], fair().parse("DARTS_V2")["normal_first_3"]
        ('nothing', 'sep_conv_3x3 0')
    """
    places = [(kind, node) for kind in KINDS for node in NODES]
    return Space(
        name="darts:fair",
        choices=tuple(Choice(name, (*_READS[node], NOTHING)) for kind, node in places for name in _names(kind, node)),
        constraints=tuple(
            Constraint(
                f"the inputs of node {node} of the {kind} cell differ, ascend, and end with {NOTHING!r}",
                _InOrder(kind, node),
                _names(kind, node),
            )
            for kind, node in places
        ),
        codec=Codec(_encode, _decode),
        relax=partial(AtMostTwo, _OPTIONS),
        networks="sharewise.spaces.darts.fair_networks",
        draw=_draw,
        features=_features,
        skips=_skips,
        summary="the DARTS cells of Fair-DARTS: nodes with none to 2 inputs, also 2 from one node",
        named={**PUBLISHED, **WIDER},
    )
