"""The reader of pickles runs nothing, and neither time nor memory grows beyond the size of a file."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import time
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sharewise.errors import DataError
from sharewise.unpickle import read_record


class Hostile:
    """Runs a command where it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickles_run_nothing(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({"all_results": Hostile(tmp_path / "touched")}, protocol)
    with pytest.raises(DataError, match=r"asks for '(posix|nt)\.system'|unknown form|is damaged"):
        read_record(content, "x")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02cbuiltins\neval\n.", "asks for 'builtins.eval'"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.", "asks for 'builtins.exec'"),
        (b"\x80\x02cnumpy\nload\n.", "asks for 'numpy.load'"),
        (pickle.dumps(np.arange(3), 4), "_reconstruct|_frombuffer"),
        (pickle.dumps(torch.zeros(2), 2), "torch"),
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "asks to change a function"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "it keeps value 2147483647 before value 0"),
        (b"\x80\x02]q\x01.", "it keeps value 1 before value 0"),
        (b"\x80\x02h\x00.", "is damaged"),
        (b"\x80\x02)\x81.", "an instance of a class"),
        (b"\x80\x02NN\x86N}b.", "asks to change a NoneType"),
        (b"\x80\x02N)R.", "asks to call a NoneType"),
        (b"\x80\x02cbuiltins\nset\nNR.", "asks to call a Function"),
        (b"\x80\x02N0.", "unknown form"),
        (b"\x80\x02](NNu.", "it fills a list as if it were a dict"),
        (b"\x80\x02}(Nu.", "a key without a value"),
        (b"\x80\x02}]Ns.", "a list as key"),
        (b"\x80\x02})]\x85\x86Ns.", "is damaged"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "a text of 18446744073709551615 bytes"),
        (b"\x80\x04X\xff\xff\xff\xffa.", "a text of 4294967295 bytes"),
        (b"\x80\x02T\xff\xff\xff\xff.", "a text of -1 bytes"),
        (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "is damaged"),
        (b"\x80\x02Q.", "an object outside of the file"),
        (b"\x80\x02\x82\x01.", "a registered extension"),
        (b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.", "more than 20,000 containers"),
        (b"\x80\x02" + b"(" * 100_000, "more than 20,000 containers"),
        (b"\x80\x02" + b"(" * 100, "is truncated"),
        (b"\x80\x02](" + b"]" * 100_000 + b"e.", "more than 20,000 containers"),
        (b"\x80\x02]" + b"2a" * 50_000 + b".", "unknown form"),
        (b"", "is truncated"),
        (b"not a pickle at all", "unknown form|truncated|damaged"),
    ],
)
def test_damaged_and_foreign_pickles_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_record(content, "x")


def test_what_is_left_over_is_no_danger() -> None:
    # a list that holds itself, and one that is shared: as Python reads them
    assert read_record(b"\x80\x02]q\x00h\x00a.", "x")[0][0] is not None
    for value in ([[1, 2]] * 3, {"a": (shared := ("x", 1)), shared: [shared]}):
        assert read_record(pickle.dumps(value), "x") == value


@pytest.mark.parametrize(("levels", "read"), [(99, True), (100, False), (10_000, False)])
def test_deeply_nested_keys_do_not_exhaust_the_stack(levels: int, read: bool) -> None:
    content = b"\x80\x02})" + b"\x85" * levels + b"Ns."
    if read:
        assert list(read_record(content, "x").values()) == [None]
    else:
        with pytest.raises(DataError, match="a key nested more than 100 times"):
            read_record(content, "x")


# What multiplies


def doubled(levels: int) -> bytes:
    """Pushes a tuple of the same tuple twice, of the same tuple twice …"""
    return b")\x94" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86\x94" for n in range(levels))


TEXT = b"X" + struct.pack("<I", 50_000) + b"a" * 50_000 + b"\x94"
MANY = b"](" + b"N" * 5_000 + b"e\x94"
PAIRS = b"](" + b"NN\x86" * 5_000 + b"e\x94"
COLLIDING = b"".join(b"\x8a\x09" + (n * (2**61 - 1)).to_bytes(9, "little") for n in range(1, 200))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (doubled(60) + b"}h\x3cNs.", "has keys that grow far beyond its"),
        (b"}(" + doubled(60) + b"Nu.", "has keys that grow far beyond its"),
        (b"\x8f(" + doubled(60) + b"\x90.", "has keys that grow far beyond its"),
        (b"(" + doubled(60) + b"\x91.", "has keys that grow far beyond its"),
        (b"cbuiltins\nset\n](" + doubled(60) + b"e\x85R.", "has keys that grow far beyond its"),
        (doubled(60) + b"ccollections\nOrderedDict\n](h\x3cN\x86e\x85R.", "has keys that grow far beyond its"),
        # one long key, hashed again and again
        (b"(" + b"N" * 5_000 + b"t\x94(" + b"}h\x00Ns" * 5_000 + b"t.", "has keys that grow far beyond its"),
        (TEXT + b"(" + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 500 + b"t.", "makes far more than"),
        (MANY + b"(" + b"cbuiltins\nset\nh\x00\x85R" * 500 + b"t.", "makes far more than"),
        (PAIRS + b"(" + b"ccollections\nOrderedDict\nh\x00\x85R" * 500 + b"t.", "makes far more than"),
        (b"\x8f(" + COLLIDING + b"\x90.", "an integer of more than 61 bits as key"),
        (b"\x8f(" + b"K\x01K\x02\x86" * 1_001 + b"\x90.", "a dictionary or set of more than 1,000 tuples"),
        (
            TEXT + b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R\x94cnumpy.core.multiarray\nscalar\nh\x01h\x00\x86R.",
            "no bytes",
        ),
    ],
)
def test_what_multiplies_is_refused_at_once(content: bytes, message: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match=message):
        read_record(b"\x80\x02" + content, "x")
    assert time.process_time() - start < 1


