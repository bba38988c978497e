from __future__ import annotations

import importlib
import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

import sharewise as sw
from sharewise.errors import CheckpointError
from sharewise.space import enumerate_architectures
from sharewise.studies.results import ResultFolder

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "geometry"
SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
CONVOLUTIONS = SKIPS.replace("skip_connect", "nor_conv_3x3")


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
    """An invented one: the more convolutions, the better."""
    return {str(a): 50.0 + 5 * str(a).count("conv") for a in enumerate_architectures(sw.spaces.nasbench201())}


def invented_run(plan: Any, cells: list[int], entropies: list[float]) -> dict[str, Any]:
    """As `read_runs` gives them; a cell is its number of convolutions."""
    steps = [200 * (index + 1) for index in range(len(cells))]
    facts = {name: getattr(plan, name) for name in ("geometry", "level", "rate", "with_none", "seed")}
    series = {"step": steps, "cell": cells, "accuracy": [90.0 + cell for cell in cells], "entropy": entropies}
    constant = {"gap": 3.0, "supernet": 40.0, "skips": 5, "none": 0.0}
    return facts | series | {name: [value] * len(cells) for name, value in constant.items()}


def test_the_design_has_the_runs_that_it_says(running: ModuleType, config: dict[str, Any]) -> None:
    plans = running.main_plans(config)
    assert len(plans) == 36
    assert len({plan.name for plan in running.all_plans(config)}) == 72
    assert [plan.seed for plan in plans] == sorted(plan.seed for plan in plans)  # a part of them is balanced


