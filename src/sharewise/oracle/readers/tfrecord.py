"""The frames of a TFRecord file and their CRC-32C, without TensorFlow.

A frame is the length of its payload (8 bytes, little-endian), the masked checksum of these, the payload, and its masked
checksum. A byte-wise checksum in plain Python takes a minute for half a gigabyte. Here a batch of frames is checked at
once: a CRC is linear over bits, so that it is the exclusive or of one table entry for every byte, chosen by the byte
and by its distance from the end of the message, and NumPy looks up one position of all messages in one step.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharewise.errors import DataError

__all__ = ["crc32c", "frames", "masked"]

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
_HEAD = struct.Struct("<QI")
_LONGEST = 1 << 14
_BATCH = 4096

Words = npt.NDArray[np.uint32]


@cache
def _byte_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ _POLYNOMIAL, table >> 1).astype(np.uint32)
    return table


@cache
def _tables(length: int) -> tuple[Words, Words]:
    """What a byte contributes at each distance from the end, shape `(length, 256)`, and what the initial value does."""
    table, single = np.empty((length, 256), np.uint32), _byte_table()
    table[0] = single
    start = np.empty(length + 1, np.uint32)
    start[0] = 0xFFFFFFFF
    for distance in range(1, length):
        table[distance] = single[table[distance - 1] & 255] ^ table[distance - 1] >> 8
    for count in range(length):
        start[count + 1] = single[start[count] & 255] ^ start[count] >> 8
    return table, start


def crc32c(messages: Sequence[bytes]) -> Words:
    """CRC-32C (Castagnoli) of many messages at once.

    Args:
        messages: of at most 16,384 bytes each; quickest where they are of similar length.

    Returns:
        One checksum a message.

    References:
        RFC 3720, appendix B.4 (the check value of 32 zero bytes is 0x8a9136aa).

    Example:
        >>> [hex(value) for value in crc32c([b"123456789", bytes(32)])]
        ['0xe3069283', '0x8a9136aa']
    """
    longest = max(map(len, messages), default=0)
    assert longest <= _LONGEST, longest
    table, start = _tables(1 << max(5, (longest - 1).bit_length()))
    # aligned to the right: leading zeros change nothing where the register starts at zero
    content = np.frombuffer(b"".join(message.rjust(longest, b"\0") for message in messages), np.uint8)
    columns = np.ascontiguousarray(content.reshape(len(messages), longest).T)
    register = start[np.array([len(message) for message in messages], np.int64)]
    for distance in range(longest):
        register ^= table[distance].take(columns[longest - 1 - distance])
    return register ^ np.uint32(0xFFFFFFFF)


def masked(checksums: Words) -> Words:
    """Checksums as the format stores them: rotated by 15 bits, plus a constant."""
    rotated = np.bitwise_or(checksums >> np.uint32(15), checksums << np.uint32(17))
    return np.asarray(rotated + np.uint32(0xA282EAD8), np.uint32)


def frames(path: Path) -> Iterator[list[bytes]]:
    """The payloads of a TFRecord file in batches, every checksum verified.

    Args:
        path: of the file.

    Raises:
        DataError: when the file is missing, a frame is truncated or longer than any record, or a checksum differs; the
            message names frame and byte.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "empty.tfrecord"
        ...     _ = file.write_bytes(b"")
        ...     list(frames(file))
        []
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    yield from _batches(content, size, path.name)
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def _batches(content: mmap.mmap, size: int, name: str) -> Iterator[list[bytes]]:
    place = number = 0
    while place < size:
        heads: list[bytes] = []
        payloads: list[bytes] = []
        sums: list[tuple[int, int]] = []
        places: list[int] = []
        problem = None
        while place < size and len(payloads) < _BATCH:
            head = content[place : place + _HEAD.size]
            if len(head) < _HEAD.size:
                problem = "the file ends within its length"
                break
            length, head_sum = _HEAD.unpack(head)
            end = place + _HEAD.size + length + 4
            if length > _LONGEST or end > size:
                if masked(crc32c([head[:8]]))[0] != head_sum:
                    problem = "the checksum of its length differs"
                elif length > _LONGEST:
                    problem = f"its payload has {length} bytes, no record more than {_LONGEST}"
                else:
                    problem = f"the file ends within its payload of {length} bytes"
                break
            payloads.append(content[place + _HEAD.size : end - 4])
            heads.append(head[:8])
            sums.append((head_sum, int.from_bytes(content[end - 4 : end], "little")))
            places.append(place)
            place = end
        # a wrong length misleads the search for the next frame, so that frames before a problem are checked first
        wrong = np.stack([masked(crc32c(heads)), masked(crc32c(payloads))], axis=1) != np.array(
            sums, np.uint32
        ).reshape(-1, 2)
        for first in np.flatnonzero(wrong.any(axis=1))[:1]:
            what = "length" if wrong[first, 0] else "payload"
            raise _damaged(name, number + int(first), places[first], f"the checksum of its {what} differs")
        number += len(payloads)
        if problem is not None:
            raise _damaged(name, number, place, problem)
        yield payloads


def _damaged(name: str, number: int, place: int, reason: str) -> DataError:
    return DataError(
        f"frame {number} of {name!r}, at byte {place}, is damaged: {reason}. If the file is a TFRecord, fetch it again"
    )
