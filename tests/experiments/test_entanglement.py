from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import sharewise as sw

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "entanglement"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


def test_the_design_is_complete_and_its_names_are_unique(
    modules: tuple[ModuleType, ModuleType], config: dict[str, Any]
) -> None:
    plans = modules[0].all_plans(config)
    assert len({plan.name for plan in plans}) == len(plans) == 3 * (9 + 4)
    assert {plan.seed for plan in plans[:13]} == {0}
    for plan in plans[:13]:
        facts = config[plan.space]
        method = facts["method"] if plan.space == "nasbench201" else facts["methods"][plan.variant]["method"]
        assert method in sw.methods.METHODS
        network = modules[0].network_options(config, plan)
        assert network.get("published", False) == (plan.form == "published")
    sw.TrainingRecipe(**config["conv-macro"]["training"])


def test_searches_of_equal_budget_cost_about_the_same(
    modules: tuple[ModuleType, ModuleType], config: dict[str, Any]
) -> None:
    """The epochs that a budget pays for, booked on small networks, give the budget back."""
    running = modules[0]
    config["conv-macro"] |= {"network": {"divisor": 8}, "budget": 7e8, "sampled": {"selection_examples": 32}}
    config["conv-macro"]["sampled"] |= {"candidates": 8, "population": 4}
    config["conv-macro"]["options"]["batch_size"] = 16
    data = sw.data.load("digits", image_size=12).limited(96, seed=0)
    space, spent, epochs = sw.spaces.load("conv-macro"), {}, {}
    for variant in ("tanglenas-gaea", "spos-random"):
        plan = running.Plan("conv-macro", variant, "corrected", 0)
        method, options = running.method_options(config, plan, data)
        epochs[variant] = options["epochs"]
        assert epochs[variant] > 2
        network = running.network_options(config, plan)
        recipe = sw.methods.build(method, options)
        result = sw.search(space, recipe, data, network=network, device="cpu", gap_examples=0)
        spent[variant] = running.spent(result.state.ledger.to_json())["multiply_accumulates"]
    assert 7e8 * (1 - 1 / epochs["tanglenas-gaea"]) < spent["tanglenas-gaea"] <= 7e8, "whole epochs"
    assert spent["spos-random"] == pytest.approx(7e8, rel=0.25), "single paths vary about their mean"


def test_the_analysis_reads_what_runs_write(
    modules: tuple[ModuleType, ModuleType], config: dict[str, Any], tmp_path: Path
) -> None:
    running, analysis = modules
    plans = [plan for plan in running.all_plans(config) if plan.seed < 2]
    table = {}
    for number, plan in enumerate(plans):
        folder = tmp_path / plan.name
        folder.mkdir()
        ledger = {"weights": {"multiply_accumulates": 10**12, "seconds": 2.0, "steps": 1, "examples": 1}}
        result = {
            "architecture": f"a{number}",
            "cost": {"parameters": 10**6 + number},
            "inherited": {"accuracy": 0.5},
            "ledger": {**ledger, "measurement": {"multiply_accumulates": 9, "seconds": 9.0}},
        }
        (folder / "result.json").write_text(json.dumps(result))
        assert not running.finished(plan, tmp_path) or plan.space == "nasbench201"
        table[f"a{number}"] = 90.0 + plan.seed
        point = {"step": 1, "mean_loss": 2.0, "inherited_accuracy": 0.2}
        point |= {"search": {"multiply_accumulates": 1e12, "seconds": 1.0}}
        (folder / "anytime.jsonl").write_text(f"{json.dumps(point)}\n{json.dumps({**point, 'mean_loss': 1.5})}\n")
        trained = tmp_path / plan.training
        trained.mkdir()
        accuracy = 0.6 + 0.01 * plan.seed + 0.02 * (plan.form == "published")
        (trained / "result.json").write_text(json.dumps({"test": {"accuracy": accuracy, "examples": 10}}))
    runs = [analysis.read_run(plan, tmp_path, table) for plan in plans]
    assert runs[0]["search"] == {"multiply_accumulates": 10**12, "seconds": 2.0}, "measurements are not search cost"
    assert [p["mean_loss"] for p in runs[0]["anytime"]] == [1.5], "of a repeated point the last one counts"
    gaps = analysis.differences(
        runs, "conv-macro", "trained_accuracy", "tanglenas-darts, corrected", "tanglenas-darts, published"
    )
    assert gaps == pytest.approx([-0.02, -0.02])
    rows = analysis.summarise(runs)
    assert {(row["space"], len(row["seeds"])) for row in rows} == {("conv-macro", 2), ("nasbench201", 2)}
    cell = next(row for row in rows if row["space"] == "nasbench201")
    assert cell["accuracy"]["mean"] == pytest.approx(90.5)
    families = analysis.comparisons(runs)
    form = families["form"][0]
    assert form["values"] == pytest.approx([-2.0, -2.0])
    assert "p_holm" not in form, "what does not vary is not tested"
    assert {row["second"] for row in families["supernet"]} == {"spos-random, corrected"}
    assert len(families["retrained"]) == 4 * 2
    assert families["sharing"][0]["mean"] == pytest.approx(0.0)
    text = analysis.markdown(runs, rows, 39)
    assert "**Partial: 26 of 39 searches are finished.**" in text
    assert "-2.00" in text
    page = analysis.insert((FOLDER / "README.md").read_text(encoding="utf-8"), text)
    assert text in page
    assert "tanglenas-darts less tanglenas-darts (published)" in text
    analysis.draw(runs, tmp_path)
    assert (tmp_path / "figure.png").exists()


def test_anytime_accuracy_is_a_mean_over_the_costs_that_all_searches_have(
    modules: tuple[ModuleType, ModuleType],
) -> None:
    def run(costs: list[float], accuracies: list[float]) -> dict[str, Any]:
        points = [
            {"search": {"multiply_accumulates": c}, "inherited_accuracy": a}
            for c, a in zip(costs, accuracies, strict=True)
        ]
        return {"anytime": points}

    flat, rising = run([0.0, 4.0], [0.3, 0.3]), run([1.0, 3.0, 5.0], [0.1, 0.3, 0.9])
    runs = [flat, rising]
    assert modules[1].anytime_accuracy(flat, runs) == pytest.approx(0.3)
    # From 1 to 3 the mean is 0.2, from 3 to 4 it is 0.45.
    assert modules[1].anytime_accuracy(rising, runs) == pytest.approx((2 * 0.2 + 0.45) / 3, abs=1e-3)
