"""Status: what of a folder of runs is finished, running, waiting or failed, read from the folder alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from sharewise.errors import CheckpointError
from sharewise.files import is_locked, open_regular
from sharewise.sealed_json import parse_json, unsealed

__all__ = ["RunStatus", "status"]

_DEEP = 4
"""How far below a folder its runs lie: studies keep their trainings two folders down."""
_TAIL = 1 << 16


@final
@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Args:
        name: its path below the folder.
        state: `"stopped"` has begun, is not finished, and no process holds it.
        step: of the last line of its history, or `None` before it has one.
        why: of a failed one, in a line.
    """

    name: str
    state: Literal["finished", "running", "stopped", "waiting", "failed"]
    step: int | None = None
    why: str = ""


def status(folder: str | os.PathLike[str]) -> list[RunStatus]:
    """All runs of a folder: a run, a study, an appraisal, or anything with runs in it.

    Args:
        folder: on a file system that this machine sees; whether a run is held by a process of another machine depends
            on whether that file system passes locks on.

    Returns:
        Runs by name; searches of a study that nobody has begun yet are waiting.

    Raises:
        CheckpointError: when there is no such folder, or no run in it.

    Example:
        >>> import tempfile
        >>> import sharewise as sw
        >>> folder = Path(tempfile.mkdtemp())
        >>> found = sw.search("toy-tied-width", "spos", "digits", max_steps=1, device="cpu", out=folder / "run")
        >>> [(run.name, run.state, run.step) for run in status(folder)]
        [('run', 'finished', 1)]
    """
    place = Path(folder)
    if not place.is_dir():
        raise CheckpointError(f"there is no folder {place}")
    failures = _document(place / "study.json").get("failures", {})
    known = {run.name: run for run in (_of(place, path) for path in sorted(_runs(place, _DEEP)))}
    for name in _planned(place):
        known.setdefault(name, RunStatus(name, "waiting"))
    for cell, why in failures.items() if isinstance(failures, dict) else ():
        name = f"runs/{cell}"
        found = known.get(name)
        if found is None or found.state in ("waiting", "stopped"):  # what goes on, or has ended since, has not failed
            known[name] = RunStatus(name, "failed", None if found is None else found.step, str(why))
    if not known:
        raise CheckpointError(f"{place} holds no run, and no study that plans one")
    return [known[name] for name in sorted(known)]


def _runs(folder: Path, deep: int) -> Iterator[Path]:
    if (folder / "config.yaml").is_file():
        yield folder
    elif deep:
        with os.scandir(folder) as entries:
            below = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        for path in below:
            yield from _runs(Path(path), deep - 1)


def _of(place: Path, run: Path) -> RunStatus:
    if (run / "result.json").is_file():
        state: Any = "finished"
    else:
        state = "running" if is_locked(run) else "stopped"
    return RunStatus("." if run == place else run.relative_to(place).as_posix(), state, _last_step(run))


def _last_step(run: Path) -> int | None:
    """By the end of the history, of which the last line may be cut off."""
    try:
        with open_regular(run / "metrics.jsonl") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            step = parse_json(line).get("step")
        except (ValueError, AttributeError):
            continue
        if isinstance(step, int):
            return step
    return None


def _planned(place: Path) -> Iterator[str]:
    plan = _document(place / "plan.json")
    if plan.pop("kind", None) == "study":
        from sharewise.studies.plan import StudyPlan

        yield from (f"runs/{name}" for name in StudyPlan.drafted(plan).names())


def _document(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            value = parse_json(file.read())
    except (OSError, ValueError):
        return {}
    return unsealed(value)[0] if isinstance(value, dict) else {}
