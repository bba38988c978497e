"""A study from its plan to its page: equal budgets, killed and gone on with, failures that stop nobody."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
import torch
import yaml

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.oracle import open_table
from sharewise.run import RunFolder, SearchConfiguration
from sharewise.sealed_json import unsealed
from sharewise.studies.cells import Price, price_of
from sharewise.studies.plan import StudyPlan
from sharewise.studies.workers import Failure, Workers

PLAN: dict[str, Any] = {
    "methods": ["gaea-erm", {"method": "spos", "options": {"candidates": 2, "selection_examples": 32}}],
    "spaces": ["toy-tied-width"],
    "data": [{"data": "digits", "train_examples": 128}],
    "seeds": [0, 1],
    "options": {"batch_size": 16},
    "budget": {"steps": 11},
}
NB201: dict[str, Any] = {"space": "nasbench201", "network": {"channels": 2, "cells": 1}}


def write(path: Path, plan: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main(["study", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def bits(folder: Path) -> Any:
    content = RunFolder(folder).read_checkpoint()
    assert content is not None
    return {name: value.tolist() for name, value in content["state"]["supernet"].items()}


def test_equal_steps_give_the_searches_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, write(tmp_path / "plan.yaml", PLAN), "--out", tmp_path / "out")
    assert code == 0
    assert [cell["cell"] for cell in found["cells"]] == ["gaea-erm-seed0", "spos-seed0", "gaea-erm-seed1", "spos-seed1"]
    for name in ("gaea-erm-seed1", "spos-seed0"):
        content = RunFolder(tmp_path / "out" / "runs" / name).read_checkpoint()
        assert content is not None
        assert content["state"]["step"] == 11
    # The same search by itself: 8 steps an epoch of one level, so 11 steps are the first of 2 epochs and 3 more.
    alone = SearchConfiguration(
        space="toy-tied-width",
        method="gaea-erm",
        train_examples=128,
        recipe={"batch_size": 16, "epochs": 2},
        max_steps=11,
        seed=1,
        threads=1,
        gap_examples=0,
    )
    alone.execute(tmp_path / "alone")
    assert bits(tmp_path / "alone") == bits(tmp_path / "out" / "runs" / "gaea-erm-seed1")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in (
        "Any-time curves",
        "Every two arms",
        "data:image/svg+xml;base64,",
        "paired by seed",
        "11 weight steps",
    ):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    panel = found["panels"]["toy-tied-width, digits"]
    values = panel["arms"]["spos"]["values"]
    assert panel["arms"]["spos"]["interval"]["mean"] == pytest.approx(sum(values.values()) / 2)
    result = json.loads((tmp_path / "out" / "runs" / "spos-seed0" / "result.json").read_text(encoding="utf-8"))
    assert values["0"] == pytest.approx(100 * result["inherited"]["accuracy"])
    assert panel["verdicts"][0]["better"] is None  # two seeds

    # Finished: nothing is touched, and the document is the same; the page can be drawn again.
    before = (tmp_path / "out" / "study.json").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*")}
    assert run(capsys, tmp_path / "plan.yaml", "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "study.json").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*")} == times
    (tmp_path / "out" / "report.html").unlink()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == page
    capsys.readouterr()

    code, error = run(capsys, write(tmp_path / "plan.yaml", {**PLAN, "seeds": [0, 2]}), "--out", tmp_path / "out")
    assert code == 2
    assert "holds another study" in error["error"]
    assert "seeds.1 is 1 there and 2 here" in error["error"]


@pytest.mark.slow
def test_a_killed_study_goes_on_and_nothing_is_done_twice(tmp_path: Path) -> None:
    plan = {**PLAN, "methods": ["gaea-erm", "darts-erm"], "budget": {"steps": 400}}
    plan |= {"checkpoint_every": 2, "judge": {"by": "training", "training": {"epochs": 1}}}
    path = write(tmp_path / "plan.yaml", plan)
    command = [sys.executable, "-m", "sharewise", "study", str(path), "--out", str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    second = tmp_path / "killed" / "runs" / "darts-erm-seed0" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not second.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    runs = tmp_path / "killed" / "runs"
    assert (runs / "gaea-erm-seed0" / "cell.json").exists()
    assert not (runs / "darts-erm-seed0" / "result.json").exists()
    first = (runs / "gaea-erm-seed0" / "checkpoint.pt").stat().st_mtime_ns
    found = sw.study(str(path), out=tmp_path / "killed")
    assert not found.failures
    assert (runs / "gaea-erm-seed0" / "checkpoint.pt").stat().st_mtime_ns == first
    whole = sw.study(plan, out=tmp_path / "whole")
    assert _without_seconds(whole) == _without_seconds(found)
    assert whole.sentences == found.sentences
    for name in ("gaea-erm-seed0", "darts-erm-seed0", "darts-erm-seed1"):
        assert bits(runs / name) == bits(tmp_path / "whole" / "runs" / name)
    results = [json.loads(p.read_text(encoding="utf-8")) for p in (tmp_path / "killed").glob("trainings/*/result.json")]
    assert all(len(result["test_openings"]) == 1 for result in results)
    trained = sorted((result["seed"], result["architecture"]) for result in results)
    assert trained == sorted({(cell["seed"], cell["architecture"]) for cell in found.document["cells"]})


def _without_seconds(found: sw.Study) -> list[Any]:
    return [(c["cell"], c["architecture"], c["value"], c["cost"]) for c in found.document["cells"]]


def test_a_failure_is_named_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging = {"method": "darts-erm", "name": "wild", "options": {"learning_rate": 1e30}}
    plan = write(tmp_path / "plan.yaml", {**PLAN, "methods": ["gaea-erm", diverging]})
    code, found = run(capsys, plan, "--out", tmp_path / "out")
    assert code == 1
    assert set(found["failures"]) == {"wild-seed0", "wild-seed1"}
    assert all("\n" not in reason and reason for reason in found["failures"].values())
    panel = found["panels"]["toy-tied-width, digits"]
    assert panel["arms"]["wild"]["n"] == 0
    assert panel["arms"]["gaea-erm"]["n"] == 2
    assert "no seed of which both have a result" in panel["verdicts"][0]["sentence"]
    assert "wild-seed0" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_equal_cost_is_equal_in_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["gaea-erm", {"method": "darts", "options": {"warm_up": 0.25}}]
    methods += [{"method": "spos", "options": {"candidates": 2, "selection_examples": 32}}]
    budget = 6e6
    plan = {**PLAN, "methods": methods, "seeds": [0], "budget": {"multiply_accumulates": budget}}
    code, found = run(capsys, write(tmp_path / "plan.yaml", plan), "--out", tmp_path / "out")
    assert code == 0
    for cell in found["cells"]:
        assert cell["cost"] == pytest.approx(budget, rel=0.1), cell["cell"]
    steps = [RunFolder(tmp_path / "out" / "runs" / c["cell"]).read_checkpoint() for c in found["cells"]]
    assert len({content["state"]["step"] for content in steps if content}) == 3  # a step costs what its method makes it
    assert set(unsealed(json.loads((tmp_path / "out" / "prices.json").read_text(encoding="utf-8")))[0]) == {
        f"toy-tied-width, digits: {arm}" for arm in ("gaea-erm", "darts", "spos")
    }
    with pytest.raises(ConfigurationError, match="allows no step"):
        Price(step=10.0, selection=95.0).steps(100.0)


def test_the_price_of_a_method_without_chance_is_exact() -> None:
    configuration = SearchConfiguration(
        space="toy-tied-width", method="gaea-erm", train_examples=128, recipe={"batch_size": 16}, threads=1
    )
    price = price_of(configuration)
    state = sw.search(
        configuration.load_space(),
        sw.methods.gaea_erm(batch_size=16),
        configuration.load_data(),
        max_steps=5,
        gap_examples=0,
        device="cpu",
    ).state
    spent = sum(e.multiply_accumulates for part, e in state.ledger.entries.items() if part != "measurement")
    assert price.selection == 0
    assert 5 * price.step == pytest.approx(spent)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_price_of_drawn_paths_is_nearly_their_mean(seed: int) -> None:
    configuration = SearchConfiguration(
        space="conv-macro",
        network={"divisor": 8},
        method="spos",
        train_examples=128,
        image_size=12,
        recipe={"batch_size": 16, "candidates": 1, "selection_examples": 16},
        threads=1,
        seed=seed,
    )
    state = configuration.search().prepare()
    generator, phase = torch.Generator().manual_seed(5), state.phase("weights")
    costs = [state.costs.of(state.distribution.draw(generator, phase)[0]) for _ in range(5000)]
    step = 3 * 16 * sum(costs) / len(costs)
    twenty = stdev(costs) / math.sqrt(20) * 3 * 16
    assert price_of(configuration).step == pytest.approx(step, abs=twenty / 2)


def test_a_table_judges_along_the_way(
    made_up_table: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = made_up_table(tmp_path / "made-up.table")
    plan = {**PLAN, "spaces": [NB201], "judge": {"by": "table", "table": str(table)}, "budget": {"steps": 20}}
    code, found = run(capsys, write(tmp_path / "plan.yaml", plan), "--out", tmp_path / "out", "--jobs", 2)
    assert code == 0
    space, reporter = sw.spaces.nasbench201(), open_table(table).reporter()
    column = reporter.column(metric="accuracy", dataset="cifar10", split="test", epochs=200, seed="mean")
    for cell in found["cells"]:
        row = space.listing.index(space.parse(cell["architecture"]))
        assert cell["value"] == column[row]
        assert cell["curve"]["values"][-1] == cell["value"]
        assert cell["curve"]["costs"] == sorted(cell["curve"]["costs"])
    lengths = {cell["arm"]: len(cell["curve"]["values"]) for cell in found["cells"]}
    assert lengths == {"gaea-erm": 4, "spos": 1}  # an epoch is 8 steps of one level, and last the choice
    assert found["judge"]["best"] == {"nasbench201": column.max()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sedes": [1]}, "unknown name in the plan: 'sedes'; did you mean 'seeds'?"),
        ({"methods": ["dart"]}, "did you mean 'darts'"),
        (
            {"methods": [{"method": "darts", "option": {}}]},
            "unknown name in methods: 'option'; did you mean 'options'?",
        ),
        ({"methods": [{"method": "darts", "options": {"epoch": 1}}]}, "'epoch'; did you mean 'epochs'?"),
        ({"methods": [{"method": "darts", "options": {"epochs": 1}}]}, "a budget sets the epochs"),
        ({"methods": ["darts", "darts"]}, "twice: darts"),
        ({"methods": []}, "needs methods"),
        ({"spaces": ["toy-tied-widht"]}, "did you mean 'toy-tied-width'"),
        ({"spaces": [{"space": "nasbench201", "network": {"chanels": 1}}]}, "did you mean 'channels'"),
        ({"seeds": ["one"]}, "seeds must be of type int, got 'one'"),
        ({"seeds": "3"}, "seeds must be a list"),
        ({"seeds": 0}, "a study needs seeds"),
        ({"settings": {"max_step": 3}}, "unknown setting of every search: 'max_step'; did you mean 'max_steps'"),
        ({"settings": {"max_steps": 3}}, "a budget sets the steps of every search"),
        ({"budget": {"steps": 3, "multiply_accumulates": 3.0}}, "not both"),
        ({"budget": {"steps": 0}}, "must be positive"),
        ({"judge": {"by": "tabel"}}, "did you mean 'table'"),
        ({"judge": {"by": "table"}}, "give table: FILE"),
        ({"judge": {"by": "training", "training": {"epoch": 3}}}, "did you mean 'epochs'"),
        ({"judge": {"by": "inherited", "points": 3}}, "belong to by: training"),
    ],
)
def test_a_wrong_plan_is_one_line(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write(tmp_path / "plan.yaml", {**PLAN, **change})
    assert main(["study", str(plan), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_printed_plan_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"method": "darts", "grid": {"architecture_learning_rate": [0.003, 0.03], "warm_up": [0.0, 0.5]}}
    path = write(tmp_path / "plan.yaml", {**PLAN, "methods": [grid], "spaces": ["toy-tied-width", NB201]})
    assert main(["study", str(path), "--print-config"]) == 0
    printed = StudyPlan.from_plain(yaml.safe_load(capsys.readouterr().out))
    assert printed == StudyPlan.read(path)
    cells = printed.cells()
    assert len(cells) == 4 * 2 * 2
    assert cells[0].name == "darts-architecture_learning_rate=0.003-warm_up=0.0-toy-tied-width-seed0"
    assert cells[-1].panel == "nasbench201, digits"
    assert {cell.configuration.recipe["batch_size"] for cell in cells} == {16}
    assert main(["study", str(path)]) == 2
    assert "--out DIR" in capsys.readouterr().err


def killed_or_doubled(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


@pytest.mark.slow
def test_a_process_that_is_killed_takes_its_own_task_alone() -> None:
    found = dict(Workers(2).attempt(killed_or_doubled, [1, 13, 2, 3]))
    assert (found[1], found[2], found[3]) == (2, 4, 6)
    assert isinstance(found[13], Failure)
    assert "killed" in found[13].reason


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(CheckpointError, match="not empty"):
        sw.study(PLAN, out=tmp_path)
