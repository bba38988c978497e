"""The environment of a run: versions, hardware and commit, as plain values."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["environment", "versions"]


def versions() -> dict[str, str]:
    """Versions of sharewise, Python and the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("sharewise", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def environment(device: torch.device) -> dict[str, str | int]:
    """All facts that one needs to read a measurement.

    Args:
        device: on which the run computes.

    Returns:
        Versions, platform, processor, cores, threads, device, commit and start time.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        **versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "device": name,
        "commit": _commit(Path.cwd()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def _commit(folder: Path) -> str:
    """The commit of the user's folder, where it is a checkout; of the installed package, its version tells.

    One question, which writes nothing and starts no program that the folder names.
    """
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            [*command, "--untracked-files=no"], capture_output=True, text=True, timeout=5, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return "unknown"
    lines = done.stdout.splitlines()
    changed = any(not line.startswith("#") for line in lines)
    heads = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if not heads or heads[0] == "(initial)":
        return "unknown"
    return heads[0] + ("-dirty" if changed else "")
