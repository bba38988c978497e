"""The bridge from whole cells of NAS-Bench-101 to the gates of their supernet.

A cell is one architecture, not a product of independent choices: of the 2²¹ sets of edges only 6,472 are pruned cells
of at most nine edges, and isomorphic ones are the same. One decision with an option per cell would have 423,624 of
them, so the decisions are those that a network can execute: each edge, present or not, and each vertex's operation.
They are not independent, so nothing but whole cells may be drawn; any weights for them lead back to the nearest cell.
"""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Decision, Encoding, Option, Probabilities, Relaxation, Space
from sharewise.spaces.nasbench101.cell import EDGES, INNER, OPERATIONS, VERTICES, Cell, bit
from sharewise.spaces.nasbench101.enumeration import of_vertices
from sharewise.spaces.nasbench101.space import cell_of

__all__ = ["EDGE_DECISIONS", "OPERATION_DECISIONS", "CellRelaxation", "placed", "representatives"]

_OUTPUT = VERTICES - 1
_ABSENT = len(OPERATIONS)  # the digit of a vertex that a cell does not have
_EDGE_BITS = len(EDGES)

EDGE_DECISIONS = tuple(f"edge_{s}_{'output' if t == _OUTPUT else t}" for s, t in EDGES)
"""The decision of each edge in the order of `EDGES`, whose last vertex is the output of every cell."""

OPERATION_DECISIONS = tuple(f"operation_{v}" for v in range(1, INNER + 1))
"""The decision of the operation of each inner vertex."""

_DECISIONS = (
    *(Decision(name, ("edge",)) for name in EDGE_DECISIONS),
    *(Decision(name, OPERATIONS) for name in OPERATION_DECISIONS),
)
_ON, _OFF = (1.0,), (0.0,)
_LABELS = tuple(tuple(float(i == o) for i in range(len(OPERATIONS))) for o in range(len(OPERATIONS) + 1))


def placed(cell: Cell) -> int:
    """The edges of a cell among seven vertices: inner vertices keep their numbers, the output is the last.

    Example:
        >>> placed(Cell(0b1, ())) == 1 << bit(0, 6)
        True
    """
    column = bit(0, cell.vertices - 1)
    return (cell.edges & (1 << column) - 1) | cell.edges >> column << bit(0, _OUTPUT)


def representatives(space: Space) -> npt.NDArray[np.uint32]:
    """The code of the cell of each row of the listing of a space of NAS-Bench-101 cells.

    Example:
        >>> from sharewise.spaces.nasbench101.space import subspace
        >>> len(representatives(subspace("A_4")))
        10467
    """
    found = space.listing.codes()
    assert found is not None
    codes, rows = found
    _, first = np.unique(rows, return_index=True)  # codes ascend, and the smallest stands for its class
    chosen: npt.NDArray[np.uint32] = codes[first].astype(np.uint32)
    return chosen


@final
class CellRelaxation(Relaxation):
    """Edges and operations of a cell as decisions.

    Every edge among seven vertices is a decision with the one option `edge`, executed where its weight is not zero;
    every inner vertex has a decision with the three operations, all of weight zero where a cell lacks the vertex.

    Args:
        space: `nasbench101()`, a sub-space, or either without some operations.

    Deviations:
        Decisions are not independent (`independent` is false): a distribution over them, edge by edge, would leave the
        space, so that only samplers of whole architectures accept this relaxation.

    Example:
        >>> from sharewise.spaces.nasbench101.space import subspace
        >>> relaxation = subspace("A_4").relaxation
        >>> a = relaxation.space.listing.at(0)
        >>> relaxation.project(relaxation.encode(a)) == a
        True
    """

    independent: bool = False

    def __init__(self, space: Space) -> None:
        self.space, self.decisions = space, _DECISIONS

    def encode(self, architecture: Architecture) -> Encoding:
        """Weight one for every edge of the cell and for the operation of every vertex.

        Raises:
            ConfigurationError: when the space does not hold the cell.
        """
        cell = cell_of(self.space.own(architecture))
        edges = placed(cell)
        operations = (*cell.operations, *[_ABSENT] * (INNER - len(cell.operations)))
        return {
            **{name: _ON if edges >> place & 1 else _OFF for place, name in enumerate(EDGE_DECISIONS)},
            **{name: _LABELS[o] for name, o in zip(OPERATION_DECISIONS, operations, strict=True)},
        }

    def project(self, probabilities: Probabilities, exclude: tuple[Option, ...] = ()) -> Architecture:
        """The cell of the space whose encoding x is nearest to the weights p: the least Σ x (1 − 2 p).

        For x of zeros and ones that sum is ‖x − p‖² − ‖p‖².

        Args:
            probabilities: see `Relaxation.project`.
            exclude: operations that must not be part of the result.

        Returns:
            The nearest cell; of equally near ones the first of the listing.

        Raises:
            ConfigurationError: when no cell of the space does without the excluded options.
        """
        edges, operations = self._codes
        price = np.array([1 - 2 * float(probabilities[name][0]) for name in EDGE_DECISIONS])
        half = 11  # edges are looked up in two halves, since one table of 2²¹ would take longer to fill than to read
        distance = _sums(price[:half])[edges & (1 << half) - 1] + _sums(price[half:])[edges >> half]
        labels = np.zeros((1, 1))
        for name in OPERATION_DECISIONS:
            row = [
                1 - 2 * float(p) if o not in exclude else np.inf
                for o, p in zip(OPERATIONS, probabilities[name], strict=True)
            ]
            labels = (labels[..., None] + np.array([*row, 0.0])).reshape(1, -1)
        distance = distance + labels[0][operations]
        nearest = int(distance.argmin())
        if not np.isfinite(distance[nearest]) or "edge" in exclude:
            raise ConfigurationError(f"space {self.space.name!r} has no cell left once {exclude} are excluded")
        return self.space.listing.at(nearest)

    @cached_property
    def _codes(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
        """Of each row the bits of its edges among seven vertices, and its operations in base four."""
        cells = representatives(self.space)
        edges, operations = np.empty_like(cells), np.empty_like(cells)
        for n in range(2, VERTICES + 1):
            here = of_vertices(cells, n)
            bits = cells[here] >> np.uint32(2 * INNER)
            column = bit(0, n - 1)
            edges[here] = (bits & np.uint32((1 << column) - 1)) | (bits >> column << bit(0, _OUTPUT)).astype(np.uint32)
            missing = (1 << 2 * (VERTICES - n)) - 1  # every digit of a vertex that is not there is three
            operations[here] = (cells[here] & np.uint32((1 << 2 * INNER) - 1)) | np.uint32(missing)
        return edges, operations


def _sums(prices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each set of items, as bits, the sum of their prices."""
    sums = np.zeros(1)
    for price in prices:
        sums = np.concatenate([sums, sums + price])
    return sums
