"""Readers of official files: faithful files are read exactly, damaged and hostile ones are refused and run nothing."""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import io
import json
import math
import os
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sharewise.errors import DataError, SharewiseError
from sharewise.oracle.draft import Draft
from sharewise.oracle.readers import import_benchmark, read_benchmark
from sharewise.oracle.readers.archive import arrays_of
from sharewise.oracle.readers.model_metrics import model_metrics
from sharewise.oracle.readers.nats import _table, _unpacked
from sharewise.oracle.readers.text_table import PERCENT, TextTable
from sharewise.oracle.readers.tfrecord import crc32c, frames, masked
from sharewise.oracle.table import Table
from sharewise.spaces import load
from sharewise.spaces.nasbench101 import Cell, cell_of

# Checksums and frames


def slow_crc32c(message: bytes) -> int:
    """Bit by bit, as the polynomial is defined."""
    register = 0xFFFFFFFF
    for byte in message:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=8))
def test_checksums_equal_their_definition(messages: list[bytes]) -> None:
    assert crc32c(messages).tolist() == [slow_crc32c(message) for message in messages]


def test_published_check_values() -> None:
    # RFC 3720, appendix B.4
    messages = [bytes(32), b"\xff" * 32, bytes(range(32)), bytes(range(31, -1, -1))]
    assert [hex(c) for c in crc32c(messages)] == ["0x8a9136aa", "0x62a8ab43", "0x46dd794e", "0x113fdb5c"]