def test_only_the_geometry_and_the_roles_differ(running: ModuleType, config: dict[str, Any]) -> None:
    for plan in running.all_plans(config):
        method = config["geometries"][plan.geometry]["methods"][plan.level]
        recipe = sw.methods.build(method, running.method_options(config, plan))
        assert recipe.distribution.geometry.learning_rate == plan.rate
        assert recipe.exclude == (() if plan.with_none else ("none",))
        same = recipe.weights, recipe.selection, recipe.level, recipe.stages, recipe.batch_size
        reference = sw.methods.build("darts", {**config["options"], "epochs": recipe.epochs})
        assert same == (*(getattr(reference, name) for name in ("weights", "selection", "level", "stages")), 64)
        assert all(penalty.strength == 0 for penalty in recipe.penalties)
        examples = config["data"]["train_examples"] * (0.5 if plan.level == "bilevel" else 1)
        assert recipe.epochs * (examples // recipe.batch_size) == config["steps"]
        assert recipe.roles.is_disjoint("weights", "architecture") == (plan.level == "bilevel")


def test_the_best_rate_has_the_highest_mean_and_of_equal_ones_the_smallest(
    running: ModuleType, config: dict[str, Any]
) -> None:
    def accuracy(plan: Any) -> float:
        if plan.geometry == "softmax":
            return 90.1
        return 92.0 if plan.rate == 0.1 else 93.0 * (plan.seed == 0)  # one lucky seed does not win

    rates = running.best_rates(config, accuracy)
    assert rates == {
        (geometry, level): rate
        for (geometry, rate), level in itertools.product((("softmax", 0.0003), ("simplex", 0.1)), ("bilevel", "erm"))
    }
    extra = running.none_plans(config, rates)
    assert len(extra) == 12
    assert all(plan.with_none and plan.rate == rates[plan.geometry, plan.level] for plan in extra)


def test_the_study_runs_the_design(running: ModuleType, config: dict[str, Any], tmp_path: Path) -> None:
    for plans in (running.main_plans(config), [plan for plan in running.all_plans(config) if plan.with_none]):
        study = sw.StudyPlan.from_plain(running.study_of(config, plans, tmp_path))
        cells = study.cells()
        assert [cell.name for cell in cells] == [plan.name for plan in plans]
        assert study.budget.steps == config["steps"]
        for cell, plan in zip(cells, plans, strict=True):
            recipe = cell.configuration.build_recipe()
            wanted = sw.methods.build(
                config["geometries"][plan.geometry]["methods"][plan.level], running.method_options(config, plan)
            )
            assert recipe.with_epochs(wanted.epochs) == wanted
            assert (cell.configuration.seed, cell.configuration.gap_examples) == (plan.seed, config["gap_examples"])
            assert plan.folder(tmp_path) == tmp_path / plans[0].part / "runs" / cell.name


def test_runs_of_another_configuration_are_refused(running: ModuleType, config: dict[str, Any], tmp_path: Path) -> None:
    folder, plans = ResultFolder(tmp_path, "study"), running.main_plans(config)
    folder.begin(running.study_of(config, plans, tmp_path))
    folder.begin(running.study_of(config, plans, tmp_path))
    with pytest.raises(CheckpointError, match=r"budget\.steps is 2000 there and 1 here"):
        folder.begin(running.study_of(config | {"steps": 1}, plans, tmp_path))


def test_the_table_holds_the_whole_space(running: ModuleType, config: dict[str, Any], shared_data: Path) -> None:
    if not (shared_data / config["table"]["file"]).exists():
        pytest.skip(f"no {config['table']['file']} among the published data")
    found = running.truth(config, shared_data)
    assert set(found) == {str(a) for a in enumerate_architectures(sw.spaces.nasbench201())}
    assert max(found.values()) == pytest.approx(94.37, abs=0.01)


def test_series_of_a_history(analysis: ModuleType, table: dict[str, float]) -> None:
    def record(step: int, cell: str) -> dict[str, Any]:
        gap = {"supernet": {"accuracy": 0.5}, "architecture": {"accuracy": 0.125}}
        probabilities = {"edge_0_1": [0.2, 0.8, 0.0, 0.0, 0.0], "edge_0_2": [0.4, 0.0, 0.6, 0.0, 0.0]}
        return {"step": step, "entropy": 1.23456, "architecture": cell, "gap": gap, "probabilities": probabilities}

    found = analysis.series([record(50, SKIPS), record(100, CONVOLUTIONS)], table)
    assert found["step"] == [50, 100]
    assert found["entropy"] == [1.2346, 1.2346]
    assert found["gap"] == [37.5, 37.5]
    assert found["skips"] == [6, 0]
    assert found["accuracy"] == [50.0, 80.0]
    assert found["none"] == [0.3, 0.3]
    assert [str(analysis.architecture_at(index)) for index in found["cell"]] == [SKIPS, CONVOLUTIONS]


@pytest.mark.parametrize(
    ("holds", "step"), [([1, 0, 1, 1], 30), ([1, 1, 1, 1], 10), ([1, 1, 1, 0], None), ([0, 0, 0, 1], 40)]
)
def test_what_stays(analysis: ModuleType, holds: list[int], step: int | None) -> None:
    assert analysis.stays_from([10, 20, 30, 40], [bool(here) for here in holds]) == step


def test_summary_of_invented_runs(
    running: ModuleType, analysis: ModuleType, config: dict[str, Any], table: dict[str, float]
) -> None:
    runs = {}
    for plan in running.main_plans(config):
        simplex = plan.geometry == "simplex"
        entropies = np.array([1.3, 0.5 if simplex else 1.2, 0.1 if simplex else 1.1]) + 0.01 * plan.seed
        cells = [1, 2, 4 if plan.rate in (0.003, 0.1) else 3] if plan.level == "erm" else [1, 2, 2]
        runs[plan.name] = invented_run(plan, cells, entropies.tolist())
    summary = analysis.summarise(config, runs, table)
    assert (summary["finished"], summary["planned"]) == (36, 48)
    assert summary["best_rates"] == {
        "softmax-bilevel": 0.0003,
        "softmax-erm": 0.003,
        "simplex-bilevel": 0.01,
        "simplex-erm": 0.1,
    }
    erm = next(row for row in summary["comparisons"] if row["level"] == "erm")
    assert erm["entropy"]["separated_from"] == 400
    assert erm["entropy"]["paired_at_end"]["mean"] == pytest.approx(-1.0)
    assert erm["entropy"]["looks"]["200"]["mean"] == 0
    assert erm["accuracy"]["separated_from"] is None
    arm = next(row for row in summary["arms"] if row["level"] == "bilevel")
    assert arm["settled"] == [400] * 3
    assert (arm["collapsed_at_end"], arm["accuracy"]["n"]) == (3, 3)
    text = analysis.markdown({"config": config, "summary": summary})
    assert "Partial: 36 of 48" in text
    assert "| simplex + EG | ERM | **0.1** | 3 |" in text


def test_one_seed_gives_no_interval(
    running: ModuleType, analysis: ModuleType, config: dict[str, Any], table: dict[str, float], tmp_path: Path
) -> None:
    plans = [plan for plan in running.main_plans(config) if plan.seed == 0]
    runs = {plan.name: invented_run(plan, [1, 2], [1.0, 0.5]) for plan in plans}
    for known in (runs, dict(list(runs.items())[:2])):  # also while no seed is complete
        results = {"config": config, "summary": analysis.summarise(config, known, table), "runs": known}
        assert "(no interval)" in analysis.markdown(results)
        assert json.loads(analysis.compact(results)) == results
        analysis.draw(results, tmp_path)
        assert (tmp_path / "figure.png").stat().st_size > 0


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
        pytest.skip("no results yet: run experiments/geometry/run.py, then analyse.py")
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["config"] == config
    names = {plan.name for plan in running.all_plans(config)}
    for name, run in results["runs"].items():
        assert name in names
        assert run["step"][-1] == config["steps"]
        assert len({len(value) for value in run.values() if isinstance(value, list)}) == 1
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert analysis.insert(page, analysis.markdown(results)) == page


def test_the_published_rates_are_those_of_the_methods(modules: tuple[ModuleType, ModuleType]) -> None:
    published = importlib.import_module("published")
    plan = published.plan_of(yaml.safe_load((FOLDER / "published.yaml").read_text(encoding="utf-8")), Path("root"))
    arms = published.arms_of(plan)
    assert len(arms) == 8
    assert len(plan["seeds"]) >= 10
    for method in plan["methods"]:
        recipe, facts = sw.methods.build(method["method"], method["options"]), arms[method["name"]]
        assert recipe.distribution.geometry.learning_rate == facts["rate"]
        assert ("none" not in recipe.exclude) is facts["with_none"]
        assert recipe.roles.is_disjoint("weights", "architecture") is (facts["level"] == "bilevel")
    assert plan["data"][0]["path"] == str(Path("root") / "cifar10")


def test_what_is_finished_at_the_published_rates_is_told(modules: tuple[ModuleType, ModuleType]) -> None:
    published, (running, _) = importlib.import_module("published"), modules
    runs = {}
    for geometry, rate, entropies in (("softmax", 3e-4, [1.3, 1.2]), ("simplex", 0.1, [1.2, 0.8])):
        for seed in range(3):
            plan = running.Plan(geometry, "erm", rate, False, seed)
            runs[plan.name] = invented_run(plan, [2, 3], [value + 0.01 * seed for value in entropies])
    table = {str(a): 50.0 for a in enumerate_architectures(sw.spaces.nasbench201())}
    summary = published.summarise(runs, table)
    assert [row["level"] for row in summary["comparisons"]] == ["erm"]
    assert summary["comparisons"][0]["entropy"]["paired_at_end"]["mean"] == pytest.approx(-0.4)
    assert "Partial: 6 of 80" in published.markdown(summary, 80)
