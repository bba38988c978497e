"""The library of kernels: compiled on this machine when it is first asked for, and kept for the next time.

A C compiler is all that it takes; nothing of torch is compiled, so that the kernels depend on no version of it. What is
kept belongs to the sources, one compiler and one kind of processor, and to the user: a folder that others may write to
is not used.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch

from sharewise.errors import ConfigurationError, printable

__all__ = ["can_be_compiled", "enabled", "library", "native_kernels", "require_library"]

_FILES = (
    "vectors.h",
    "products.h",
    "combine.c",
    "depthwise.c",
    "layer_norm.c",
    "norm.c",
    "pointwise.c",
    "pooling.c",
    "winograd.c",
)
_SOURCES = tuple(Path(__file__).with_name(name) for name in _FILES)
_REALS = {torch.float32: "float", torch.float64: "double"}
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")
_FUNCTIONS = {
    "average": 3,
    "combine": 4,
    "depthwise": 4,
    "depthwise_gradient": 4,
    "layer_norm": 9,
    "layer_norm_gradient": 11,
    "norm": 10,
    "norm_gradient": 8,
    "norm_second_gradient": 11,
    "pointwise": 5,
    "pointwise_gradient": 4,
    "products": 4,
    "winograd": 5,
    "winograd_gradient": 4,
}
"""With the number of their arguments, all of which are addresses."""
_SECONDS = 120
_PROCESSOR = ("model name", "flags", "CPU implementer", "CPU part", "CPU variant", "Features")
"""Lines of Linux that say what a processor is, on x86 and on ARM."""

_ENABLED: ContextVar[bool] = ContextVar("native kernels", default=False)


def enabled() -> bool:
    """Whether this runs within `native_kernels`."""
    return _ENABLED.get()


@contextmanager
def native_kernels(on: bool = True) -> Iterator[None]:
    """Within the block, layers are computed by compiled kernels, where these serve.

    They serve depthwise convolutions, those of 1×1 and 3×3 with few channels, batch norms with statistics of the batch
    and averages of 3×3, of images on a CPU with channels innermost, and layer norms of mixtures of widths, in float32
    or float64, on one thread of torch; anything else is computed as ever. Sums come in another order, so that results
    agree up to rounding, and not to the bit. Forward and backward pass belong into the block. Gradients that are
    batched (`is_grads_batched`), and derivatives in forward mode, are torch's alone.

    Args:
        on: whether they are used.

    Raises:
        ConfigurationError: when they cannot be compiled here.

    Example:
        >>> with native_kernels(False):
        ...     enabled()
        False
    """
    if on:
        require_library()
    token = _ENABLED.set(on)
    try:
        yield
    finally:
        _ENABLED.reset(token)


@cache
def can_be_compiled() -> bool:
    """Whether there are kernels on this machine; they are compiled, unless that is done."""
    try:
        require_library()
    except ConfigurationError:
        return False
    return True


def require_library() -> None:
    """Compile the kernels, unless that is done.

    Raises:
        ConfigurationError: when they cannot be compiled here.
    """
    for dtype in _REALS:
        library(dtype)


@cache
def library(dtype: torch.dtype) -> ctypes.CDLL:
    """The kernels for numbers of a type, `torch.float32` or `torch.float64`.

    Raises:
        ConfigurationError: when they cannot be compiled here.
    """
    compiler = _compiler()
    sources = [source.read_text(encoding="utf-8") for source in _SOURCES]
    name = hashlib.sha256("\n".join([*sources, *_FLAGS, *_machine(compiler)]).encode())
    file = _folder() / f"{_REALS[dtype]}-{name.hexdigest()[:16]}.so"
    if not file.exists():
        _compile(compiler, _REALS[dtype], file)
    try:
        found = ctypes.CDLL(str(file))
    except OSError as error:
        raise ConfigurationError(
            f"native kernels in {file} cannot be loaded ({printable(str(error))}); delete the file, or leave them out "
            "(--no-native)"
        ) from None
    for function, arguments in _FUNCTIONS.items():
        getattr(found, function).argtypes = [ctypes.c_void_p] * arguments
    return found


def _compiler() -> str:
    if not hasattr(os, "getuid"):
        raise ConfigurationError("native kernels are made on Linux and macOS; leave them out (--no-native)")
    wanted = os.environ.get("CC") or "cc"
    found = next((path for name in (wanted, "gcc", "clang") if (path := shutil.which(name))), None)
    if found is None:
        raise ConfigurationError(
            "native kernels need a C compiler such as gcc, and there is none here; install one, or leave them out "
            "(--no-native)"
        )
    return found


def _machine(compiler: str) -> list[str]:
    """What a compiled file depends on besides its source: the compiler, and what the processor can do."""
    facts = [compiler, _answer([compiler, "--version"]), platform.machine(), sys.platform]
    processor = Path("/proc/cpuinfo")
    if processor.exists():
        lines = processor.read_text(encoding="utf-8", errors="replace").splitlines()
        facts += [next((line for line in lines if line.startswith(key)), "") for key in _PROCESSOR]
    elif sys.platform == "darwin":
        facts.append(_answer(["sysctl", "-n", "machdep.cpu.brand_string"]))
    return facts


def _compiled() -> list[str]:
    return [str(source) for source in _SOURCES if source.suffix == ".c"]


def _answer(command: list[str]) -> str:
    """What a program says; nothing where it cannot be asked, as the compiler will say by itself."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _folder() -> Path:
    """Where compiled kernels are kept: a folder of the user's own."""
    kept = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(kept) if kept else Path.home() / ".cache") / "sharewise" / "native"
    except RuntimeError:
        raise ConfigurationError(
            "native kernels are kept in a folder of the user, who has no home here; set XDG_CACHE_HOME, or leave them "
            "out (--no-native)"
        ) from None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise ConfigurationError(
            f"native kernels are kept in {folder}, which cannot be made ({error.strerror}); set XDG_CACHE_HOME to a "
            "folder that can be written to, or leave them out (--no-native)"
        ) from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"native kernels are kept in {folder}, which is no folder of yours that you alone can write to; chmod 700 "
            "it, set XDG_CACHE_HOME to another, or leave them out (--no-native)"
        )
    return folder


def _compile(compiler: str, real: str, file: Path) -> None:
    """Compile into a file beside the final one, which then takes its place at once."""
    try:
        descriptor, name = tempfile.mkstemp(suffix=".so", dir=file.parent)
    except OSError as error:
        raise ConfigurationError(
            f"native kernels are kept in {file.parent}, where no file can be made ({error.strerror}); set "
            "XDG_CACHE_HOME to another folder, or leave them out (--no-native)"
        ) from None
    os.close(descriptor)
    try:
        command = [compiler, *_FLAGS, f"-DREAL={real}", *_compiled(), "-o", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if "error" in line), f"exit {done.returncode}")
            raise ConfigurationError(
                f"native kernels cannot be compiled here by {compiler} ({printable(reason)}); set CC to a C compiler "
                "such as gcc, or leave them out (--no-native)"
            )
        os.replace(name, file)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(
            f"native kernels cannot be compiled here by {compiler} ({printable(str(error))}); leave them out "
            "(--no-native)"
        ) from None
    finally:
        Path(name).unlink(missing_ok=True)
