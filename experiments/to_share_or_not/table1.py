"""Table 1 of *To Share or Not To Share*: Spearman's correlation of supernet scores with standalone training.

All 42 cells from 210,000 published scores. Usage, from anywhere::

    python experiments/to_share_or_not/table1.py --data FOLDER [--json]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from published import SPACES, VARIANTS, Published, arguments, load, settings

from sharewise.appraisal import OverSeeds, over_seeds
from sharewise.appraisal.agreement import spearman
from sharewise.errors import SharewiseError

Cells = dict[tuple[str, str], OverSeeds]


def correlations(data: Published) -> Cells:
    """Every cell by space and variant; a supernet that scores all architectures alike has no correlation."""
    return {
        (space, variant): over_seeds(
            {
                seed: None if sample.failed else spearman(sample.proxy, sample.valid)
                for seed, sample in data.samples(variant, space)
            }
        )
        for variant in VARIANTS
        for space in SPACES
    }


def printed(text: str) -> tuple[float, float]:
    """Mean and half width as the paper prints them, an asterisk left aside."""
    mean, half = re.sub(r"[*\s]", "", text).split("±")
    return float(mean), float(half)


def document(cells: Cells, data: Published) -> dict[str, Any]:
    """Plain values of the table."""
    expected = settings()["published"]["table1"]
    entries = []
    for (space, variant), found in cells.items():
        mean, half = printed(expected[space][variant])
        assert found.interval is not None  # never did all five supernets of a cell fail
        assert found.normal is not None
        entries.append(
            {
                "variant": variant,
                "space": space,
                "mean": found.interval.mean,
                "interval": {
                    "t": [found.interval.low, found.interval.high],
                    "paper": [found.normal.low, found.normal.high],
                },
                "half_width": {"t": found.interval.half_width, "paper": found.normal.half_width},
                "n": found.n,
                "failed": [int(seed) for seed in found.failed],
                "same_supernet_twice": [list(map(int, pair)) for pair in data.doubles(variant, space)],
                "values": list(found.values.values()),
                "printed": {"mean": mean, "half_width": half},
                "equal": {
                    "mean": f"{found.interval.mean:.2f}" == f"{mean:.2f}",
                    "half_width": f"{found.normal.half_width:.2f}" == f"{half:.2f}",
                },
            }
        )
    return {
        "table": "Spearman correlation of supernet scores and mean validation accuracy of standalone training",
        "architectures_per_supernet": 1000,
        "intervals": {
            "paper": "1.96 * s / sqrt(n), s with n in its denominator: how the printed half widths were made",
            "t": "Student's t, 95 %: what five seeds allow",
        },
        "means_equal": sum(entry["equal"]["mean"] for entry in entries),
        "half_widths_equal": sum(entry["equal"]["half_width"] for entry in entries),
        "failed_supernets": sum(len(entry["failed"]) for entry in entries),
        "cells": entries,
    }


def text(cells: Cells) -> str:
    """The table in the paper's layout, as Markdown: the printed kind of half width, and that of t in brackets."""
    lines = [f"| | {' | '.join(VARIANTS)} |", "| --- " * (len(VARIANTS) + 1) + "|"]
    for space in SPACES:
        row = []
        for variant in VARIANTS:
            found = cells[space, variant]
            assert found.interval is not None
            assert found.normal is not None
            star = "\\* " * len(found.failed)
            row.append(
                f"{star}{found.interval.mean:.2f} ± {found.normal.half_width:.2f} ({found.interval.half_width:.2f})"
            )
        lines.append(f"| {space} | {' | '.join(row)} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(__doc__).parse_args(words)
    try:
        data = load(Path(options.data))
    except SharewiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    cells = correlations(data)
    found = document(cells, data)
    if options.json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return 0
    print("Spearman correlation of supernet scores with standalone training, mean over supernets.")
    print("± as printed in the paper (1.96 s / sqrt n, s over n); in brackets, half of the 95 % t interval.")
    print("* a supernet failed (constant scores) and is left out.\n")
    print(text(cells).replace("\\*", "*"))
    print()
    for (space, variant), cell in cells.items():
        if cell.failed:
            print(f"failed: {variant} on {space}, seed {', '.join(cell.failed)}")
    for entry in found["cells"]:
        for one, other in entry["same_supernet_twice"]:
            print(f"seeds {one} and {other} of {entry['variant']} on {entry['space']} are one supernet stored twice")
    print(f"equal to the printed numbers: {found['means_equal']} of 42 means, {found['half_widths_equal']} of 42 ±")
    return 0


if __name__ == "__main__":
    sys.exit(main())