def frame(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    sums = masked(np.array([slow_crc32c(length), slow_crc32c(payload)], np.uint32))
    return length + struct.pack("<I", sums[0]) + payload + struct.pack("<I", sums[1])


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def varint(value: int) -> bytes:
    result = b""
    while value > 127:
        result, value = result + bytes([value & 127 | 128]), value >> 7
    return result + bytes([value])


def protobuf(evaluations: Sequence[Sequence[float]], parameters: int, total: float, path: bytes = b"") -> bytes:
    """`ModelMetrics` of model_metrics.proto."""
    content = b""
    for evaluation in evaluations:
        inner = b"".join(double(n, v) for n, v in enumerate(evaluation, start=1))
        inner += b"\x32" + varint(len(path)) + path if path else b""
        content += b"\x0a" + varint(len(inner)) + inner
    return content + b"\x10" + varint(parameters) + double(3, total)


def record(cell: Cell, epochs: int, metrics: bytes) -> bytes:
    """As the official generator writes it."""
    adjacency = "".join(str(entry) for row in cell.matrix for entry in row)
    text = base64.encodebytes(metrics).decode("ascii") if epochs == 36 else base64.b64encode(metrics).decode("ascii")
    return json.dumps([cell.hash, epochs, adjacency, ",".join(cell.names), text]).encode("utf-8")


ROWS = (0, 5, 77, 4_000, 100_000, 423_623)


def training(row: int, epochs: int, repeat: int) -> list[list[float]]:
    """Evaluations at start, half and end, in single precision as in the release."""
    rng = np.random.default_rng([row, epochs, repeat])
    moments = (0.0, epochs / 2, float(epochs))
    return [[moment, 10 * moment + float(repeat), *map(float, rng.random(3, np.float32))] for moment in moments]


def records(epochs: Iterable[int]) -> list[bytes]:
    listing = load("nasbench101").listing
    result = []
    for row in ROWS:
        cell = cell_of(listing.at(row))
        for schedule in epochs:
            for repeat in range(3):
                path = b"gs://somewhere/model.ckpt" if repeat == 1 else b""
                metrics = protobuf(training(row, schedule, repeat), cell.parameters(), 12.5, path)
                result.append(record(cell, schedule, metrics))
    return result


def orders(cell: Cell) -> Iterable[Cell]:
    from itertools import permutations

    for order in permutations(range(1, cell.vertices - 1)):
        try:
            yield cell.relabelled(order)
        except SharewiseError:
            continue


@pytest.mark.parametrize(("name", "epochs"), [("only108", (108,)), ("full", (4, 12, 36, 108))])
def test_official_tfrecord(name: str, epochs: tuple[int, ...], tmp_path: Path) -> None:
    source = tmp_path / f"nasbench_{name}.tfrecord"
    source.write_bytes(b"".join(map(frame, records(epochs))))
    table = import_benchmark(source, tmp_path / "nb101.table")
    table.verify()
    assert table.provenance["records"] == {"count": len(ROWS) * len(epochs) * 3}
    ask = table.reporter().query
    listing = table.space.listing
    for row in ROWS:
        parameters = ask(row, metric="parameters", dataset="cifar10").value
        assert parameters == cell_of(listing.at(row)).parameters()
        for schedule in epochs:
            for moment, place in ((schedule // 2, 1), (schedule, 2)):
                stated = np.array([training(row, schedule, repeat)[place] for repeat in range(3)])
                for column, split in enumerate(("train", "valid", "test"), start=2):
                    key = {"metric": "accuracy", "dataset": "cifar10", "split": split, "epochs": moment}
                    for repeat in range(3):
                        found = ask(row, **key, seed=repeat)
                        assert found.value == stated[repeat, column]
                        assert found.seconds == stated[repeat, 1]
                    mean = ask(row, **key, seed="mean")
                    assert mean.value == pytest.approx(stated[:, column].mean(), rel=1e-15)
                    assert mean.seconds == pytest.approx(stated[:, 1].mean(), rel=1e-15)
            assert ask(row, metric="total_time", dataset="cifar10", epochs=schedule, seed=0).value == 12.5
    with pytest.raises(SharewiseError, match="covers 6 of 423,624"):
        ask(6, metric="accuracy", dataset="cifar10", split="valid", epochs=108, seed="mean")


def test_an_isomorphic_form_in_a_tfrecord_finds_its_row(tmp_path: Path) -> None:
    listing = load("nasbench101").listing
    row, other = next(
        (row, other)
        for row in range(4_000, 5_000)
        for other in orders(cell_of(listing.at(row)))
        if other != cell_of(listing.at(row))
    )
    cell = cell_of(listing.at(row))
    metrics = protobuf(training(1, 108, 0), cell.parameters(), 1.0)
    (tmp_path / "x.tfrecord").write_bytes(frame(record(other, 108, metrics)))
    table = import_benchmark(tmp_path / "x.tfrecord", tmp_path / "x.table")
    found = table.query(row, metric="accuracy", dataset="cifar10", split="valid", epochs=108, seed=0)
    assert found.value == training(1, 108, 0)[2][3]


FRAMES = b"".join(frame(bytes([n]) * (20 * n)) for n in range(5))


@given(st.integers(0, len(FRAMES) - 1), st.integers(1, 255))
@example(3, 1)  # the length grows by 16 million
@example(7, 128)  # the length exceeds what a signed integer holds
def test_changed_frames_are_refused(tmp_path_factory: pytest.TempPathFactory, place: int, mask: int) -> None:
    content = bytearray(FRAMES)
    content[place] ^= mask
    path = tmp_path_factory.mktemp("frames") / "x.tfrecord"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"frame [0-4] of 'x.tfrecord', at byte \d+, is damaged"):
        list(frames(path))


@given(st.integers(1, len(FRAMES) - 1))
def test_truncated_frames_are_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("frames") / "x.tfrecord"
    path.write_bytes(FRAMES[:cut])
    ends = np.cumsum([16 + 20 * n for n in range(5)])
    if cut in ends:
        assert sum(map(len, list(frames(path)))) == list(ends).index(cut) + 1
    else:
        with pytest.raises(DataError, match="is damaged: the"):
            list(frames(path))


def test_a_long_frame_with_a_sound_checksum_is_refused(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    head = length + struct.pack("<I", int(masked(crc32c([length]))[0]))
    (tmp_path / "x.tfrecord").write_bytes(head + bytes(100))
    with pytest.raises(DataError, match="its payload has 1152921504606846976 bytes, no record more than"):
        list(frames(tmp_path / "x.tfrecord"))


CELL = Cell(1)
METRICS = protobuf(training(0, 108, 0), 882_570, 1.0)


def payload(**changes: Any) -> bytes:
    names = ("hash", "epochs", "adjacency", "operations", "metrics")
    entries = dict(zip(names, json.loads(record(CELL, 108, METRICS)), strict=True))
    return json.dumps(list({**entries, **changes}.values())).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "utf-8|codec"),
        (b"[" * 16_000, "record 0"),
        (b"{}", "list of five"),
        (payload(epochs="108"), "expected a hash"),
        (payload(epochs=5), "5 epochs; the benchmark has 4, 12, 36, 108"),
        (payload(adjacency="012"), "no square matrix"),
        (payload(adjacency="0000"), "no path|none of the benchmark|connected"),
        (payload(operations="input,conv5x5,output"), "record 0"),
        (payload(hash="0" * 32), "its graph hash is not"),
        (payload(metrics="*"), "record 0"),
        (payload(metrics=base64.b64encode(METRICS[:-1]).decode()), "record 0"),
        (payload(metrics=base64.b64encode(METRICS[:-9]).decode() * 2), "record 0"),
        (payload(metrics=""), "expected three evaluations"),
        *(
            (
                payload(metrics=base64.b64encode(protobuf(training(0, 108, 0), 882_570, value)).decode()),
                "record 0 of .* its total_time should be a finite number",
            )
            for value in (math.nan, math.inf, -1.0)
        ),
        *(
            (
                payload(metrics=base64.b64encode(protobuf([[0.0, 1, *[0.5] * 3]] * 2 + [wrong], 1, 1.0)).decode()),
                f"record 0 of .* an evaluation lacks {name}, or it is out of range",
            )
            for wrong, name in (
                ([108.0, math.inf, 0.5, 0.5, 0.5], "training_time"),
                ([108.0, -1.0, 0.5, 0.5, 0.5], "training_time"),
                ([108.0, 1.0, 0.5, math.nan, 0.5], "validation_accuracy"),
                ([108.0, 1.0, 0.5, 0.5, 1.5], "test_accuracy"),
            )
        ),
    ],
)
def test_foreign_records_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(frame(content))
    with pytest.raises(DataError, match=message):
        import_benchmark(tmp_path / "x.tfrecord", tmp_path / "x.table")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tfrecord"]


