"""The NAS-Bench-101 cell: a small labelled graph, its pruning, graph hash, channel rule and parameter count.

Vertex 0 is the input, the last vertex the output, and each vertex between them carries one of three operations. Edges
go from lower to higher vertices and are held as the bits of one integer: x → y is bit x + y·(y − 1)/2, so that the
same integer means the same edges whatever the number of vertices. For a pruned cell, the *code*
edges · 4⁵ + Σ_v operation_v · 4^(5−v) is unique (the highest edge shows the number of vertices), and isomorphic cells
are represented by the one of smallest code: the first that the official script generates, whose parameters the
benchmark records. (Where channels do not divide evenly, parameters depend on the order of the vertices.)

References:
    C. Ying et al., *NAS-Bench-101*, ICML 2019 (arXiv 1902.09635); the official API, google-research/nasbench.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from sharewise.errors import ConfigurationError

__all__ = ["EDGES", "INNER", "MAXIMUM_EDGES", "OPERATIONS", "VERTICES", "Cell", "bit", "channels", "graph_hash"]

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
VERTICES = 7
MAXIMUM_EDGES = 9
INNER = VERTICES - 2
EDGES = tuple((source, target) for target in range(1, VERTICES) for source in range(target))
_INPUT, _OUTPUT = "input", "output"
_FIRST = tuple(target * (target - 1) // 2 for target in range(VERTICES + 1))  # first bit of each column
_COLUMN = tuple((1 << target) - 1 for target in range(VERTICES))
_SOURCES = tuple({str(source): source for source in range(target)} for target in range(VERTICES))
_TARGETS = {**{name: index for index, name in enumerate(OPERATIONS)}, _OUTPUT: -2}
_LISTS = tuple(",".join(str(s) for s in range(VERTICES) if mask >> s & 1) for mask in range(1 << VERTICES - 1))


def bit(source: int, target: int) -> int:
    """The place of an edge in the bits of a cell.

    Example:
        >>> [bit(0, 1), bit(0, 2), bit(1, 2), bit(0, 3)]
        [0, 1, 2, 3]
    """
    return source + target * (target - 1) // 2


@final
@dataclass(frozen=True)
class Cell:
    """A labelled graph, pruned or not; equal cells have the same vertices in the same order.

    Args:
        edges: the bits of the edges.
        operations: indices into `OPERATIONS` of the inner vertices in order; 0 to 5 of them.

    Raises:
        ConfigurationError: when there are more than 7 vertices, an edge beyond them, or an unknown operation.

    Example:
        >>> cell = Cell.from_matrix([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "conv3x3-bn-relu", "output"])
        >>> cell, cell.code
        (Cell(edges=7, operations=(0,)), 7168)
    """

    edges: int
    operations: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        inner = len(self.operations)
        if inner > INNER:
            raise ConfigurationError(f"a NAS-Bench-101 cell has at most {VERTICES} vertices, got {inner + 2}")
        if not 0 <= self.edges < 1 << _FIRST[inner + 2]:
            raise ConfigurationError(f"edges {self.edges:#b} of a cell with {inner + 2} vertices leave its vertices")
        if inner and not (min(self.operations) >= 0 and max(self.operations) < len(OPERATIONS)):
            raise ConfigurationError(f"operations are numbered 0 to {len(OPERATIONS) - 1}, got {self.operations}")

    @classmethod
    def from_matrix(cls, matrix: Sequence[Sequence[int]], operations: Sequence[str]) -> Cell:
        """A cell from its adjacency matrix and the names of its operations, in the official form.

        Args:
            matrix: square and strictly upper triangular, of zeros and ones.
            operations: one name per vertex, the first `input` and the last `output`.

        Raises:
            ConfigurationError: when the form is another one; the message says where.
        """
        rows, names = _rows(matrix), [str(name) for name in operations]
        if len(rows) < 2 or any(len(row) != len(rows) for row in rows) or len(names) != len(rows):
            raise ConfigurationError(
                f"a cell needs a square matrix and one operation a vertex; got rows of {[len(r) for r in rows]} "
                f"entries and {len(names)} operations"
            )
        if len(rows) > VERTICES:
            raise ConfigurationError(f"a NAS-Bench-101 cell has at most {VERTICES} vertices, got {len(rows)}")
        if names[0] != _INPUT or names[-1] != _OUTPUT:
            raise ConfigurationError(f"operations begin with {_INPUT!r} and end with {_OUTPUT!r}, got {names}")
        for name in names[1:-1]:
            if name not in OPERATIONS:
                raise ConfigurationError(f"unknown operation {name!r}; expected one of {', '.join(OPERATIONS)}")
        return cls(_bits(rows), tuple(OPERATIONS.index(name) for name in names[1:-1]))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cell:
        """A cell from the official dictionary of `module_adjacency` and `module_operations`.

        Raises:
            ConfigurationError: when an entry is missing or of another form.
        """
        try:
            matrix, operations = value["module_adjacency"], value["module_operations"]
        except (KeyError, TypeError):
            raise ConfigurationError(
                f"a cell in JSON holds 'module_adjacency' and 'module_operations', got {value!r}"
            ) from None
        return cls.from_matrix(matrix, operations)

    def to_json(self) -> dict[str, Any]:
        """The official dictionary: adjacency matrix and names of operations, input and output included."""
        return {"module_adjacency": self.matrix, "module_operations": list(self.names)}

    @property
    def vertices(self) -> int:
        """The number of vertices, input and output included."""
        return len(self.operations) + 2

    @property
    def matrix(self) -> list[list[int]]:
        """The adjacency matrix, strictly upper triangular."""
        n = self.vertices
        return [[int(s < t and self.edges >> bit(s, t) & 1) for t in range(n)] for s in range(n)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all vertices: `input`, operations, `output`."""
        return (_INPUT, *(OPERATIONS[operation] for operation in self.operations), _OUTPUT)

    @property
    def code(self) -> int:
        """The integer edges · 4⁵ + Σ_v operation_v · 4^(5−v), equal for no two pruned cells."""
        code = self.edges
        for operation in self.operations:
            code = code << 2 | operation
        return code << 2 * (INNER - len(self.operations))

    @classmethod
    def from_code(cls, code: int) -> Cell:
        """The pruned cell of a code.

        Raises:
            ConfigurationError: when the code has operations where its edges have no vertices.
        """
        edges = code >> 2 * INNER
        inner = next((n - 2 for n in range(2, VERTICES + 1) if edges < 1 << _FIRST[n]), INNER + 1)
        operations = tuple(code >> 2 * (INNER - v) & 3 for v in range(1, min(inner, INNER) + 1))
        if code & (1 << 2 * (INNER - min(inner, INNER))) - 1:
            raise ConfigurationError(f"{code} is not the code of a cell: it has operations without vertices")
        return cls(edges, operations)

    @classmethod
    def parse(cls, text: str) -> Cell:
        """A cell from its standard string, `operation~sources|…|output~sources`, pruned or not.

        Raises:
            ConfigurationError: when the text has another form; the message says where.

        Example:
            >>> cell = Cell.parse("conv3x3-bn-relu~0|maxpool3x3~|output~0,1")
            >>> str(cell.pruned())
            'conv3x3-bn-relu~0|output~0,1'
        """
        tokens = text.strip().split("|")
        edges, first, operations = 0, 0, []
        try:
            for target, token in enumerate(tokens, start=1):
                name, _, sources = token.partition("~")
                for source in sources.split(",") if sources else ():
                    edges |= 1 << first + _SOURCES[target][source]
                first += target
                operations.append(_TARGETS[name])
        except KeyError as error:
            raise _wrong(text, f"vertex {target}, {token!r}, has the illegal part {error.args[0]!r}") from None
        except IndexError:
            raise _wrong(text, f"it has more than {VERTICES} vertices") from None
        if operations.pop() >= 0 or -2 in operations:
            raise _wrong(text, "the last vertex, and no other, is the output")
        return cls(edges, tuple(operations))

    def __str__(self) -> str:
        edges, parts = self.edges, []
        for target, name in enumerate(self.names[1:], start=1):
            parts.append(f"{name}~{_LISTS[edges & _COLUMN[target]]}")
            edges >>= target
        return "|".join(parts)

    @property
    def connected(self) -> bool:
        """Whether a path leads from the input to the output."""
        return self._used() != 0

    @property
    def valid(self) -> bool:
        """Whether the benchmark contains the cell: connected, and at most 9 edges once pruned."""
        return self.connected and self.pruned().edges.bit_count() <= MAXIMUM_EDGES

    def _used(self) -> int:
        """The bits of the vertices on a path from input to output; 0 where there is none."""
        edges, last = self.edges, len(self.operations) + 1
        reached, first = 1, 0
        for target in range(1, last + 1):
            first += target - 1
            if edges >> first & _COLUMN[target] & reached:
                reached |= 1 << target
        needed = 1 << last
        if not reached & needed:
            return 0
        for target in range(last, 0, -1):
            if needed >> target & 1:
                needed |= edges >> _FIRST[target] & _COLUMN[target]
        return reached & needed

    def pruned(self) -> Cell:
        """The cell without the vertices that lie on no path from input to output; the same object if there are none.

        Raises:
            ConfigurationError: when no path leads from input to output.
        """
        used, n = self._used(), len(self.operations) + 2
        if used == (1 << n) - 1:
            return self
        if not used:
            raise ConfigurationError(f"no path leads from the input to the output of {self}")
        kept = [v for v in range(n) if used >> v & 1]
        edges = 0
        for target, old_target in enumerate(kept):
            column = self.edges >> _FIRST[old_target]
            for source in range(target):
                if column >> kept[source] & 1:
                    edges |= 1 << source + _FIRST[target]
        return Cell(edges, tuple(self.operations[v - 1] for v in kept[1:-1]))

    def relabelled(self, order: Sequence[int]) -> Cell:
        """The isomorphic cell whose inner vertex i (from 1) is the inner vertex `order[i − 1]` of this one.

        Raises:
            ConfigurationError: when an edge would point backwards, or `order` is no permutation.
        """
        if sorted(order) != list(range(1, self.vertices - 1)):
            raise ConfigurationError(f"{order} is no permutation of the inner vertices 1 to {self.vertices - 2}")
        old = (0, *order, self.vertices - 1)
        matrix = self.matrix
        moved = [[matrix[s][t] for t in old] for s in old]
        return Cell.from_matrix(moved, [self.names[v] for v in old])

    @property
    def hash(self) -> str:
        """The official graph hash of the pruned cell; equal for isomorphic cells, and for no others in this space."""
        cell = self.pruned()
        return graph_hash(cell.matrix, [-1, *cell.operations, -2])

    def channels(self, channels_in: int, channels_out: int) -> list[int]:
        """The channels of every vertex by the benchmark's rule: see `channels`."""
        return channels(self.matrix, channels_in, channels_out)

    def parameters(self, stem: int = 128, outputs: int = 10, image_channels: int = 3) -> int:
        """The trainable parameters of the whole network: convolutions, batch norms and the classifier.

        Args:
            stem: channels of the stem; 128 in the benchmark.
            outputs: classes.
            image_channels: of one image.

        Example:
            >>> Cell(1).parameters()
            882570
        """
        cell = self.pruned()
        n, total, width_in = cell.vertices, 9 * image_channels * stem + 2 * stem, stem
        for stack in range(3):
            width = stem * 2**stack
            for _ in range(3):
                widths = cell.channels(width_in, width)
                for v in range(1, n):
                    if cell.edges >> bit(0, v) & 1:
                        total += (width_in + 2) * widths[v]
                for v, operation in enumerate(cell.operations, start=1):
                    if operation < 2:
                        total += ((9, 1)[operation] * widths[v] + 2) * widths[v]
                width_in = width
        return total + (width_in + 1) * outputs

    @property
    def output_degree(self) -> int:
        """The number of inner vertices that feed the output, once pruned."""
        cell = self.pruned()
        return (cell.edges >> _FIRST[cell.vertices - 1] + 1).bit_count()

    @property
    def skip(self) -> bool:
        """Whether an edge leads from the input straight to the output."""
        return bool(self.edges >> _FIRST[self.vertices - 1] & 1)


