"""The size space of NATS-Bench is appraised by trainings, or by a table of one's own in the published format."""

from __future__ import annotations

import bz2
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from sharewise.cli import main
from sharewise.oracle import open_table
from sharewise.spaces import load

SMALL = ["--space", "nats_size", "--divisor", "8", "--method", "spos", "--data", "digits", "--train-examples", "64"]
SHORT = ["--batch-size", "16", "--candidates", "2", "--max-steps", "1", "--gap-examples", "0", "--device", "cpu"]
EPOCHS = 90


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("size") / "run"
    assert main(["search", *SMALL, *SHORT, "--out", str(folder), "--json"]) == 0
    return folder


def record(name: str, index: int) -> dict[str, Any]:
    """As the official files hold one: wide networks are better, and seeds differ a little."""
    widths, last = [int(width) for width in name.split(":")], EPOCHS - 1
    accuracy = 50 + 40 * sum(widths) / 320
    results = {}
    for dataset, names in (("cifar10-valid", ["x-valid", "ori-test"]), ("cifar10", ["ori-test"])):
        for seed in (777, 888):
            found = {f"{evaluation}@{last}": accuracy + (index * 7 + seed) % 5 / 10 for evaluation in names}
            results[dataset, seed] = {
                "name": dataset,
                "epochs": EPOCHS,
                "train_times": dict.fromkeys(range(EPOCHS), 2.0),
                "params": 0.1,
                "flop": 10.0,
                "eval_names": names,
                "eval_acc1es": found,
                "eval_losses": dict.fromkeys(found, 0.5),
                "eval_times": dict.fromkeys(found, 1.0),
            }
    state = {"arch_index": index, "arch_str": name, "all_results": results}
    return {str(EPOCHS): state}


def archive(folder: Path, count: int | None) -> Path:
    """A folder in the published format, with all records or evenly spaced ones."""
    listing = load("nats_size").listing
    names = [str(listing.at(row)) for row in range(len(listing))]
    folder.mkdir()
    (folder / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({"meta_archs": names}), 1))
    for index in range(0, len(names), 1 if count is None else len(names) // count):
        content = bz2.compress(pickle.dumps(record(names[index], index)), 1)
        (folder / f"{index:06d}.pickle.pbz2").write_bytes(content)
    return folder


def imported(folder: Path, count: int | None) -> Path:
    table = folder / "size.table"
    assert main(["benchmark", "import", str(archive(folder / "simple", count)), str(table)]) == 0
    key: dict[str, Any] = {"metric": "accuracy", "dataset": "cifar10", "split": "valid", "epochs": EPOCHS}
    assert open_table(table).describe(**key, seed="mean").covered == (count or 32_768)
    return table


def test_records_of_the_published_format_are_a_table(tmp_path: Path) -> None:
    table = open_table(imported(tmp_path, 16))
    assert (table.benchmark, table.space.name) == ("NATS-Bench (size)", "nats_size")


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(64, id="64 records", marks=pytest.mark.slow),
        pytest.param(None, id="all records", marks=pytest.mark.long),
    ],
)
def test_a_table_of_ones_own_is_the_truth(
    count: int | None, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = imported(tmp_path, count), tmp_path / "out"
    capsys.readouterr()
    words = ["--oracle", str(table), "--dataset", "cifar10", "--architectures", "12", "--repeats", "5"]
    words += ["--resamples", "20", "--device", "cpu", "--out", str(out), "--json"]
    assert main(["appraise", str(run), *words]) == 0
    assert "NATS-Bench (size)" in capsys.readouterr().out


@pytest.mark.slow
def test_trainings_are_the_truth(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--oracle", "standalone", "--architectures", "3", "--epochs", "1", "--repeats", "5", "--device", "cpu"]
    words += ["--resamples", "20"]
    assert main(["appraise", str(run), *words, "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 3