def test_honest_sharing_is_read() -> None:
    key = ("cifar10", 777)
    value = {"results": {key: [key] * 100}, "seeds": {(a, b): a for a in range(30) for b in range(30)}, key: {key}}
    assert read_record(pickle.dumps([value] * 50), "x") == [value] * 50
    assert read_record(pickle.dumps({"x": [b"\x80" * 5_000] * 50}, 2), "x") == {"x": [b"\x80" * 5_000] * 50}
    deep: Any = ("x",)
    for level in range(50):
        deep = (deep, level)
    assert read_record(pickle.dumps({deep: {deep: deep}}), "x") == {deep: {deep: deep}}


INSTRUCTIONS = st.one_of(
    *map(
        st.just,
        (
            *(bytes([code]) for code in b"()]}NaesuRbt\x85\x86\x87\x88\x8f\x90\x91\x93\x94"),
            b"K\x07",
            b"\x8a\x09" + b"\x11" * 9,
            b"X\x08\x00\x00\x00builtins",
            b"X\x03\x00\x00\x00set",
            b"X\x06\x00\x00\x00latin1",
            b"X\xe8\x03\x00\x00" + b"x" * 1_000,
            b"cbuiltins\nset\n",
            b"ccollections\nOrderedDict\n",
            b"c_codecs\nencode\n",
            b"cnumpy\ndtype\n",
            b"cnumpy.core.multiarray\nscalar\n",
            # pieces that do something, so that programs get far
            b"(" + b"N" * 200 + b"t\x94",
            b"](" + b"N" * 200 + b"e\x94",
            b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R\x94",
            b"cbuiltins\nset\nh\x00\x85R\x94",
            b"\x94}h\x00Ns\x94",
            b"\x8f(h\x00h\x01\x90",
        ),
    ),
    st.integers(0, 12).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 12).map(lambda n: b"q" + bytes([n])),
    st.integers(0, 12).map(lambda n: b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86\x94"),
    st.integers(1, 70).map(doubled),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(INSTRUCTIONS, st.sampled_from([1, 1, 1, 2, 40, 300])), max_size=25))
@example([(TEXT, 1), (b"(", 1), (b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R\x94", 300)])
@example([(doubled(70), 1), (b"\x94}h\x45Ns\x94", 1)])
def test_programs_take_no_more_than_their_size(program: list[tuple[bytes, int]]) -> None:
    content = b"\x80\x04" + b"".join(piece * times for piece, times in program) + b"."
    start = time.process_time()
    tracemalloc.start()
    try:
        with contextlib.suppress(DataError):
            read_record(content, "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 2
    # a container takes a byte of the file and up to 216 of memory
    assert peak < 400 * len(content) + (1 << 20)


RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.tuples(st.text(), st.integers()), inner)
        | st.tuples(inner, inner)
        | st.builds(OrderedDict, st.dictionaries(st.text(), inner))
        | st.sets(st.integers(-(2**60), 2**60))
    ),
    max_leaves=20,
)


@given(RECORDS, st.integers(2, 5))
def test_records_are_read_as_python_reads_them(value: Any, protocol: int) -> None:
    try:
        found = read_record(pickle.dumps(value, protocol), "x")
    except DataError:  # an integer of more than 255 bytes has an instruction of its own, which no record needs
        assert b"\x8b" in pickle.dumps(value, protocol)
    else:
        assert found == value


@pytest.mark.parametrize("kind", ["u1", "i2", "<u4", ">i8", "f2", "<f4", ">f8", "bool"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_numpy_scalars_become_numbers(kind: str, protocol: int) -> None:
    value = np.array([1.0], kind)[0]
    found = read_record(pickle.dumps({"x": value}, protocol), "x")["x"]
    assert found == 1
    assert type(found) in (int, float, bool)


SMALL = pickle.dumps({"a": [np.float64(1.5)] * 3, ("cifar10", 777): OrderedDict(x="y" * 300, z=[1, 2, 3])}, 3)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), max_size=5), st.integers(0, len(SMALL)))
def test_changed_pickles_never_crash(changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(SMALL)
    for place, value in changes:
        content[place] = value
    for candidate in (bytes(content), bytes(content[:cut]), bytes(content[cut:])):
        with contextlib.suppress(DataError):
            read_record(candidate, "x")


@given(st.binary(max_size=400))
def test_random_bytes_are_no_pickle(content: bytes) -> None:
    with contextlib.suppress(DataError):
        read_record(content, "x")
