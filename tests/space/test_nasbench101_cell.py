"""One NAS-Bench-101 cell: pruning, hash, channels, parameters, strings, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharewise.errors import ConfigurationError
from sharewise.spaces import load
from sharewise.spaces.nasbench101 import Cell, architecture_of, cell_of, codes_of
from sharewise.spaces.nasbench101.cell import bit, channels, graph_hash

C3, C1, MP = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"


def cell(vertices: int, edges: str, *operations: str) -> Cell:
    """A cell from edges such as `01 12`."""
    matrix = [[0] * vertices for _ in range(vertices)]
    for source, target in edges.split():
        matrix[int(source)][int(target)] = 1
    return Cell.from_matrix(matrix, ["input", *operations, "output"])


BEST_TEST = cell(7, "01 02 05 06 15 23 34 45 56", C1, C3, MP, C3, C3)
BEST_VALID = cell(6, "01 02 03 04 05 14 23 34 45", C3, C3, C3, C3)
README = cell(7, "01 02 03 05 16 26 34 46 56", C1, C3, C3, C3, MP)
FOUR_FEEDING = cell(7, "01 12 23 34 45 16 26 46 56", MP, C1, MP, C1, C1)


@pytest.mark.parametrize(
    ("given_cell", "hash_", "parameters"),
    [
        (cell(2, "01"), "043721b9c7fe8c5fad811d47d83132ec", 882_570),
        (cell(3, "01 12", C3), "b49ac8c578b4561d79ac7087988f1c61", 10_177_674),
        (cell(3, "01 12", MP), "53cee42601ad14d661bb6878031d6acb", 882_570),
        (cell(4, "01 12 23 03", C3, C3), "b5fb4f6193360330b6ff6a52cbf0cad7", 20_346_506),
        (README, "28cfc7874f6d200472e1a9dcd8650aa0", 2_694_282),
        (BEST_TEST, "02e5a0247bbdcf2860b7e96f74961594", 32_426_634),
        (BEST_VALID, "0da48e9f9faecf504244c65b82e0ba71", 41_557_898),
    ],
)
def test_published_hashes_and_parameters(given_cell: Cell, hash_: str, parameters: int) -> None:
    assert given_cell.valid
    assert given_cell.hash == hash_
    assert given_cell.parameters() == parameters


def test_parameters_of_a_cell_with_four_vertices_at_the_output() -> None:
    assert FOUR_FEEDING.parameters() == 424_842
    assert (FOUR_FEEDING.output_degree, FOUR_FEEDING.skip) == (4, False)
    assert (BEST_TEST.output_degree, BEST_TEST.skip) == (1, True)
    assert (Cell(1).output_degree, Cell(1).skip) == (0, True)


@pytest.mark.parametrize(
    ("vertices", "edges", "inside", "outside", "expected"),
    [
        (4, "01 12 23", 8, 16, [8, 16, 16, 16]),
        (4, "01 02 13 23", 8, 15, [8, 8, 7, 15]),
        (5, "01 02 03 14 24 34", 8, 8, [8, 3, 3, 2, 8]),
        (5, "01 02 03 14 24 34", 8, 15, [8, 5, 5, 5, 15]),
        (5, "01 12 13 24 34", 8, 9, [8, 5, 5, 4, 9]),
    ],
)
def test_published_channels(vertices: int, edges: str, inside: int, outside: int, expected: list[int]) -> None:
    assert cell(vertices, edges, *[C3] * (vertices - 2)).channels(inside, outside) == expected


def test_too_few_channels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="vertex 3 would have no channels"):
        channels(cell(5, "01 02 03 14 24 34", C3, C3, C3).matrix, 8, 2)


def test_the_hash_is_not_perfect_from_ten_vertices_on() -> None:
    """Two squares of two-to-two links against one ring of four: equal neighbourhoods, other graphs."""
    fixed = [(0, 1), (0, 2), (0, 3), (0, 4), (5, 9), (6, 9), (7, 9), (8, 9)]
    squares = [(1, 5), (1, 6), (2, 5), (2, 6), (3, 7), (3, 8), (4, 7), (4, 8)]
    ring = [(1, 5), (1, 6), (2, 6), (2, 7), (3, 7), (3, 8), (4, 5), (4, 8)]
    graphs = []
    for links in (squares, ring):
        matrix = np.zeros((10, 10), dtype=int)
        for source, target in [*fixed, *links]:
            matrix[source, target] = 1
        graphs.append(matrix)
    labels = [-1, 1, 1, 1, 1, 2, 2, 2, 2, -2]
    assert graph_hash(graphs[0].tolist(), labels) == graph_hash(graphs[1].tolist(), labels)
    # not isomorphic: in the first, vertices 1 and 2 share both targets; in the second no two vertices do
    shared = [sorted(((g @ g.T)[1:5, 1:5]).ravel().tolist()) for g in graphs]
    assert shared[0] != shared[1]


def test_pruning_and_validity() -> None:
    dangling = Cell.parse(f"{MP}~|{C1}~0|{C3}~0,1|output~0,2")
    assert str(dangling.pruned()) == f"{C1}~0|output~0,1"
    assert dangling.hash == dangling.pruned().hash
    assert dangling.pruned().pruned() is not dangling
    whole = Cell((1 << 21) - 1, (0, 1, 2, 0, 1))
    assert whole.connected
    assert not whole.valid
    assert whole.pruned() is whole
    apart = Cell.parse(f"{C3}~0|output~")
    assert not apart.connected
    assert not apart.valid
    with pytest.raises(ConfigurationError, match="no path leads"):
        apart.pruned()
    # ten edges, of which one is without effect
    ten = cell(7, "01 12 13 24 34 45 46 05 56 06", C3, C1, MP, C3, C1)
    assert not ten.valid
    nine = Cell(ten.edges & ~(1 << bit(5, 6)), ten.operations)  # vertex 5 now leads nowhere
    assert nine.valid
    assert nine.pruned().vertices == 6


def test_forms_round_trip() -> None:
    for index in range(0, 423_624, 20_011):
        found = cell_of(load("nasbench101").listing.at(index))
        assert Cell.from_code(found.code) == found
        assert Cell.parse(str(found)) == found
        assert Cell.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("conv3x3~0|output~1", "vertex 1, 'conv3x3~0', has the illegal part 'conv3x3'"),
        (f"{C3}~1|output~1", "illegal part '1'"),
        (f"{C3}~0", "the last vertex, and no other, is the output"),
        ("output~0|output~1", "the last vertex, and no other"),
        ("", "illegal part ''"),
        ("|".join([f"{C3}~0"] * 6) + "|output~1", "more than 7 vertices"),
        (f"{C3}~0|output~0 1", "illegal part '0 1'"),
    ],
)
def test_other_strings_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a NAS-Bench-101 cell") as error:
        Cell.parse(text)
    assert reason in str(error.value)


def test_other_matrices_are_refused() -> None:
    good = ["input", C3, "output"]
    for matrix, names, reason in (
        ([[0, 1, 0], [0, 0, 1]], good, "square matrix"),
        ([[0, 1], [0, 0]], good, "square matrix"),
        ([[0, 1, 0], [1, 0, 1], [0, 0, 0]], good, r"entry \(1, 0\)"),
        ([[0, 2, 0], [0, 0, 1], [0, 0, 0]], good, r"entry \(0, 1\)"),
        ([[0, 0.5, 0], [0, 0, 1], [0, 0, 0]], good, r"entry \(0, 1\)|entry \(0, 0\)"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [C3, C3, "output"], "begin with 'input'"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv", "output"], "unknown operation 'conv'"),
        (np.triu(np.ones((8, 8), int), 1).tolist(), ["input", *[C3] * 6, "output"], "at most 7 vertices, got 8"),
        ("text", good, "rows of zeros and ones"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            Cell.from_matrix(matrix, names)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="module_adjacency"):
        Cell.from_json({"matrix": []})
    with pytest.raises(ConfigurationError, match="numbered 0 to 2"):
        Cell(3, (3,))
    with pytest.raises(ConfigurationError, match="leave its vertices"):
        Cell(8, (0,))
    with pytest.raises(ConfigurationError, match="at most 7 vertices"):
        Cell(1, (0,) * 6)
    with pytest.raises(ConfigurationError, match="operations without vertices"):
        Cell.from_code((1 << 10) + 1)


@st.composite
def raw_cells(draw: st.DrawFn) -> Cell:
    """Any legal cell, pruned or not."""
    inner = draw(st.integers(0, 5))
    edges = draw(st.integers(0, (1 << bit(0, inner + 2)) - 1))
    return Cell(edges, tuple(draw(st.lists(st.integers(0, 2), min_size=inner, max_size=inner))))


@given(raw=raw_cells(), seed=st.integers(0, 2**32 - 1))
def test_relabelling_changes_nothing(raw: Cell, seed: int) -> None:
    space = load("nasbench101")
    if not raw.valid:
        with pytest.raises(ConfigurationError, match="illegal architecture of 'nasbench101'"):
            architecture_of(raw)
        return
    pruned = raw.pruned()
    architecture = architecture_of(raw)
    assert cell_of(architecture).hash == raw.hash
    row = space.listing.index(architecture)
    codes, rows = space.listing.codes() or ([], [])
    # a random order of the inner vertices that keeps edges pointing upwards
    rng, n = np.random.default_rng(seed), pruned.vertices
    priority = rng.permutation(n)
    order: list[int] = []
    while len(order) < n - 2:
        free = [
            v
            for v in range(1, n - 1)
            if v not in order and all(u in order for u in range(1, v) if pruned.edges >> bit(u, v) & 1)
        ]
        order.append(min(free, key=lambda v: int(priority[v])))
    moved = pruned.relabelled(order)
    assert moved.hash == raw.hash
    assert architecture_of(moved) == architecture
    for form in (raw, pruned, moved, str(raw), str(moved), architecture):
        assert rows[np.searchsorted(codes, space.listing.code(form))] == row
    assert space.parse(str(raw)) == architecture
    vectorised = codes_of([raw.matrix, moved.matrix if n == raw.vertices else raw.matrix], [raw.operations] * 2)
    assert vectorised[0] == pruned.code


def test_relabelling_refuses_edges_that_would_point_backwards() -> None:
    with pytest.raises(ConfigurationError, match="strictly upper triangular"):
        cell(4, "01 12 23", C3, C1).relabelled([2, 1])
    with pytest.raises(ConfigurationError, match="no permutation"):
        cell(4, "01 12 23", C3, C1).relabelled([1, 1])


@given(raws=st.lists(raw_cells(), min_size=1, max_size=20))
def test_vectorised_codes_equal_the_scalar_ones(raws: list[Cell]) -> None:
    for n in {raw.vertices for raw in raws}:
        same = [raw for raw in raws if raw.vertices == n]
        found = codes_of(
            [raw.matrix for raw in same], np.array([raw.operations for raw in same]).reshape(len(same), n - 2)
        )
        assert found.tolist() == [raw.pruned().code if raw.connected else 0 for raw in same]


def test_vectorised_codes_refuse_other_shapes() -> None:
    with pytest.raises(ConfigurationError, match="shape"):
        codes_of([[0, 1], [0, 0]], [[]])
    with pytest.raises(ConfigurationError, match="upper triangular"):
        codes_of([[[0, 1], [1, 0]]], np.empty((1, 0)))
    with pytest.raises(ConfigurationError, match="numbered 0 to 2"):
        codes_of([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]], [[3]])
