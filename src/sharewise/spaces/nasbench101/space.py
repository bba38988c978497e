"""The NAS-Bench-101 space, to the letter: 423,624 unique cells, and the sub-spaces of *To Share or Not To Share*.

A cell has a choice of its number of vertices, one for every possible edge between them, and one for the operation of
every inner vertex. Cells that differ only in vertices without effect, or in the order of their vertices, are one
architecture: the values are brought to the representative of their class of isomorphic cells. The standard string names
for every vertex after the input its operation and its sources: `conv3x3-bn-relu~0|conv3x3-bn-relu~1|output~0,2`.

References:
    C. Ying et al., *NAS-Bench-101*, ICML 2019 (arXiv 1902.09635).
    A. Pourchot, A. Ducarouge and O. Sigaud, *To Share or Not To Share* (arXiv 2002.04289).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import cast, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.space import (
    Architecture,
    Choice,
    Codec,
    Condition,
    Constraint,
    Listing,
    Option,
    Picture,
    Relaxation,
    Space,
    SubListing,
    longest_path,
)
from sharewise.space.listing import find_row
from sharewise.spaces.nasbench101.cell import EDGES, INNER, MAXIMUM_EDGES, OPERATIONS, VERTICES, Cell, bit
from sharewise.spaces.nasbench101.codes import of_cells, of_strings
from sharewise.spaces.nasbench101.enumeration import enumeration, output_degrees, parameters, skips

__all__ = [
    "FAMILY",
    "SUBSPACES",
    "NasBench101Listing",
    "architecture_of",
    "cell_of",
    "cell_of_values",
    "nasbench101",
    "subspace",
]

_NAME = "nasbench101"
FAMILY = "nasbench1"
"""How the names of all spaces begin whose architectures are cells of NAS-Bench-101."""
_EDGE_NAMES = tuple(f"edge_{source}_{target}" for source, target in EDGES)
_OPERATION_NAMES = tuple(f"operation_{v}" for v in range(1, INNER + 1))

# What each item of an architecture adds to the code of its cell.
_WEIGHTS: dict[tuple[str, Option], int] = {
    **{("vertices", n): 0 for n in range(2, VERTICES + 1)},
    **{
        (name, here): here << 2 * INNER + bit(*edge)
        for name, edge in zip(_EDGE_NAMES, EDGES, strict=True)
        for here in (0, 1)
    },
    **{
        (f"operation_{v}", name): index << 2 * (INNER - v)
        for v in range(1, INNER + 1)
        for index, name in enumerate(OPERATIONS)
    },
}


def cell_of_values(values: Mapping[str, Option]) -> Cell:
    """The cell, as it is, of the values of all active choices."""
    code = sum(map(_WEIGHTS.__getitem__, values.items()))
    n = values["vertices"]
    assert isinstance(n, int)
    operations = tuple(code >> 2 * (INNER - v) & 3 for v in range(1, n - 1))
    return Cell(code >> 2 * INNER, operations)


def _items(cell: Cell) -> tuple[tuple[str, Option], ...]:
    """The values of a cell's choices, in their order."""
    n = cell.vertices
    edges = ((name, cell.edges >> place & 1) for place, name in enumerate(_EDGE_NAMES[: bit(0, n)]))
    operations = ((name, OPERATIONS[o]) for name, o in zip(_OPERATION_NAMES, cell.operations, strict=False))
    return (("vertices", n), *edges, *operations)


def _row(code: int) -> int:
    """The row of the code of a pruned cell, −1 where it is none."""
    found = enumeration()
    return find_row((found.codes, found.rows), code)


def _representative(cell: Cell) -> Cell:
    """The cell that stands for all that are isomorphic to this one; it must be valid."""
    return Cell.from_code(int(enumeration().cells[_row(cell.pruned().code)]))


def _normalise(values: Mapping[str, Option]) -> Mapping[str, Option]:
    return dict(_items(_representative(cell_of_values(values))))