def _wrong(text: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{text!r} is not a NAS-Bench-101 cell: {reason}. Expected 'op~sources|op~sources|output~sources' with op "
        f"one of {', '.join(OPERATIONS)} and sources the numbers of earlier vertices, separated by commas (0 is the "
        "input), such as 'conv3x3-bn-relu~0|output~0,1'"
    )


def channels(matrix: Sequence[Sequence[int]], channels_in: int, channels_out: int) -> list[int]:
    """The number of channels at every vertex of a pruned cell.

    The d inner vertices that feed the output share its channels: ⌊c/d⌋ each, and the first c mod d of them one more.
    Going backwards, every other vertex is as wide as its widest inner successor.

    Args:
        matrix: adjacency, strictly upper triangular, every vertex on a path from input to output.
        channels_in: of the input vertex.
        channels_out: of the output vertex; at least d.

    Returns:
        One number a vertex.

    Raises:
        ConfigurationError: when a vertex would be left without channels.

    Example:
        >>> channels([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], 8, 15)
        [8, 8, 7, 15]
    """
    last = len(matrix) - 1
    widths = [channels_in, *[0] * (last - 1), channels_out]
    feeding = [v for v in range(1, last) if matrix[v][last]]
    for rank, v in enumerate(feeding):
        widths[v] = channels_out // len(feeding) + (rank < channels_out % len(feeding))
    for v in range(last - 1, 0, -1):
        if not matrix[v][last]:
            widths[v] = max((widths[t] for t in range(v + 1, last) if matrix[v][t]), default=0)
        if widths[v] < 1:
            raise ConfigurationError(
                f"vertex {v} would have no channels: {channels_out} output channels are shared by {len(feeding)} "
                "vertices; take a wider network, or prune the cell"
            )
    return widths


