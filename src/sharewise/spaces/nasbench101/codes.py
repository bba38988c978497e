"""The codes of many NAS-Bench-101 cells at once, from strings, cells and architectures.

Each item gives one integer in a few look-ups of plain Python; vertices without effect are then removed from all cells
of a size together, by array operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from operator import getitem

import numpy as np
import numpy.typing as npt

from sharewise.spaces.nasbench101.cell import EDGES, INNER, OPERATIONS, VERTICES, Cell, bit
from sharewise.spaces.nasbench101.enumeration import codes_of, labels, matrices

__all__ = ["of_cells", "of_strings", "pruned"]

Codes = npt.NDArray[np.uint32]

# A cell in one integer: its code without pruning, and above it the number of inner vertices.
_SIZE = 2 * INNER + len(EDGES)


def _labels() -> dict[tuple[int, ...], int]:
    return {
        operations: inner << _SIZE | sum(o << 2 * (INNER - v) for v, o in enumerate(operations, start=1))
        for inner in range(INNER + 1)
        for operations in product(range(len(OPERATIONS)), repeat=inner)
    }


def _tokens(target: int, names: Mapping[str, int]) -> dict[str, int]:
    """What each way to write a vertex adds to the integer of its cell."""
    found: dict[str, int] = {}
    for mask in range(1 << target):
        sources = [source for source in range(target) if mask >> source & 1]
        edges = sum(1 << 2 * INNER + bit(source, target) for source in sources)
        found |= {f"{name}~{','.join(map(str, sources))}": edges | value for name, value in names.items()}
    return found


_LABELS = _labels()
_INNER = [_tokens(v, {name: o << 2 * (INNER - v) for o, name in enumerate(OPERATIONS)}) for v in range(1, INNER + 1)]
_AROUND = {
    n: [np.uint32(sum(1 << bit(v, t) for t in range(v + 1, n))) for v in range(n - 1)]
    + [np.uint32(sum(1 << bit(s, v) for s in range(v))) for v in range(1, n)]
    for n in range(2, VERTICES + 1)
}
_OUTPUT = [_tokens(target, {"output": target - 1 << _SIZE}) for target in range(1, VERTICES)]


def _integer(text: str) -> int:
    tokens = text.split("|")
    try:
        return _OUTPUT[len(tokens) - 1][tokens.pop()] + sum(map(getitem, _INNER, tokens))
    except (KeyError, IndexError):  # sources in another order, or an error that the parser explains
        cell = Cell.parse(text)
        return (cell.edges << 2 * INNER) + _LABELS[cell.operations]


def of_strings(texts: Sequence[str]) -> Codes:
    """The codes of cells by their standard strings, pruned or not; 0 where input and output are not connected.

    Raises:
        ConfigurationError: when a text has another form; the message says where.

    Example:
        >>> of_strings(["output~0", "conv3x3-bn-relu~0|maxpool3x3~|output~0,1"]).tolist()
        [1024, 7168]
    """
    return pruned([_integer(text) for text in texts])


def of_cells(cells: Sequence[Cell]) -> Codes:
    """The codes of cells, pruned or not; 0 where input and output are not connected.

    Example:
        >>> of_cells([Cell(0b01), Cell(0b011, (2,)), Cell(0b001, (2,))]).tolist()  # the inner vertex leads nowhere
        [1024, 1024, 0]
    """
    return pruned([(cell.edges << 2 * INNER) + _LABELS[tuple(cell.operations)] for cell in cells])


def pruned(integers: Sequence[int]) -> Codes:
    """Remove the vertices without effect from cells that are given by inner vertices · 2³¹ + code without pruning."""
    raw = np.array(integers, np.int64)
    codes, inner = (raw & (1 << _SIZE) - 1).astype(np.uint32), raw >> _SIZE
    for n in range(2, VERTICES + 1):
        here = np.flatnonzero(inner == n - 2)
        edges = codes[here] >> np.uint32(2 * INNER)
        # edges point upwards: where each vertex but the ends has one in and one out, all lie on a path
        whole = np.ones(len(here), bool)
        for mask in _AROUND[n]:
            whole &= edges & mask != 0
        here = here[~whole]
        if len(here):
            chosen = codes[here]
            codes[here] = codes_of(matrices(chosen, n), labels(chosen, n))
    return codes
