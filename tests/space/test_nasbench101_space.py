"""All of NAS-Bench-101: published counts, sizes of sub-spaces, parameters and hashes of the whole table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sharewise.cost import cost
from sharewise.errors import ConfigurationError
from sharewise.run import build_network, build_supernet
from sharewise.space import Architecture, SubListing, mutate, neighbours, sample
from sharewise.spaces import load
from sharewise.spaces.nasbench101 import SUBSPACES, Cell, architecture_of, cell_of, subspace
from sharewise.spaces.nasbench101.enumeration import enumeration, parameters
from sharewise.spaces.nasbench101.hashes import hashes
from sharewise.spaces.nasbench101.network import Network, vertex_channels

SPACE = load("nasbench101")
SIZES = {
    "A_1": (120_933, 30_078),
    "A_2": (201_441, 38_553),
    "A_3": (90_782, 11_893),
    "A_4": (10_467, 495),
    "FULL": (423_624, 81_020),
    "RES": (81_020, 81_020),
    "NRES": (342_604, 0),
}
BY_BOTH = {
    2: {1: 1},
    3: {2: 3, 3: 3},
    4: {3: 9, 4: 33, 5: 33, 6: 9},
    5: {4: 27, 5: 225, 6: 622, 7: 811, 8: 558, 9: 198},
    6: {5: 81, 6: 1_260, 7: 6_909, 8: 19_701, 9: 34_059},
    7: {6: 243, 7: 6_264, 8: 58_563, 9: 294_012},
}


@pytest.fixture(scope="module")
def table(shared_data: Path) -> dict[str, npt.NDArray[np.integer]]:
    path = shared_data / "nasbench101" / "nasbench101_test108.npz"
    if not path.exists():
        pytest.skip(f"no table at {path}")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in ("hash", "edges", "ops", "params", "num_vertices")}


def codes(table: dict[str, npt.NDArray[np.integer]]) -> npt.NDArray[np.uint32]:
    """The codes of the table's cells, by their definition."""
    operations = np.where(table["ops"] == 255, 0, table["ops"]).astype(np.uint32)
    found: npt.NDArray[np.uint32] = table["edges"] * np.uint32(4**5) + operations @ (4 ** np.arange(4, -1, -1)).astype(
        "u4"
    )
    return found


def test_published_counts() -> None:
    found = enumeration()
    assert SPACE.size == len(found.cells) == 423_624
    assert len(found.codes) == 1_293_208
    for n, cumulative in zip(range(2, 6 + 1), (1, 7, 97, 3_364, 128_509), strict=True):
        assert np.count_nonzero(found.codes < 1 << 10 + n * (n - 1) // 2) == cumulative
    counted = {
        n: {int(k): int(c) for k, c in enumerate(np.bincount(found.edges[found.vertices == n])) if c} for n in BY_BOTH
    }
    assert counted == BY_BOTH
    assert SPACE.counts is not None
    assert SPACE.counts(SPACE) == {
        "by_vertices": {"2": 1, "3": 6, "4": 84, "5": 2_441, "6": 62_010, "7": 359_082},
        "by_edges": dict(
            zip("123456789", (1, 3, 12, 60, 339, 2_134, 13_984, 78_822, 328_269), strict=True),
        ),
    }


def test_rows_and_codes_are_in_order() -> None:
    found = enumeration()
    assert (np.diff(found.cells.astype(np.int64)) > 0).all()
    assert (np.diff(found.codes.astype(np.int64)) > 0).all()
    assert (found.find(found.cells) == np.arange(423_624)).all()
    assert (np.bincount(found.rows) >= 1).all()
    # a representative has the smallest code of its class
    smallest = np.full(423_624, np.iinfo(np.uint32).max, dtype=np.uint32)
    np.minimum.at(smallest, found.rows, found.codes)
    assert (smallest == found.cells).all()
    assert found.find(np.array([0, 7, 2**31])).tolist() == [-1, -1, -1]
    assert found.operations()[:2].tolist() == [[255] * 5, [0, 255, 255, 255, 255]]


def test_the_listing_answers_for_every_form() -> None:
    listing = SPACE.listing
    rng = np.random.default_rng(0)
    for row in [0, 1, 423_623, *rng.integers(423_624, size=200).tolist()]:
        architecture = listing.at(row)
        assert listing.index(architecture) == row
        assert SPACE.parse(str(architecture)) == architecture
        assert listing.code(architecture) == listing.code(str(architecture)) == listing.code(cell_of(architecture))
        assert SPACE.architecture(dict(architecture)) == architecture
        assert str(SPACE.architecture(dict(architecture))) == str(architecture)
    with pytest.raises(ConfigurationError, match="indices 0 to 423623, got 423624"):
        listing.at(423_624)
    with pytest.raises(ConfigurationError, match="is not an Architecture"):
        listing.code(7)
    with pytest.raises(ConfigurationError, match="belongs to space 'nasbench201'"):
        listing.code(load("nasbench201").listing.at(0))
    with pytest.raises(ConfigurationError, match="has no legal options"):
        listing.index(Architecture("nasbench101", (("edge_0_1", 2),)))
    with pytest.raises(ConfigurationError, match="is not a legal architecture"):
        listing.index(Architecture("nasbench101", (("vertices", 2), ("edge_0_1", 0))))


def test_illegal_cells_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="a path must lead from the input to the output"):
        SPACE.parse("conv3x3-bn-relu~0|output~")
    with pytest.raises(ConfigurationError, match="at most 9 edges"):
        architecture_of(Cell((1 << 21) - 1, (0,) * 5))
    with pytest.raises(ConfigurationError, match="exactly 4 inner vertices feed the output"):
        architecture_of(Cell(1), subspace("A_4"))
    with pytest.raises(ConfigurationError, match="did you mean 'A_4'"):
        subspace("A4")
    with pytest.raises(ConfigurationError, match="belongs to space 'nasbench201'"):
        cell_of(load("nasbench201").listing.at(0))


