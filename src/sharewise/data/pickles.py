"""A pickle reader that builds containers and numeric arrays, and nothing else.

The official CIFAR archives are pickles, and a pickle is a program: the ordinary reader would run whatever it
names. This one knows no class and no function but stand-ins for the two by which NumPy writes an array.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Sequence
from typing import Any, Literal, cast, final

import numpy as np
import numpy.typing as npt

from sharewise.errors import DataError

__all__ = ["read_pickle"]


def read_pickle(content: bytes, where: str) -> dict[str, Any]:
    """Read a pickled dictionary from a stranger without running anything that it contains.

    Args:
        content: the bytes of the pickle, from Python 2 or 3.
        where: name of the file, for errors.

    Returns:
        The dictionary; keys are text, strings of Python 2 are bytes, arrays are numeric NumPy arrays.

    Raises:
        DataError: when the pickle is damaged, is no dictionary, or asks for anything but containers and
            arrays.

    Example:
        >>> read_pickle(pickle.dumps({"labels": [1, 2], "data": np.arange(3)}), "batch")
        {'labels': [1, 2], 'data': array([0, 1, 2])}
        >>> read_pickle(pickle.dumps({"labels": print}), "batch")
        Traceback (most recent call last):
        sharewise.errors.DataError: the pickle 'batch' asks for 'builtins.print', which ...
    """
    try:
        content_read = _Reader(io.BytesIO(content), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"the pickle {where!r} {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(f"the pickle {where!r} is damaged ({error}); fetch it again") from error
    if not isinstance(content_read, dict):
        raise DataError(f"the pickle {where!r} must hold a dictionary, got {type(content_read).__name__}")
    arrays = {_text(key): value.array for key, value in content_read.items() if isinstance(value, _Array)}
    return {_text(key): value for key, value in content_read.items()} | arrays


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


@final
class _Dtype:
    """Stands in for `numpy.dtype`: a numeric type, and its byte order once the state arrives."""

    def __init__(self, kind: str | bytes, *flags: object) -> None:
        self.kind = _text(kind)
        self.order = "="
        if not re.fullmatch(r"[uif][1248]|b1", self.kind):
            raise DataError(f"holds an array of type {self.kind!r}; only numbers are read")

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = _text(state[1])


@final
class _Array:
    """Stands in for what makes a `numpy.ndarray`: from a buffer, or empty until the state arrives."""

    def __init__(self, *arguments: Any) -> None:
        from_buffer = len(arguments) == 4
        self.array: npt.NDArray[Any] = _filled(*arguments) if from_buffer else np.empty(0)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, dtype, fortran, content = state
        self.array = _filled(content, dtype, shape, "F" if fortran else "C")


def _filled(content: bytes, dtype: _Dtype, shape: Sequence[int], order: str) -> npt.NDArray[Any]:
    flat = np.frombuffer(content, np.dtype(dtype.kind).newbyteorder(cast("Literal['=']", dtype.order)))
    return flat.reshape(shape, order="F" if order == "F" else "C")


_STAND_INS: dict[tuple[str, str], object] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "ndarray",  # only ever an argument
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Array for core in ("core", "_core")},
}


@final
class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise DataError(
                f"asks for {f'{module}.{name}'!r}, which is no part of a data file; it may be an attack: do "
                "not open it by other means, fetch the data from its official place"
            )
        return _STAND_INS[module, name]
