"""Doctor: what this machine and this installation offer, measured where words would only guess."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from sharewise.data.sources import SOURCES, locate
from sharewise.errors import SharewiseError
from sharewise.run import native
from sharewise.run.environment import environment
from sharewise.run.precision import measured

__all__ = ["EXTRAS", "examine"]

EXTRAS: Mapping[str, str] = {
    "completion": "shtab",
    "dask": "distributed",
    "onnx": "onnxscript",
    "ray": "ray",
    "ray-tune": "tensorboardX",
    "slurm": "submitit",
    "strategies": "optuna",
    "syne-tune": "syne_tune",
    "tensorboard": "tensorboard",
    "transformers": "transformers",
}
"""Optional extras by the module that they bring."""

_ROUNDS = 7


def examine(folder: Path) -> dict[str, Any]:
    """Versions, threads, precision, kernels, disk, data and extras, as plain values.

    Args:
        folder: whose disk is looked at.

    Example:
        >>> found = examine(Path())
        >>> sorted(found)
        ['cuda', 'data', 'disk', 'environment', 'extras', 'native', 'precision', 'threads']
    """
    return {
        "environment": environment(torch.device("cpu")),
        "threads": _threads(),
        "precision": _precision(),
        "native": _native(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "disk": {"folder": str(folder.resolve()), "free_bytes": shutil.disk_usage(folder).free},
        "data": _data(),
        "extras": {extra: find_spec(module) is not None for extra, module in EXTRAS.items()},
    }


def _threads() -> dict[str, Any]:
    """A convolution of a small network on one thread and on all: milliseconds, least of several rounds."""
    before = torch.get_num_threads()
    try:
        cores = os.cpu_count() or 1
        times = {count: _milliseconds(count) for count in dict.fromkeys((1, cores))}
    finally:
        torch.set_num_threads(before)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cores": cores, "load": load, "milliseconds": times}


def _precision() -> dict[str, Any]:
    """A small block in float32 and in bfloat16, which pays on some processors and loses fourfold on others."""
    found = measured()
    return {**found, "pays": "bfloat16" if found["bfloat16"] < 0.9 * found["float32"] else "float32"}


def _native() -> dict[str, Any]:
    """The time of a layer of each kind by compiled kernels, over that by torch, or what is missing for them."""
    try:
        return {"ratios": {kind.words: native.measured(kind).ratio for kind in native.KINDS}, "missing": None}
    except SharewiseError as error:
        return {"ratios": {}, "missing": str(error)}


def _milliseconds(threads: int) -> float:
    torch.set_num_threads(threads)
    x = torch.ones(32, 16, 32, 32).contiguous(memory_format=torch.channels_last)
    weight, taken = torch.ones(16, 16, 3, 3), []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        F.conv2d(x, weight, padding=1)
        taken.append(1000 * (time.perf_counter() - began))
    return min(taken)


def _data() -> dict[str, str | None]:
    """Where every data set would be read from without `--data-path`; `None` where it would not be found."""
    found: dict[str, str | None] = {}
    for name, source in SOURCES.items():
        if not source.needs_path:
            found[name] = "built in"
            continue
        try:
            found[name] = str(locate(name, None))
        except SharewiseError:
            found[name] = None
    return found
