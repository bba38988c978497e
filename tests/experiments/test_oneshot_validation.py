from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import Key

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "oneshot_validation"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_design(modules: tuple[ModuleType, ModuleType], config: dict[str, Any]) -> None:
    running, _ = modules
    plans = running.all_plans(config)
    assert len(plans) == len({plan.name for plan in plans}) == 20
    assert [plan.seed for plan in plans] == sorted(plan.seed for plan in plans)
    for plan in plans:
        roles = running.recipe_of(config, plan).roles
        assert roles.is_disjoint("architecture", "selection")
        assert roles.is_disjoint("weights", "selection")
        assert roles.is_disjoint("weights", "architecture")


@pytest.fixture
def words(config: dict[str, Any], tmp_path: Path) -> list[str]:
    """Arguments for two short searches of digits, with a table of random numbers."""
    table = Draft("Made up", "nasbench101", {"source": "", "files": [], "notes": []})
    values = np.random.default_rng(0).random(423_624).astype(np.float32)
    table.add(Key("accuracy", "cifar10", "test", 108, "mean"), values, "fraction", "test")
    write_table(table, tmp_path / "nasbench101.table")
    config |= {"data": {"name": "digits", "train_examples": 200}, "seeds": [0], "epochs": 3, "examples": 32}
    config["network"], config["parts"] = {"channels": 2, "cells": 1}, {"many": [0.5, 0.25, 0.25]}
    config["options"]["batch_size"] = 32
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return ["--config", str(path), "--out", str(tmp_path), "--data-root", str(tmp_path)]


def test_it_runs_and_is_analysed(modules: tuple[ModuleType, ModuleType], words: list[str], tmp_path: Path) -> None:
    running, analysing = modules
    assert running.main([*words, "--one", "darts-many-seed0"]) == 0
    history = (tmp_path / "runs" / "darts-many-seed0" / "metrics.jsonl").read_bytes()
    assert running.main([*words, "--one", "darts-many-seed0"]) == 0  # what is finished is skipped
    assert (tmp_path / "runs" / "darts-many-seed0" / "metrics.jsonl").read_bytes() == history
    assert analysing.main([*words, "--results", str(tmp_path / "found")]) == 0
    results = json.loads((tmp_path / "found" / "results.json").read_text())
    run = results["runs"]["darts-many-seed0"]
    assert {len(column) for column in run.values()} == {3}
    answer = results["answers"]["darts-many-seed0"]
    assert answer["lost in the table"] == pytest.approx(run["table, test"][-1] - min(run["table, test"]))
    assert answer["optimism"] == pytest.approx(run["network, unseen"][-1] - run["network, trained"][-1])
    assert (tmp_path / "found" / "figure.png").stat().st_size > 1000


@pytest.mark.slow
def test_two_searches_at_a_time(modules: tuple[ModuleType, ModuleType], words: list[str], tmp_path: Path) -> None:
    assert modules[0].main([*words, "--jobs", "2"]) == 0
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 2
    assert modules[1].main([*words, "--results", str(tmp_path / "found")]) == 0
