"""What the README and `pyproject.toml` say of versions is what `make test-matrix` ran."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MATRIX: dict[str, Any] = runpy.run_path(str(ROOT / "tests" / "matrix.py"))
KEPT = json.loads((ROOT / "tests" / "matrix.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_table_of_the_readme_is_that_of_the_record() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start, end = MATRIX["MARKS"]
    assert readme.partition(start)[2].partition(end)[0].strip() == MATRIX["table"](KEPT).strip()


def test_no_version_is_claimed_that_was_not_run() -> None:
    ran = [row for row in KEPT["rows"] if row.get("passed")]
    pythons = {".".join(row["python"].split(".")[:2]) for row in ran}
    claimed = set(re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"])))
    assert claimed == pythons
    minors = sorted(int(version.split(".")[1]) for version in pythons)
    assert PROJECT["requires-python"] == f">=3.{minors[0]},<3.{minors[-1] + 1}"
    bounds = MATRIX["dependencies"]()
    oldest = min((row for row in ran), key=lambda row: tuple(map(int, row["torch"].split("+")[0].split("."))))
    for name in ("torch", "numpy"):
        assert oldest[name].startswith(bounds[name])


def test_parts_that_are_run_are_there() -> None:
    assert all((ROOT / part).exists() for part in MATRIX["PART"])
    assert set(MATRIX["dependencies"]()) == {name.partition(">=")[0] for name in PROJECT["dependencies"]}
