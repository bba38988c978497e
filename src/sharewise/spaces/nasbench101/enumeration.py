"""All 423,624 cells of NAS-Bench-101 from nothing, as arrays: order, codes, parameters.

Rows ascend by the code of the cell (`Cell.code`): by vertices, then edges, then operations. A class of isomorphic cells
is represented by its member of smallest code. This is the order in which the official script generates the cells, and
the representative that it keeps. The way there: filter the 2²¹ adjacency codes by bit masks to the 6,472
pruned graphs, keep of each class of graphs the smallest one over all permutations of the inner vertices, and label it
in the ways that are smallest under its automorphisms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.space.listing import find_rows
from sharewise.spaces.nasbench101.cell import INNER, MAXIMUM_EDGES, OPERATIONS, VERTICES, bit

__all__ = [
    "Enumeration",
    "codes_of",
    "enumeration",
    "labels",
    "matrices",
    "of_vertices",
    "output_degrees",
    "parameters",
    "skips",
]

Codes = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.int32]
_K = len(OPERATIONS)
_SHIFTS = np.arange(2 * INNER - 2, -1, -2, dtype=np.uint32)  # of the operation of each inner vertex in a code


@final
@dataclass(frozen=True, eq=False)
class Enumeration:
    """The cells of NAS-Bench-101 and every pruned form of them.

    Args:
        cells: the code of each row's representative, ascending, shape `(423624,)`.
        codes: the codes of all pruned labelled cells, ascending, shape `(1293208,)`.
        rows: the row of each of those codes.
    """

    cells: Codes
    codes: Codes
    rows: Rows

    @property
    def vertices(self) -> npt.NDArray[np.uint8]:
        """The number of vertices of each row."""
        bounds = [1 << bit(0, n) for n in range(2, VERTICES)]
        return (np.searchsorted(bounds, self.cells >> 2 * INNER, side="right") + 2).astype(np.uint8)

    @property
    def edges(self) -> npt.NDArray[np.uint8]:
        """The number of edges of each row."""
        return _ones(self.cells >> 2 * INNER)

    def operations(self) -> npt.NDArray[np.uint8]:
        """The operation of each inner vertex, shape `(423624, 5)`; 255 where there is no such vertex."""
        digits = (self.cells[:, None] >> _SHIFTS & 3).astype(np.uint8)
        digits[np.arange(1, INNER + 1) > self.vertices[:, None] - 2] = 255
        return digits

    def find(self, codes: npt.NDArray[np.integer]) -> Rows:
        """The row of each code of a pruned cell, −1 where the code is none."""
        return find_rows((self.codes, self.rows), codes)


def _ones(values: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """The number of one bits of integers below 2²²."""
    table = _ones_of_eleven_bits()
    counted: npt.NDArray[np.uint8] = table[values & 2047] + table[values >> 11]
    return counted


@cache
def _ones_of_eleven_bits() -> npt.NDArray[np.uint8]:
    ones: npt.NDArray[np.uint8] = (np.arange(2048)[:, None] >> np.arange(11) & 1).sum(axis=1).astype(np.uint8)
    return ones


def _pruned_graphs(vertices: int) -> npt.NDArray[np.uint32]:
    """The edge bits of all graphs of exactly so many vertices, each on a path from input to output, ascending.

    In a graph whose edges point upwards that means: an edge out of every vertex but the last, one into every vertex but
    the first.
    """
    last = vertices - 1
    graphs = np.arange(1 << bit(0, vertices), dtype=np.uint32)
    for v in range(last):
        out = sum(1 << bit(v, t) for t in range(v + 1, vertices))
        graphs = graphs[graphs & np.uint32(out) != 0]
    for v in range(1, vertices):
        into = sum(1 << bit(s, v) for s in range(v))
        graphs = graphs[graphs & np.uint32(into) != 0]
    return graphs[_ones(graphs) <= MAXIMUM_EDGES]


def _permuted_edges(
    vertices: int, orders: npt.NDArray[np.intp], graphs: npt.NDArray[np.uint32]
) -> npt.NDArray[np.int64]:
    """The edge bits of every graph under every permutation; at least 2³⁰ where an edge would point backwards."""
    weights = np.empty((bit(0, vertices), len(orders)))
    for target in range(1, vertices):
        for source in range(target):
            s, t = orders[:, source], orders[:, target]
            weights[bit(source, target)] = np.where(s < t, 2.0 ** (s + t * (t - 1) // 2), 2.0**30)
    bits = (graphs[:, None] >> np.arange(bit(0, vertices), dtype=np.uint32) & 1).astype(np.float64)
    return (bits @ weights).astype(np.int64)


def _digits(inner: int) -> npt.NDArray[np.intp]:
    """All labellings of so many vertices in lexicographic order, shape `(3^inner, inner)`."""
    return np.arange(_K**inner)[:, None] // _K ** np.arange(inner - 1, -1, -1) % _K


def _labellings(inner: int) -> npt.NDArray[np.uint32]:
    """The operation part of the code of each of the 3^inner labellings, ascending."""
    labellings: npt.NDArray[np.uint32] = (_digits(inner).astype(np.uint32) << _SHIFTS[:inner]).sum(1, dtype=np.uint32)
    return labellings


def _permuted_labellings(inner: int, orders: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """For each permutation and labelling, the index of the permuted labelling, shape `(permutations, 3^inner)`."""
    moved: npt.NDArray[np.intp] = _digits(inner) @ (_K ** (inner - orders[:, 1:-1])).T
    return np.ascontiguousarray(moved.T)


@cache
def enumeration() -> Enumeration:
    """All cells, built once (0.1 to 0.2 s of one core).

    Returns:
        The same object at every call.

    Example:
        >>> found = enumeration()
        >>> len(found.cells), len(found.codes)
        (423624, 1293208)
    """
    cells, codes, rows, count = [], [], [], 0
    for vertices in range(2, VERTICES + 1):
        inner = vertices - 2
        # orders[p, v] is the new number of vertex v under permutation p
        orders = np.array([(0, *p, vertices - 1) for p in permutations(range(1, vertices - 1))], dtype=np.intp)
        graphs = _pruned_graphs(vertices)
        labelling, moved = _labellings(inner), _permuted_labellings(inner, orders)
        images = _permuted_edges(vertices, orders, graphs)
        best = images.argmin(axis=1)
        smallest = images[np.arange(len(graphs)), best].astype(np.uint32)
        classes, class_of = np.unique(smallest, return_inverse=True)
        # automorphisms of each class's smallest graph, and the smallest labelling of each labelling under them
        own = images[np.searchsorted(graphs, classes)] == classes[:, None]
        which, order = np.nonzero(own)
        starts = np.flatnonzero(np.diff(which, prepend=-1))
        canonical = np.minimum.reduceat(moved[order], starts, axis=0)
        fixed = canonical == np.arange(len(labelling))
        cells.append((classes[:, None] << np.uint32(2 * INNER) | labelling)[fixed])
        number = np.empty(fixed.shape, dtype=np.int32)
        number[fixed] = np.arange(count, count + len(cells[-1]), dtype=np.int32)
        row = np.take_along_axis(number, canonical, axis=1)
        rows.append(np.take_along_axis(row[class_of], moved[best], axis=1).ravel())
        codes.append((graphs[:, None] << np.uint32(2 * INNER) | labelling).ravel())
        count += len(cells[-1])
    return Enumeration(np.concatenate(cells), np.concatenate(codes), np.concatenate(rows))


def codes_of(adjacency: npt.ArrayLike, operations: npt.ArrayLike) -> Codes:
    """The codes of many cells, pruned first; vectorised.

    Args:
        adjacency: matrices of shape `(n, v, v)` with 2 ≤ v ≤ 7, strictly upper triangular.
        operations: indices into `OPERATIONS`, shape `(n, v − 2)`, of the inner vertices.

    Returns:
        Shape `(n,)`. 0, which is no cell's code, where input and output are not connected. A cell of more than 9 edges
        has a code as well, which is in no listing.

    Raises:
        ConfigurationError: when shapes or entries are others.

    Example:
        >>> codes_of([[[0, 1, 1], [0, 0, 0], [0, 0, 0]]], [[2]])  # the inner vertex leads nowhere
        array([1024], dtype=uint32)
    """
    matrix, label = np.asarray(adjacency), np.asarray(operations)
    n = matrix.shape[-1] if matrix.ndim == 3 else 0
    if not 2 <= n <= VERTICES or matrix.shape[1] != n or label.shape != (len(matrix), n - 2):
        raise ConfigurationError(
            f"expected matrices of shape (n, v, v) with v of 2 to {VERTICES} and operations of shape (n, v - 2), got "
            f"{matrix.shape} and {label.shape}"
        )
    if np.tril(matrix).any() or not np.isin(matrix, (0, 1)).all():
        raise ConfigurationError("adjacency matrices must be strictly upper triangular, of zeros and ones")
    if not np.isin(label, range(_K)).all():
        raise ConfigurationError(f"operations are numbered 0 to {_K - 1}")
    adjacent = matrix.astype(bool)
    reached = np.zeros((len(matrix), n), dtype=bool)
    needed = reached.copy()
    reached[:, 0] = needed[:, -1] = True
    for v in range(1, n):
        reached[:, v] = (adjacent[:, :v, v] & reached[:, :v]).any(axis=1)
    for v in range(n - 2, -1, -1):
        needed[:, v] = (adjacent[:, v, v + 1 :] & needed[:, v + 1 :]).any(axis=1)
    used = reached & needed
    place = np.cumsum(used, axis=1, dtype=np.uint32) - np.uint32(1)
    codes = np.zeros(len(matrix), dtype=np.uint32)
    for target in range(1, n):
        column = place[:, target] * (place[:, target] - 1) // 2 + 2 * INNER
        for source in range(target):
            kept = adjacent[:, source, target] & used[:, source] & used[:, target]
            codes |= kept.astype(np.uint32) << np.where(kept, place[:, source] + column, 0).astype(np.uint32)
    for v in range(1, n - 1):
        shift = np.where(used[:, v], 2 * INNER - 2 * place[:, v], 0).astype(np.uint32)
        codes |= np.where(used[:, v], label[:, v - 1], 0).astype(np.uint32) << shift
    return np.where(used[:, 0], codes, np.uint32(0))


def output_degrees(cells: Codes) -> npt.NDArray[np.uint8]:
    """The number of inner vertices that feed the output of each cell.

    Example:
        >>> from sharewise.spaces.nasbench101.cell import Cell
        >>> output_degrees(np.array([Cell(1).code], dtype=np.uint32))
        array([0], dtype=uint8)
    """
    edges = cells >> np.uint32(2 * INNER)
    degrees = np.zeros(len(cells), dtype=np.uint8)
    for target in range(1, VERTICES):
        last = edges >> bit(0, target)  # the output is the highest vertex with an edge into it
        here = (last != 0) & (last < 1 << target)
        degrees[here] = _ones(last[here] >> 1)
    return degrees


def skips(cells: Codes) -> npt.NDArray[np.bool_]:
    """Whether an edge leads from the input of each cell straight to its output."""
    edges = cells >> np.uint32(2 * INNER)
    direct = np.zeros(len(cells), dtype=bool)
    for target in range(1, VERTICES):
        last = edges >> bit(0, target)
        here = (last != 0) & (last < 1 << target)
        direct[here] = last[here] & 1 == 1
    return direct


def _widths(matrix: npt.NDArray[np.bool_], channels_out: int) -> npt.NDArray[np.int64]:
    """The channels of the inner vertices of cells `(n, v, v)`, by the rule of `cell.channels`."""
    n = matrix.shape[-1]
    widths = np.zeros((len(matrix), n), dtype=np.int64)
    feeding = matrix[:, 1:-1, -1]
    degree = np.maximum(feeding.sum(axis=1), 1)[:, None]
    rank = np.cumsum(feeding, axis=1) - 1
    widths[:, 1:-1] = np.where(feeding, channels_out // degree + (rank < channels_out % degree), 0)
    for v in range(n - 3, 0, -1):
        widest = (matrix[:, v, v + 1 : -1] * widths[:, v + 1 : -1]).max(axis=1)
        widths[:, v] = np.where(matrix[:, v, -1], widths[:, v], widest)
    return widths


def of_vertices(cells: Codes, vertices: int) -> npt.NDArray[np.intp]:
    """The places of the cells that have so many vertices."""
    edges = cells >> np.uint32(2 * INNER)
    return np.flatnonzero(
        (edges < 1 << bit(0, vertices)) & (edges >= (1 << bit(0, vertices - 1) if vertices > 2 else 0))
    )


def matrices(cells: Codes, vertices: int) -> npt.NDArray[np.bool_]:
    """The adjacency of cells that all have so many vertices, shape `(n, vertices, vertices)`."""
    matrix = np.zeros((len(cells), vertices, vertices), dtype=bool)
    for target in range(1, vertices):
        for source in range(target):
            matrix[:, source, target] = cells >> np.uint32(2 * INNER + bit(source, target)) & 1
    return matrix


def labels(cells: Codes, vertices: int) -> npt.NDArray[np.uint32]:
    """The operations of cells that all have so many vertices, shape `(n, vertices - 2)`."""
    found: npt.NDArray[np.uint32] = cells[:, None] >> _SHIFTS[: vertices - 2] & np.uint32(3)
    return found


def parameters(cells: Codes, stem: int = 128, outputs: int = 10, image_channels: int = 3) -> npt.NDArray[np.int64]:
    """`Cell.parameters` of many pruned cells at once; about half a second for all 423,624.

    Args:
        cells: codes.
        stem: channels of the stem.
        outputs: classes.
        image_channels: of one image.

    Returns:
        Trainable parameters of each cell's network.

    Example:
        >>> from sharewise.spaces.nasbench101.cell import Cell
        >>> parameters(np.array([Cell(1).code], dtype=np.uint32))
        array([882570])
    """
    counts = np.empty(len(cells), dtype=np.int64)
    for n in range(2, VERTICES + 1):
        here = of_vertices(cells, n)
        if not len(here):
            continue
        matrix, operation = matrices(cells[here], n), labels(cells[here], n)
        taps = np.array([9, 1, 0])[operation]
        norm = 2 * (operation < 2)
        total = np.full(len(here), 9 * image_channels * stem + 2 * stem, dtype=np.int64)
        for stack in range(3):
            width = stem << stack
            inner = _widths(matrix, width)[:, 1:-1]
            operations = ((taps * inner + norm) * inner).sum(axis=1)
            projected = (inner * matrix[:, 0, 1:-1]).sum(axis=1) + width * matrix[:, 0, -1]
            before = max(stem, width // 2)
            total += 3 * operations + (before + 2 + 2 * (width + 2)) * projected
        counts[here] = total + ((stem << 2) + 1) * outputs
    return counts
