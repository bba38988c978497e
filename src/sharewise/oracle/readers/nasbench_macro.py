"""The published table of NAS-Bench-Macro."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sharewise.errors import DataError
from sharewise.oracle.draft import Draft
from sharewise.oracle.quantity import Key
from sharewise.oracle.readers.provenance import provenance
from sharewise.oracle.readers.text_table import PERCENT, TextTable

__all__ = ["RESULTS", "nasbench_macro_table"]

RESULTS = "nasbench_macro_cifar10.csv.gz"
_RUNS = 3


def nasbench_macro_table(folder: Path) -> Draft:
    """Read the text table of NAS-Bench-Macro: three test accuracies, parameters and operations of 6,561 networks.

    Args:
        folder: that holds `nasbench_macro_cifar10.csv.gz`.

    Returns:
        The table in the order of the space's listing.

    Raises:
        DataError: when the file is damaged, or its rows are not the networks of the space.
    """
    path = folder / RESULTS
    columns = [f"test_acc_run{run}" for run in range(_RUNS)]
    table = TextTable(path, ["arch", *columns, "params", "flops"])
    draft = Draft(
        "NAS-Bench-Macro",
        "nasbench_macro",
        provenance(
            "text table of NAS-Bench-Macro (X. Su et al., CVPR 2021)",
            [path],
            [
                "test accuracies only: there is no validation split, and the source names neither epochs nor times",
                "seed counts the three independent trainings from 0",
                "codes with the same blocks in other places around an identity have equal results, as in the source",
            ],
        ),
    )
    listing = draft.space.listing
    rows = np.array([listing.code(text) for text in table.text("arch")], np.int64)
    if not np.array_equal(np.sort(rows), np.arange(len(listing))):
        raise DataError(f"{str(path)!r} must have each of the {len(listing):,} networks of NAS-Bench-Macro once")
    order = np.argsort(rows)
    keys = []
    for run, column in enumerate(columns):
        keys.append(Key("accuracy", "cifar10", "test", None, run))
        note = f"test on 10,000 images ({column})"
        draft.add(keys[-1], table.numbers(column, within=PERCENT)[order], "percent", note)
    draft.add_mean(
        Key("accuracy", "cifar10", "test", None, "mean"), keys, "test on 10,000 images (test_acc_run0 to run2)"
    )
    draft.add(Key("parameters", "cifar10"), table.integers("params")[order], "count", "trainable parameters (params)")
    note = "operations of one forward pass as the source counts them (flops)"
    draft.add(Key("flops", "cifar10"), table.integers("flops")[order], "count", note)
    return draft
