"""How well `sharewise search --dry-run` foresees a search: five searches of different kinds, each in fresh processes.

For every search one process prints its forecast, and another one runs it in a folder. Compared are the seconds of the
run's ledger (training, measurement and selection together; the start of Python belongs to neither side) and the largest
resident memory of the whole process. Wanted: 0.7 to 1.4 times the seconds, 0.8 to 1.25 times the memory.

    python -m benchmarks forecast
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SMALL = "--train-examples 800"
SEARCHES = {
    "darts nasbench201": f"--method darts --channels 8 --cells 1 --epochs 4 {SMALL}",
    "spos nasbench201, evolution": (
        f"--method spos --channels 8 --cells 1 --epochs 20 --selection evolution --candidates 400 {SMALL}"
    ),
    "tanglenas-drnas conv-macro": (
        f"--method tanglenas-drnas --space conv-macro --image-size 12 --divisor 4 --epochs 6 {SMALL}"
    ),
    "spos nasbench101:A_2": (
        f"--method spos --space nasbench101:A_2 --channels 16 --cells 1 --epochs 20 --candidates 100 {SMALL}"
    ),
    "enas toy-two-inputs": f"--method enas --space toy-two-inputs --epochs 12 {SMALL}",
}


def sharewise(words: list[str]) -> tuple[str, int]:
    """Output of one process and its largest resident memory in bytes."""
    child = subprocess.Popen(
        [sys.executable, "-m", "sharewise", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"sharewise {' '.join(words)} failed")
    return output, usage.ru_maxrss * 1024


def compared(words: list[str]) -> dict[str, Any]:
    words = ["search", *words, "--device", "cpu", "--threads", "1", "--json"]
    foreseen = json.loads(sharewise([*words, "--dry-run"])[0])
    with tempfile.TemporaryDirectory() as folder:
        output, memory = sharewise([*words, "--out", str(Path(folder) / "run")])
    ledger = json.loads(output)["ledger"]
    took = {
        "training": ledger["search"]["seconds"],
        "measurement": ledger.get("measurement", {}).get("seconds", 0.0),
        "selection": ledger.get("selection", {}).get("seconds", 0.0),
    }
    charged = sum(part["multiply_accumulates"] for part in ledger.values())
    return {
        "foreseen": foreseen["seconds"],
        "took": took,
        "seconds": sum(took.values()) / sum(foreseen["seconds"].values()),
        "memory": memory / foreseen["peak_bytes"],
        "multiply_accumulates": charged / sum(foreseen["multiply_accumulates"].values()),
    }


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    options = parser.parse_args(words)
    results = {}
    for name in options.searches:
        results[name] = found = compared(SEARCHES[name].split())
        parts = ", ".join(f"{part} {found['took'][part]:.1f}/{found['foreseen'][part]:.1f}" for part in found["took"])
        print(
            f"{name:30s} seconds ×{found['seconds']:.2f} (took/foreseen: {parts})   memory ×{found['memory']:.2f}   "
            f"multiply-accumulates ×{found['multiply_accumulates']:.3f}",
            flush=True,
        )
    print(json.dumps({"results": results}))
    return 0