def _encode(values: Mapping[str, Option]) -> str:
    return str(cell_of_values(values))


def _connected(values: Mapping[str, Option]) -> bool:
    return cell_of_values(values).connected


def _valid(values: Mapping[str, Option]) -> bool:
    return cell_of_values(values).valid


def _decode(text: str) -> dict[str, Option]:
    return dict(_items(Cell.parse(text)))


def _answered(vertices: int) -> frozenset[str]:
    """The choices that a cell of so many vertices answers."""
    edges = _EDGE_NAMES[: bit(0, vertices)]
    return frozenset(("vertices", *edges, *_OPERATION_NAMES[: vertices - 2]))


_ANSWERED: Mapping[object, frozenset[str]] = {n: _answered(n) for n in range(2, VERTICES + 1)}


def _require_answers(architecture: Architecture) -> None:
    """Refuse what belongs to another space, lacks an answer or has one too many; cheaper than `Space.own`."""
    if not architecture.space.startswith(FAMILY):
        raise ConfigurationError(f"{architecture} belongs to space {architecture.space!r}, not to {_NAME!r}")
    answers = dict(architecture.items_)
    illegal = [item for item in architecture.items_ if item not in _WEIGHTS]
    if illegal:
        raise ConfigurationError(f"{architecture!r} has no legal options: {illegal[0]}")
    if len(answers) < len(architecture.items_) or answers.keys() != _ANSWERED.get(answers.get("vertices")):
        raise ConfigurationError(f"{architecture!r} does not answer every choice of {_NAME!r} once")


def cell_of(architecture: Architecture) -> Cell:
    """The cell of an architecture of this space or of one of its sub-spaces.

    Raises:
        ConfigurationError: when the architecture is of another space.

    Example:
        >>> cell_of(nasbench101().parse("output~0")).hash
        '043721b9c7fe8c5fad811d47d83132ec'
    """
    _require_answers(architecture)
    return cell_of_values(architecture)


def architecture_of(cell: Cell, space: Space | None = None) -> Architecture:
    """The architecture of a cell, pruned or not: the representative of all cells isomorphic to it.

    Args:
        cell: any cell that the benchmark contains once it is pruned.
        space: `nasbench101()` or a sub-space of it; the whole space by default.

    Raises:
        ConfigurationError: when the cell is not valid, or not of the sub-space.

    Example:
        >>> str(architecture_of(Cell(0b101010, (0, 2))))
        'maxpool3x3~0|output~0,1'
    """
    return (nasbench101() if space is None else space).architecture(dict(_items(cell)))


