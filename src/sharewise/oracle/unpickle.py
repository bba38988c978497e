"""A pickle reader for benchmark records: containers, text and numbers, and nothing else.

A pickle is a program, and the ordinary reader runs whatever it names. This one first walks over the instructions: it
refuses every one that plain data does not need, and every length and index that the file cannot hold, so that a damaged
or hostile file can neither call anything nor claim memory. Then it builds the value, knowing only the three names by
which NumPy scalars and ordered dictionaries are written.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import threading
from collections.abc import Callable
from typing import Any, final

from sharewise.errors import DataError

__all__ = ["read_record"]


def read_record(content: bytes, where: str, *, several: int = 1, tuples: int = 20_000) -> Any:
    """Read a pickled record from a stranger without running anything that it contains.

    Args:
        content: one pickle of protocol 2 to 5, or several after each other.
        where: name of the file, for errors.
        several: which of the pickles to return, counted from 1; the others are read and dropped.
        tuples: the largest number of tuples in a pickle. A key that is a tuple in a tuple in a tuple … takes memory of
            the machine's stack, which is reserved for so many.

    Returns:
        Containers of Python values; ordered dictionaries are dictionaries, NumPy scalars are Python numbers.

    Raises:
        DataError: when the pickle is damaged, or asks for anything that such a record does not need; the message names
            it.

    Example:
        >>> import numpy as np
        >>> read_record(pickle.dumps({"accuracy": np.float64(91.5), "runs": [777, 888]}, 4), "record")
        {'accuracy': 91.5, 'runs': [777, 888]}
        >>> read_record(pickle.dumps(print), "record")
        Traceback (most recent call last):
        sharewise.errors.DataError: the pickle 'record' asks for 'builtins.print', which no ...
    """
    value, start = None, 0
    try:
        for _ in range(several):
            end, nested = _walk(content, start, tuples)
            value = _load(content[start:end], nested)
            start = end
    except _RefusedError as error:
        raise DataError(f"the pickle {where!r} {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(f"the pickle {where!r} is damaged ({type(error).__name__}: {str(error)[:200]})") from None
    return value


class _RefusedError(Exception):
    """Why a pickle is not read."""


_ATTACK = "which no record of a benchmark needs; it may be an attack: do not open it by other means"

# Instructions by the bytes that follow them. Strings and numbers of fixed size are matched in runs, at the speed of a
# regular expression; what has a length of its own ends a run.
_RUN = re.compile(
    rb"(?:[()0\]}NadelusbR1\x81\x88\x89\x8f\x90\x93\x94]"  # nothing follows
    rb"|[qhK\x80].|M..|J....|G.{8}|\x95.{8}|r..[\x00-\x3f]\x00|j....)*",  # 1, 2, 4, 8 bytes; an index below 2^22
    re.DOTALL,
)
_NESTING = (b"t", b"\x85", b"\x86", b"\x87", b"\x91")  # tuples and frozen sets, which may be keys
_LENGTHS = {b"U": "<B", b"T": "<i", b"X": "<I", b"C": "<B", b"B": "<I", b"\x8c": "<B", b"\x8a": "<B"}
_LENGTHS |= {b"\x8d": "<Q", b"\x8e": "<Q"}
_REFUSED = {
    **dict.fromkeys((b"P", b"Q"), "an object outside of the file"),
    **dict.fromkeys((b"\x82", b"\x83", b"\x84"), "a registered extension"),
    **dict.fromkeys((b"i", b"o"), "an instance of a class"),
    b"\x92": "an instance of a class",
    b"\x96": "a byte array",
    b"\x97": "a buffer outside of the file",
    b"\x98": "a buffer outside of the file",
}


def _load(content: bytes, nested: int) -> Any:
    """Build the value; with a stack of its own where tuples might be nested deeper than an ordinary one allows."""
    reader = _Reader(io.BytesIO(content), encoding="latin1")
    if nested <= _NESTED:
        return reader.load()
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(reader.load())
        except BaseException as error:  # handed on to the caller
            failed.append(error)

    before = threading.stack_size((nested * _FRAME | 0xFFFF) + (1 << 20) + 1)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


_NESTED, _FRAME = 2_000, 512  # tuples that an ordinary stack holds, and bytes of stack for each beyond


def _walk(content: bytes, start: int, tuples: int) -> tuple[int, int]:
    """Check the instructions from `start`, and return where the pickle ends and how many tuples it makes."""
    size, place, nested = len(content), start, 0
    while True:
        run = _RUN.match(content, place)
        assert run is not None
        place = run.end()
        code = content[place : place + 1]
        if code == b".":
            return place + 1, nested
        if code in _NESTING:
            nested, place = nested + 1, place + 1
            if nested > tuples:
                raise _RefusedError(f"has more than {tuples:,} tuples, {_ATTACK}")
        elif code in _LENGTHS:
            form = struct.Struct(_LENGTHS[code])
            if place + 1 + form.size > size:
                raise _RefusedError("is truncated")
            (length,) = form.unpack_from(content, place + 1)
            place += 1 + form.size + length
            if length < 0 or place > size:
                raise _RefusedError(f"is damaged: a text of {length} bytes, in a file of {size}")
        elif code == b"c":
            lines = content[place + 1 : place + 1000].split(b"\n", 2)
            if len(lines) < 3:
                raise _RefusedError("is damaged: a name without an end")
            module, name = (line.decode("utf-8", "replace") for line in lines[:2])
            _find(module, name)
            place += 3 + len(lines[0]) + len(lines[1])
        elif code == b"r" and place + 5 <= size:
            if int.from_bytes(content[place + 1 : place + 5], "little") > size:
                raise _RefusedError(f"is damaged: an index beyond its {size} bytes")
            place += 5
        elif code in _REFUSED:
            raise _RefusedError(f"asks for {_REFUSED[code]}, {_ATTACK}")
        elif place >= size or size - place < 9:
            raise _RefusedError("is truncated")
        else:
            raise _RefusedError(f"is damaged or of an unknown form: instruction {code!r} at byte {place}")


@final
class _Dtype:
    """Stands in for `numpy.dtype`: a numeric type, and its byte order once the state arrives."""

    __slots__ = ("kind", "order")

    def __init__(self, kind: object, *flags: object) -> None:
        if not (isinstance(kind, str) and re.fullmatch(r"[uif][1248]|b1", kind) and kind != "f1"):
            raise _RefusedError(f"asks for numbers of type {str(kind)[:40]!r}, {_ATTACK}")
        self.kind, self.order = kind, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


_FORMS = {"b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_FORMS |= {"f2": "e", "f4": "f", "f8": "d"}


@final
class _Function:
    """A function that a pickle may call; without attributes, so that it cannot be changed by one."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _RefusedError(f"asks to change a function, {_ATTACK}")


def _scalar(dtype: _Dtype, content: object) -> Any:
    raw = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(raw, bytes):
        raise _RefusedError("is damaged: a number without bytes")
    return struct.unpack(dtype.order + _FORMS[dtype.kind], raw)[0]


def _ordered(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


def _no_bytes() -> bytes:
    """The empty bytes of protocol 2."""
    return b""


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes of protocol 2, which had no instruction for them."""
    if encoding != "latin1" or not isinstance(text, str):
        raise _RefusedError(f"asks for text in {str(encoding)[:40]!r}, {_ATTACK}")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Function(_ordered),
    ("_codecs", "encode"): _Function(_latin1),
    ("numpy", "dtype"): _Function(_Dtype),
    **{(f"numpy.{core}.multiarray", "scalar"): _Function(_scalar) for core in ("core", "_core")},
    **{(module, "set"): _Function(set) for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): _Function(_no_bytes) for module in ("builtins", "__builtin__")},
}


def _find(module: str, name: str) -> Any:
    found = _KNOWN.get((module, name))
    if found is None:
        raise _RefusedError(f"asks for {f'{module}.{name}'[:200]!r}, {_ATTACK}")
    return found


@final
class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _find(module, name)
