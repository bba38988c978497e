"""How the cells of NAS-Bench-1Shot1 are wired, and which cell of NAS-Bench-101 each of them is.

Node 0 is the input of a cell, nodes 1 to B are its choice blocks and node B + 1 is its output. Every block, and the
output, has a fixed number of parents among the earlier nodes. A block from which no path leads to the output, a loose
end, has no effect: NAS-Bench-101 prunes it. So several wirings are one cell, and isomorphic cells are one architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from typing import final

import numpy as np
import numpy.typing as npt

from sharewise.spaces.nasbench101.cell import INNER, OPERATIONS, Cell, bit
from sharewise.spaces.nasbench101.enumeration import enumeration

__all__ = ["DESIGNS", "Design", "Form", "Forms", "Parents", "forms", "parent_choices", "pruned"]

Parents = tuple[tuple[int, ...], ...]
"""The parents of nodes 1 to B + 1; none where a block has no effect."""

_K = len(OPERATIONS)


@final
@dataclass(frozen=True)
class Design:
    """One of the three search spaces.

    Args:
        parents: how many each of the nodes 1 to B + 1 has; 9 in all, the edges that NAS-Bench-101 allows.
        printed: the number of architectures in the table of the paper.

    Example:
        >>> Design((1, 2, 2, 2, 2), 6_240).chosen
        (3, 4, 5)
    """

    parents: tuple[int, ...]
    printed: int

    @property
    def blocks(self) -> int:
        """The number B of choice blocks; the output is node B + 1."""
        return len(self.parents) - 1

    @property
    def chosen(self) -> tuple[int, ...]:
        """The nodes that have more candidates than parents, so that there is something to choose."""
        return tuple(node for node, count in enumerate(self.parents, start=1) if count < node)


DESIGNS = {
    "1": Design((1, 2, 2, 2, 2), 6_240),
    "2": Design((1, 1, 2, 2, 3), 29_160),
    "3": Design((1, 1, 1, 2, 2, 2), 363_648),
}


def parent_choices(design: Design) -> list[Parents]:
    """All wirings, loose ends included, the parents of the first block varying slowest.

    Example:
        >>> [len(parent_choices(design)) for design in DESIGNS.values()]
        [180, 360, 5400]
    """
    return list(product(*(combinations(range(node), count) for node, count in enumerate(design.parents, start=1))))


def pruned(parents: Parents) -> Parents:
    """The wiring without loose ends: blocks that do not lead to the output lose their parents.

    Example:
        >>> pruned(((0,), (0, 1), (0, 2), (1, 2), (0, 1)))
        ((0,), (), (), (), (0, 1))
    """
    output = len(parents)
    needed = {output}
    for node in range(output, 0, -1):
        if node in needed:
            needed.update(parents[node - 1])
    return tuple(own if node in needed else () for node, own in enumerate(parents, start=1))


@final
@dataclass(frozen=True)
class Form:
    """A cell as its blocks form it, without loose ends.

    Args:
        parents: as `pruned` returns them.
        operations: of blocks 1 to B, as indices into `OPERATIONS`; −1 where a block has no effect.
    """

    parents: Parents
    operations: tuple[int, ...]

    @property
    def cell(self) -> Cell:
        """The cell of NAS-Bench-101."""
        return Cell(_edges(self.parents), tuple(o for o in self.operations if o >= 0))

    def __str__(self) -> str:
        """Operation and parents of every block and of the output, as the plain network reads them."""
        names = [*("" if o < 0 else OPERATIONS[o] for o in self.operations), "output"]
        nodes = zip(names, self.parents, strict=True)
        return "|".join(f"{name}~{','.join(map(str, own))}" for name, own in nodes)


def _edges(parents: Parents) -> int:
    """The bits of the edges among the nodes that have an effect."""
    nodes = [0, *(node for node, own in enumerate(parents, start=1) if own)]
    place = {node: index for index, node in enumerate(nodes)}
    return sum(1 << bit(place[source], place[node]) for node in nodes[1:] for source in parents[node - 1])


@final
@dataclass(frozen=True, eq=False)
class Forms:
    """All forms of a space by the cell of NAS-Bench-101 that they are.

    Of several forms of one cell the first stands for it: wirings in the order of `parent_choices`, operations of the
    first block varying slowest.

    Args:
        design: of the space.
        topologies: the different wirings without loose ends.
        rows: of NAS-Bench-101's listing, one for each unique cell, ascending.
        topology: of the form that stands for each row.
        labelling: its operations, as a number in base 3.
        labelled: how many forms there are.
    """

    design: Design
    topologies: tuple[Parents, ...]
    rows: npt.NDArray[np.int32]
    topology: npt.NDArray[np.int32]
    labelling: npt.NDArray[np.int32]
    labelled: int

    def rows_by_topology(self) -> dict[Parents, npt.NDArray[np.int32]]:
        """Of each wiring without loose ends its cells under all operations, the first block slowest, as rows."""
        return {parents: enumeration().find(_codes(parents)) for parents in self.topologies}

    def holds(self, row: int) -> bool:
        """Whether a row of NAS-Bench-101's listing is one of `rows`."""
        place = int(self.rows.searchsorted(row))
        return place < len(self.rows) and bool(self.rows[place] == row)

    def of_row(self, row: int) -> Form:
        """The form that stands for a row, which must be one of `rows`."""
        place = int(self.rows.searchsorted(row))
        parents, rest, operations = self.topologies[self.topology[place]], int(self.labelling[place]), []
        for own in reversed(parents[:-1]):
            operations.append(rest % _K if own else -1)
            rest //= _K if own else 1
        return Form(parents, tuple(reversed(operations)))


@cache
def forms(name: str) -> Forms:
    """The forms of a space.

    Args:
        name: a key of `DESIGNS`.

    Example:
        >>> found = forms("1")
        >>> len(found.topologies), found.labelled, len(found.rows)
        (66, 3702, 2685)
    """
    design = DESIGNS[name]
    topologies = tuple(dict.fromkeys(map(pruned, parent_choices(design))))
    found = [enumeration().find(_codes(parents)) for parents in topologies]
    rows, first = np.unique(np.concatenate(found), return_index=True)
    starts = np.cumsum([0, *map(len, found)])
    topology = np.searchsorted(starts, first, side="right") - 1
    labelling = first - starts[topology]
    return Forms(design, topologies, rows, topology.astype(np.int32), labelling.astype(np.int32), int(starts[-1]))


def _codes(parents: Parents) -> npt.NDArray[np.int64]:
    """The codes of a wiring under all operations of its blocks."""
    vertices = sum(1 for own in parents[:-1] if own)
    code = np.full(_K**vertices, _edges(parents) << 2 * INNER, np.int64)
    for vertex in range(1, vertices + 1):
        digit = np.arange(len(code)) // _K ** (vertices - vertex) % _K
        code += digit << 2 * (INNER - vertex)
    return code
