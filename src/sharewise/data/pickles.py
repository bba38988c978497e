"""Pickled dictionaries of numeric arrays, read by a machine that runs nothing.

The official CIFAR archives are pickles, and a pickle is a program: the ordinary reader would run whatever it names.
`sharewise.unpickle` has the machine; here is what it knows of NumPy: stand-ins for the two ways in which an array is
written.
"""

from __future__ import annotations

import math
import re
from typing import Any, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import DataError
from sharewise.unpickle import Dialect, Function, Machine, RefusedError, StandIn, latin1, no_bytes, unpickle

__all__ = ["read_pickle"]

_DIMENSIONS = 8


def read_pickle(content: bytes, where: str) -> dict[str, Any]:
    """Read a pickled dictionary from a stranger without running anything that it contains.

    Args:
        content: the bytes of the pickle, of protocol 2 to 5, from Python 2 or 3.
        where: name of the file, for errors.

    Returns:
        The dictionary; keys are text, arrays are numeric NumPy arrays that cannot be written to, and the strings of
        Python 2 are text.

    Raises:
        DataError: when the pickle is damaged, is no dictionary, asks for anything but containers and arrays, or would
            take more time or memory than a file of its size should.

    Example:
        >>> import pickle
        >>> read_pickle(pickle.dumps({"labels": [1, 2], "data": np.arange(3)}), "batch")
        {'labels': [1, 2], 'data': array([0, 1, 2])}
        >>> read_pickle(pickle.dumps({"labels": print}), "batch")
        Traceback (most recent call last):
        sharewise.errors.DataError: the pickle 'batch' asks for 'builtins.print', which ...
    """
    found = unpickle(content, where, _ARRAYS)
    if not isinstance(found, dict):
        raise DataError(f"the pickle {where!r} must hold a dictionary, got {type(found).__name__}")
    if not all(isinstance(key, str | bytes) for key in found):
        raise DataError(f"the pickle {where!r} must hold a dictionary whose keys are text")
    return {_text(key): _filled(value, where) if isinstance(value, _Array) else value for key, value in found.items()}


def _text(key: str | bytes) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else key


def _filled(array: _Array, where: str) -> npt.NDArray[Any]:
    if array.values is None:
        raise DataError(f"the pickle {where!r} is damaged: an array without its numbers")
    return array.values


@final
class _Dtype(StandIn):
    """Stands in for `numpy.dtype`: a numeric type, and its byte order once the state arrives."""

    __slots__ = ("kind", "order")

    def __init__(self, kind: str) -> None:
        self.kind, self.order = kind, "="

    def change(self, machine: Machine, state: object) -> None:
        order = state[1] if type(state) is tuple and len(state) > 1 else None
        if not isinstance(order, str | bytes) or _text(order) not in ("<", ">", "|", "="):
            raise RefusedError("is damaged: a type of numbers without a byte order")
        self.order = _text(order)


@final
class _Array(StandIn):
    """Stands in for a `numpy.ndarray`, which is empty until its state arrives."""

    __slots__ = ("values",)

    def __init__(self, values: npt.NDArray[Any] | None = None) -> None:
        self.values = values

    def change(self, machine: Machine, state: object) -> None:
        if self.values is not None or type(state) is not tuple or len(state) != 5:
            raise RefusedError("is damaged: the state of an array is none")
        _, shape, dtype, fortran, content = state
        self.values = _array(machine, content, dtype, shape, "F" if fortran else "C")


def _array(machine: Machine, content: object, dtype: object, shape: object, order: object) -> npt.NDArray[Any]:
    """An array over bytes of the file, of exactly the size that shape and type ask for."""
    if type(content) is str:  # as Python 2 wrote bytes
        machine.producing(len(content))
        content = content.encode("latin1")
    if type(content) is not bytes or type(dtype) is not _Dtype:
        raise RefusedError("is damaged: an array of something else than numbers")
    if type(shape) is not tuple or len(shape) > _DIMENSIONS or not all(type(side) is int for side in shape):
        raise RefusedError(f"is damaged: an array whose shape is no tuple of up to {_DIMENSIONS} integers")
    numbers = np.dtype(dtype.kind).newbyteorder(dtype.order)  # type: ignore[arg-type]
    size = math.prod(shape) * numbers.itemsize
    if min(shape, default=1) < 0 or size != len(content):
        raise RefusedError(f"is damaged: an array of shape {shape} in {len(content):,} bytes")
    return np.frombuffer(content, numbers).reshape(shape, order="F" if order == "F" else "C")


def _dtype(machine: Machine, kind: object, *flags: object) -> _Dtype:
    name = _text(kind) if isinstance(kind, str | bytes) else ""
    if not re.fullmatch(r"[uif][1248]|b1", name) or name == "f1":
        raise RefusedError(f"holds an array of type {name[:40]!r}; only numbers are read")
    machine.container()
    return _Dtype(name)


def _reconstruct(machine: Machine, *arguments: object) -> _Array:
    machine.container()
    return _Array()


def _from_buffer(machine: Machine, content: object, dtype: object, shape: object, order: object) -> _Array:
    machine.container()
    return _Array(_array(machine, content, dtype, shape, order))


def _not_called(machine: Machine, *arguments: object) -> None:
    raise RefusedError("is damaged: it makes an array without its numbers")


def _byte_array(machine: Machine) -> None:
    length = int.from_bytes(machine.content[machine.place : machine.place + 8], "little")
    start = machine.place + 8
    if length > len(machine.content) - start:
        raise RefusedError("is truncated")
    machine.place = start + length
    machine.stack.append(machine.content[start : machine.place])


_ARRAYS = Dialect(
    functions={
        ("numpy", "dtype"): Function(_dtype),
        ("numpy", "ndarray"): Function(_not_called),  # only ever an argument
        ("_codecs", "encode"): Function(latin1),
        **{(f"numpy.{core}.multiarray", "_reconstruct"): Function(_reconstruct) for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): Function(_from_buffer) for core in ("core", "_core")},
        **{(module, "bytes"): Function(no_bytes) for module in ("builtins", "__builtin__")},
    },
    instructions={0x96: _byte_array},
    first=1,
)
