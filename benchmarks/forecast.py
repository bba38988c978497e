"""How well `sharewise search --dry-run` foresees a search: six searches of different kinds, each in fresh processes.

For every search one process prints its forecast, and another one runs it in a folder. Compared are the seconds of the
run's ledger (training, measurement and selection together; the start of Python belongs to neither side) and the largest
resident memory of the whole process. Wanted: 0.7 to 1.4 times the seconds, 0.8 to 1.25 times the memory; a line that
falls short begins with FAIL, and the exit code is 1. A model of one's own is searched from Python, in a process that
runs this file.

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
OWN = "spos, own transformer"
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
    OWN: "",
}
SECONDS, MEMORY = (0.7, 1.4), (0.8, 1.25)


def process(words: list[str]) -> tuple[Any, int]:
    """The JSON that a process prints, and its largest resident memory in bytes."""
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"python {' '.join(words)} failed")
    return json.loads(output), usage.ru_maxrss * 1024


def words_of(name: str, folder: str | None) -> list[str]:
    """The words of a process that foresees a search, or runs it in a folder."""
    if name == OWN:
        return ["-m", "benchmarks", "forecast", "--own", *([] if folder is None else [folder])]
    how = ["--dry-run"] if folder is None else ["--out", folder]
    return ["-m", "sharewise", "search", *SEARCHES[name].split(), "--device", "cpu", "--threads", "1", "--json", *how]


def own(folder: str | None) -> None:
    """Foresee the search of a transformer, or run it in a folder; prints what the command line would."""
    import torch

    import sharewise as sw
    from benchmarks.charging import own as transformer
    from sharewise.run import Place, RunFolder, Search, Setting, foresee

    torch.manual_seed(0)
    data = sw.data.digits().limited(800, seed=0)
    space, recipe = transformer(data.input_shape).space, sw.methods.spos(epochs=20, candidates=60)
    if folder is None:
        setting = Setting(place=Place(device="cpu", threads=1))
        print(json.dumps(foresee(Search(space, recipe, data, setting)).to_json()))
        return
    torch.set_num_threads(1)
    sw.search(space, recipe, data, device="cpu", out=folder)
    print(json.dumps(RunFolder(Path(folder)).read_result()))


def compared(name: str) -> dict[str, Any]:
    foreseen, _ = process(words_of(name, None))
    with tempfile.TemporaryDirectory() as folder:
        result, memory = process(words_of(name, str(Path(folder) / "run")))
    ledger = result["ledger"]
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


def kept(found: dict[str, Any]) -> bool:
    """Whether seconds and memory are within what is wanted."""
    return SECONDS[0] <= found["seconds"] <= SECONDS[1] and MEMORY[0] <= found["memory"] <= MEMORY[1]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--own", nargs="?", const="", metavar="DIR", help="only foresee, or run, the own model")
    options = parser.parse_args(words)
    if options.own is not None:
        own(options.own or None)
        return 0
    results = {}
    for name in options.searches:
        results[name] = found = compared(name)
        parts = ", ".join(f"{part} {found['took'][part]:.1f}/{found['foreseen'][part]:.1f}" for part in found["took"])
        print(
            f"{'' if kept(found) else 'FAIL '}{name:30s} seconds ×{found['seconds']:.2f} (took/foreseen: {parts})   "
            f"memory ×{found['memory']:.2f}   multiply-accumulates ×{found['multiply_accumulates']:.3f}",
            flush=True,
        )
    print(json.dumps({"results": results}))
    return 0 if all(map(kept, results.values())) else 1