def test_a_fourth_repeat_and_other_parameters_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tfrecord").write_bytes(frame(payload()) * 4)
    with pytest.raises(DataError, match=r"record 3 .* a fourth training of its cell with 108 epochs"):
        read_benchmark(tmp_path / "x.tfrecord")
    other = payload(metrics=base64.b64encode(protobuf(training(0, 108, 0), 7, 1.0)).decode())
    (tmp_path / "x.tfrecord").write_bytes(frame(payload()) + frame(other))
    with pytest.raises(DataError, match="has 882570 parameters elsewhere, here 7"):
        read_benchmark(tmp_path / "x.tfrecord")


@given(st.binary(max_size=200) | st.tuples(st.integers(0, len(METRICS) - 1), st.integers(1, 255)))
def test_metrics_of_any_bytes(content: bytes | tuple[int, int]) -> None:
    if isinstance(content, tuple):
        changed = bytearray(METRICS)
        changed[content[0]] ^= content[1]
        content = bytes(changed)
    try:
        evaluations, parameters, _ = model_metrics(content)
    except (ValueError, struct.error, IndexError):  # what the reader turns into a DataError
        return
    assert len(evaluations) == 3
    assert 0 <= parameters < 1 << 31


# NATS-Bench archives and .pth files


class Hostile:
    """Runs a command where it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def result(dataset: str, seed: int, epochs: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, epochs])
    evaluations = {"cifar10-valid": ["x-valid", "ori-test"], "cifar10": ["ori-test"]}
    names = evaluations.get(dataset, ["x-valid", "x-test", "ori-test"])

    def curve() -> dict[int, float]:
        return {epoch: float(rng.random()) for epoch in range(epochs)}

    def evaluated() -> dict[str, float]:
        return {f"{name}@{epoch}": float(rng.random()) for name in names for epoch in range(epochs)}

    return {
        "name": dataset,
        "train_acc1es": curve(),
        "train_acc5es": None if epochs > 12 else curve(),
        "train_losses": curve(),
        "train_times": OrderedDict((epoch, 2.0) for epoch in range(epochs)),
        "arch_config": {"channel": 16},
        "params": np.float64(0.1),
        "flop": 15.5,
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float64(0.01)],
        "eval_names": names,
        "eval_acc1es": evaluated(),
        "eval_times": evaluated(),
        "eval_losses": evaluated(),
        "net_state_dict": None,
    }


def state(name: str, index: int, epochs: int) -> dict[str, Any]:
    seeds = {"cifar10-valid": [777, 888], "cifar10": [777], "cifar100": [777], "ImageNet16-120": [777]}
    return {
        "arch_index": index,
        "arch_str": name,
        "all_results": OrderedDict(((d, s), result(d, s, epochs)) for d, found in seeds.items() for s in found),
        "dataset_seed": seeds,
        "clear_net_done": True,
    }


@pytest.fixture(scope="module")
def names() -> list[str]:
    listing = load("nasbench201").listing
    return [str(listing.at(row)) for row in range(len(listing))]


def check(table: Table, names: list[str]) -> None:
    for index in (3, 9_930):
        for epochs in (12, 200):
            stated = result("cifar10-valid", 888, epochs)
            key = {"dataset": "cifar10", "split": "valid", "epochs": epochs, "seed": 888}
            found = table.query(names[index], metric="accuracy", **key)
            assert found.value == stated["eval_acc1es"][f"x-valid@{epochs - 1}"]
            assert found.seconds == 2.0 * epochs
    assert table.describe(metric="loss", dataset="cifar100", split="valid", epochs=12, seed="mean").covered == 2


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_official_pth(zipped: bool, names: list[str], tmp_path: Path) -> None:
    infos = OrderedDict(
        (index, {"less": state(names[index], index, 12), "full": state(names[index], index, 200)})
        for index in (3, 9_930)
    )
    content = {"meta_archs": names, "arch2infos": infos, "evaluated_indexes": {3, 9_930}}
    path = tmp_path / "NAS-Bench-201-v1_1.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    check(import_benchmark(path, tmp_path / "x.table"), names)


def test_a_pth_with_weights_or_code_is_refused(names: list[str], tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save(
            {"meta_archs": names, "net": torch.zeros(3)}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped
        )
        with pytest.raises(DataError, match=r"asks for 'torch|an object outside"):
            read_benchmark(tmp_path / "x.pth")
        torch.save({"x": Hostile(tmp_path / "touched")}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(DataError, match=r"asks for '(posix|nt)\.system'"):
            read_benchmark(tmp_path / "x.pth")
    assert not (tmp_path / "touched").exists()
    for content in (b"", b"text", pickle.dumps(1), pickle.dumps({"meta_archs": []}, 2)):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(DataError):
            read_benchmark(tmp_path / "x.pth")


def archive(folder: Path, names: list[str], records: dict[int, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    meta = {"meta_archs": names, "total_archs": len(names), "arch2infos": None, "evaluated_indexes": set()}
    (folder / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(meta), 1))
    for index, content in records.items():
        (folder / f"{index:06d}.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(content), 1))
    return folder


def test_nats_archive(names: list[str], tmp_path: Path) -> None:
    def both(index: int) -> dict[str, Any]:
        return OrderedDict((str(epochs), state(names[index], index, epochs)) for epochs in (12, 200))

    table = import_benchmark(
        archive(tmp_path / "simple", names, {index: both(index) for index in (3, 9_930)}), tmp_path / "x.table"
    )
    check(table, names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch_str": "|none~0|"}, "that of another architecture"),
        ({"all_results": []}, "must hold a dictionary"),
        ({"all_results": {"cifar10": {}}}, "must hold a dictionary|results are kept by data set"),
        ({"all_results": {("svhn", 1): {}}}, "results are kept by data set .* and seed, which 'svhn', 1 is not"),
        ({"all_results": {("cifar10", 777): {"name": "cifar10", "epochs": 11}}}, "11 epochs"),
        ({"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "params": "many"}}}, "should be a number"),
        ({"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "flop": 10**400}}}, "too large|is damaged"),
        ({"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "train_times": {}}}}, "times of 12 epochs"),
        (
            {"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "eval_names": ["x"]}}},
            "unknown evaluations",
        ),
        ({"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "eval_acc1es": {}}}}, "got a NoneType"),
        (
            {"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "latency": ["x"]}}},
            r"latency\[0\] should be a number",
        ),
        ({"all_results": {("cifar10", seed): result("cifar10", seed, 12) for seed in range(9)}}, "the file's 9th"),
    ],
)
def test_foreign_nats_records_are_refused(
    change: dict[str, Any], message: str, names: list[str], tmp_path: Path
) -> None:
    record = {"12": {**state(names[3], 3, 12), **change}}
    with pytest.raises(DataError, match=message):
        import_benchmark(archive(tmp_path / "simple", names, {3: record}), tmp_path / "x.table")
    assert not (tmp_path / "x.table").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 10**600])
@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ("train_acc1es", "accuracy, dataset cifar10, split train, epochs 12, seed 777"),
        ("eval_acc1es", "accuracy, dataset cifar10, split test, epochs 12, seed 777"),
        ("eval_times", "evaluation_time, dataset cifar10, split test"),
        ("train_times", r"train_times\[11\]"),
        ("params", "parameters, dataset cifar10"),
        ("flop", "flops, dataset cifar10"),
        ("latency", r"latency\[0\]"),
    ],
)
def test_numbers_of_no_meaning_are_refused_by_record_and_field(
    entry: str, field: str, value: float, names: list[str]
) -> None:
    found = result("cifar10", 777, 12)
    place = {"eval_acc1es": "ori-test@11", "eval_times": "ori-test@11", "latency": 0}.get(entry, 11)
    if entry in ("params", "flop"):
        found[entry] = value
    else:
        found[entry][place] = value
    record = {"12": {**state(names[3], 3, 12), "all_results": {("cifar10", 777): found}}}
    match = rf"{re.escape(names[3])} \(12 epochs\), cifar10, seed 777: {field}.* (should be a finite|is too large)"
    with pytest.raises(DataError, match=match):
        _table(Draft("NATS-Bench (topology)", "nasbench201", {}), names, [(3, record)])


def test_a_loss_may_diverge(names: list[str]) -> None:
    found = result("cifar10", 777, 12)
    found["train_losses"][11], found["eval_losses"]["ori-test@11"] = math.inf, math.nan
    record = {"12": {**state(names[3], 3, 12), "all_results": {("cifar10", 777): found}}}
    draft = _table(Draft("NATS-Bench (topology)", "nasbench201", {}), names, [(3, record)])
    covered = {(c.key.metric, c.key.split): c.covered for c in draft.columns if c.key.seed == 777}
    assert (covered["loss", "train"], covered["loss", "test"], covered["accuracy", "test"]) == (1, 0, 1)


@pytest.mark.parametrize("schedule", ["13", "012345", "x", 12, ("12",)])
def test_other_schedules_are_refused(schedule: object, names: list[str]) -> None:
    # each would be a column of all architectures
    with pytest.raises(DataError, match=r"has the schedule .*; expected epochs of 1, 12, 90, 200"):
        _table(Draft("NATS-Bench (topology)", "nasbench201", {}), names, [(3, {schedule: state(names[3], 3, 12)})])


def test_messages_do_not_print_what_never_ends(names: list[str]) -> None:
    endless: list[object] = []
    for _ in range(60):
        endless = [endless, endless]
    for change in (
        {"arch_str": endless},
        {"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "eval_names": endless}}},
        {"all_results": {("cifar10", 777): {**result("cifar10", 777, 12), "name": endless}}},
    ):
        with pytest.raises(DataError, match="a list"):
            _table(Draft("N", "nasbench201", {}), names, [(3, {"12": {**state(names[3], 3, 12), **change}})])


def test_foreign_nats_folders_are_refused(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no records"):
        read_benchmark(archive(tmp_path / "a", names, {}))
    with pytest.raises(DataError, match="must list the 15,625 or 32,768"):
        read_benchmark(archive(tmp_path / "b", names[:9], {}))
    with pytest.raises(DataError, match="one is repeated"):
        read_benchmark(archive(tmp_path / "c", [names[0], *names[:-1]], {0: {}}))
    with pytest.raises(DataError, match="not that of") as raised:
        read_benchmark(archive(tmp_path / "d", ["x" * 10_000, *names[1:]], {0: {}}))
    assert len(str(raised.value)) < 500
    folder = archive(tmp_path / "e", names, {0: {}})
    (folder / "000000.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({}))[:-5])
    with pytest.raises(DataError, match="is truncated"):
        read_benchmark(folder)


def test_a_compression_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pbz2").write_bytes(bz2.compress(bytes(70 << 20), 1))
    with pytest.raises(DataError, match="unpacks to more than"):
        _unpacked(tmp_path / "x.pbz2")


# Text tables and NumPy archives

TEXT = "index,arch,value\n0,a,1.5\n1,b,-2e3\n2,c,-inf\n"


def compressed(folder: Path, text: bytes) -> Path:
    path = folder / "x.csv.gz"
    path.write_bytes(gzip.compress(text, 1, mtime=0))
    return path


def test_text_tables(tmp_path: Path) -> None:
    table = TextTable(compressed(tmp_path, TEXT.encode()), ["index"])
    assert table.numbers("value").tolist() == [1.5, -2000.0, -np.inf]
    assert table.integers("index").tolist() == [0, 1, 2]
    assert table.text("arch") == ("a", "b", "c")


@pytest.mark.parametrize("field", ["", "x", "nan", "1_0", "0x10", "1,5", "１", " 1", "1e", "--1", "infinity"])
def test_text_instead_of_numbers_is_refused(field: str, tmp_path: Path) -> None:
    text = TEXT.replace("-2e3", f'"{field}"')
    with pytest.raises(DataError, match=r"line 3 of .* value should be a number"):
        TextTable(compressed(tmp_path, text.encode()), ["index"]).numbers("value")


@pytest.mark.parametrize("field", ["inf", "-inf", "1e999", "-0.1", "100.1"])
def test_numbers_out_of_range_are_refused(field: str, tmp_path: Path) -> None:
    table = TextTable(compressed(tmp_path, TEXT.replace("-inf", "7").replace("-2e3", field).encode()), ["index"])
    with pytest.raises(DataError, match=rf"line 3 of .* value should be a number from 0 to 100, got '{field}'"):
        table.numbers("value", within=PERCENT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "lacks the column 'index'"),
        (b"\xff\xfe", "no table of comma-separated text"),
        (TEXT.replace("0,a,1.5", "0,a").encode(), "line 2 of .* has 2 fields instead of 3"),
        (TEXT.replace("index", "number").encode(), "lacks the column 'index'; it has number, arch, value"),
        (TEXT.replace("1,b", '1,"b').encode(), "no table"),
    ],
)
def test_other_text_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        TextTable(compressed(tmp_path, text), ["index"])


@pytest.mark.parametrize("text", [b"," * 5_000_001, b"\n" * 5_000_001, b"x" * ((64 << 20) + 1)])
def test_text_that_would_fill_the_memory_is_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has more than 5,000,000 fields|unpacks to more than"):
        TextTable(compressed(tmp_path, text), ["index"])


@given(st.integers(0, 10**4), st.integers(0, 255), st.integers(0, 10**4))
def test_changed_text_tables_never_crash(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: int
) -> None:
    path = compressed(tmp_path_factory.mktemp("text"), TEXT.encode())
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    for candidate in (bytes(content), bytes(content[: cut % len(content)])):
        path.write_bytes(candidate)
        with contextlib.suppress(DataError):
            TextTable(path, ["index", "value"]).numbers("value")


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


NPZ = npz(a=np.arange(5, dtype=np.uint16), b=np.ones((4, 3), np.float32))


def test_numpy_archives(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(NPZ)
    found = arrays_of(tmp_path / "x.npz", {"a": "u2", "b": "f4"})
    assert found["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["b"].shape == (4, 3)
    for kinds, message in (({"c": "u2"}, "lacks the array"), ({"a": "u4"}, "should hold uint32")):
        with pytest.raises(DataError, match=message):
            arrays_of(tmp_path / "x.npz", kinds)
    (tmp_path / "x.npz").write_bytes(npz(a=np.array([print], object)))
    with pytest.raises(DataError, match="should hold uint16"):
        arrays_of(tmp_path / "x.npz", {"a": "u2"})


@given(st.integers(0, len(NPZ) - 1), st.integers(0, 255), st.integers(0, len(NPZ)))
def test_changed_numpy_archives_never_crash(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    content = bytearray(NPZ)
    content[place] = value
    for candidate in (bytes(content), bytes(content[:cut])):
        path.write_bytes(candidate)
        with contextlib.suppress(DataError):
            arrays_of(path, {"a": "u2", "b": "f4"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_runs_200", "runs_200", "lacks the column 'n_runs_200'"),
        ("\n7,", "\n8,", "15,625 rows of NAS-Bench-201 in order"),
        ("82.092", "high", "line 2 of .* cifar10_valid_200_run0 should be a number"),
        ("82.092", "inf", "line 2 of .* cifar10_valid_200_run0 should be a number from 0 to 100, got 'inf'"),
        (
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|",
            "|none~0|+|nor_conv_1x1~0|skip_connect~1|",
            "architecture 0",
        ),
    ],
)
def test_changed_tables_of_nasbench201_are_refused(
    old: str, new: str, message: str, shared_data: Path, tmp_path: Path
) -> None:
    name = "nasbench201.csv.gz"
    text = gzip.decompress((shared_data / "nasbench201" / name).read_bytes()).decode()
    assert old in text
    (tmp_path / name).write_bytes(gzip.compress(text.replace(old, new, 1).encode(), 1))
    with pytest.raises(DataError, match=message):
        import_benchmark(tmp_path, tmp_path / "x.table")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_changed_tables_of_nasbench101_are_refused(shared_data: Path, tmp_path: Path) -> None:
    source = np.load(shared_data / "nasbench101" / "nasbench101_test108.npz", allow_pickle=False)
    cells = {name: source[name].copy() for name in source.files}
    cells["edges"][1] = cells["edges"][0]
    cells["ops"][1] = cells["ops"][0]
    np.savez(tmp_path / "nasbench101_test108.npz", **cells)
    with pytest.raises(DataError, match="each of the 423,624 cells of NAS-Bench-101 once"):
        read_benchmark(tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_times_of_no_meaning_of_nasbench101_are_refused(value: float, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "nasbench101"
    (tmp_path / "nasbench101_test108.npz").symlink_to(folder / "nasbench101_test108.npz")
    runs = dict(np.load(folder / "nasbench101_runs108.npz", allow_pickle=False))
    runs["train_seconds"][7, 1] = value
    np.savez(tmp_path / "nasbench101_runs108.npz", **runs)
    match = rf"train_seconds of .* got {value} for cell {runs['index'][7]}, repeat 1"
    with pytest.raises(DataError, match=match):
        read_benchmark(tmp_path)


def test_existing_tables_are_kept_unless_told(shared_data: Path, tmp_path: Path) -> None:
    source, out = shared_data / "nasbench_macro", tmp_path / "macro.table"
    out.write_bytes(b"before")
    with pytest.raises(DataError, match="exists already"):
        import_benchmark(source, out)
    assert out.read_bytes() == b"before"
    assert import_benchmark(source / "nasbench_macro_cifar10.csv.gz", out, replace=True).rows == 6561
    with pytest.raises(DataError, match="is a folder; give the name of a file"):
        import_benchmark(source, tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        import_benchmark(source, tmp_path / "none" / "x.table")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match="is no benchmark file that sharewise knows"):
        import_benchmark(tmp_path / "x.json", tmp_path / "x.table")
