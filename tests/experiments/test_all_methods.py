from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import sharewise as sw
from sharewise.engine import RankSampled
from sharewise.errors import CheckpointError
from sharewise.space import enumerate_architectures
from sharewise.studies.results import ResultFolder

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "all_methods"
SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
CONVOLUTIONS = SKIPS.replace("skip_connect", "nor_conv_3x3")
NOTHING = SKIPS.replace("skip_connect", "none")


@pytest.fixture(scope="module")
def running(modules: tuple[ModuleType, ModuleType]) -> ModuleType:
    return modules[0]


@pytest.fixture(scope="module")
def analysis(modules: tuple[ModuleType, ModuleType]) -> ModuleType:
    return modules[1]


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def table() -> dict[str, float]:
    """An invented one: the more convolutions, the better; without any path, chance."""
    space = enumerate_architectures(sw.spaces.nasbench201())
    return {str(a): 10.0 if str(a) == NOTHING else 50.0 + 5 * str(a).count("conv") for a in space}


def invented_run(plan: Any, judged: dict[str, Any], learns: bool = True) -> dict[str, Any]:
    """As `read_runs` gives them."""
    cost = {"multiply_accumulates": {"weights": 3 * 10**12, "architecture": 10**12, "selection": 0}, "seconds": 9.0}
    facts = {name: getattr(plan, name) for name in ("part", "method", "seed")}
    rest = {"inherited": 12.5, "entropy": 1.5 if learns else None, "processor_seconds": 8.0}
    return facts | judged | cost | rest


