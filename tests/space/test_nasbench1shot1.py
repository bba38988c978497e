"""NAS-Bench-1Shot1: sizes, the cells that wirings are, projection by the benchmark's rule, and answers of tables."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from sharewise.errors import ConfigurationError
from sharewise.oracle.readers import import_benchmark
from sharewise.oracle.tabulated import rows_of_space, table_oracle
from sharewise.space import Space, enumerate_architectures, sample
from sharewise.spaces import load
from sharewise.spaces.nasbench1shot1 import DESIGNS
from sharewise.spaces.nasbench1shot1.topology import Design, Form, forms, parent_choices, pruned
from sharewise.spaces.nasbench101.cell import OPERATIONS, Cell
from sharewise.spaces.nasbench101.space import architecture_of, cell_of
from sharewise.testing import check_oracle, check_relaxation, check_space

SIZES = {
    "1": (180, 14_580, 6_240, 6_240, 66, 3_702, 2_685),
    "2": (360, 29_160, 16_632, 29_160, 190, 12_474, 7_773),
    "3": (5_400, 1_312_200, 363_648, 363_648, 876, 135_900, 55_854),
}


def space_of(name: str) -> Space:
    return load(f"nasbench1shot1:{name}")


@pytest.mark.parametrize("name", DESIGNS)
def test_sizes_by_every_way_to_count(name: str) -> None:
    space = space_of(name)
    assert space.counts is not None
    assert tuple(space.counts(space)["by_way_to_count"].values()) == SIZES[name]
    assert space.size == len(space.listing) == SIZES[name][-1]
    check_space(space, samples=8)
    check_relaxation(space, samples=10)


def official(design: Design, parents: tuple[tuple[int, ...], ...], operations: tuple[str, ...]) -> Cell:
    """The cell as the authors' code hands it to the benchmark: 7 vertices, the unused one before the output."""
    matrix = np.zeros((7, 7), dtype=int)
    for node, own in enumerate(parents, start=1):
        for source in own:
            matrix[source, node if node <= design.blocks else 6] = 1
    padding = ("conv1x1-bn-relu",) * (5 - design.blocks)
    return Cell.from_matrix(matrix.tolist(), ["input", *operations, *padding, "output"])


def test_every_wiring_with_every_operation_is_a_cell_of_the_space_and_there_is_no_other() -> None:
    design, space, found = DESIGNS["1"], space_of("1"), set()
    for parents in parent_choices(design):
        for operations in product(OPERATIONS, repeat=design.blocks):
            found.add(official(design, parents, operations).pruned().code)
    cells = {architecture_of(Cell.from_code(code), space) for code in found}
    assert cells == set(enumerate_architectures(space))


@pytest.mark.parametrize("name", DESIGNS)
def test_a_projection_is_the_cell_of_the_strongest_operations_and_inputs(name: str) -> None:
    design, space, rng = DESIGNS[name], space_of(name), np.random.default_rng(0)
    relaxation = space.relaxation
    for _ in range(20):
        weights = {d.name: rng.random(d.size) for d in relaxation.decisions}
        operations, parents = [], []
        for node, count in enumerate(design.parents, start=1):
            name_of = "output_inputs" if node > design.blocks else f"block_{node}_inputs"
            order = np.argsort(-weights[name_of]) if name_of in weights else np.arange(node)
            parents.append(tuple(sorted(order[:count].tolist())))
            if node <= design.blocks:
                operations.append(OPERATIONS[int(weights[f"block_{node}_operation"].argmax())])
        expected = official(design, tuple(parents), tuple(operations))
        assert cell_of(relaxation.project({k: v.tolist() for k, v in weights.items()})).hash == expected.hash


def test_decisions_are_those_of_the_search_network() -> None:
    sizes = {name: [d.size for d in space_of(name).relaxation.decisions] for name in DESIGNS}
    assert sizes == {"1": [3] * 4 + [3, 4, 5], "2": [3] * 4 + [2, 3, 4, 5], "3": [3] * 5 + [2, 3, 4, 5, 6]}