def graph_hash(matrix: Sequence[Sequence[int]], labels: Sequence[int]) -> str:
    """The hash of the official API, equal for isomorphic labelled graphs.

    h_v = md5(str((out-degree, in-degree, label))); then |V| times h_v = md5(sorted in-hashes | sorted out-hashes |
    h_v); at last md5(str(sorted h)).

    Args:
        matrix: adjacency of any directed acyclic graph.
        labels: one integer a vertex; −1 for the input, −2 for the output, an operation's index elsewhere.

    Returns:
        32 hexadecimal digits.

    Deviations:
        None. Two graphs that are not isomorphic may share a hash (from 10 vertices on such a pair is known); no two
        cells of NAS-Bench-101 do.

    Example:
        >>> graph_hash([[0, 1], [0, 0]], [-1, -2])
        '043721b9c7fe8c5fad811d47d83132ec'
    """
    vertices = range(len(matrix))
    sources = [[u for u in vertices if matrix[u][v]] for v in vertices]
    targets = [[u for u in vertices if matrix[v][u]] for v in vertices]

    def digest(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    hashes = [digest(str((len(targets[v]), len(sources[v]), int(labels[v])))) for v in vertices]
    for _ in vertices:
        hashes = [
            digest(
                "".join(sorted(hashes[u] for u in sources[v]))
                + "|"
                + "".join(sorted(hashes[u] for u in targets[v]))
                + "|"
                + hashes[v]
            )
            for v in vertices
        ]
    return digest(str(sorted(hashes)))


def _rows(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """An adjacency matrix in whole numbers, as far as its entries are."""
    try:
        return [[int(entry) if int(entry) == entry else entry for entry in row] for row in matrix]
    except (TypeError, ValueError):
        raise ConfigurationError(f"an adjacency matrix has rows of zeros and ones, got {matrix!r}") from None


def _bits(rows: Sequence[Sequence[int]]) -> int:
    """The edges of a strictly upper triangular matrix, a bit each."""
    edges = 0
    for source, row in enumerate(rows):
        for target, entry in enumerate(row):
            if entry not in (0, 1) or (entry and target <= source):
                raise ConfigurationError(
                    f"entry ({source}, {target}) of a strictly upper triangular matrix of zeros and ones is {entry}"
                )
            edges |= entry << bit(source, target) if entry else 0
    return edges
