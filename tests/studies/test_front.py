"""Fronts: exact where a space is small, found by evolution where it is not, and taken further point by point."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.engine import selection_scorer
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.run.finished import finished_search
from sharewise.run.folder import RunFolder
from sharewise.space import Architecture, enumerate_architectures
from sharewise.spaces import load, nats_size
from sharewise.strategy.with_optuna import pareto_search
from sharewise.studies.answers import Answers
from sharewise.studies.front import point_of
from sharewise.supernet import RecalibratedStatistics, extract

BUDGETS = "--parameters 400,700 1e4"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("front") / "RUN"
    words = (
        f"search --space toy-tied-width --method tanglenas-gaea --data digits --epochs 3 --batch-size 32 --out {out}"
    )
    assert (
        main([*words.split(), *["--gap-examples", "0", "--threads", "1", "--device", "cpu", "--train-examples", "400"]])
        == 0
    )
    return out


def enumerated(run: Path) -> list[tuple[float, int, Architecture]]:
    """Score and trainable parameters of every architecture, with nothing that a front is made of."""
    state = finished_search(RunFolder(run))
    found = []
    with selection_scorer(state, RecalibratedStatistics(4)).opened() as score:
        for a in enumerate_architectures(state.supernet.space):
            gates = selection_scorer(state, RecalibratedStatistics(4)).gates(a)
            parameters = sum(p.numel() for p in extract(state.supernet, a).parameters() if p.requires_grad)
            found.append((score(gates)["accuracy"], parameters, a))
    return found


def test_a_small_space_is_scored_completely_and_its_front_is_exact(run: Path) -> None:
    found, known = sw.front(run, parameters=[400, 700, 1e4]), enumerated(run)
    assert found.document["exhaustive"]
    assert found.document["scored"] == len(known) == 12
    best = {(s, c) for s, c, _ in known if not any((t >= s and d <= c) and (t, d) != (s, c) for t, d, _ in known)}
    assert [(row["accuracy"], row["parameters"]) for row in found.table()] == sorted(best, key=lambda pair: pair[1])
    values = {str(a): (s, c) for s, c, a in known}
    for row in found.document["points"]:
        assert values[row["architecture"]] == (row["scores"]["accuracy"], row["costs"]["parameters"])
    for row in found.document["budgets"]:
        assert row["scores"]["accuracy"] == max(s for s, c, _ in known if c <= row["most"])
        assert row["most_probable"]["exact"] is True
        assert values[row["most_probable"]["architecture"]][1] <= row["most"]
    assert found.point(1) == found.points[0]
    assert str(found).count("\n") == len(found.points)
    assert repr(found).splitlines()[0] == "Front"
    assert repr(found).count("\n") == len(found.points)


def test_evolution_scores_what_it_may_and_is_reproducible(run: Path, tmp_path: Path) -> None:
    values = {str(a): s for s, _, a in enumerated(run)}
    one = sw.front(run, parameters=400, evaluations=8, population=4, seed=3, out=tmp_path / "ONE")
    again = sw.front(run, parameters=[400.0], evaluations=8, population=4, seed=3, out=tmp_path / "AGAIN")
    assert one.document == again.document
    assert not one.document["exhaustive"]
    assert one.document["scored"] <= 8
    assert all(cost <= 400 for cost, _ in one.document["cloud"]), "what breaks all budgets is not scored"
    for row in one.document["points"]:
        assert row["scores"]["accuracy"] == values[row["architecture"]]
    for name in ("plan.json", "scores.jsonl", "front.json"):
        assert (tmp_path / "ONE" / name).read_bytes() == (tmp_path / "AGAIN" / name).read_bytes()


def test_a_front_that_was_killed_goes_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"parameters": [1e4], "evaluations": 6, "population": 4}
    whole = sw.front(run, **asked, out=tmp_path / "WHOLE")
    add, count = Answers.add, 0

    def dying(self: Answers, architecture: str, answer: Any) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        add(self, architecture, answer)

    with monkeypatch.context() as patched:
        patched.setattr(Answers, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            sw.front(run, **asked, out=tmp_path / "CUT")
    assert not (tmp_path / "CUT" / "front.json").exists()
    count, made = 0, []
    monkeypatch.setattr(Answers, "add", lambda self, a, answer: (made.append(a), add(self, a, answer))[1])
    found = sw.front(run, **asked, out=tmp_path / "CUT")
    assert found.document == whole.document
    assert len(made) == found.document["scored"] - 3, "what was scored before is not scored again"
    with pytest.raises(CheckpointError, match="holds another front"):
        sw.front(run, parameters=[1e4], evaluations=7, out=tmp_path / "CUT")


def test_several_quantities_have_one_front(run: Path) -> None:
    found = sw.front(run, parameters=[700], multiply_accumulates=[400, 1e4])
    assert found.document["quantities"] == ["parameters", "multiply-accumulates"]
    assert [(row["quantity"], row["most"]) for row in found.document["budgets"]] == [
        ("parameters", 700.0),
        ("multiply-accumulates", 400.0),
        ("multiply-accumulates", 1e4),
    ]
    for row in found.document["budgets"]:
        assert row["costs"][row["quantity"]] <= row["most"]


def test_budgets_are_read_and_refused_in_one_line(run: Path) -> None:
    with pytest.raises(ConfigurationError, match="a front needs budgets"):
        sw.front(run)
    with pytest.raises(ConfigurationError, match="no architecture of space 'toy-tied-width' keeps the budget"):
        sw.front(run, parameters=[3])
    with pytest.raises(ConfigurationError, match="budgets of latency need measured times"):
        sw.front(run, latency=[1.0])
    with pytest.raises(ConfigurationError, match="points 1 to"):
        sw.front(run, parameters=1e4).point(0)


def test_latency_by_a_table(run: Path) -> None:
    space = load("toy-tied-width")
    options = [[c.name, o, 0.5 * place] for c in space.choices for place, o in enumerate(c.options)]
    found = sw.front(run, latency=[0.6], latency_table={"fixed": 0.1, "options": options})
    assert found.document["quantities"] == ["milliseconds"]
    assert all(row["milliseconds"] <= 0.6 for row in found.table())


def test_the_command_line_takes_a_point_further(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "FRONT"
    assert main(["front", str(run), *BUDGETS.split(), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "within 400 parameters: point" in told
    assert f"sharewise train --from-front {out} --point" in told
    document = json.loads((out / "front.json").read_text())
    last = document["points"][-1]
    number = str(last["point"])
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert all(row["architecture"].split('"')[1] in page for row in document["points"])
    words = [
        "train",
        "--from-front",
        str(out),
        "--point",
        number,
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "T"),
        "--json",
    ]
    capsys.readouterr()
    assert main(words) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["architecture"] == last["architecture"]
    assert trained["cost"]["parameters"] == last["costs"]["parameters"]
    assert main(["export", str(out), "--point", number, "--out", str(tmp_path / "MODEL")]) == 0
    manifest = json.loads((tmp_path / "MODEL" / "manifest.json").read_text())
    assert (manifest["architecture"], manifest["parameters"]) == (last["architecture"], last["costs"]["parameters"])
    assert point_of(out, int(number)) == (str(run.resolve()), last["architecture"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --point 1 --out X", "give --from-front FRONT as well"),
        ("train --from-front {run} --point 1 --out X", "holds no front"),
        ("train --from-front {run} --out X", "needs --point N"),
        ("export {run} --point 1 --out X", "holds no front"),
        ("front {run} --out X", "give budgets"),
        ("front {run} --latency-table t.json --parameters 1 --out X", "bounds nothing without --latency"),
        ("front {run} --parameters 1e5,x --out X", "invalid float value: 'x'"),
    ],
)
def test_what_is_missing_is_said(run: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.format(run=run).split()) == 2
    assert message in capsys.readouterr().err


def test_a_missing_optuna_is_said_before_a_supernet_is_restored(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    module = sys.modules["sharewise.run.finished"]
    monkeypatch.setattr(module, "finished_search", lambda *_, **__: pytest.fail("restored a supernet"))
    with pytest.raises(ConfigurationError, match="needs Optuna, which is not installed: pip install"):
        sw.front(run, parameters=400, evaluations=11)


def test_nsga2_comes_near_to_a_planted_front_of_a_large_space() -> None:
    """32,768 architectures, of which 600 are asked about: value within each budget beside the exact best and chance."""
    space, weights = nats_size(), np.array([1.0, 3.0, 0.5, 2.0, 1.5])

    def value(a: Architecture) -> tuple[float, float]:
        widths = np.array([int(str(option)) for option in a.values()])
        return float(weights @ np.sqrt(widths)), float(-widths.sum())

    seen: list[tuple[float, float]] = []

    def objective(generation: list[Architecture]) -> list[tuple[float, float]]:
        seen.extend(map(value, generation))
        return seen[-len(generation) :]

    pareto_search(space, objective, objectives=2, asks=600, population=40, first=[space.parse("largest")])
    every = [value(a) for a in enumerate_architectures(space)]
    rng = np.random.default_rng(0)
    chance = [every[i] for i in rng.choice(len(every), 600, replace=False)]
    gaps = []
    for most in (80, 120, 160, 200, 240):
        best, found, drawn = (max((v for v, c in some if -c <= most), default=0.0) for some in (every, seen, chance))
        gaps.append((best - found, best - drawn))
        assert found >= 0.97 * best
    assert sum(gap for gap, _ in gaps) < sum(gap for _, gap in gaps)
    assert torch.tensor(seen).shape == (600, 2)
