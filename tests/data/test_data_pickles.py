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
    with pytest.raises(DataError, match="is damaged"):
        read_pickle(content, "batch")


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
