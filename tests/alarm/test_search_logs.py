"""Records of other people's searches: read with bounds, errors told from accuracies, damage named in one line."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from sharewise.alarm import alarms, read_search_logs
from sharewise.errors import DataError, SharewiseError

GENOTYPE = "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], reduce=[('skip_connect', 0)], x=range(2, 6))"


def record(**changes: Any) -> dict[str, Any]:
    return {
        "space": "s1",
        "data": "cifar10",
        "drop_path": 0.0,
        "weight_decay": 0.0003,
        "seed": 1,
        "final_genotype": GENOTYPE,
        "train_error": [60.0, 40.0, 30.0],
        "valid_error": [50.0, 45.0, None],
        "train_loss": [1.6, 1.0, 0.8],
        "valid_loss": [1.5, 1.2, 1.1],
        "skip_connects": [[4, 0], [2, 3], [1, 1]],
        **changes,
    }


def written(folder: Path, *records: Any, packed: bool = False) -> Path:
    path = folder / "logs.jsonl"
    content = "\n".join(json.dumps(entry) for entry in records).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_record(tmp_path: Path, packed: bool) -> None:
    extra = {"hessian_epoch": [0, 2], "largest_eigenvalue": [0.5, 0.7]}
    (log,) = read_search_logs(written(tmp_path, record(**extra), packed=packed))
    assert (log.space, log.skips, log.swapped) == ("s1", 1, False)
    assert [r.skips for r in log.readings] == [4 / 8, 2 / 8, 1 / 8], "of the normal cell"
    assert [r.eigenvalue for r in log.readings] == [0.5, None, 0.7]
    assert log.readings[0].excess == pytest.approx(1.5 / 1.6)
    assert log.readings[0].blind_loss == pytest.approx(2.302585)
    assert log.validation_error == (50.0, 45.0, None)


def test_accuracies_under_the_name_of_errors_are_turned_around(tmp_path: Path) -> None:
    accuracies = {"train_error": [40.0, 60.0, 70.0], "valid_error": [50.0, None, 58.0]}
    (log,) = read_search_logs(written(tmp_path, record(**accuracies)))
    assert log.swapped
    assert log.validation_error == (50.0, None, 42.0)


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    """Whole series, single entries, the end: the alarm says what it lacked."""
    flat = {"train_loss": [1.0] * 12, "skip_connects": [[6, 0]] * 12}
    whole = record(**flat, valid_loss=[1.0] * 12, train_error=[9.0] * 12, valid_error=[9.0] * 12)
    few = {name: value for name, value in whole.items() if "valid" not in name and name not in ("train_error", "data")}
    few |= {"data": "elsewhere"}
    del few["final_genotype"]
    (log,) = read_search_logs(written(tmp_path, few))
    assert (log.skips, log.validation_error[0], log.readings[0].blind_loss) == (None, None, None)
    (alarm,) = alarms(log.readings)
    assert (alarm.epoch, alarm.lacked) == (6, ("a held-out loss",))
    (log,) = read_search_logs(written(tmp_path, {**whole, "skip_connects": [None, *[[6, None]] * 11]}))
    assert [reading.skips for reading in log.readings[:2]] == [None, 6 / 8]
    del few["skip_connects"]
    (log,) = read_search_logs(written(tmp_path, few))
    assert not alarms(log.readings)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ([1, 2], "expected an object"),
        ({}, "same number of epochs, at least 1"),
        ({"train_loss": [1.0]}, "it lacks 'data'"),
        (record(train_loss=[1.0]), "'train_loss': 1"),
        (record(valid_loss=[1.0, "x", 2.0]), "holds 'x' instead of a number"),
        (record(valid_loss=[1.0, True, 2.0]), "holds True instead of a number"),
        (record(skip_connects=7), "must be a list"),
        (record(skip_connects=[[1], 2, [3]]), "must be a list"),
        (record(final_genotype=["skip_connect"]), "final_genotype must be a text"),
        (record(seed="1"), "seed must be a finite number"),
        (record(data=3), "data must be a text"),
        (record(train_loss=[0.0] * 10_001), "at most 10,000"),
        (record(hessian_epoch=[0, 2], largest_eigenvalue=[0.1]), "2 of hessian_epoch and 1 of largest_eigenvalue"),
    ],
)
def test_what_is_no_record_is_named_with_its_line(tmp_path: Path, broken: Any, words: str) -> None:
    path = written(tmp_path, record(), broken)
    with pytest.raises(DataError, match=words) as caught:
        read_search_logs(path)
    assert "line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_search_logs(tmp_path / "absent")
    (tmp_path / "torn").write_bytes(gzip.compress(b"{}" * 1000)[:20])
    with pytest.raises(DataError, match="cannot read"):
        read_search_logs(tmp_path / "torn")
    (tmp_path / "nan").write_text(json.dumps(record()).replace("1.6", "NaN"))
    with pytest.raises(DataError, match="line 1"):
        read_search_logs(tmp_path / "nan")
    monkeypatch.setattr("sharewise.alarm.search_logs._BYTES", 100)
    (tmp_path / "bomb").write_bytes(gzip.compress(b" " * 1000))
    with pytest.raises(DataError, match="unpacks to more"):
        read_search_logs(tmp_path / "bomb")


def test_damage_never_ends_in_anything_but_a_line(tmp_path: Path) -> None:
    source, whole = random.Random(0), json.dumps(record()).encode()
    path = tmp_path / "logs"
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(source.randrange(1, 4)):
            content[source.randrange(len(content))] = source.randrange(256)
        path.write_bytes(bytes(content))
        said = ""
        try:
            for log in read_search_logs(path):
                alarms(log.readings)
        except SharewiseError as error:
            said = str(error)
        assert "\n" not in said
