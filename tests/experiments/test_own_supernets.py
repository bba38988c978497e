from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

import sharewise as sw

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "own_supernets"


@pytest.fixture(scope="module")
def modules() -> Iterator[tuple[ModuleType, ModuleType]]:
    """`run.py` and `analyse.py`, which import each other as scripts do."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("run"), importlib.import_module("analyse")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("run", "analyse"):
            sys.modules.pop(name, None)


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def tiny(config: dict[str, Any]) -> dict[str, Any]:
    """The design on the built-in digits, for seconds."""
    config |= {"data": {"name": "digits"}, "seeds": [0], "checkpoint_every": 4}
    config["options"] |= {"batch_size": 256, "candidates": 1, "selection_examples": 32}
    config["scoring"] |= {"architectures": 3, "examples": 32, "recalibration_batches": 1, "at": [0.5, 1.0]}
    for facts in config["spaces"].values():
        facts["network"] |= {"channels": 4, "cells": 1}
        facts["options"]["epochs"] = 2
    return config


def test_the_design(modules: tuple[ModuleType, ModuleType], config: dict[str, Any]) -> None:
    running, _ = modules
    plans = running.all_plans(config)
    assert len(plans) == len({plan.name for plan in plans}) == 12
    assert [plan.seed for plan in plans] == sorted(plan.seed for plan in plans)  # a part of them is balanced
    for plan in plans:
        facts = running.configuration(config, plan, Path("root"), "cpu")
        recipe = sw.methods.build(facts["method"], facts["recipe"])
        assert recipe.distribution.paths == (3 if plan.variant == "average-3" else 1)
        assert facts["network"]["channels"] >= 8
        assert running.scored_epochs(config, plan)[-1] == recipe.epochs
        rows = running.scored_rows(config, len(sw.spaces.load(facts["space"]).listing))
        assert len(set(rows)) == 300
        assert rows == sorted(rows)


def test_a_search_is_scored_and_goes_on_where_it_was_cut_off(
    modules: tuple[ModuleType, ModuleType], tiny: dict[str, Any], tmp_path: Path
) -> None:
    running, analysis = modules
    plan = running.all_plans(tiny)[1]
    assert plan.space == "nasbench101-A_4"
    first = tmp_path / "first"
    running.run_one(tiny, plan, first, tmp_path, "cpu", 1e9)
    folder = first / plan.name
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["space"] == "nasbench101:A_4"
    scores = [json.loads((folder / f"scores_epoch00{e}.json").read_text(encoding="utf-8")) for e in (1, 2)]
    assert [found["epoch"] for found in scores] == [1.0, 2.0]
    assert all(len(found[policy]) == 3 for found in scores for policy in running.POLICIES)
    assert scores[0]["rows"] == scores[1]["rows"] == running.scored_rows(tiny, 10467)

    # Killed while it was scored: the same numbers from the last checkpoint on.
    for name in ("scores_epoch002.json", "result.json"):
        (folder / name).unlink()
    running.run_one(tiny, plan, first, tmp_path, "cpu", 1e9)
    again = json.loads((folder / "scores_epoch002.json").read_text(encoding="utf-8"))
    assert [again[policy] for policy in running.POLICIES] == [scores[1][policy] for policy in running.POLICIES]

    records = analysis.read_scores(tiny, first, {plan.space: np.array([1.0, 2.0, 3.0])})
    assert len(records) == 4
    assert all(record["spearman"] is None or -1 <= record["spearman"] <= 1 for record in records)
    assert "Partial: 1 of 4" in analysis.page(tiny, records, 1)


def test_out_of_time_is_scored_and_said(
    modules: tuple[ModuleType, ModuleType], tiny: dict[str, Any], tmp_path: Path
) -> None:
    running, _ = modules
    plan = running.all_plans(tiny)[0]
    tiny["options"]["batch_size"] = 32  # an epoch has more than the twenty steps between two looks at the clock
    with pytest.raises(SystemExit, match="ran out of its 0 minutes"):
        running.run_one(tiny, plan, tmp_path, tmp_path, "cpu", 0.0)
    found = json.loads((tmp_path / plan.name / "scores_out_of_time.json").read_text(encoding="utf-8"))
    assert found["step"] == 20
    assert not running.finished(tmp_path, plan)


def test_agreement(modules: tuple[ModuleType, ModuleType]) -> None:
    _, analysis = modules
    values = np.arange(20.0)
    assert analysis.agreement(values.tolist(), values) == {"spearman": 1.0, "kendall": 1.0, "regret_top_10": 0.0}
    assert analysis.agreement((-values).tolist(), values)["regret_top_10"] == 10.0
    assert set(analysis.agreement([0.1] * 20, values).values()) == {None}