@pytest.mark.parametrize("name", SUBSPACES)
def test_sub_spaces(name: str) -> None:
    space = load(f"nasbench101:{name}")
    assert isinstance(space.listing, SubListing)
    size, residual = SIZES[name]
    assert space.size == size
    rows = space.listing.rows
    assert space.name == f"nasbench101:{name}"
    rng = np.random.default_rng(1)
    skips = 0
    for _ in range(100):
        architecture = sample(space, rng)
        cell = cell_of(architecture)
        skips += cell.skip
        assert space.architecture(dict(architecture)) == architecture
        place = space.listing.index(architecture)
        assert SPACE.listing.index(architecture) == rows[place]
        assert space.listing.at(place) == architecture
        if name.startswith("A_"):
            assert cell.output_degree == int(name[-1])
    share = residual / size
    assert abs(skips - 100 * share) <= 5 * (100 * share * (1 - share)) ** 0.5
    found, places = space.listing.codes()
    assert len(np.unique(places)) == size
    assert (np.diff(found.astype(np.int64)) > 0).all()
    # every member obeys the constraints of the space, and no other row does
    chosen = set(rows.tolist())
    for row in rng.integers(423_624, size=100).tolist():
        values = dict(SPACE.listing.at(row))
        assert space.is_legal(values) == (row in chosen)


