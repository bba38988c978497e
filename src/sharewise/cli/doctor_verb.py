"""`sharewise doctor`."""

from __future__ import annotations

from pathlib import Path

from sharewise.cli.output import print_json
from sharewise.cli.parser import Parser
from sharewise.errors import printable

__all__ = ["execute"]


def execute(parser: Parser, words: list[str]) -> int:
    """Say what this machine and this installation offer."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(words)

    from sharewise.run.doctor import examine

    found = examine(Path())
    if options.json:
        print_json(found)
        return 0
    facts, threads, precision, native = (found[part] for part in ("environment", "threads", "precision", "native"))
    print("  ".join(f"{name} {facts[name]}" for name in ("sharewise", "python", "torch", "numpy")))
    print(printable(f"processor: {facts['processor']}, {threads['cores']} cores, load {threads['load']}"))
    times = ", ".join(f"{taken:.2f} ms on {count}" for count, taken in threads["milliseconds"].items())
    print(f"threads: a convolution of a small network takes {times}")
    print(
        f"precision: float32 {precision['float32']:.2f} ms, bfloat16 {precision['bfloat16']:.2f} ms: "
        f"{precision['pays']} pays here"
    )
    took = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in native["ratios"].items())
    print(printable(f"native kernels: {native['missing'] or took + ' of the time that torch takes to train it'}"))
    print(f"CUDA devices: {', '.join(found['cuda']) or 'none'}")
    print(printable(f"disk: {found['disk']['free_bytes'] / 2**30:.1f} GiB free in {found['disk']['folder']}"))
    for name, place in found["data"].items():
        if place:
            print(printable(f"data {name}: {place}"))
    if missing := [name for name, place in found["data"].items() if not place]:
        print(f"data not found: {', '.join(missing)} (give --data-path, or set SHAREWISE_DATA)")
    for state, wanted in (("installed", True), ("absent, pip install 'sharewise[NAME]'", False)):
        if extras := [extra for extra, there in found["extras"].items() if bool(there) is wanted]:
            print(f"extras {state}: {', '.join(extras)}")
    return 0
