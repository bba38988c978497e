"""The environment of a run: versions, hardware and commit, as plain values."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
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
        "commit": _commit(),
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


def _commit() -> str:
    """The commit of a source checkout; a released package has a version instead."""
    here = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # else this is an installed copy inside somebody's repository
        changed = "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.SubprocessError):
        return "unknown"
