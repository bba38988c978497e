from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharewise as sw
from sharewise.cli import compare_verb, main
from sharewise.cli.parser import Parser
from sharewise.oracle import open_table
from sharewise.oracle.readers import import_benchmark
from sharewise.run import SearchConfiguration
from sharewise.sealed_json import sealed, unsealed
from sharewise.strategy import STRATEGIES, LocalSearch
from sharewise.strategy.comparison import run_arena


@pytest.fixture(scope="module")
def table(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "nb201.table"
    import_benchmark(shared_data / "nasbench201", path)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main(["compare", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_of_the_issue(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = [
        "--oracle",
        table,
        "--dataset",
        "cifar100",
        "--strategies",
        "random,evolution,local",
        "--signal-epochs",
        12,
    ]
    words += ["--cost-seconds", 20000, "--repeats", 40, "--seed", 0, "--out", out]
    code, results = run(capsys, *words)
    assert code == 0
    panel = results["datasets"]["cifar100"]
    assert panel["unit"] == "seconds"
    assert panel["notes"] == []
    assert panel["best_test"] == pytest.approx(73.51333)
    assert panel["checkpoints"][-1] == 20000
    assert list(panel["strategies"]) == ["random", "evolution", "local"]
    rows = sw.StrategyComparison(results, {}).table()
    assert len(rows) == 3 * len(panel["checkpoints"])
    assert [rows[-1][name] for name in ("dataset", "strategy", "cost", "n")] == ["cifar100", "local", 20000, 40]
    assert rows[-1]["low"] < rows[-1]["regret"] == panel["strategies"]["local"]["mean"][-1] < rows[-1]["high"]
    for curve in panel["strategies"].values():
        assert curve["n"] == 40
        known = [value for value in curve["mean"] if value is not None]
        assert known[0] > known[-1] > 0
        low, high = curve["mean_interval"][-1]
        assert low < curve["mean"][-1] < high
        assert curve["evaluations"]["least"] >= 50
    assert set(panel["differences"]) == {"random - evolution", "random - local", "evolution - local"}
    assert unsealed(json.loads((out / "results.json").read_text(encoding="utf-8"))) == (results, True)
    assert (out / "figure.png").stat().st_size > 10_000
    assert (out / "figure.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert not [path for path in out.rglob(".*") if path.is_file()]  # nothing half-written is left

    # A second sitting takes what the first has finished, and gives the same results byte by byte.
    before = (out / "results.json").read_bytes()
    stored = sorted((out / "repeats").iterdir())
    stored[0].unlink()
    times = {path: path.stat().st_mtime_ns for path in stored[1:]}
    assert run(capsys, *words)[0] == 0
    assert (out / "results.json").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in stored[1:]} == times
    assert stored[0].exists()

    code, error = run(capsys, *words[:-3], 1, *words[-2:])
    assert code == 2
    assert "holds another comparison" in error["error"]


def test_results_are_those_of_the_table(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random search without replacement over everything must end at the cell of best signal."""
    words = ["--oracle", table, "--dataset", "cifar10", "--strategies", "random-without-replacement"]
    code, results = run(capsys, *words, "--evaluations", 15625, "--repeats", 2, "--out", tmp_path / "out")
    assert code == 0
    panel = results["datasets"]["cifar10"]
    opened = open_table(table)
    key: dict[str, Any] = {"dataset": "cifar10", "metric": "accuracy", "epochs": 200, "seed": "mean"}
    signal, test = opened.column(split="valid", **key), opened.reporter().column(split="test", **key)
    expected = test.max() - test[signal.argmax()]
    assert panel["strategies"]["random-without-replacement"]["mean"][-1] == pytest.approx(expected)
    assert panel["floor"] == pytest.approx(expected)
    assert panel["fidelities"] == [200]  # the longest training is the default signal


def test_all_data_sets_and_a_budget_that_is_too_small(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--oracle", table, "--strategies", "random", "--cost-seconds", 20000, "--repeats", 3]
    code, results = run(capsys, *words, "--out", tmp_path / "out")
    assert code == 0
    assert list(results["datasets"]) == ["cifar10", "cifar100", "ImageNet16-120"]
    notes = [panel["notes"] for panel in results["datasets"].values()]
    assert "the budget allows about 11 evaluations (200 epochs, 1,828 seconds on average), fewer than 50" in notes[0][0]
    assert "about 5 evaluations" in notes[1][0]
    assert main(["compare", *map(str, words), "--out", str(tmp_path / "out")]) == 0
    assert "note: cifar100: the budget allows about 5" in capsys.readouterr().out


def test_halving_takes_both_signals(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--oracle", table, "--dataset", "cifar100", "--strategies", "hyperband", "--signal-epochs", 12, 200]
    code, results = run(capsys, *words, "--cost-seconds", 400000, "--repeats", 3, "--out", tmp_path / "out")
    assert code == 0
    assert results["datasets"]["cifar100"]["fidelities"] == [12, 200]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("runs") / f"gaea-erm-{seed}"
        configuration = SearchConfiguration(
            space="nasbench201",
            method="gaea-erm",
            data="digits",
            network={"channels": 4, "cells": 1},
            max_steps=3,
            device="cpu",
            seed=seed,
        )
        sw.search(
            configuration.load_space(),
            configuration.build_recipe(),
            configuration.load_data(),
            network=configuration.network_options(),
            max_steps=3,
            device="cpu",
            seed=seed,
            out=folder,
            configuration=configuration.complete(),
        )
        folders.append(folder)
    return folders


@pytest.mark.slow
def test_finished_searches_are_points_in_the_same_unit(
    table: Path, searched: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--oracle", table, "--dataset", "cifar10", "--strategies", "random", "--signal-epochs", 12]
    words += ["--runs", *searched, "--repeats", 4]
    code, results = run(capsys, *words, "--out", tmp_path / "out")
    assert code == 0
    panel = results["datasets"]["cifar10"]
    assert panel["unit"] == "multiply-accumulates"
    # A mean cell's training of 12 epochs: 3 passes × 12 epochs × 25,000 images × its multiply-accumulates.
    opened = open_table(table)
    parameters = opened.column(metric="parameters", dataset="cifar10")
    assert panel["scale"] == pytest.approx(3 * 12 * 25_000 * _macs(parameters).mean(), rel=1e-6)
    test = opened.reporter().column(metric="accuracy", dataset="cifar10", split="test", epochs=200, seed="mean")
    for point, folder in zip(panel["runs"], searched, strict=True):
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        parts = {part: entry["multiply_accumulates"] for part, entry in result["ledger"].items()}
        assert point["cost"] == sum(parts.values()) - parts.get("measurement", 0)
        assert point["method"] == "gaea-erm"
        assert point["searched_on"] == "digits"
        assert point["regret"] == pytest.approx(test.max() - test[opened.row(result["architecture"])])
    regrets = [point["regret"] for point in panel["runs"]]
    assert panel["methods"]["gaea-erm"]["n"] == 2
    assert panel["methods"]["gaea-erm"]["mean"] == pytest.approx(np.mean(regrets))
    assert panel["budget"]["cost"] == pytest.approx(100 * panel["scale"])

    code, error = run(capsys, *words, "--cost-seconds", 20000, "--out", tmp_path / "other")
    assert code == 2
    assert "seconds of the benchmark's machine are not seconds of this one" in error["error"]


def test_workers_share_the_wall_clock(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--oracle", table, "--dataset", "cifar10", "--strategies", "random,local", "--cost-seconds", 20000]
    words += ["--signal-epochs", 12, "--repeats", 4]
    found = {}
    for workers in (1, 8):
        code, results = run(capsys, *words, "--workers", workers, "--out", tmp_path / str(workers))
        assert code == 0
        found[workers] = results["datasets"]["cifar10"]["strategies"]
    assert "8 workers" in results["datasets"]["cifar10"]["unit_shown"]
    assert results["plan"]["workers"] == 8
    evaluations = {w: {s: curve["evaluations"]["mean"] for s, curve in found[w].items()} for w in found}
    assert evaluations[8]["random"] / evaluations[1]["random"] == pytest.approx(8, rel=0.03)
    assert evaluations[1]["local"] * 4 < evaluations[8]["local"] < evaluations[8]["random"]  # waits for neighbours


def _macs(parameters: np.ndarray) -> np.ndarray:
    """Multiply-accumulates from parameters, through the counts of 1×1 and 3×3 convolutions of a cell.

    Parameters are 73,306 + 28,000 a + 243,040 b (data/README.md of the published tables).
    """
    pairs = {73_306 + 28_000 * a + 243_040 * b: (a, b) for a in range(7) for b in range(7)}
    counts = np.array([pairs[int(value)] for value in parameters])
    # 5 cells a stage; 16, 32, 64 channels at 32², 16², 8² pixels: 262,144 multiply-accumulates a 1×1 convolution.
    return 7_783_050 + counts @ np.array([15 * 262_144, 15 * 9 * 262_144])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--evaluations", "5", "--strategies", "randm"], "did you mean 'random'"),
        (["--evaluations", "5", "--strategies", "random,random"], "different names"),
        (["--evaluations", "5", "--dataset", "cifar11"], "did you mean 'cifar10'"),
        (["--evaluations", "5", "--signal-epochs", "90"], "legal --signal-epochs: 12, 200"),
        (["--evaluations", "0"], "must be positive"),
        (["--evaluations", "5", "--cost-seconds", "5"], "give one budget"),
        ([], "give one budget"),
        (["--evaluations", "5", "--workers", "4"], "give the budget as --cost-seconds"),
        (["--cost-seconds", "5", "--workers", "0"], "--workers must be a whole number of at least 1"),
        (["--evaluations", "5", "--jobs", "0"], "at least 1"),
        (["--evaluations", "5", "--strategies", "hyperband"], "at least two lengths"),
        (["--evaluations", "5", "--space", "nasbench101:A_4"], "no part"),
        (["--cost-trainings", "5", "--runs", "absent"], "no result.json"),
        (["--cost-trainings", "5", "--runs"], "expected at least one argument"),
        (["--evaluations", "60", "--strategies", "random,nsga2"], "give --latency DEVICE, or leave it out"),
        (["--evaluations", "60", "--strategies", "nsga2", "--latency", "eyeris"], "eyeriss"),
    ],
)
def test_bad_requests_are_one_line(
    words: list[str], message: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["compare", "--oracle", str(table), "--repeats", "2", "--out", str(tmp_path / "out"), *words])
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_of_something_else_is_left_alone(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    code, error = run(capsys, "--oracle", table, "--evaluations", 5, "--repeats", 2, "--out", tmp_path)
    assert code == 2
    assert "not empty" in error["error"]


@pytest.mark.parametrize("seconds", [10, 250])
def test_a_budget_below_one_evaluation_is_said_and_no_traceback(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: int
) -> None:
    words = ["--oracle", table, "--dataset", "cifar100", "--strategies", "random", "--signal-epochs", 12]
    code, results = run(capsys, *words, "--cost-seconds", seconds, "--repeats", 3, "--out", tmp_path / "out")
    assert code == 0
    panel = results["datasets"]["cifar100"]
    assert panel["strategies"]["random"]["final_test_mean"] is None
    assert any("completed no evaluation" in note for note in panel["notes"])


def test_what_is_wrong_with_a_folder_of_results_is_said(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--oracle", table, "--dataset", "cifar100", "--strategies", "random", "--repeats", 3, "--evaluations", 60]
    (tmp_path / "file").write_text("a file")
    code, error = run(capsys, *words, "--out", tmp_path / "file")
    assert (code, "cannot use" in error["error"]) == (2, True)
    assert run(capsys, *words, "--out", tmp_path / "out")[0] == 0
    [stored] = (tmp_path / "out" / "repeats").glob("*.npz")
    for content in (b"junk", stored.read_bytes()[:200]):
        stored.write_bytes(content)
        code, error = run(capsys, *words, "--out", tmp_path / "out")
        assert (code, "is damaged" in error["error"]) == (2, True)
    (tmp_path / "out" / "plan.json").write_bytes(b"\xff\xfe")
    code, error = run(capsys, *words, "--out", tmp_path / "out")
    assert (code, "plan.json is damaged" in error["error"]) == (2, True)
    code, error = run(capsys, *words[:6], "--runs", tmp_path, tmp_path, "--out", tmp_path / "other")
    assert (code, "same folder twice" in error["error"]) == (2, True)


@pytest.mark.slow
def test_a_comparison_goes_on_where_it_was_cut_off(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--oracle", table, "--dataset", "cifar10", "--strategies", "random,local", "--evaluations", 60]
    words += ["--repeats", 120]
    code, whole = run(capsys, *words, "--out", tmp_path / "whole")
    assert code == 0
    assert whole["datasets"]["cifar10"]["strategies"]["local"]["n"] == 120

    made: list[range] = []

    def cut_off(*arguments: Any, repeats: range, **settings: Any) -> Any:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(repeats)
        return run_arena(*arguments, repeats=repeats, **settings)

    monkeypatch.setattr("sharewise.studies.compare.run_arena", cut_off)
    with pytest.raises(KeyboardInterrupt):
        compare_verb.execute(Parser("sharewise compare"), [*map(str, words), "--out", str(tmp_path / "out")])
    capsys.readouterr()
    chunks = [range(50), range(50, 100), range(100, 120)]
    assert made == [*chunks, chunks[0]]
    made[:] = []
    code, resumed = run(capsys, *words, "--out", tmp_path / "out")
    assert (code, made) == (0, chunks[1:])
    assert resumed == whole

    # Other settings of a strategy, or another version of the programs, are not those of the stored repeats.
    made[:] = []
    with monkeypatch.context() as other:
        other.setitem(STRATEGIES, "local", lambda space: LocalSearch(first=True))  # type: ignore[arg-type]
        assert run(capsys, *words, "--out", tmp_path / "out")[0] == 0
    assert made == chunks
    made[:] = []
    with monkeypatch.context() as other:
        other.setattr("sharewise.studies.compare.version", lambda name: "0.0.0")
        with pytest.raises(KeyboardInterrupt):
            compare_verb.execute(Parser("sharewise compare"), [*map(str, words), "--out", str(tmp_path / "out")])
    assert made == [*chunks, chunks[0]]


@pytest.mark.slow
def test_runs_are_read_before_anything_is_run_and_told_apart(
    table: Path, searched: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--oracle", table, "--dataset", "cifar10", "--strategies", "random", "--signal-epochs", 12]
    words += ["--repeats", 3, "--cost-trainings", 60]
    folders = [tmp_path / arm / "seed0" for arm in ("one", "two")]
    results = [json.loads((folder / "result.json").read_text(encoding="utf-8")) for folder in searched]
    for folder, result in zip(folders, results, strict=True):
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    code, found = run(capsys, *words, "--runs", *folders, searched[0], "--out", tmp_path / "out")
    assert code == 0
    names = [point["run"] for point in found["datasets"]["cifar10"]["runs"]]
    assert names == ["one/seed0", "two/seed0", searched[0].name]
    assert list(found["plan"]["runs"]) == names

    ledger = {**results[0]["ledger"], "weights": {"multiply_accumulates": "many"}}
    for content, message in (
        ({**results[0], "kind": "training"}, "no finished search"),
        ({**results[0], "space": "darts"}, "searched space 'darts', and the table holds 'nasbench201'"),
        ({**results[0], "architecture": "|nothing~0|"}, "is damaged"),
        ({**results[0], "architecture": 7}, "is damaged"),
        ({**results[0], "ledger": ledger}, "is damaged"),
        ({**results[0], "ledger": {}}, "is damaged"),
        ([], "no finished search"),
    ):
        written = sealed(content) if isinstance(content, dict) else content
        (folders[1] / "result.json").write_text(json.dumps(written), encoding="utf-8")
        code, error = run(capsys, *words, "--runs", *folders, "--out", tmp_path / "none")
        assert (code, message in error["error"]) == (2, True), error
        assert not (tmp_path / "none").exists()

    # The same names with other contents are another comparison.
    (folders[1] / "result.json").write_text(json.dumps(results[0]), encoding="utf-8")
    code, error = run(capsys, *words, "--runs", *folders, searched[0], "--out", tmp_path / "out")
    assert (code, "holds another comparison" in error["error"]) == (2, True)


def test_nsga2_has_its_second_objective(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    words = ["--oracle", table, "--dataset", "cifar10", "--strategies", "nsga2", "--latency", "eyeriss"]
    code, results = run(capsys, *words, "--evaluations", 50, "--repeats", 2, "--out", tmp_path / "out")
    assert code == 0
    assert "lower the latency of eyeriss" in results["datasets"]["cifar10"]["notes"][0]