def test_the_design_has_every_method_and_equal_steps(running: ModuleType, config: dict[str, Any]) -> None:
    # The experiment is finished: methods that came later, or have an experiment of their own, are no part of it.
    assert set(config["methods"]) <= set(sw.methods.METHODS)
    assert len(config["methods"]) == 14
    plans = running.all_plans(config, ["defaults"])
    assert len(plans) == 42
    assert [plan.seed for plan in plans] == sorted(plan.seed for plan in plans)  # a part of them is balanced
    everything = running.all_plans(config)
    assert len({plan.name for plan in everything}) == len(everything) == 63
    for plan in everything:
        recipe = sw.methods.build(plan.method, running.method_options(config, plan))
        share = recipe.roles.parts[recipe.roles.part("weights")]
        assert recipe.batch_size == 64
        assert recipe.epochs * int(config["data"]["train_examples"] * share // 64) == config["steps"]


def test_other_arguments_keep_their_defaults(running: ModuleType, config: dict[str, Any]) -> None:
    for plan in running.all_plans(config):
        options = running.method_options(config, plan)
        default = sw.methods.build(plan.method).arguments
        changed = {
            key for key, value in sw.methods.build(plan.method, options).arguments.items() if value != default[key]
        }
        allowed = {"epochs", "batch_size", "controller_steps", "candidates"}
        if plan.part == "faster":
            argument = config["faster"]["argument"][plan.method]
            allowed.add(argument)
            assert options[argument] == pytest.approx(10 * default[argument])
        assert changed <= allowed
    rs_ws = sw.methods.build("rs-ws", config["methods"]["rs-ws"]).selection
    assert isinstance(rs_ws, RankSampled)
    assert rs_ws.candidates == 200


def test_a_judged_cell(analysis: ModuleType, table: dict[str, float]) -> None:
    best = analysis.judged(CONVOLUTIONS, table)
    assert (best["accuracy"], best["skips"], best["none"]) == (80.0, 0, 0)
    assert 99 < best["rank"] < 100  # as good as all others of six convolutions
    worst = analysis.judged(NOTHING, table)
    assert (worst["rank"], worst["none"]) == (0.0, 6)
    assert analysis.judged(SKIPS, table)["skips"] == 6


def test_a_ledger_is_told_without_measurement(analysis: ModuleType) -> None:
    ledger = {
        "weights": {"multiply_accumulates": 30, "seconds": 0.0},
        "search": {"multiply_accumulates": 0, "seconds": 4.0},
        "measurement": {"multiply_accumulates": 7, "seconds": 2.0},
        "selection": {"multiply_accumulates": 5, "seconds": 1.5},
    }
    costs = {"weights": 30, "architecture": 0, "selection": 5}
    assert analysis.spent(ledger) == {"multiply_accumulates": costs, "seconds": 5.5}


def test_summary_and_page_of_invented_runs(
    running: ModuleType, analysis: ModuleType, config: dict[str, Any], table: dict[str, float], tmp_path: Path
) -> None:
    plans = running.all_plans(config, ["defaults"])
    cells = {"spos": NOTHING, "gdas": CONVOLUTIONS}
    kinds = {cell: analysis.judged(cell, table) for cell in (NOTHING, CONVOLUTIONS, SKIPS)}
    runs = {p.name: invented_run(p, kinds[cells.get(p.method, SKIPS)], p.method != "spos") for p in plans[:-1]}
    summary = analysis.summarise(config, runs, table)
    assert summary["finished"] == {"defaults": 41, "faster": 0}
    arms = {arm["method"]: arm for arm in summary["arms"]}
    assert set(arms) == set(config["methods"])
    whole, fewer = (summary["baselines"][name]["mean"] for name in ("whole", "without_none"))
    assert fewer > whole
    assert arms["gdas"]["less_random"]["mean"] == pytest.approx(80 - whole, abs=1e-3)
    assert arms["darts"]["less_random"]["mean"] == pytest.approx(50 - fewer, abs=1e-3)
    assert (arms["darts"]["masked"], arms["gaea-darts"]["masked"]) == (False, True)
    assert arms["spos"]["entropy"] is None
    results = {"config": config, "summary": summary, "runs": runs}
    text = analysis.markdown(results)
    assert "Partial: 41 of 42" in text
    assert "that may return `none`, 3 hold it" in text
    assert "Interval above the mean of the random cells that the method may return: `gdas`." in text
    analysis.draw(results, tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 0


def test_one_search_gives_no_interval(
    running: ModuleType, analysis: ModuleType, config: dict[str, Any], table: dict[str, float], tmp_path: Path
) -> None:
    plan = next(plan for plan in running.all_plans(config) if plan.part == "faster")
    runs = {plan.name: invented_run(plan, analysis.judged(SKIPS, table)) | {"processor_seconds": None}}
    results = {"config": config, "summary": analysis.summarise(config, runs, table), "runs": runs}
    text = analysis.markdown(results)
    assert "(no interval)" in text
    assert f"| {plan.method} ×10 |" in text
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    analysis.draw(results, tmp_path)


def test_a_run_is_read_as_it_was_written(
    running: ModuleType, analysis: ModuleType, config: dict[str, Any], table: dict[str, float], tmp_path: Path
) -> None:
    small = {**config, "steps": 2, "network": {"channels": 2, "cells": 1}, "options": {"batch_size": 2}, "seeds": [0]}
    small |= {"methods": {"spos": {"epochs": 1, "candidates": 2, "selection_examples": 4}}}
    small |= {"faster": {"factor": 10, "argument": {}}}
    study = running.study_of(small, "defaults", tmp_path)
    study["data"] = [{"data": "digits", "train_examples": 8}]
    assert not sw.study(study, out=tmp_path / "defaults").failures
    (run,) = analysis.read_runs(small, tmp_path, table).values()
    (plan,) = running.all_plans(small)
    assert run["cell"] in table
    assert run["entropy"] is None
    costs = run["multiply_accumulates"]
    assert costs["weights"] > 0 == costs["architecture"]
    assert costs["selection"] > 0
    assert run["processor_seconds"] > 0
    facts = analysis.environment([plan.folder(tmp_path)])
    assert not [value for value in facts.values() if isinstance(value, str) and str(tmp_path) in value]


@pytest.mark.parametrize("part", ["defaults", "faster"])
def test_the_study_runs_the_design(running: ModuleType, config: dict[str, Any], tmp_path: Path, part: str) -> None:
    study = sw.StudyPlan.from_plain(running.study_of(config, part, tmp_path))
    plans, cells = running.all_plans(config, [part]), study.cells()
    assert [cell.name for cell in cells] == [plan.name for plan in plans]
    assert study.budget.steps == config["steps"]
    for cell, plan in zip(cells, plans, strict=True):
        wanted = sw.methods.build(plan.method, running.method_options(config, plan))
        assert cell.configuration.build_recipe().with_epochs(wanted.epochs) == wanted
        assert plan.folder(tmp_path) == tmp_path / part / "runs" / cell.name


def test_runs_of_another_configuration_are_refused(running: ModuleType, config: dict[str, Any], tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path, "study")
    folder.begin(running.study_of(config, "defaults", tmp_path))
    folder.begin(running.study_of(config, "defaults", tmp_path))
    with pytest.raises(CheckpointError, match=r"budget\.steps is 800 there and 1 here"):
        folder.begin(running.study_of(config | {"steps": 1}, "defaults", tmp_path))


def test_the_page_keeps_what_is_written_by_hand(analysis: ModuleType) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    changed = analysis.insert(page, "NEW")
    head, tail = page.split(analysis.MARKS[0])[0], page.split(analysis.MARKS[1])[1]
    assert changed.startswith(head)
    assert changed.endswith(tail)
    assert analysis.insert(changed, "NEW") == changed


def test_the_written_results_are_those_of_the_configuration(
    analysis: ModuleType, config: dict[str, Any], running: ModuleType
) -> None:
    path = FOLDER / "results.json"
    if not path.exists():
        pytest.skip("no results yet: run experiments/all_methods/run.py, then analyse.py")
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["config"] == config
    assert set(results["runs"]) <= {plan.name for plan in running.all_plans(config)}
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert analysis.insert(page, analysis.markdown(results)) == page
