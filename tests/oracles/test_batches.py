"""Many items at once lead to the rows that they have one by one, and an error names the item."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharewise.errors import ConfigurationError, DataError
from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import Key
from sharewise.oracle.table import Table, open_table
from sharewise.space.listing import find_row, find_rows
from sharewise.spaces import load
from sharewise.spaces.nasbench101 import Cell, cell_of, codes_of
from sharewise.spaces.nasbench101.cell import EDGES
from sharewise.spaces.nasbench101.codes import of_cells, of_strings

SPACES = ("nasbench101", "nasbench201", "nasbench_macro", "nats_size", "toy-two-inputs")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Table]:
    """Tables whose only values are the numbers of the rows."""
    folder, opened = tmp_path_factory.mktemp("tables"), {}

    def get(space: str) -> Table:
        if space not in opened:
            draft = Draft("Rows", space, {})
            draft.add(Key("row"), np.arange(len(draft.space.listing)), "count", "row")
            write_table(draft, folder / f"{space}.table")
            opened[space] = open_table(folder / f"{space}.table")
        return opened[space]

    return get


@pytest.mark.parametrize("space", SPACES)
def test_strings_and_architectures(space: str, tables: Callable[[str], Table]) -> None:
    table = tables(space)
    rows = np.random.default_rng(0).integers(0, table.rows, 300)
    architectures = [table.space.listing.at(int(row)) for row in rows]
    texts = [str(architecture) for architecture in architectures]
    for items in (architectures, texts, texts, [*architectures[:150], *texts[150:]], [*texts[:150], *rows[150:]]):
        assert table.rows_of(items).tolist() == rows.tolist()
        assert table.query_many(items, metric="row").tolist() == rows.tolist()
    assert table.rows_of([]).tolist() == []
    if space not in ("nasbench_macro", "nats_size"):
        assert table.rows_of([f" {text}\n" for text in texts]).tolist() == rows.tolist()
    with pytest.raises(ConfigurationError, match="nonsense"):
        table.rows_of([*texts, "nonsense"])
    with pytest.raises(ConfigurationError, match=r"None is not an|None"):
        table.rows_of([*texts, None])


@pytest.mark.parametrize(
    ("space", "texts", "wrong"),
    [
        ("nasbench_macro", ["10212012", "1021201"], "1021201"),
        ("nasbench_macro", ["1021201", "102120121"], "1021201"),
        ("nasbench_macro", ["10212012", "10212013"], "10212013"),
        ("nasbench_macro", ["10212012", "1021201/"], "1021201/"),
        ("nasbench_macro", ["10212012", "1021201１"], "1021201１"),
        ("nats_size", ["8:8:8:8", "8:8:8:8:8:8"], "8:8:8:8"),
        ("nats_size", ["8:8:8:8:8", "8:8:8:8:9"], "has no option 9"),
        ("nats_size", ["8:8:8:8:8", "8:8:8:8:"], "8:8:8:8:"),
        ("nasbench201", ["|none~0|+|none~0|none~1|+|none~0|none~1|none~1|"], "should read 'op~2'"),
        ("nasbench201", ["+|none~0|none~1|+|none~0|none~1|none~2|"], "not enclosed"),
    ],
)
def test_one_wrong_string_of_a_batch_is_named(
    space: str, texts: list[str], wrong: str, tables: Callable[[str], Table]
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(wrong)):
        tables(space).rows_of(texts)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    operations = tuple(draw(st.lists(st.integers(0, 2), max_size=5)))
    places = sum(target <= len(operations) + 1 for _, target in EDGES)
    return Cell(draw(st.integers(0, (1 << places) - 1)), operations)


@given(st.lists(cells(), max_size=12))
def test_codes_of_raw_cells_are_those_of_the_pruned_ones(raw: list[Cell]) -> None:
    expected = [cell.pruned().code if cell.connected else 0 for cell in raw]
    assert of_cells(raw).tolist() == expected
    assert of_strings([str(cell) for cell in raw]).tolist() == expected


def test_other_spellings_of_cells() -> None:
    cell = Cell.parse("conv3x3-bn-relu~0|maxpool3x3~0,1|output~0,2")
    texts = ["conv3x3-bn-relu~0|maxpool3x3~1,0|output~2,0", " conv3x3-bn-relu~0|maxpool3x3~0,1|output~0,2 "]
    assert of_strings(texts).tolist() == [cell.code] * 2
    for text, reason in (
        ("output~0|output~0", "the last vertex, and no other"),
        ("maxpool3x3~0", "the last vertex, and no other"),
        ("conv~0|output~1", "has the illegal part 'conv'"),
        ("maxpool3x3~1|output~1", "has the illegal part '1'"),
        ("|".join(["maxpool3x3~0"] * 6) + "|output~0", "more than 7 vertices"),
        ("", "illegal part"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            of_strings(["output~0", text])


def test_isomorphic_cells_share_a_row_and_others_have_none(tables: Callable[[str], Table]) -> None:
    table = tables("nasbench101")
    known, rows = table.space.listing.codes()
    places = np.random.default_rng(1).integers(0, len(known), 300)
    raw = [Cell.from_code(int(known[place])) for place in places]
    assert table.rows_of(raw).tolist() == rows[places].tolist()
    assert table.rows_of([str(cell) for cell in raw]).tolist() == rows[places].tolist()
    full = Cell((1 << 21) - 1, (0,) * 5)  # 21 edges
    for wrong, message in ((full, "no architecture of space"), (Cell(0), "no path leads from the input")):
        for items in ([raw[0], wrong], [str(raw[0]), str(wrong)], [raw[0], str(wrong)]):
            with pytest.raises(ConfigurationError, match=message):
                table.rows_of(items)
    with pytest.raises(ConfigurationError, match=r"item 1 \(code 7\) is no architecture"):
        table.rows_of_codes(np.array([known[0], 7], np.uint32))
    matrix = [cell.matrix for cell in raw if cell.vertices == 7][:20]
    labels = [cell.operations for cell in raw if cell.vertices == 7][:20]
    expected = table.rows_of([cell for cell in raw if cell.vertices == 7][:20])
    assert table.rows_of_codes(codes_of(matrix, labels)).tolist() == expected.tolist()


def test_sub_spaces_read_the_forms_of_the_whole() -> None:
    listing = load("nasbench101:A_4").listing
    members = [listing.at(row) for row in (0, 5, 10_466)]
    forms = (members, [str(member) for member in members], [cell_of(member) for member in members])
    for items in forms:
        assert find_rows(listing.codes(), listing.codes_of(items)).tolist() == [0, 5, 10_466]


@given(st.lists(st.integers(0, 50), min_size=1, unique=True), st.lists(st.integers(-5, 2**40)))
def test_codes_are_found_one_by_one_and_together(known: list[int], wanted: list[int]) -> None:
    codes = np.array(sorted(known), np.uint32), np.arange(len(known), dtype=np.int32)
    expected = [sorted(known).index(code) if code in known else -1 for code in wanted]
    assert [find_row(codes, code) for code in wanted] == expected
    assert find_rows(codes, np.array(wanted, np.int64)).tolist() == expected


def test_a_table_of_too_few_rows_is_damaged(tables: Callable[[str], Table], tmp_path: Path) -> None:
    from sharewise.oracle.columns import ColumnFile, write_columns

    file = ColumnFile(tables("nasbench_macro").path)
    document = {**file.document, "rows": 5}
    write_columns(tmp_path / "few.table", document, {name: file.column(name)[:5] for name in file.names})
    table = open_table(tmp_path / "few.table")
    for ask in (table.row, lambda item: table.rows_of([item])):
        with pytest.raises(DataError, match="too few for space 'nasbench_macro'"):
            ask("22222222")
