"""What `sharewise doctor` says of a machine, on lines that one reads."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path

import pytest

from sharewise.cli import main
from sharewise.run.doctor import EXTRAS


def test_everything_has_a_line_and_what_is_missing_shares_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    missing = [name for name, place in found["data"].items() if not place]
    assert [line for line in lines if line.startswith("data not found: ")] == [
        f"data not found: {', '.join(missing)} (give --data-path, or set SHAREWISE_DATA)"
    ] * bool(missing)
    for name in set(found["data"]) - set(missing):
        assert any(line.startswith(f"data {name}: ") for line in lines)
    [kernels] = [line for line in lines if line.startswith("native kernels: ")]
    assert ("that torch takes" in kernels) == (found["native"]["missing"] is None)
    for words, wanted in (("extras installed: ", True), ("extras absent, ", False)):
        named = ", ".join(name for name, there in found["extras"].items() if there is wanted)
        assert sum(line.startswith(words) and line.endswith(named) for line in lines) == bool(named)


def test_every_extra_for_users_is_looked_for() -> None:
    stated = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS) == set(stated["optional-dependencies"]) - {"dev"}


def test_lines_reach_a_pipe_as_they_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdout", pipe)
    assert main(["list", "methods"]) == 0
    assert pipe.line_buffering
    assert b"darts" in pipe.buffer.getvalue()  # type: ignore[attr-defined]