def test_sampling_is_uniform_over_unique_cells() -> None:
    rng = np.random.default_rng(2)
    rows = np.array([SPACE.listing.index(sample(SPACE, rng)) for _ in range(4_000)])
    counts = np.bincount(rows * 20 // 423_624, minlength=20)
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001


def test_moves_stay_inside() -> None:
    rng = np.random.default_rng(3)
    space = subspace("A_3")
    for _ in range(5):
        architecture = sample(space, rng)
        around = neighbours(space, architecture)
        assert around
        assert architecture not in around
        assert all(cell_of(other).output_degree == 3 for other in around)
        assert mutate(space, architecture, rng) in around


def test_the_table_lists_the_same_cells_with_the_same_parameters(table: dict[str, npt.NDArray[np.integer]]) -> None:
    found, listed = enumeration(), codes(table)
    rows = found.find(listed)
    assert (np.sort(rows) == np.arange(423_624)).all()
    assert (found.cells[rows] == listed).all()  # even the representatives are those of the benchmark
    assert (found.vertices[rows] == table["num_vertices"]).all()
    counted = parameters(found.cells)
    assert (counted[rows] == table["params"]).all()
    assert (counted.min(), counted.max(), round(counted.mean(), 1)) == (227_274, 49_979_274, 8_459_761.9)


def test_hashes_of_a_sample_of_the_table(table: dict[str, npt.NDArray[np.integer]]) -> None:
    chosen = np.random.default_rng(4).choice(423_624, size=3_000, replace=False)
    listed = codes(table)[chosen]
    assert (hashes(listed) == table["hash"][chosen]).all()
    for code, digest in zip(listed[:200].tolist(), table["hash"][chosen[:200]], strict=True):
        assert Cell.from_code(code).hash == digest.tobytes().hex()
    for code in listed[:50].tolist():
        cell = Cell.from_code(code)
        assert cell.parameters(32, 7, 1) == parameters(np.array([code], dtype=np.uint32), 32, 7, 1)[0]


@pytest.mark.slow
def test_hashes_of_the_whole_table(table: dict[str, npt.NDArray[np.integer]]) -> None:
    found = hashes(codes(table), workers=2)
    assert (found == table["hash"]).all()
    assert len(np.unique(found, axis=0)) == 423_624


def test_bulk_hashes_refuse_no_workers_and_take_few_cells() -> None:
    with pytest.raises(ConfigurationError, match="workers must be at least 1"):
        hashes(enumeration().cells[:2], workers=0)
    assert hashes(enumeration().cells[:0]).shape == (0, 16)
    assert [h.tobytes().hex() for h in hashes(enumeration().cells[:100])] == [
        cell_of(SPACE.listing.at(row)).hash for row in range(100)
    ]


NETWORKS = ["output~0", "conv3x3-bn-relu~0|output~1", "maxpool3x3~0|output~0,1"]


def test_networks_have_the_counted_parameters_and_keep_shapes() -> None:
    rng = np.random.default_rng(5)
    drawn = [SPACE.parse(text) for text in NETWORKS] + [sample(SPACE, rng) for _ in range(8)]
    drawn += [sample(subspace("A_4"), rng) for _ in range(3)]  # widths that do not divide evenly
    for channels, shape, outputs in ((16, (3, 32, 32), 10), (6, (1, 9, 7), 3)):
        for architecture in drawn:
            network = build_network(architecture, SPACE, shape, outputs, network={"channels": channels}).eval()
            counted = sum(p.numel() for p in network.parameters())
            assert counted == cell_of(architecture).parameters(channels, outputs, shape[0])
            with torch.no_grad():
                assert network(torch.rand(2, *shape)).shape == (2, outputs)
    with torch.device("meta"):
        best = Network("conv3x3-bn-relu~0|conv3x3-bn-relu~1|output~0,2", (3, 32, 32), 10)
    assert cost(best, (3, 32, 32)).parameters == 20_346_506


def test_widths_of_the_plain_network_follow_the_rule() -> None:
    rng = np.random.default_rng(6)
    for _ in range(100):
        cell = cell_of(sample(SPACE, rng))
        sources = [[s for s in range(t) if cell.matrix[s][t]] for t in range(1, cell.vertices)]
        assert vertex_channels(sources, 8, 17) == cell.channels(8, 17)


def test_a_cell_computes_what_the_benchmark_says() -> None:
    """Projected inputs, truncated sums, concatenation and an added projection, by hand."""
    text = "conv1x1-bn-relu~0|conv3x3-bn-relu~0,1|maxpool3x3~1|output~0,2,3"
    torch.manual_seed(0)
    network = Network(text, (3, 8, 8), 5, channels=7, cells=1).eval()
    cell = network.stacks[0][0]  # type: ignore[index]
    assert cell.widths == [7, 4, 4, 3, 7]
    x = torch.rand(2, 7, 8, 8)
    with torch.no_grad():
        one = cell.operations[0](cell.projections["1"](x))
        two = cell.operations[1](one + cell.projections["2"](x))
        three = torch.nn.functional.max_pool2d(one[:, :3], 3, stride=1, padding=1)
        expected = torch.cat([two, three], dim=1) + cell.projections["4"](x)
        torch.testing.assert_close(cell(x), expected)


def test_what_networks_refuse() -> None:
    with pytest.raises(ConfigurationError, match="channels to at least 4"):
        build_supernet(SPACE, (3, 32, 32), 10, network={"channels": 3})
    with pytest.raises(ConfigurationError, match=r"norm_momentum must lie in \(0, 1\], got 0"):
        build_supernet(SPACE, (3, 32, 32), 10, network={"norm_momentum": 0.0})
    with pytest.raises(ConfigurationError, match="channels must be at least 1"):
        build_network(SPACE.listing.at(0), SPACE, (3, 32, 32), 10, network={"channels": 0})
    with pytest.raises(ConfigurationError, match=r"\(channels, height, width\)"):
        build_network(SPACE.listing.at(0), SPACE, (3,), 10)
    a4 = subspace("A_4")
    with pytest.raises(ConfigurationError, match="channels to at least 4"):
        build_network(a4.listing.at(0), a4, (3, 8, 8), 10, network={"channels": 2})


def test_excluded_operations_leave_a_listed_sub_space() -> None:
    smaller = subspace("A_4").without(("maxpool3x3", "conv1x1-bn-relu"))
    rows = [smaller.listing.at(row) for row in range(smaller.size)]
    assert rows
    assert all(set(cell_of(a).operations) == {0} for a in rows)
    assert smaller.counts is None
