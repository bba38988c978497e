"""Short runs come to what they came to when the golden values were recorded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("golden_runs", _HERE / "golden_runs.py")
assert _spec is not None
assert _spec.loader is not None
golden_runs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden_runs)
GOLDEN: dict[str, dict[str, Any]] = json.loads((_HERE / "golden_runs.json").read_text())


def _close(found: Any, expected: Any) -> bool:
    """Equal, numbers to a relative 1e-9."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(_close, found, expected))
    return bool(found == expected or found == pytest.approx(expected, rel=1e-9, abs=1e-12))


def test_every_record_is_a_case() -> None:
    """A method that came after the record has none, and needs none."""
    assert set(GOLDEN) <= set(golden_runs.cases())
    assert len(GOLDEN) == 71


@pytest.mark.sweep(2)
@pytest.mark.parametrize("name", list(GOLDEN))
def test_golden_run(name: str) -> None:
    found = json.loads(json.dumps(golden_runs.summary(golden_runs.run_case(golden_runs.cases()[name]))))
    different = {key: (found[key], GOLDEN[name][key]) for key in found if not _close(found[key], GOLDEN[name][key])}
    assert not different
