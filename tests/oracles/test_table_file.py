"""What a table answers and refuses, and that a damaged file is never taken for a sound one."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sharewise.cli import main
from sharewise.errors import ConfigurationError, DataError, SharewiseError
from sharewise.oracle.columns import ColumnFile, write_columns
from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import Key
from sharewise.oracle.table import Table, open_table

ACCURACY = {"metric": "accuracy", "dataset": "cifar10", "split": "valid", "epochs": 200}
SIZE = 12
OTHER_SPLITS = ("valid+test", "x-test", "ori-test", "train+valid", "Test", "")


def draft() -> Draft:
    """A table of the small toy space: two runs, of which some are missing, a test column and a latency."""
    made = Draft("Toy", "toy-tied-width", {"source": "made up", "files": [], "notes": ["a note"]})
    assert len(made.space.listing) == SIZE
    rng = np.random.default_rng(0)
    time = Key("training_time", "cifar10", None, 200, "mean")
    made.add(time, np.arange(SIZE) + 0.1, "seconds", "time")
    keys = [Key("accuracy", "cifar10", "valid", 200, seed) for seed in (777, 888)]
    for place, key in enumerate(keys):
        values = rng.integers(0, 100, SIZE)
        values[:3] = 65_535
        values[3 + place] = 65_535
        made.add(key, values, "fraction", "validation", divisor=100, missing=65_535, cost=time)
    made.add_mean(Key("accuracy", "cifar10", "valid", 200, "mean"), keys, "validation", cost=time)
    for split in ("test", "train", *OTHER_SPLITS):
        made.add(Key("accuracy", "cifar10", split, 200, "mean"), rng.random(SIZE), "fraction", split, cost=time)
    made.add(Key("latency", device="pixel"), rng.random(SIZE).astype(np.float32), "milliseconds", "latency")
    made.add(Key("parameters", "cifar10"), np.arange(SIZE) * 10**6, "count", "parameters")
    return made


@pytest.fixture
def table(tmp_path: Path) -> Table:
    write_table(draft(), tmp_path / "toy.table")
    return open_table(tmp_path / "toy.table")


def test_values_costs_and_origin(table: Table) -> None:
    one = table.query(5, **ACCURACY, seed=777)
    assert one.unit == "fraction"
    assert one.seconds == 5.1
    assert one.provenance == "Toy: validation"
    both = [table.query(5, **ACCURACY, seed=seed).value for seed in (777, 888)]
    mean = table.query(5, **ACCURACY, seed="mean")
    assert mean.value == round(sum(100 * v for v in both)) / 200
    assert mean.provenance == "Toy: validation; mean of 2 runs"
    assert table.query(3, **ACCURACY, seed="mean").provenance == "Toy: validation; mean of 1 run"
    item = table.space.listing.at(5)
    assert table.query(item, **ACCURACY, seed=777) == table.query(str(item), **ACCURACY, seed=777) == one
    column = table.column(**ACCURACY, seed="mean")
    assert np.isnan(column).sum() == 3
    assert table.describe(**ACCURACY, seed="mean").covered == SIZE - 3
    assert np.array_equal(table.query_many([item, 3, 0], **ACCURACY, seed="mean"), column[[5, 3, 0]], equal_nan=True)
    for row in range(3, SIZE):
        assert table.query(row, **ACCURACY, seed="mean").value == column[row]
    assert np.array_equal(table.seconds(**ACCURACY, seed=888), np.arange(SIZE) + 0.1)


@pytest.mark.parametrize("split", ["test", *OTHER_SPLITS])
def test_test_results_are_for_reporters(table: Table, split: str) -> None:
    # whatever is not known to be open is sealed, so that a new name of a split opens nothing
    sealed = {**ACCURACY, "split": split, "seed": "mean"}
    for ask in (
        lambda: table.query(0, **sealed),
        lambda: table.query_many([0], **sealed),
        lambda: table.column(**sealed),
    ):
        with pytest.raises(ConfigurationError, match=r"a search must not see.*; take split train or valid as signal"):
            ask()
    reporter = table.reporter()
    assert reporter.query(4, **sealed).value == reporter.column(**sealed)[4] == reporter.query_many([4], **sealed)[0]
    assert reporter.seconds(**sealed)[4] == table.seconds(**sealed)[4] == 4.1


@pytest.mark.parametrize("split", ["train", "valid"])
def test_training_and_validation_results_are_open(table: Table, split: str) -> None:
    key = {**ACCURACY, "split": split, "seed": "mean"}
    assert np.array_equal(table.column(**key), table.reporter().column(**key), equal_nan=True)


def test_an_evaluation_is_no_cost(tmp_path: Path) -> None:
    # the cost of an open column is open as well
    path = rewritten(tmp_path, {}, cost=["accuracy", "cifar10", "test", 200, "mean", None])
    with pytest.raises(DataError, match="has an evaluation as cost"):
        open_table(path)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"metric": "acc"}, "Toy has no metric 'acc'. Legal: accuracy, latency, parameters, training_time"),
        ({"metric": "accuracy", "dataset": "svhn"}, "has no dataset 'svhn'. Legal: cifar10"),
        ({"metric": "accuracy", "dataset": "cifar10"}, "say which split of .* Legal: .*test, train, .*valid"),
        ({**ACCURACY, "epochs": 12, "seed": 777}, "has no epochs 12. Legal: 200"),
        ({**ACCURACY}, "say which seed of .* Legal: 777, 888, mean"),
        ({**ACCURACY, "seed": 1}, "has no seed 1. Legal: 777, 888, mean"),
        ({"metric": "latency", "device": "pixel", "dataset": "cifar10"}, "latency of Toy has no dataset; leave it out"),
        ({"metric": "latency"}, "say which device of latency of Toy. Legal: pixel"),
        ({**ACCURACY, "seed": 777, "device": "pixel"}, "has no device; leave it out"),
    ],
)
def test_illegal_combinations_name_the_legal_ones(table: Table, key: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        table.query(0, **key)


def test_what_is_not_covered_is_said(table: Table) -> None:
    with pytest.raises(ConfigurationError, match=r"no accuracy.*architecture 0 .*covers 8 of 12 architectures$"):
        table.query(0, **ACCURACY, seed=777)
    with pytest.raises(ConfigurationError, match=r"seed 777 .*covers 8 of 12 architectures; .* seeds 888, mean$"):
        table.query(3, **ACCURACY, seed=777)


@pytest.mark.parametrize("item", [-1, SIZE, "nonsense", None, 1.5, "{}"])
def test_items_of_no_space_are_refused(table: Table, item: object) -> None:
    with pytest.raises(SharewiseError):
        table.query(item, metric="parameters", dataset="cifar10")
    with pytest.raises(SharewiseError):
        table.query_many([item], metric="parameters", dataset="cifar10")
    with pytest.raises(SharewiseError):
        table.query_many(np.array([SIZE]), metric="parameters", dataset="cifar10")


def test_a_table_travels_to_another_process(table: Table) -> None:
    again = pickle.loads(pickle.dumps(table))
    assert np.array_equal(again.column(**ACCURACY, seed=777), table.column(**ACCURACY, seed=777), equal_nan=True)


@given(st.lists(st.floats() | st.floats(width=32), max_size=20), st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_numbers_are_stored_exactly(
    tmp_path_factory: pytest.TempPathFactory, floats: list[float], integers: list[int]
) -> None:
    from sharewise.oracle.draft import _smallest

    path = tmp_path_factory.mktemp("exact") / "x.table"
    arrays = {"f": _smallest(np.array(floats, float)), "i": _smallest(np.array(integers, np.uint64))}
    write_columns(path, {}, arrays)
    file = ColumnFile(path)
    file.verify()
    assert np.array_equal(file.column("f").astype(float), np.array(floats, float), equal_nan=True)
    assert file.column("i").tolist() == integers


# Damage


CONTENT: list[bytes] = []


def sound(folder: Path) -> bytes:
    if not CONTENT:
        write_table(draft(), folder / "sound.table")
        CONTENT.append((folder / "sound.table").read_bytes())
    return CONTENT[0]


def probe(path: Path) -> list[np.ndarray]:
    """Open, read everything, verify."""
    table = open_table(path)
    values = [
        table.reporter().column(**{name: getattr(column.key, name) for name in Key.__slots__})
        for column in table.columns
    ]
    table.info()
    table.verify()
    return values


@given(st.integers(0, 10**6))
def test_every_truncation_is_noticed_on_opening(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    content = sound(folder)
    (folder / "cut.table").write_bytes(content[: cut % len(content)])
    with pytest.raises(DataError):
        open_table(folder / "cut.table")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4))
@example([(0, 1)])
def test_changed_bytes_are_noticed(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("changed")
    content = bytearray(sound(folder))
    for place, mask in changes:
        content[place % len(content)] ^= mask
    (folder / "changed.table").write_bytes(content)
    (folder / "same.table").write_bytes(sound(folder))
    try:
        found = probe(folder / "changed.table")
    except SharewiseError:
        return
    # what passes all checksums has the same values (a changed date in the directory, say)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(found, probe(folder / "same.table"), strict=True))


DOCUMENT_PLACES = st.sampled_from(
    ["format", "version", "benchmark", "space", "rows", "columns", "members", "provenance", "codes"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("toy-tied-width"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def rewritten(folder: Path, change: dict[str, object], **column: object) -> Path:
    """The sound table with another description, whose checksums are right."""
    (folder / "sound.table").write_bytes(sound(folder))
    file = ColumnFile(folder / "sound.table")
    document = {**file.document, **change}
    if column:
        document["columns"] = [{**document["columns"][0], **column}, *document["columns"][1:]]
    write_columns(folder / "other.table", document, {name: file.column(name) for name in file.names})
    return folder / "other.table"


@given(DOCUMENT_PLACES, JSON)
def test_foreign_descriptions_are_refused(tmp_path_factory: pytest.TempPathFactory, place: str, value: object) -> None:
    path = rewritten(tmp_path_factory.mktemp("foreign"), {place: value})
    try:
        open_table(path).query(0, metric="parameters", dataset="cifar10")
    except SharewiseError:
        pass
    else:
        assert place in ("benchmark", "provenance", "codes", "members", "space", "version", "format", "rows")


@given(
    st.sampled_from(["key", "unit", "note", "member", "divisor", "missing", "cost", "mean_of", "covered", "x"]), JSON
)
def test_foreign_columns_are_refused(tmp_path_factory: pytest.TempPathFactory, place: str, value: object) -> None:
    path = rewritten(tmp_path_factory.mktemp("foreign"), {}, **{place: value})
    with contextlib.suppress(SharewiseError):
        probe(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "its format is 'other'"),
        ({"version": 2}, "has version 2 of the table format"),
        ({"rows": 11}, "no array of 11 values"),
        ({"space": "nasbench202"}, "unknown space"),
        ({"space": "nasbench201"}, "too few for space 'nasbench201'"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(SharewiseError, match=message):
        open_table(rewritten(tmp_path, change)).query(
            "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", metric="parameters", dataset="cifar10"
        )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04N.", b"text", bytes(500), b"PK\x05\x06" + bytes(18)])
def test_files_of_other_kinds_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.table").write_bytes(content)
    with pytest.raises(DataError, match=r"no sound table|cannot be read"):
        open_table(tmp_path / "x.table")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no table at"):
        open_table(tmp_path / "none.table")
    with pytest.raises(DataError, match="is a folder, not a table"):
        open_table(tmp_path)


def test_a_compressed_or_padded_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sound.table").write_bytes(sound(tmp_path))
    with zipfile.ZipFile(tmp_path / "sound.table") as old, zipfile.ZipFile(tmp_path / "new.table", "w") as new:
        for entry in old.infolist():
            kind = zipfile.ZIP_DEFLATED if entry.filename == "c0001.npy" else zipfile.ZIP_STORED
            new.writestr(entry.filename, old.read(entry), kind)
    with pytest.raises(DataError, match="column 'c0001' is not stored plainly"):
        open_table(tmp_path / "new.table")


# Writing


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toy.table"
    path.write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        write_table(draft(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_import_leaves_no_table(tmp_path: Path) -> None:
    program = (
        "import os, sys, numpy as np\n"
        "from sharewise.oracle.columns import write_columns\n"
        "os.fsync = lambda descriptor: (print('written', flush=True), sys.stdin.read())\n"
        "write_columns(sys.argv[1], {}, {'a': np.arange(9.0)})\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "x.table")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert not (tmp_path / "x.table").exists()
    assert all(path.name.endswith(".partial") for path in tmp_path.iterdir())


# Commands


def test_commands(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    path, item = str(table.path), str(table.space.listing.at(5))
    words = ["--dataset", "cifar10", "--metric", "accuracy", "--split", "valid", "--epochs", "200", "--seed", "mean"]
    assert main(["benchmark", "query", path, item, *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = table.query(5, **ACCURACY, seed="mean")
    assert {**answer, **expected.to_json()} == answer
    assert (answer["architecture"], answer["row"], answer["seed"]) == (item, 5, "mean")
    words[5] = "test"
    assert main(["benchmark", "query", path, item, *words]) == 0
    assert "fraction (5.1 s of training)" in capsys.readouterr().out
    assert main(["benchmark", "info", path, "--json", "--verify"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["rows"] == SIZE
    assert info["verified"] is True
    assert len(info["columns"]) == len(table.columns)
    assert info["columns"][1]["covered"] == 8
    assert main(["benchmark", "info", path]) == 0
    assert "accuracy, dataset cifar10, split valid, epochs 200, seed 777 [fraction]: 8 of 12" in capsys.readouterr().out
    assert main(["benchmark"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imprt"], "did you mean 'import'"),
        (["info", "none.table"], "there is no table at 'none.table'"),
        (["import", ".", "x.table"], "holds no benchmark that sharewise knows"),
        (["import", "none", "x.table"], "there is nothing at 'none'"),
        (["query", "none.table", "x", "--metric", "accuracy", "--seed", "first"], "expected a number or mean"),
    ],
)
def test_errors_of_commands(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *words, "--json"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert message in json.loads(captured.out)["error"]
    assert not list(tmp_path.iterdir())


def test_queries_load_neither_torch_nor_scipy(table: Table) -> None:
    program = (
        "import sys; from sharewise.cli import main\n"
        f"assert main(['benchmark', 'info', {str(table.path)!r}]) == 0\n"
        "import sharewise.oracle.readers\n"
        "loaded = [m for m in ('torch', 'scipy', 'matplotlib', 'tensorflow') if m in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
    assert time.perf_counter() - start < 20
