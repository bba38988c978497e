"""Records that are in the authors' repository (automl/RobustDARTS) and not in a file of records, in that file's form.

`run.py --records` judges what this writes. Usage::

    git clone https://github.com/automl/RobustDARTS CHECKOUT
    python experiments/collapse_alarm/records.py CHECKOUT --known search_logs.jsonl.gz --out further.jsonl
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PLACE = re.compile(r"(s\d)/(\w+)/([\d.]+)_([\d.]+)-\d+/errors_(\d)\.json")
GENOTYPE = re.compile(r"genotype = (Genotype\(.*\))\s*$", re.MULTILINE)


def records(checkout: Path) -> Iterator[dict[str, Any]]:
    """Every search of the repository, in the order of its folders; values as they stand there."""
    root = checkout / "experiments" / "search_logs"
    for path in sorted(root.glob("s*/*/*/errors_*.json")):
        place = PLACE.fullmatch(path.relative_to(root).as_posix())
        if place is None:
            continue
        space, data, drop_path, decay, seed = place.groups()
        errors = json.loads(path.read_text(encoding="utf-8"))
        genotypes = GENOTYPE.findall((path.parent / f"log_{seed}.txt").read_text(encoding="utf-8"))
        yield {
            "space": space,
            "data": data,
            "drop_path": float(drop_path),
            "weight_decay": float(decay),
            "seed": int(seed),
            "final_genotype": (path.parent / f"arch_{seed}").read_text(encoding="utf-8").strip(),
            "valid_error": errors["valid_acc"],
            "train_error": errors["train_acc"],
            "valid_loss": errors["valid_loss"],
            "train_loss": errors["train_loss"],
            "genotypes": genotypes,
            "skip_connects": [[half.count("skip_connect") for half in text.split("reduce=")] for text in genotypes],
            **eigenvalues(path.parent / f"derivatives_{seed}.json"),
        }


def eigenvalues(path: Path) -> dict[str, list[float]]:
    """The ends of the spectra of the recorded matrices ∂²L_val/∂α², one a line; nothing where there are none."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    matrices = [np.array(line["H"]) for line in lines]
    spectra = [np.linalg.eigvalsh((matrix + matrix.T) / 2) for matrix in matrices]
    return {
        "hessian_epoch": [line["epoch"] for line in lines],
        "largest_eigenvalue": [float(values[-1]) for values in spectra],
        "smallest_eigenvalue": [float(values[0]) for values in spectra],
    }


def same(record: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records are of one search: the setting, and the validation losses up to how they were rounded."""
    facts = ("space", "data", "drop_path", "weight_decay")
    pairs = zip(record["valid_loss"], other["valid_loss"], strict=False)
    return all(record[fact] == other[fact] for fact in facts) and all(abs(a - b) < 1e-3 for a, b in pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("checkout", type=Path)
    options.add_argument("--known", type=Path, required=True, help="file of the records that are left out")
    options.add_argument("--out", type=Path, required=True, help="file that is written, one record a line")
    chosen = options.parse_args(arguments)
    with gzip.open(chosen.known, "rt", encoding="utf-8") as file:
        known = [json.loads(line) for line in file]
    found = list(records(chosen.checkout))
    further = [record for record in found if not any(same(record, other) for other in known)]
    chosen.out.write_text("".join(json.dumps(record) + "\n" for record in further), encoding="utf-8")
    print(f"{len(found)} searches, {len(further)} of them further")
    return 0


if __name__ == "__main__":
    sys.exit(main())
