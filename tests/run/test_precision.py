"""What a run says of bfloat16: measured where steps are large, told, never chosen."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from sharewise.cli import main
from sharewise.engine import SearchState, numerics
from sharewise.run import precision
from sharewise.run.precision import measured, offered, words


def test_a_run_of_large_steps_tells_what_it_measured_and_stays_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, "measured", lambda: {"float32": 10.0, "bfloat16": 5.0})
    asked = ["search", "--channels", "2", "--cells", "1", "--max-steps", "1", "--device", "cpu", "--gap-examples", "0"]
    assert main([*asked, "--out", str(tmp_path / "small")]) == 0
    assert "bfloat16" not in json.loads((tmp_path / "small/environment.json").read_text())
    assert "--precision" not in capsys.readouterr().out
    monkeypatch.setattr(precision, "WORTH", 0)
    assert main([*asked, "--out", str(tmp_path / "large")]) == 0
    told = json.loads((tmp_path / "large/environment.json").read_text())["bfloat16"]
    assert told == words(0.5, "float32")
    assert "--precision bfloat16 may pay" in capsys.readouterr().out.replace("\n", " ")
    assert told in (tmp_path / "large/report.html").read_text()
    states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["state"] for name in ("small", "large")]
    assert str(states[0]["supernet"]) == str(states[1]["supernet"])
    double = cast("SearchState", SimpleNamespace(numerics=numerics("cpu", "float64")))
    assert offered(double) == {}


def test_bfloat16_is_advised_against_where_it_takes_longer() -> None:
    assert words(4.0, "bfloat16").endswith("--precision float32 is faster and more accurate")
    for ratio, asked in ((0.9, "float32"), (4.0, "float32"), (0.7, "bfloat16"), (1.0, "bfloat16")):
        assert "--precision" not in words(ratio, asked)


def test_measuring_touches_neither_random_numbers_nor_threads() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    assert all(value > 0 for value in measured().values())
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()