def test_ties_go_to_the_earlier_input_and_loose_ends_have_no_effect() -> None:
    relaxation = space_of("1").relaxation
    even = {d.name: [1.0] * d.size for d in relaxation.decisions}
    assert str(relaxation.project(even)) == "conv3x3-bn-relu~0|output~0,1"
    other = {**even, "block_4_operation": [0.0, 0.0, 1.0], "block_3_inputs": [0.0, 1.0, 1.0]}
    assert relaxation.project(other) == relaxation.project(even)
    with pytest.raises(ConfigurationError, match="2 inputs are needed, but decision 'block_3_inputs' has 0 left"):
        relaxation.project(even, ("input", "block 1", "block 2", "block 3"))


@pytest.mark.parametrize("name", DESIGNS)
def test_the_form_that_stands_for_a_cell_is_one_of_the_space(name: str) -> None:
    space, rng = space_of(name), np.random.default_rng(0)
    wirings = set(map(pruned, parent_choices(DESIGNS[name])))
    for _ in range(20):
        form = space.relaxation.form_of(architecture := sample(space, rng))  # type: ignore[attr-defined]
        assert form.parents in wirings
        assert [o >= 0 for o in form.operations] == [bool(own) for own in form.parents[:-1]]
        assert form.cell.hash == cell_of(architecture).hash


def test_a_form_in_words() -> None:
    form = Form(((0,), (), (1, 0), (), (0, 3)), (2, -1, 0, -1))
    assert str(form) == "maxpool3x3~0|~|conv3x3-bn-relu~1,0|~|output~0,3"


def test_parts_have_projections_of_their_own() -> None:
    space = space_of("1")
    check_relaxation(space.without("maxpool3x3"), samples=5)
    small = space.without((6, 7))  # vertices: the rule may lead out of this part, to its nearest cell
    check_relaxation(small, samples=5)
    even = {d.name: [1.0] * d.size for d in small.relaxation.decisions}
    assert small.relaxation.project(even)["vertices"] < 6  # type: ignore[operator]


def test_architectures_belong_to_nasbench101_and_to_every_space_that_holds_them() -> None:
    whole, first, second = load("nasbench101"), space_of("1"), space_of("2")
    both = first.parse("maxpool3x3~0|conv1x1-bn-relu~0,1|output~0,2")
    assert whole.own(both).space == "nasbench101"
    assert first.own(whole.own(both)) == both
    only = next(a for a in enumerate_architectures(second) if not first._holds(a))
    with pytest.raises(ConfigurationError, match="the cell is made of 4 blocks with 1, 2, 2, 2 parents"):
        first.own(only)
    with pytest.raises(ConfigurationError, match="belongs to space 'nasbench201'"):
        first.own(load("nasbench201").listing.at(0))
    assert whole.listing.index(both) == whole.listing.index(whole.own(both))


class _Whole:
    space, rows, benchmark = load("nasbench101"), 423_624, "NAS-Bench-101"


def test_rows_of_a_table_of_nasbench101() -> None:
    space, rows = rows_of_space(_Whole(), space_of("2"))  # type: ignore[arg-type]
    assert space is space_of("2")
    assert np.array_equal(rows, forms("2").rows)
    with pytest.raises(ConfigurationError, match="the table holds space 'nasbench101', of which 'nasbench201' is no"):
        rows_of_space(_Whole(), load("nasbench201"))  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_published_table_answers(tmp_path: Path, shared_data: Path) -> None:
    table = import_benchmark(shared_data / "nasbench101", tmp_path / "nb101.table")
    oracle = table_oracle(table, dataset="cifar10", epochs=108, space=space_of("2"))
    covered = np.flatnonzero(oracle.covered)
    assert len(covered) == 3_212
    check_oracle(oracle, [space_of("2").listing.at(int(row)) for row in covered[:3]])
    reporter, rows = table.reporter(), forms("2").rows
    for split, least in (("valid", 0.051582515239715576), ("test", 0.057592153549194336)):  # as in the authors' code
        runs = [
            reporter.column(metric="accuracy", dataset="cifar10", split=split, epochs=108, seed=seed)[rows]
            for seed in range(3)
        ]
        assert 1 - np.nanmax(runs) == pytest.approx(least, abs=1e-6)
