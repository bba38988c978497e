from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Appraised = Callable[[Mapping[str, Any]], dict[str, Any]]
FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "nats_size_sharing"


@pytest.mark.slow
def test_both_arms_are_appraised_against_the_same_trainings(
    appraised: Appraised, config: dict[str, Any], tmp_path: Path
) -> None:
    config |= {"data": {"name": "digits", "train_examples": 96}, "seeds": [0]}
    config["options"] |= {"batch_size": 16, "candidates": 2}
    config["methods"]["sandwich"]["epochs"] = config["methods"]["spos"]["epochs"] = 1
    config["training"] |= {"epochs": 1}
    config["appraisal"] = {"architectures": 3, "recalibrate": 1, "examples": 32, "repeats": 3, "resamples": 20}
    results = appraised(config)
    assert set(results["answers"]) == {"sandwich", "spos"}
    assert results["answers"]["spos"]["document"]["n"] == 3
    kept = [tmp_path / f"appraisal-{method}-1" / "trainings" for method in config["methods"]]
    assert len({(folder / "trainings.jsonl").read_bytes() for folder in kept}) == 1
    assert [folder.is_dir() for folder in (kept[0] / "0000", kept[1] / "0000")] == [True, False], "trained once"
