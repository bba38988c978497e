"""The cell space of DARTS, and the reduced spaces S1 to S4 of RobustDARTS.

A normal and a reduction cell have two inputs (nodes 0 and 1, the outputs of the two cells before) and four computing
nodes (2 to 5), whose concatenation is the output. A node picks two different earlier nodes and an operation on each of
these edges: the *choices* are `normal_inputs_2`, `normal_first_2`, `normal_second_2` and so on, 24 in all. The order of
the two inputs of a node has no meaning, so that pairs ascend. A supernet mixes an operation on every one of the 14
edges of a cell: the 28 *decisions* are `normal_0_2`, …, `reduce_4_5`.

`none` is an option of the decisions but never of a choice: there are Π_j C(j, 2) · 49 = 180 · 49⁴ = 1,037,664,180 cells
(j = 2, …, 5 earlier nodes, seven operations an edge), and the square of that many architectures, about 1.08e18.

References:
    H. Liu et al., *DARTS*, ICLR 2019 (arXiv 1806.09055), section 2; A. Zela et al., *Understanding and Robustifying
    Differentiable Architecture Search*, ICLR 2020 (arXiv 1909.09656), section 3, for S1 to S4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from typing import final

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import (
    Architecture,
    Choice,
    Codec,
    Constraint,
    Option,
    Picture,
    Space,
    is_skip,
    longest_path,
)
from sharewise.spaces.darts.genotype import INPUTS, KINDS, NODES, Cell, Genotype, read_genotype, write_pairs
from sharewise.spaces.darts.published import PUBLISHED
from sharewise.spaces.darts.relaxation import TwoInputs

__all__ = [
    "EDGES",
    "OPERATIONS",
    "REDUCED",
    "cells_of",
    "darts",
    "draw_cells",
    "everywhere",
    "features_of_cells",
    "reduced",
    "skips_of_cells",
]

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
EDGES = tuple((source, target) for target in NODES for source in range(target))
_PAIRS = {node: tuple(combinations(range(node), 2)) for node in NODES}

Options = Mapping[str, tuple[str, ...]]
"""What may be mixed on each edge, by the name of its decision."""

_SKIP, _SEP, _D3, _D5 = "skip_connect", "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"
_MAX, _AVG = "max_pool_3x3", "avg_pool_3x3"

_S1 = {
    "normal": (
        *((_SKIP, _D3), (_SKIP, _D5)),
        *((_SKIP, _D5), (_SKIP, _SEP), (_SKIP, _D3)),
        *((_MAX, _SKIP), (_SKIP, _SEP), (_SKIP, _SEP), (_SKIP, _D3)),
        *((_SKIP, _SEP), (_MAX, _SKIP), (_SKIP, _D3), (_D3, _D5), (_D3, _D5)),
    ),
    "reduce": (
        *((_MAX, _AVG), (_MAX, _D3)),
        *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _D5)),
        *((_MAX, _AVG), (_MAX, _SEP), (_SKIP, _D3), (_SKIP, _D5)),
        *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _D5), (_SKIP, _D5), (_SKIP, _D5)),
    ),
}
"""Edges in the order of `EDGES`."""


def _by_edge(options: Mapping[str, Sequence[tuple[str, ...]]]) -> Options:
    return {
        f"{kind}_{source}_{target}": found
        for kind in KINDS
        for (source, target), found in zip(EDGES, options[kind], strict=True)
    }


def everywhere(*options: str) -> Options:
    """The same options on all edges of both cells."""
    return _by_edge(dict.fromkeys(KINDS, (options,) * len(EDGES)))


REDUCED: Mapping[str, tuple[Options, str]] = {
    "S1": (_by_edge(_S1), "two operations an edge, chosen in advance"),
    "S2": (everywhere(_SKIP, _SEP), "skip_connect or sep_conv_3x3 on every edge"),
    "S3": (everywhere("none", _SKIP, _SEP), "none, skip_connect or sep_conv_3x3 on every edge"),
    "S4": (everywhere("noise", _SEP), "noise or sep_conv_3x3 on every edge"),
}
"""The options of the reduced spaces, and what they are in words."""


@final
@dataclass(frozen=True)
class _OperationsOfEdges:
    """Whether the two operations of a node are among those of the edges that it picks."""

    kind: str
    node: int
    options: Mapping[str, tuple[str, ...]]

    def __call__(self, values: Mapping[str, Option]) -> bool:
        pair = values[f"{self.kind}_inputs_{self.node}"]
        assert isinstance(pair, tuple)
        return all(
            values[f"{self.kind}_{side}_{self.node}"] in self.options[f"{self.kind}_{source}_{self.node}"]
            for source, side in zip(pair, ("first", "second"), strict=True)
        )


def _choices(kind: str, node: int, options: Options) -> tuple[Choice, Choice, Choice]:
    """Which inputs a node reads, and by which operations; `none` is never a result."""

    def union(sources: Sequence[int]) -> tuple[str, ...]:
        found = [option for source in sources for option in options[f"{kind}_{source}_{node}"] if option != "none"]
        return tuple(option for option in ("noise", *OPERATIONS) if option in found)

    return (
        Choice(f"{kind}_inputs_{node}", _PAIRS[node]),
        Choice(f"{kind}_first_{node}", union(range(node - 1))),
        Choice(f"{kind}_second_{node}", union(range(1, node))),
    )


def _constraint(kind: str, node: int, options: Options) -> Constraint | None:
    """What ties the operations of a node to its inputs; nothing where all of its edges offer the same."""
    own = {f"{kind}_{source}_{node}": options[f"{kind}_{source}_{node}"] for source in range(node)}
    if len(set(own.values())) == 1:
        return None
    reads = tuple(choice.name for choice in _choices(kind, node, options))
    listed = "; ".join(f"from {source}: {', '.join(own[f'{kind}_{source}_{node}'])}" for source in range(node))
    return Constraint(f"node {node} of the {kind} cell may read {listed}", _OperationsOfEdges(kind, node, own), reads)


def cells_of(values: Mapping[str, Option]) -> Mapping[str, Cell]:
    """The operations of both cells, by kind; nodes and the inputs of a node ascend.

    Args:
        values: of all choices.
    """
    found: dict[str, Cell] = {}
    for kind in KINDS:
        cell: list[tuple[str, int, int]] = []
        for node in NODES:
            pair = values[f"{kind}_inputs_{node}"]
            assert isinstance(pair, tuple)
            for source, side in zip(pair, ("first", "second"), strict=True):
                cell.append((str(values[f"{kind}_{side}_{node}"]), node, source))
        found[kind] = tuple(cell)
    return found


def _encode(values: Mapping[str, Option]) -> str:
    return write_pairs(**cells_of(values))


def _decode(text: str) -> dict[str, Option]:
    genotype = read_genotype(text)
    values: dict[str, Option] = {}
    for kind in KINDS:
        _require_whole(genotype, kind)
        for node in NODES:
            inputs = sorted((source, operation) for operation, target, source in genotype.cell(kind) if target == node)
            if len(inputs) != 2 or inputs[0][0] == inputs[1][0] or "none" in (operation for _, operation in inputs):
                raise ConfigurationError(
                    f"node {node} of the {kind} cell reads {', '.join(f'{o} of {s}' for s, o in inputs) or 'nothing'}; "
                    "here every node reads two different nodes, and 'none' is no operation of a result. "
                    "Cells with fewer or other inputs belong to space 'darts:fair'"
                )
            values[f"{kind}_inputs_{node}"] = (inputs[0][0], inputs[1][0])
            values[f"{kind}_first_{node}"], values[f"{kind}_second_{node}"] = inputs[0][1], inputs[1][1]
    return values


def _require_whole(genotype: Genotype, kind: str) -> None:
    if genotype.concat(kind) != NODES:
        raise ConfigurationError(
            f"the {kind} cell of a genotype concatenates nodes {list(genotype.concat(kind))}; in this space all of "
            f"{NODES[0]} to {NODES[-1]} are, so write {kind}_concat=range(2, 6)"
        )


def features_of_cells(cells: Mapping[str, Cell]) -> dict[str, bool | float]:
    """How often each operation occurs in either cell, how many edges come from an input, and how deep the cell is."""
    found: dict[str, bool | float] = {}
    for kind, cell in cells.items():
        chosen = [operation for operation, _, _ in cell]
        found |= {f"{kind}: number of {o}": float(chosen.count(o)) for o in (*OPERATIONS[1:], "noise")}
        found[f"{kind}: edges from an input"] = float(sum(source < INPUTS for _, _, source in cell))
        lengths: dict[tuple[int, int], float | None] = {}
        for operation, target, source in cell:
            lengths[source, target] = max(lengths.get((source, target)) or 0.0, float(operation != "skip_connect"))
        ends = {(node, NODES[-1] + 1): 0.0 for node in NODES} | {(-1, node): 0.0 for node in range(INPUTS)}
        found[f"{kind}: depth (operations on the longest path)"] = longest_path(
            {**lengths, **ends}, range(-1, NODES[-1] + 2)
        )
    return found


def _features(architecture: Architecture) -> dict[str, bool | float]:
    return features_of_cells(cells_of(architecture))


_TITLES = {"normal": "normal cell", "reduce": "reduction cell"}


def draw_cells(cells: Mapping[str, Cell]) -> Picture:
    """Both cells, one below the other; what leads to the output is no operation.

    Args:
        cells: operations by kind.
    """
    names = {0: "k-2", 1: "k-1", **{node: f"node {node}" for node in NODES}}
    drawn: Picture | None = None
    for kind in reversed(KINDS):
        reading = [node for node in NODES if any(target == node for _, target, _ in cells[kind])] or NODES
        edges = [(names[source], names[target], operation) for operation, target, source in cells[kind]]
        edges += [(names[node], "output", "") for node in reading]
        drawn = Picture((*names.values(), "output"), tuple(edges), _TITLES[kind], drawn)
    assert drawn is not None
    return drawn


def _draw(architecture: Architecture) -> Picture:
    return draw_cells(cells_of(architecture))


def _space(name: str, options: Options, summary: str, named: Mapping[str, str]) -> Space:
    places = [(kind, node) for kind in KINDS for node in NODES]
    constraints = [_constraint(kind, node, options) for kind, node in places]
    return Space(
        name=name,
        choices=tuple(choice for kind, node in places for choice in _choices(kind, node, options)),
        constraints=tuple(constraint for constraint in constraints if constraint is not None),
        codec=Codec(_encode, _decode),
        relax=partial(TwoInputs, options),
        networks="sharewise.spaces.darts.supernet",
        draw=_draw,
        features=_features,
        skips=_skips,
        summary=summary,
        named=named,
    )


def skips_of_cells(cells: Mapping[str, Cell]) -> dict[str, float]:
    """The share of skip connections among the operations of each cell; zero where it has none."""
    return {
        kind: sum(is_skip(operation) for operation, _, _ in cell) / max(len(cell), 1) for kind, cell in cells.items()
    }


def _skips(architecture: Architecture) -> dict[str, float]:
    return skips_of_cells(cells_of(architecture))


@cache
def darts() -> Space:
    """The cell space of DARTS (S5 of RobustDARTS): seven operations, two different inputs a node.

    Returns:
        The space of (180 · 49⁴)² architectures; the same object at every call.

    Example:
        >>> darts().size == (180 * 49**4) ** 2, len(darts().relaxation.decisions)
        (True, 28)
        >>> str(darts().parse("DARTS_V2"))[:66]
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_c"
    """
    return _space("darts", everywhere(*OPERATIONS), "the DARTS cells: 4 nodes of 2 inputs, 7 operations", PUBLISHED)


@cache
def reduced(name: str) -> Space:
    """One of the spaces of RobustDARTS in which DARTS fails.

    Args:
        name: `"S1"` to `"S4"`.

    Returns:
        The space; the same object at every call.

    Example:
        >>> {name: reduced(name).size for name in REDUCED}["S1"]
        2123366400

    Raises:
        ConfigurationError: when there is no such space.
    """
    if name not in REDUCED:
        raise unknown_name("reduced space of DARTS:", name, REDUCED)
    options, words = REDUCED[name]
    return _space(f"darts:{name}", options, f"RobustDARTS {name}: {words}", {})
