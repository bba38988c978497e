"""The restricted pickle reader builds arrays and containers, and runs nothing."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharewise.data.pickles import read_pickle
from sharewise.errors import DataError


class Attack:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_command_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps({"data": Attack(tmp_path / "ran")}, protocol=protocol)
    with pytest.raises(DataError, match=r"asks for '(posix|nt)\.system'.*may be an attack"):
        read_pickle(content, "data_batch_1")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [OrderedDict(a=1), print, np.save, Path("x"), {1, 2}.union, np.float64(1.0)])
def test_everything_else_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="asks for"):
        read_pickle(pickle.dumps({"data": value}), "batch")


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i4", "<f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_equal(protocol: int, dtype: str, order: str) -> None:
    array = np.asarray(np.arange(12).reshape(3, 4), dtype, order=order)
    result = read_pickle(pickle.dumps({"data": array, "names": ["a", b"b"]}, protocol=protocol), "batch")
    np.testing.assert_array_equal(result["data"], array)
    assert result["names"] == ["a", b"b"]


def test_object_arrays_are_refused() -> None:
    with pytest.raises(DataError, match="array of type 'O8'; only numbers are read"):
        read_pickle(pickle.dumps({"data": np.array([print], object)}, protocol=3), "batch")


@pytest.mark.parametrize("name", ["multiarray\n_reconstruct", "numeric\n_frombuffer"])
def test_a_stand_in_cannot_be_changed(name: str) -> None:
    state = pickle.dumps((None, {"__name__": "changed"}), protocol=2)[2:-1]
    content = b"\x80\x02}(U\x01acnumpy.core." + name.encode() + b"\n" + state + b"bu."
    with pytest.raises(DataError, match="asks to change a function"):
        read_pickle(content, "batch")


def numbered(shape: bytes, content: bytes) -> bytes:
    state = (
        b"(K\x01"
        + shape
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    )
    head = b"\x80\x02}U\x01dcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    return head + state + b"U" + bytes([len(content)]) + content + b"tbs."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02\x8e\x00\x00\x00\x00\x01\x00\x00\x00.", "text of 4294967296 bytes, in a file of"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "damaged"),
        (b"\x80\x02]" + b"".join(b"\x86q" + bytes([n]) + b"h" + bytes([n]) for n in range(100)) + b"}.", "damaged"),
        (numbered(b"J\x00\x00\x00\x40J\x00\x00\x00\x40\x86", b"abc"), r"shape \(1073741824, 1073741824\) in 3 bytes"),
        (numbered(b"J\xff\xff\xff\xffJ\xfd\xff\xff\xff\x86", b"abc"), r"shape \(-1, -3\) in 3 bytes"),
        (numbered(b"K\x03K\x01\x86", b"ab"), r"shape \(3, 1\) in 2 bytes"),
        (numbered(b"(" + b"K\x01" * 9 + b"t", b"a"), "no tuple of up to 8 integers"),
        (b"\x80\x02}U\x01dcnumpy.core.multiarray\n_reconstruct\n)Rs.", "array without its numbers"),
        (b"\x80\x02}cnumpy\nndarray\n)Rs.", "damaged"),
        (b"\x80\x02}K\x01K\x02s.", "keys are text"),
    ],
)
def test_little_cannot_ask_for_much(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pickle(content, "batch")


def test_keys_that_double_with_every_level_end() -> None:
    doubled = b"N" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(1, 60))
    with pytest.raises(DataError, match="keys that grow far beyond"):
        read_pickle(b"\x80\x02}" + doubled + b"Ns.", "batch")


def test_a_pickle_that_is_no_dictionary_is_refused() -> None:
    with pytest.raises(DataError, match="must hold a dictionary, got list"):
        read_pickle(pickle.dumps([1]), "batch")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_is_a_data_error_or_another_dictionary(data: st.DataObject) -> None:
    content = bytearray(pickle.dumps({"data": np.arange(4), "labels": [1, 2]}, protocol=4))
    cut = data.draw(st.integers(0, len(content)))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 127))
    with suppress(DataError):
        assert isinstance(read_pickle(bytes(content[:cut]), "batch"), dict)
