"""Rows beside no search step: entangled networks beside the largest plain one, a busy machine, and the start-up."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import entanglement
from benchmarks.table.row import AtMost, Row, Size, alternating
from benchmarks.threads import busy

__all__ = ["ROWS"]

_SIDES = ("weight step", "architecture step")


def _entangled(network: str, size: Size, rounds: int) -> Mapping[str, list[float]]:
    """Half of a search step, weights and gates, beside a step of the plain network, by rounds and choices."""
    found: dict[str, list[float]] = {"ours": [], "largest plain network": []}
    for k in size.choices:
        if network == "convolutional" and k > 4:
            continue  # there are four kernels
        steps = entanglement.steps_of_network(network, k)
        sides = alternating(lambda _, steps=steps: steps)(size, rounds)
        both = zip(*(sides[side] for side in _SIDES), strict=True)
        found["ours"] += [sum(pair) / 2 for pair in both]
        found["largest plain network"] += sides["plain"]
    return found


def _entangled_memory(network: str, size: Size, rounds: int) -> Mapping[str, list[float]]:
    """Of the worst number of choices: what a weight step adds to a fresh process."""
    choices = [k for k in size.choices if network == "transformer" or k <= 4]
    peaks = [entanglement.peaks(network, k, 3 if size.full else 1, ("plain", "weight step")) for k in choices]
    worst = max(peaks, key=lambda peak: peak["weight step"] / peak["plain"])
    return {"ours": [worst["weight step"]], "largest plain network": [worst["plain"]]}


def _command(words: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of the command line."""
    program = "import sys; from sharewise.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _busy(size: Size, rounds: int) -> Mapping[str, list[float]]:
    """Wall seconds of a short search of the demo's size, while a process holds every core."""
    words = ["search", "--channels", "8", "--cells", "1", "--device", "cpu", "--gap-examples", "0"]
    words += ["--train-examples", "640"]
    words += ["--epochs", "3" if size.full else "1"]
    found: dict[str, list[float]] = {"default": [], "--threads 1": []}
    with busy(os.cpu_count() or 1), tempfile.TemporaryDirectory() as folder:
        for number in range(rounds if size.full else 1):
            for name, more in {"default": [], "--threads 1": ["--threads", "1"]}.items():
                out = ["--out", str(Path(folder) / f"{number}{name.strip('- ')}")]
                found[name].append(_command([*words, *more, *out])[0])
    return found


def _starting(words: Sequence[str]) -> Callable[[Size, int], Mapping[str, list[float]]]:
    def measure(size: Size, rounds: int) -> Mapping[str, list[float]]:
        _command(words)  # byte code is compiled once
        return {"sharewise " + " ".join(words): [_command(words)[1] for _ in range(rounds)]}

    return measure


def _largest(network: str) -> float:
    return entanglement.largest_equals_plain(network)


_PLAIN = "largest plain network"

ROWS = (
    *(
        row
        for network in entanglement.NETWORKS
        for row in (
            Row(
                f"entangled {network} network, half a search step",
                partial(_entangled, network),
                [AtMost(1.05, _PLAIN)],
                partial(_largest, network),
            ),
            Row(
                f"entangled {network} network, memory of a weight step",
                partial(_entangled_memory, network),
                [AtMost(1.15, _PLAIN)],
                unit="MiB",
                factor=2**-20,
            ),
        )
    ),
    Row("a search while every core is busy", _busy, [AtMost(1.3, "--threads 1")], unit="s", factor=1),
    Row("start of list", _starting(["list", "methods"]), [AtMost(0.3)], unit="CPU s", factor=1),
    Row("start of space", _starting(["space", "nasbench201", "--json"]), [AtMost(0.3)], unit="CPU s", factor=1),
)
