"""NumPy archives, read without pickles."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sharewise.errors import DataError
from sharewise.oracle.columns import Array

__all__ = ["arrays_of"]

_LIMIT = 32 << 20  # bytes of an array; the longest published one has 6.8 million


def arrays_of(path: Path, kinds: Mapping[str, str]) -> dict[str, Array]:
    """Arrays of a NumPy archive, of the given types and no pickles; a header that lies is no danger.

    Args:
        path: of the archive.
        kinds: the NumPy type of each array by its name.

    Raises:
        DataError: when the file is missing or damaged, or an array is missing, too long or of another type.
    """
    result = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, kind in kinds.items():
                entry = archive.getinfo(f"{name}.npy")
                if entry.file_size > _LIMIT:
                    raise DataError(f"{name} of {str(path)!r} would take {entry.file_size} bytes")
                with archive.open(entry) as stream:
                    result[name] = _array(stream.read(_LIMIT + 1), np.dtype(kind))
    except KeyError as error:
        raise DataError(f"{str(path)!r} lacks the array {str(error.args[0])[:200]}") from None
    except FileNotFoundError:
        raise DataError(f"there is no file {str(path)!r}") from None
    except DataError:
        raise
    except Exception as error:  # zipfile and zlib answer damage with many kinds
        raise DataError(f"{str(path)!r} cannot be read as .npz ({str(error)[:200]}); fetch it again") from error
    return result


def _array(content: bytes, kind: np.dtype[Any]) -> Array:
    if content[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("an array is not in the format of NumPy, version 1.0")
    (length,) = struct.unpack_from("<H", content, 8)
    header = content[10 : 10 + length].decode("latin1")
    start = header.find("'shape': (") + len("'shape': (")
    fields = [f for f in header[start : header.index(")", start)].split(",") if f.strip()]
    shape = tuple(int(field) for field in fields)
    if f"'descr': '{kind.newbyteorder('<').str}'" not in header or "'fortran_order': False" not in header:
        raise ValueError(f"an array should hold {kind.name} in C order; its header says {header[:100].strip()}")
    if len(content) - 10 - length != math.prod(shape) * kind.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} has {len(content) - 10 - length} bytes")
    return np.frombuffer(content, kind, offset=10 + length).reshape(shape)
