"""What grows with what: file operations, files, bytes on disk and memory of runs, with 1, 2 and 4 processes.

Every Python process of a command reports what it does to files in the command's folder (through an audit hook: opening,
renaming, removing, making, listing; not `stat`, of which Python tells nobody) and, at its end, the peak of its resident
memory. A search is run with two lengths, so that what it does once and what it does in every epoch fall apart; an
appraisal with two numbers of trained architectures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HOOK = """
import atexit, os, resource, sys
_folder, _notes = os.environ["SCALE_FOLDER"], os.open(os.environ["SCALE_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_who = f"{os.environ.get('RANK', '-')} {os.getpid()}"
_names = {"open": "open", "os.rename": "rename", "os.remove": "remove", "os.mkdir": "make", "os.listdir": "list",
          "os.scandir": "list"}
def _hook(event, arguments):
    name = _names.get(event)
    if name and arguments and str(arguments[0]).startswith(_folder):
        os.write(_notes, f"{_who} {name}\\n".encode())
sys.addaudithook(_hook)
_peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
atexit.register(lambda: os.write(_notes, f"{_who} memory {_peak()}\\n".encode()))
"""
SEARCH = ["search", "--space", "nasbench201", "--method", "spos", "--data", "digits", "--train-examples", "200",
          "--channels", "4", "--cells", "1", "--candidates", "2", "--device", "cpu"]  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What a command did.

    Args:
        operations: by rank (`-` for processes without one) and kind.
        memory: peaks in MiB, largest first.
        files: that it left.
        size: bytes of these.
    """

    operations: dict[str, Counter[str]]
    memory: list[float]
    files: int
    size: int

    def by(self, *ranks: str) -> int:
        """Operations of some processes."""
        return sum(sum(self.operations.get(rank, Counter()).values()) for rank in ranks)


def watched(words: list[str], folder: Path, place: Path) -> Seen:
    """Run a command, and collect what its processes noted."""
    hooks, notes = place / "hooks", place / "notes"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(HOOK)
    notes.unlink(missing_ok=True)
    path = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
    told = {"PYTHONPATH": path, "SCALE_FOLDER": str(folder), "SCALE_NOTES": str(notes), "OMP_NUM_THREADS": "1"}
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, **told})
    operations: dict[str, Counter[str]] = {}
    memory = []
    for line in notes.read_text().splitlines():
        rank, _, name, *value = line.split()
        if name == "memory":
            memory.append(int(value[0]) / 1024)
        else:
            operations.setdefault(rank, Counter())[name] += 1
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Seen(operations, sorted(memory, reverse=True), len(files), sum(path.stat().st_size for path in files))


def searched(place: Path, processes: int, epochs: int) -> Seen:
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    folder = place / f"search-{processes}-{epochs}"
    return watched([*start, "sharewise", *SEARCH, "--epochs", str(epochs), "--out", str(folder)], folder, place)


def appraised(place: Path, run: Path, architectures: int, jobs: int) -> Seen:
    folder = place / f"appraisal-{architectures}-{jobs}"
    words = [sys.executable, "-m", "sharewise", "appraise", str(run), "--architectures", str(architectures)]
    words += ["--epochs", "1", "--repeats", "5", "--resamples", "20", "--jobs", str(jobs), "--out", str(folder)]
    return watched(words, folder, place)


def main(arguments: list[str]) -> int:
    """Measure and print; the last line is JSON. The exit status says whether the first process alone writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args(arguments)
    found: dict[str, dict[str, object]] = {}
    others = 0

    def show(name: str, seen: Seen, first: int, beside: int) -> None:
        found[name] = {"first": first, "beside": beside, "files": seen.files, "bytes": seen.size, "memory": seen.memory}
        peaks = " ".join(f"{peak:.0f}" for peak in seen.memory[:4])
        print(f"  {name:40s} {first:6d} {beside:8d} {seen.files:6d} {seen.size:10,d}   {peaks}", flush=True)

    print(f"  {'':40s} operations: first, others; files, bytes; peaks of memory in MiB")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        for processes in options.processes:
            for epochs in (2, 6):
                seen = searched(place, processes, epochs)
                beside = seen.by(*map(str, range(1, processes)))
                show(f"search, {processes} processes, {epochs} epochs", seen, seen.by("-", "0"), beside)
                others = max(others, sum(seen.operations.get(str(r), Counter())["rename"] for r in range(1, processes)))
        run = place / f"search-{options.processes[0]}-2"
        for architectures, jobs in ((3, 1), (9, 1), *((9, jobs) for jobs in options.processes if jobs > 1)):
            seen = appraised(place, run, architectures, jobs)
            show(f"appraisal, {architectures} trainings, {jobs} jobs", seen, seen.by("-", "0"), 0)
    print(json.dumps(found))
    return int(others > 0)
