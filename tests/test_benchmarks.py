"""The benchmarks run, and their exactness check holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_cost_of_a_search_step_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks", "search_step", "--rounds", "2", "--channels", "2", "--cells", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert max(result["exactness"].values()) < 1e-10
    assert len(result["seconds"]) == 8


@pytest.mark.slow
def test_the_cost_of_tables_is_measured(shared_data: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "table_queries", "--rounds", "1", "--queries", "20"]
    command += ["--data", str(shared_data)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["imports"]) == 5
    assert len(result["results"]) == 5
    for found in result["results"].values():
        assert all(value >= 0 for name, value in found.items() if name != "answer")
    assert result["results"]["sharewise, official records"]["answer"] == pytest.approx(87.94)


@pytest.mark.slow
def test_formats_of_tables_are_measured() -> None:
    command = [sys.executable, "-m", "benchmarks", "table_formats", "--rounds", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    assert set(results) == {"folder of .npy files", ".npz archive", "sharewise table"}


@pytest.mark.slow
def test_the_cost_of_entanglement_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks", "entanglement", "--rounds", "2", "--parts", "mixing"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert max(result["exactness"].values()) < 1e-10
    assert {len(values) for part in result["mixing"].values() for values in part["seconds"].values()} == {6}


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_compiled_kernels_are_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "native", "--rounds", "2", "--quick"]
    here = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True, env=here)
    result = json.loads(done.stdout.splitlines()[-1])
    convolutions = [values for name, values in result.items() if "images" in name and "forward" in values]
    depthwise = [values for name, values in result.items() if "dilation" in name]
    assert (len(depthwise), len(convolutions)) == (5, 8)
    for values in depthwise:
        assert values["compiled, error"] <= 1.5 * values["torch, error"]
    for values in convolutions:
        for part in ("forward", "of rectified images", "by images", "by images before they are rectified", "by kernel"):
            assert values[f"{part}, compiled, error"] <= 1.5 * values[f"{part}, error"], part
    assert len(result["weight step of pc-darts"]["compiled"]) == 2


@pytest.mark.slow
def test_scoring_is_measured_and_gives_the_scores_of_the_naive_loop() -> None:
    options = ["--rounds", "1", "--architectures", "6", "--channels", "2"]
    command = [sys.executable, "-m", "benchmarks", "scoring", *options]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["difference"] <= 1 / 718
    assert min(result["rates"].values()) > 0


@pytest.mark.slow
def test_the_cost_of_elastic_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks", "elastic_step", "--rounds", "15", "--twins", "0", "3"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert max(result["exactness"].values()) < 1e-10
    assert len(result["ratios"]) == 12
    assert max(result["ratios"].values()) < 1.1, "a step of elastic costs more than one of layers written by hand"


@pytest.mark.slow
def test_training_free_scores_rank_as_the_published_columns_and_go_on(tmp_path: Path, shared_data: Path) -> None:
    store = tmp_path / "scores.jsonl"
    command = [sys.executable, "-m", "benchmarks", "training_free", "--data-root", str(shared_data)]
    command += ["--store", str(store), "--architectures", "12", "--batch-size", "8", "--device", "cpu"]

    def lines() -> list[str]:
        done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
        return done.stdout.splitlines()[1:]

    first = lines()
    [against] = [line for line in first if line.startswith("synflow") and "recorded" in line]
    assert float(against.split()[4]) > 0.9
    content = store.read_bytes()
    store.write_bytes(content[: len(content) * 2 // 3])  # cut off within a line
    assert lines() == first
    assert store.read_bytes() == content


@pytest.mark.slow
def test_bytes_are_counted_beside_a_wrapper() -> None:
    command = [sys.executable, "-m", "benchmarks", "bytes_sent", "--batch", "8"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["processes"] == 2
    for row in result["rows"]:
        assert row["away"] == 0, f"{row['method']}: the same bits as the wrapper's"
        assert row["wrapper"]["bytes"] > row["wrapper"]["weights"], "whatever the path is"
        ours = row["per-rank"]
        assert ours["bytes"] >= ours["gradients"] + 4  # the loss, and running statistics
        assert ours["calls"] <= 2
    path, mixture = result["rows"][:2]
    assert path["per-rank"]["gradients"] < 0.7 * mixture["per-rank"]["gradients"]
    assert path["wrapper"]["bytes"] == mixture["wrapper"]["bytes"]
