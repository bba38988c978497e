"""The official graph hashes of many NAS-Bench-101 cells at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt

from sharewise.errors import ConfigurationError
from sharewise.spaces.nasbench101.cell import VERTICES
from sharewise.spaces.nasbench101.enumeration import labels, matrices, of_vertices

__all__ = ["hashes"]

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint32]

_CHUNK = 8192
_HEXADECIMAL = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint16)


def hashes(cells: Codes, workers: int = 1) -> Bytes:
    """The graph hash of `Cell.hash` for many pruned cells.

    Vertices are laid out as arrays and sorted by hash with numpy; what remains of the official procedure is one MD5 a
    vertex and round, 17 million for the whole space. All 423,624 cells took 26 s of processor time (x86-64, Python
    3.11), where one cell after the other in plain Python takes about ten minutes; workers share it.

    Args:
        cells: codes of pruned cells, shape `(n,)`.
        workers: processes to share the work; with more than one, a script needs the usual `__name__ == "__main__"`
            guard.

    Returns:
        The 16 bytes of each hash, shape `(n, 16)`.

    Raises:
        ConfigurationError: when `workers` is not positive.

    Example:
        >>> from sharewise.spaces.nasbench101 import Cell
        >>> hashes(np.array([Cell(1).code], dtype=np.uint32))[0].tobytes().hex()
        '043721b9c7fe8c5fad811d47d83132ec'
    """
    if workers < 1:
        raise ConfigurationError(f"workers must be at least 1, got {workers}")
    codes = np.asarray(cells, dtype=np.uint32)
    digests = np.empty((len(codes), 16), dtype=np.uint8)
    parts = list(_parts(codes))
    work = [(codes[places], vertices) for vertices, places in parts]
    if workers == 1 or len(parts) < 2:
        results: Iterator[Bytes] = map(_part, work)
        for (_, places), part in zip(parts, results, strict=True):
            digests[places] = part
        return digests
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for (_, places), part in zip(parts, pool.map(_part, work), strict=True):
            digests[places] = part
    return digests


def _parts(codes: Codes) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    for vertices in range(2, VERTICES + 1):
        places = of_vertices(codes, vertices)
        for start in range(0, len(places), _CHUNK):
            yield vertices, places[start : start + _CHUNK]


def _digests(messages: Bytes) -> Bytes:
    """The MD5 of each row."""
    count, length = messages.shape
    whole, md5 = messages.tobytes(), hashlib.md5
    digests = b"".join([md5(whole[i : i + length]).digest() for i in range(0, count * length, length)])
    return np.frombuffer(digests, dtype=np.uint8).reshape(count, 16)


def _ascending(digests: Bytes) -> npt.NDArray[np.intp]:
    """The vertices of each cell in ascending order of their hash, shape `(n, v)`."""
    halves = np.ascontiguousarray(digests).view(">u8").astype(np.uint64)  # most significant byte first, as in text
    return np.lexsort((halves[..., 1], halves[..., 0]), axis=-1)


def _part(work: tuple[Codes, int]) -> Bytes:
    """The hashes of cells that all have the same number of vertices."""
    codes, n = work
    count = len(codes)
    adjacent = matrices(codes, n)
    into, out = adjacent.sum(axis=1), adjacent.sum(axis=2)
    label = np.full((count, n), -1)
    label[:, 1:-1] = labels(codes, n)
    label[:, -1] = -2
    # first round: few different triples
    triples, which = np.unique(np.stack([out, into, label], axis=-1).reshape(-1, 3), axis=0, return_inverse=True)
    first = [hashlib.md5(str(tuple(triple)).encode()).digest() for triple in triples.tolist()]
    digests = np.frombuffer(b"".join(first), dtype=np.uint8).reshape(-1, 16)[which.ravel()].reshape(count, n, 16)
    # vertices with equally many sources and targets have messages of equal length
    kinds = [(a, b, (into == a) & (out == b)) for a in range(n) for b in range(n)]
    for _ in range(n):
        order = _ascending(digests)
        text = _HEXADECIMAL[digests].view(np.uint8)
        rows = np.arange(count)[:, None]
        sources = adjacent[rows, order]  # [cell, place in order, target]
        targets = adjacent.transpose(0, 2, 1)[rows, order]
        following = np.empty((count, n, 16), dtype=np.uint8)
        for a, b, here in kinds:
            cell, vertex = np.nonzero(here)
            if not len(cell):
                continue
            message = np.full((len(cell), 32 * (a + b + 1) + 2), ord("|"), dtype=np.uint8)
            ranked = order[cell]
            for size, start, member in ((a, 0, sources), (b, 32 * a + 1, targets)):
                chosen = ranked[member[cell, :, vertex]].reshape(len(cell), size)
                message[:, start : start + 32 * size] = text[cell[:, None], chosen].reshape(len(cell), 32 * size)
            message[:, -32:] = text[cell, vertex]
            following[cell, vertex] = _digests(message)
        digests = following
    order, text = _ascending(digests), _HEXADECIMAL[digests].view(np.uint8)
    form = "[" + ", ".join(["'" + 32 * "." + "'"] * n) + "]"  # str of a list of n hashes
    last = np.tile(np.frombuffer(form.encode(), dtype=np.uint8), (count, 1))
    last[:, last[0] == ord(".")] = text[np.arange(count)[:, None], order].reshape(count, 32 * n)
    return _digests(last)
