from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import Key

Appraised = Callable[[Mapping[str, Any]], dict[str, Any]]
FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "nasbench_macro_sharing"


@pytest.mark.slow
def test_it_runs_goes_on_and_is_appraised(appraised: Appraised, config: dict[str, Any], tmp_path: Path) -> None:
    table = Draft("Made up", "nasbench_macro", {"source": "", "files": [], "notes": []})
    values = np.random.default_rng(0).random(6_561).astype(np.float32)
    table.add(Key("accuracy", "cifar10", "test", None, "mean"), values, "fraction", "test")
    write_table(table, tmp_path / "nasbench_macro.table")
    config |= {"data": {"name": "digits", "train_examples": 96}, "seeds": [0], "network": {"channels": 2}}
    config["options"] |= {"batch_size": 16, "candidates": 2}
    config["methods"] = {"fairnas": {"epochs": 1}, "spos": {"epochs": 3}}
    config["appraisal"] = {"architectures": 5, "recalibrate": 1, "examples": 32, "repeats": 3, "resamples": 20}
    results = appraised(config)
    assert set(results["answers"]) == {"fairnas", "spos"}
    assert results["answers"]["fairnas"]["document"]["n"] == 5
