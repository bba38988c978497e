from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

import sharewise as sw

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "own_supernets"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def tiny(config: dict[str, Any]) -> dict[str, Any]:
    """The design on the built-in digits, for seconds."""
    config |= {"data": {"name": "digits"}, "seeds": [0], "checkpoint_every": 4}
    config["options"] |= {"batch_size": 256, "candidates": 1, "selection_examples": 32}
    config["scoring"] |= {"architectures": 10, "examples": 32, "recalibration_batches": 1, "at": [0.5, 1.0]}
    for facts in config["spaces"].values():
        facts["network"] |= {"channels": 4, "cells": 1}
        facts["options"]["epochs"] = 2
    return config


def test_the_design(modules: tuple[ModuleType, ModuleType], config: dict[str, Any]) -> None:
    running, _ = modules
    plans = running.all_plans(config)
    assert len(plans) == len({plan.name for plan in plans}) == 15
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
    plan = next(plan for plan in running.all_plans(tiny) if plan.space == "nasbench101-A_4")
    first = tmp_path / "first"
    running.run_one(tiny, plan, first, tmp_path, "cpu", 1e9)
    folder = first / plan.name
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["space"] == "nasbench101:A_4"
    scores = [json.loads((folder / f"scores_epoch00{e}.json").read_text(encoding="utf-8")) for e in (1, 2)]
    assert [found["epoch"] for found in scores] == [1.0, 2.0]
    assert all(len(found[policy]) == 10 for found in scores for policy in running.POLICIES)
    assert scores[0]["rows"] == scores[1]["rows"] == running.scored_rows(tiny, 10467)

    # Killed while it was scored: the same numbers from the last checkpoint on.
    for name in ("scores_epoch002.json", "result.json"):
        (folder / name).unlink()
    running.run_one(tiny, plan, first, tmp_path, "cpu", 1e9)
    again = json.loads((folder / "scores_epoch002.json").read_text(encoding="utf-8"))
    assert [again[policy] for policy in running.POLICIES] == [scores[1][policy] for policy in running.POLICIES]

    scorings = analysis.read_scorings(tiny, first)
    assert [(scoring.epoch, scoring.policy) for scoring in scorings] == [
        (epoch, policy) for epoch in (1.0, 2.0) for policy in running.POLICIES
    ]
    ledger = json.loads((folder / "result.json").read_text(encoding="utf-8"))["ledger"]
    booked = [scoring.upfront - ledger["weights"]["multiply_accumulates"] for scoring in scorings[2:]]
    # Both epochs scored the same cells, and the last scoring was repeated after the run was cut off.
    assert sum(booked) * 2 == pytest.approx(ledger["scoring"]["multiply_accumulates"])
    assert booked[1] / booked[0] == pytest.approx((32 + 256) / 32), "recalibration sends its batches forward too"
    records = [analysis.record(scoring, np.arange(10.0)) for scoring in scorings]
    assert all(record["spearman"] is None or -1 <= record["spearman"] <= 1 for record in records)
    text = analysis.page(tiny, records, analysis.comparisons(tiny, records), analysis.shares(tiny, records), {}, 1)
    assert "Partial: 1 of 5" in text
    assert analysis.environment(first, [plan.name])["threads"] == 1


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


def scored(modules: tuple[ModuleType, ModuleType], space: str, variant: str, seed: int, **facts: Any) -> Any:
    running, analysis = modules
    plan = running.Plan(space, variant, seed)
    return analysis.Scoring(
        plan, facts["policy"], facts["epoch"], np.asarray(facts["scores"]), facts.get("upfront", 0.0)
    )


def test_agreement(modules: tuple[ModuleType, ModuleType]) -> None:
    _, analysis = modules
    values = np.arange(20.0)
    facts = {"policy": "running", "epoch": 1.0}
    found = analysis.record(scored(modules, "s", "v", 0, scores=values, **facts), values)
    assert (found["spearman"], found["kendall"], found["regret_top_10"]) == pytest.approx((1.0, 1.0, 0.0))
    opposed = analysis.record(scored(modules, "s", "v", 0, scores=-values, **facts), values)
    assert opposed["regret_top_10"] == 10.0
    failed = analysis.record(scored(modules, "s", "v", 0, scores=np.full(20, 0.1), **facts), values)
    assert failed["spearman"] is failed["over_samples"] is failed["regret_top_10"] is None
    assert failed["distinct"] == 1


