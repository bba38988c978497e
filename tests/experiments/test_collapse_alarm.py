"""The README of the alarm says what its results say, and the records still give these results."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from sharewise.alarm import Reading, SearchLog, read_search_logs

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "collapse_alarm"
RESULTS: dict[str, Any] = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split("<!-- written by run.py: begin -->")[0].split())


@pytest.fixture(scope="module")
def running() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("run")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("run", None)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_tables_are_those_of_the_results(running: ModuleType) -> None:
    begin, end = running.MARKS
    assert PAGE.split(begin)[1].split(end)[0].strip() == running.words(RESULTS)


def test_the_sentences_are_those_of_the_results() -> None:
    alarm, counting = RESULTS["alarm"], RESULTS["skip counting"]
    assert RESULTS["swapped"] == 96
    assert "**96 of the records hold accuracies" in PROSE
    assert (alarm["recall"]["count"], alarm["recall"]["n"]) == (11, 11)
    assert (alarm["false alarms"]["count"], alarm["false alarms"]["n"]) == (2, 130)
    assert "all 11 collapses, at the price of 2 false alarms in 130" in PROSE
    assert sorted(entry[4] for entry in RESULTS["false alarms"]) == [3, 4]
    assert all(entry[5] >= 44 for entry in RESULTS["false alarms"])
    before = RESULTS["before skip counting"]
    assert (before["earlier by"][0], before["earlier by"][-1], before["median"]) == (0, 22, 5)
    assert "by 0 to 22 epochs and 5 in the median" in PROSE
    assert counting["recall"]["count"] == 10
    assert RESULTS["alarm without a held-out loss"]["false alarms"]["count"] == 0
    sharpness = RESULTS["on the records with eigenvalues"]["R-DARTS"]["false alarms"]
    assert f"stop {sharpness['count']} of {sharpness['n']} searches" in PROSE
    unlearned = RESULTS["unlearned"]
    assert (unlearned["recall"]["count"], unlearned["false alarms"]["count"], unlearned["epochs"]) == (20, 0, {"2": 20})
    assert "all 20 of 20" in PROSE
    assert f"begins at {100 * alarm['recall']['low']:.0f} %" in PROSE
    face = RESULTS["at face value"]
    assert f"{face['above 60 % error at the end']} searches would end above 60 % error" in PROSE
    assert f"{face['never learned, and taken for collapsed']} that never learned would count as collapsed" in PROSE
    crossed = RESULTS["cross-validation"]
    assert {(f["share"], f["excess"], f["window"]) for f in crossed["folds"]} == {(0.375, 1.05, 5)}
    assert crossed["false alarms"]["count"] == 5
    assert crossed["mean lead"] - alarm["mean lead"] == pytest.approx(2.4)
    assert all(row["drop_path"] == 0 and row["weight_decay"] <= 0.0027 for row in RESULTS["collapsed"])


def test_the_page_about_alarms_has_the_same_figures() -> None:
    page = (FOLDER.parents[1] / "docs" / "watching.md").read_text(encoding="utf-8")
    judged = [RESULTS["alarm"], RESULTS["cross-validation"], RESULTS["skip counting"]]
    for found in (*judged, RESULTS["on the records with eigenvalues"]["R-DARTS"]):
        recall, false = found["recall"], found["false alarms"]
        shares = f"{recall['count']} of {recall['n']} | {false['count']} of {false['n']}"
        assert f"| {shares} | {found['median lead']:g} ({found['mean lead']}) |" in page
    labels = RESULTS["labels"]
    assert f"{labels['collapsed']} collapsed and {labels['never learned']} never learned" in page


def test_the_shipped_alarm_keeps_the_bar() -> None:
    """At most 5 % false alarms, and earlier than counting skips: what makes it worth having."""
    for name in ("alarm", "cross-validation"):
        found = RESULTS[name]
        assert found["false alarms"]["count"] <= 0.05 * found["false alarms"]["n"]
        assert found["mean lead"] > RESULTS["skip counting"]["mean lead"]
        assert found["recall"]["count"] >= RESULTS["skip counting"]["recall"]["count"]


def test_the_records_give_these_results(running: ModuleType, config: dict[str, Any], shared_data: Path) -> None:
    path = shared_data / config["records"]
    if not path.exists():
        pytest.skip("the recorded searches are not there")
    few = {**config, "shares": [0.375], "excesses": [1.05, 1.1], "windows": [5]}  # the rest takes a few seconds more
    found = running.analysed(read_search_logs(path), few)
    for name, value in found.items():
        if name == "thresholds":
            assert all(row in RESULTS[name] for row in value)
        elif name != "cross-validation":
            assert value == RESULTS[name], name


def invented(weight_decay: float, skips: int, excess: float, error: float = 10.0) -> SearchLog:
    read = tuple(Reading(e, skips / 8, 1.0, excess, 2.3026) for e in range(20))
    return SearchLog("s1", "cifar10", 0.0, weight_decay, 0, read, (error,) * 20, (skips,) * 20, skips, False)


def test_cross_validation_never_sees_the_strength_that_it_judges(running: ModuleType, config: dict[str, Any]) -> None:
    """A rule that only the left-out strength would refute is chosen, and its false alarms there are counted."""
    logs = [invented(0.1, 8, 1.35), invented(0.1, 0, 1.0), invented(0.2, 8, 1.35), invented(0.2, 3, 1.07)]
    logs[0], logs[2] = (replace(log, readings=log.readings[:5]) for log in (logs[0], logs[2]))  # the first sign alone
    labels = [running.label(log, config) for log in logs]
    assert labels == ["collapsed", "sound", "collapsed", "sound"]
    found = running.cross_validated(logs, labels, config)
    assert [fold["without"] for fold in found["folds"]] == [0.1, 0.2]
    assert found["false alarms"]["count"] == 1
    assert found["folds"][0]["excess"] > 1.07 or found["folds"][0]["share"] > 3 / 8


def test_labels(running: ModuleType, config: dict[str, Any]) -> None:
    assert running.label(invented(0.1, 4, 1.0), config) == "sound"
    assert running.label(invented(0.1, 5, 1.0), config) == "collapsed"
    assert running.label(invented(0.1, 8, 1.0, error=89.5), config) == "never learned"
    assert running.label(replace(invented(0.1, 8, 1.0), validation_error=(None, 89.5, 80.0)), config) == "collapsed"


def test_records_of_the_repository_that_are_not_known(executed: Callable[[Path], ModuleType], tmp_path: Path) -> None:
    folder = tmp_path / "checkout" / "experiments" / "search_logs" / "s1" / "cifar10" / "0.0_0.0003-2516843"
    folder.mkdir(parents=True)
    cell = "Genotype(normal=[('skip_connect', 1)], normal_concat=range(2, 6), reduce=[('skip_connect', 0)])"
    for seed, loss in ((1, 1.23456789), (3, 2.0)):
        errors = {"train_acc": [60.0], "train_loss": [1.5], "valid_acc": [52.0], "valid_loss": [loss]}
        (folder / f"errors_{seed}.json").write_text(json.dumps(errors))
        (folder / f"arch_{seed}").write_text(f"{cell}\n")
        (folder / f"log_{seed}.txt").write_text(f"2019-07-16 epoch 0\n2019-07-16 13:38:38,632 genotype = {cell}\n")
    (folder / "derivatives_3.json").write_text(json.dumps({"epoch": 0, "H": [[2.0, 1.0], [1.0, 2.0]]}) + "\n")
    facts = {"space": "s1", "data": "cifar10", "drop_path": 0.0, "weight_decay": 0.0003, "valid_loss": [1.23457]}
    with gzip.open(tmp_path / "known.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")
    words = [str(tmp_path / "checkout"), "--known", str(tmp_path / "known.jsonl.gz")]
    assert executed(FOLDER / "records.py").main([*words, "--out", str(tmp_path / "further.jsonl")]) == 0
    (line,) = (tmp_path / "further.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["seed"], record["skip_connects"], record["genotypes"]) == (3, [[1, 1]], [cell])
    assert record["largest_eigenvalue"] == pytest.approx([3.0])
    (log,) = read_search_logs(tmp_path / "further.jsonl")
    assert log.weight_decay == 0.0003
