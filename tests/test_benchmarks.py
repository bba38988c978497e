"""The benchmarks run, and their exactness check holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_cost_of_a_search_step_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks", "search_step", "--rounds", "2", "--channels", "2", "--cells", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert max(result["exactness"].values()) < 1e-10
    assert len(result["seconds"]) == 8