def test_comparisons_are_paired_and_corrected(modules: tuple[ModuleType, ModuleType], config: dict[str, Any]) -> None:
    """Correlations that are put in come out as differences, shares of variation and p-values after Holm."""
    _, analysis = modules
    spaces, seeds = ("nasbench201", "nasbench101-A_4"), (0, 1, 2)

    def record(space: str, variant: str, seed: int, policy: str, epoch: float, value: float | None) -> dict[str, Any]:
        facts = {"space": space, "variant": variant, "seed": seed, "policy": policy, "epoch": epoch}
        return {**facts, "spearman": value}

    noise, records = (0.0, 0.01, 0.02), []
    for space in spaces:
        for seed in seeds:
            base = (0.2 if space == "nasbench201" else 0.5) + noise[seed]
            records += [
                record(space, "uniform", seed, "recalibrated", 8.0, base),
                record(space, "average-3", seed, "recalibrated", 8.0, base + 0.1 + noise[seed] / 2),
                record(space, "average-3", seed, "running", 8.0, base - 0.2),
                record(space, "uniform", seed, "recalibrated", 64.0, base + 0.3),
                record(space, "uniform", seed, "running", 64.0, None if seed == 2 else base + noise[seed]),
            ]
    assert analysis.last_epochs(records)["nasbench201", "uniform"] == 64.0
    assert analysis.last_epochs(records)["nasbench201", "average-3"] == 8.0
    families = analysis.comparisons(config, records)
    ours = {row["name"]: row for row in families["recalibration"]}
    row = ours["nasbench201, uniform, epoch 64: BNS-FT less NO-FT"]
    assert row["n"] == 2, "a failed supernet has no pair"
    assert row["values"] == pytest.approx([0.3, 0.29])
    assert all(row["p_holm"] >= row["p_value"] for family in families.values() for row in family)
    variant = next(row for row in families["variant"] if row["name"].startswith("nasbench201,"))
    assert variant["mean"] == pytest.approx(0.105)
    space = next(row for row in families["space"] if row["name"].startswith("uniform"))
    assert space["mean"] == pytest.approx(0.3)
    found = analysis.shares(config, records)
    assert found["space"] == pytest.approx(0.3**2 / (0.3**2 + 0.105**2))
    assert found["both"] == pytest.approx(0.0, abs=1e-12)


def test_guided_searches_are_charged_their_supernets(
    modules: tuple[ModuleType, ModuleType], config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Supernets that know the truth beat random search; one that failed is counted and left out."""
    from sharewise.studies.truth import Truth

    running, analysis = modules
    monkeypatch.setattr(analysis, "REPEATS", 20)
    monkeypatch.setattr(analysis, "RESAMPLES", {"agreement": 10, "regret": 50})
    rng = np.random.default_rng(0)
    test = rng.normal(90, 2, 40)
    space = sw.spaces.load("nasbench201")

    def rivals(costs: Any, repeats: int, seed: int) -> dict[str, Any]:
        table = np.random.default_rng(seed).normal(3.0, 0.5, (repeats, len(costs)))
        return {name: np.abs(table) for name in analysis.RIVALS}

    truth = Truth(
        tuple(space.listing.at(i) for i in range(40)),
        test,
        test,
        float(test.max()),
        np.full(40, 2.0),
        "",
        "points",
        "",
        rivals,
    )
    ground = analysis.Ground(test, np.ones(40, dtype=bool), truth)
    scorings = [
        scored(modules, "nasbench201", "uniform", seed, policy=policy, epoch=64.0, scores=scores, upfront=4.0)
        for seed in range(3)
        for policy, scores in zip(running.POLICIES, (np.full(40, 0.1), test + rng.normal(0, 0.01, 40)), strict=True)
    ]
    records = [analysis.record(scoring, test) for scoring in scorings]
    costs = analysis.at_equal_cost(config, scorings, records, {"nasbench201": ground})
    document = costs["nasbench201"]
    rows = document["variants"]["uniform, BNS-FT, epoch 64"]
    assert [row["cost_shown"] for row in rows] == pytest.approx([2 + 1, 2 + 10, 2 + 20])
    assert rows[0]["mean"] == pytest.approx(0.0)
    assert document["variants"]["uniform, NO-FT, epoch 64"][0]["failed"] == 3
    assert document["floor"] == 0.0
    text = analysis.page(config, records, analysis.comparisons(config, records), None, costs, 3)
    assert "| uniform, NO-FT, epoch 64 | 10 | — | failed |" in text
    assert "Failed scorings, with one score for all architectures: 3 of 6" in text
    analysis.draw(config, records, costs, tmp_path)
    assert (tmp_path / "figure.png").exists()


def test_norms_are_compared_seed_by_seed(modules: tuple[ModuleType, ModuleType]) -> None:
    norms = importlib.import_module("norms")
    plan = norms.plan_of(yaml.safe_load((FOLDER / "norms.yaml").read_text(encoding="utf-8")), Path("root"))
    assert [space["network"]["affine"] for space in plan["spaces"]] == [False, True]
    true = list(np.linspace(0, 1, norms.CELLS))

    def of(shift: float) -> dict[str, dict[str, float]]:
        return {
            str(b): norms.agreement([value + shift * (-1) ** i for i, value in enumerate(true)], true)
            for b in norms.BATCHES
        }

    runs = {"plain": {0: of(0.3), 1: of(0.31)}, "affine": {0: of(0.1), 1: of(0.11), 2: of(0.1)}}
    summary = norms.summarise(runs)
    assert summary["n"] == {"plain": 2, "affine": 3}
    assert summary["affine less plain"]["4"][0] > 0.1
    assert summary["recalibration"]["plain"]["20 less 4"][0] == 0
    assert "Partial: 5 of 10" in norms.markdown(summary, 10)