@final
class NasBench101Listing(Listing):
    """All unique cells in the order in which the official script generates them: by vertices, edges, operations.

    The code of an item is that of its pruned cell (`Cell.code`): a few microseconds of plain Python, to be looked up
    in `codes()`.

    Example:
        >>> listing = NasBench101Listing()
        >>> len(listing), str(listing.at(3))
        (423624, 'maxpool3x3~0|output~1')
    """

    def __len__(self) -> int:
        return len(enumeration().cells)

    def at(self, index: int) -> Architecture:
        """See `Listing.at`."""
        cells = enumeration().cells
        if not 0 <= index < len(cells):
            raise ConfigurationError(f"space {_NAME!r} has indices 0 to {len(cells) - 1}, got {index}")
        cell = Cell.from_code(int(cells[index]))
        return Architecture(_NAME, _items(cell), str(cell))

    def index(self, architecture: Architecture) -> int:
        """See `Listing.index`; an architecture of a sub-space is accepted as well."""
        row = _row(self.code(architecture))
        if row < 0:
            raise ConfigurationError(f"{architecture} is not a legal architecture of space {_NAME!r}")
        return row

    def code(self, item: object) -> int:
        """See `Listing.code`; a `Cell` is accepted as well.

        Raises:
            ConfigurationError: when the item is none of these, or its input and output are not connected. A cell with
                too many edges has a code that is not in `codes()`.
        """
        if isinstance(item, Cell):
            return item.pruned().code
        if isinstance(item, Architecture):
            _require_answers(item)
            return sum(map(_WEIGHTS.__getitem__, item.items_))  # architectures are pruned
        if isinstance(item, str):
            return Cell.parse(item).pruned().code
        raise ConfigurationError(
            f"{item!r} is not an Architecture, a Cell or a string such as 'maxpool3x3~0|output~0,1'"
        )

    def codes_of(self, items: Sequence[object]) -> npt.NDArray[np.integer]:
        """See `Listing.codes_of`; cells and strings are pruned all together."""
        if all(isinstance(item, Cell) for item in items):
            found = of_cells(cast(Sequence[Cell], items))
        elif all(isinstance(item, str) for item in items):
            found = of_strings(cast(Sequence[str], items))
        else:
            return super().codes_of(items)
        for place in np.flatnonzero(found == 0)[:1].tolist():
            self.code(items[place])  # raises with the reason
        return found

    def codes(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
        """The codes of all 1,293,208 pruned labelled cells and the row of each."""
        found = enumeration()
        return found.codes, found.rows

    def parameters(self) -> npt.NDArray[np.int64]:
        """Of the benchmark's networks, with 128 channels and 10 classes; half a second for all rows."""
        return parameters(enumeration().cells)


def _draw(architecture: Architecture) -> Picture:
    cell = cell_of(architecture)
    nodes = ("input", *(f"{v}: {name}" for v, name in enumerate(cell.names[1:-1], start=1)), "output")
    edges = ((s, t) for t in range(1, cell.vertices) for s in range(t) if cell.edges >> bit(s, t) & 1)
    return Picture(nodes, tuple((nodes[s], nodes[t], "") for s, t in edges))


def _relax(space: Space) -> Relaxation:
    from sharewise.spaces.nasbench101.relaxation import CellRelaxation

    return CellRelaxation(space)


def _features(architecture: Architecture) -> dict[str, bool | float]:
    """How often each operation occurs, and the shape of the graph."""
    cell = cell_of(architecture)
    matrix, inner = cell.matrix, range(1, cell.vertices - 1)
    lengths = {(s, t): float(t in inner) for s, row in enumerate(matrix) for t, edge in enumerate(row) if edge}
    first = {cell.operations[t - 1] for t in inner if matrix[0][t]}
    last = {cell.operations[s - 1] for s in inner if matrix[s][-1]}
    return {
        **{f"number of {name}": float(cell.operations.count(at)) for at, name in enumerate(OPERATIONS)},
        "residual edge (input to output)": cell.skip,
        "depth (operations on the longest path)": longest_path(lengths, range(cell.vertices)),
        "vertices": float(cell.vertices),
        "edges": float(cell.edges.bit_count()),
        "vertices that feed the output": float(cell.output_degree),
        **{f"{name} right after the input": at in first for at, name in enumerate(OPERATIONS)},
        **{f"{name} right before the output": at in last for at, name in enumerate(OPERATIONS)},
    }


def _counts(space: Space) -> dict[str, dict[str, int]]:
    """How many architectures have each number of vertices and of edges."""
    found, rows = enumeration(), space.listing
    chosen = rows.rows if isinstance(rows, SubListing) else slice(None)
    return {
        f"by_{name}": {str(n): int(count) for n, count in enumerate(np.bincount(column[chosen])) if count}
        for name, column in (("vertices", found.vertices), ("edges", found.edges))
    }


def _build(name: str, summary: str, constraints: tuple[Constraint, ...], listing: Callable[[], Listing]) -> Space:
    def from_vertices(vertices: int) -> Condition | None:
        return Condition("vertices", tuple(range(vertices, VERTICES + 1))) if vertices > 2 else None

    return Space(
        name=name,
        choices=(
            Choice("vertices", tuple(range(2, VERTICES + 1)), ordered=True),
            *(Choice(n, (0, 1), condition=from_vertices(t + 1)) for n, (_, t) in zip(_EDGE_NAMES, EDGES, strict=True)),
            *(
                Choice(name, OPERATIONS, condition=from_vertices(v + 2))
                for v, name in enumerate(_OPERATION_NAMES, start=1)
            ),
        ),
        constraints=(
            Constraint("a path must lead from the input to the output", _connected),
            Constraint(
                f"a cell has at most {MAXIMUM_EDGES} edges, not counting vertices without effect",
                _valid,
            ),
            *constraints,
        ),
        codec=Codec(_encode, _decode),
        relax=_relax,
        networks="sharewise.spaces.nasbench101.networks",
        draw=_draw,
        summary=summary,
        listing_=listing,
        normalise=_normalise,
        counts=_counts,
        features=_features,
        family=FAMILY,
    )


@cache
def nasbench101() -> Space:
    """The space itself.

    Returns:
        The space; the same object at every call.

    Example:
        >>> space = nasbench101()
        >>> space.size
        423624
        >>> str(space.parse("maxpool3x3~|conv1x1-bn-relu~0|output~0,2"))  # vertex 1 has no effect
        'conv1x1-bn-relu~0|output~0,1'
    """
    return _build(_NAME, "NAS-Bench-101 cell: up to 7 vertices, 9 edges, 3 operations", (), NasBench101Listing)


def _feeding(degree: int, values: Mapping[str, Option]) -> bool:
    return cell_of_values(values).output_degree == degree


def _fed_by(degree: int, cells: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    fed: npt.NDArray[np.bool_] = output_degrees(cells) == degree
    return fed


def _no_skips(cells: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    return ~skips(cells)


def _residual(wanted: bool, values: Mapping[str, Option]) -> bool:
    return cell_of_values(values).skip is wanted


_DEGREES = {
    f"A_{d}": (
        Constraint(f"exactly {d} inner vert{'ex feeds' if d == 1 else 'ices feed'} the output", partial(_feeding, d)),
        partial(_fed_by, d),
    )
    for d in range(1, 5)
}
_RESIDUAL = {
    "RES": (Constraint("an edge leads from the input straight to the output", partial(_residual, True)), skips),
    "NRES": (
        Constraint("no edge leads from the input straight to the output", partial(_residual, False)),
        _no_skips,
    ),
}
_RULES: dict[str, tuple[Constraint, Callable[[npt.NDArray[np.uint32]], npt.NDArray[np.bool_]]] | None] = {
    **_DEGREES,
    "FULL": None,
    **_RESIDUAL,
}
SUBSPACES = tuple(_RULES)
"""The sub-spaces of *To Share or Not To Share*."""


@cache
def subspace(name: str) -> Space:
    """A sub-space of *To Share or Not To Share*: the same choices under one more constraint.

    A_i holds the cells in which exactly i inner vertices feed the output, RES those with an edge from the input to the
    output, NRES the others, FULL all. Sizes: A_1 120,933, A_2 201,441, A_3 90,782, A_4 10,467, RES 81,020,
    NRES 342,604, FULL 423,624.

    Args:
        name: a member of `SUBSPACES`.

    Returns:
        The space `nasbench101:NAME`; the same object at every call. It is sampled uniformly over its unique cells.

    Raises:
        ConfigurationError: for an unknown name.

    Example:
        >>> subspace("A_4").size
        10467
    """
    if name not in _RULES:
        raise unknown_name("sub-space of nasbench101", name, _RULES)
    rule, full = _RULES[name], f"{_NAME}:{name}"
    constraints = () if rule is None else (rule[0],)
    words = "all cells" if rule is None else rule[0].description
    return _build(full, f"NAS-Bench-101 sub-space {name}: {words}", constraints, partial(_listing_of, name))


def _listing_of(name: str) -> Listing:
    """The rows of the whole that belong to a sub-space."""
    cells, rule = enumeration().cells, _RULES[name]
    rows = np.arange(len(cells)) if rule is None else np.flatnonzero(rule[1](cells))
    return SubListing(f"{_NAME}:{name}", nasbench101().listing, rows)
