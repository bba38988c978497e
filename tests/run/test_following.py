"""A search that is followed in a table: the errors of the cell of every epoch, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import ConfigurationError
from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import Key
from sharewise.oracle.table import open_table
from sharewise.report.page import render_report
from sharewise.report.read import read_run

SPACE = sw.spaces.toy_two_inputs()
TEST = np.random.default_rng(0).random(SPACE.size)
VALID = np.where(np.arange(SPACE.size) % 2, np.nan, TEST / 2)


def table_of(folder: Path, *datasets: str) -> Path:
    made = Draft("Toy", "toy-two-inputs", {"source": "made up", "files": [], "notes": []})
    for dataset in datasets:
        for epochs, scale in ((1, 0.5), (9, 1.0)):
            made.add(Key("accuracy", dataset, "test", epochs, "mean"), scale * TEST, "fraction", "test")
            made.add(Key("accuracy", dataset, "valid", epochs, "mean"), scale * 100 * VALID, "percent", "validation")
    write_table(made, folder / "toy.table")
    return folder / "toy.table"


def search(out: Path | None = None, **options: Any) -> Any:
    data = sw.data.digits().limited(96, seed=0)
    recipe = sw.methods.darts(epochs=3, batch_size=16, architecture_learning_rate=0.3)
    return sw.search(SPACE, recipe, data, seed=1, device="cpu", out=out, **options)


def test_every_epoch_and_the_result_state_the_errors_of_the_cell(tmp_path: Path) -> None:
    table = table_of(tmp_path, "digits")
    found = search(tmp_path / "run", oracle=table)
    epochs = [record for record in found.state.history if record["event"] == "epoch"]
    for record in epochs:
        row = SPACE.listing.index(SPACE.parse(record["architecture"]))
        known = {} if row % 2 else {"valid_error": 1 - VALID[row]}
        assert record["table"] == pytest.approx({"test_error": 1 - TEST[row], **known})
    row = SPACE.listing.index(found.architecture)
    told = json.loads((tmp_path / "run" / "result.json").read_text())["table"]
    assert told["test_error"] == pytest.approx(1 - TEST[row])
    assert told["least"] == pytest.approx({"test_error": 1 - TEST.max(), "valid_error": 1 - np.nanmax(VALID)})
    assert told["covered"] == {"test": 243, "valid": 122}
    assert (told["epochs"], told["architectures"]) == ({"test": 9, "valid": 9}, 243)
    data = read_run(tmp_path / "run")
    assert [epoch.table["test_error"] for epoch in data.epochs] == [r["table"]["test_error"] for r in epochs]
    page = render_report(data)
    assert "In the table" in page
    assert "table, test" in page
    assert f"Test error of the found cell: {100 * (1 - TEST[row]):.2f} %" in page


def test_a_search_is_the_same_when_it_is_followed(tmp_path: Path) -> None:
    plain, followed = search(), search(oracle=open_table(table_of(tmp_path, "digits")))
    first, second = plain.state.state_dict()["distribution"], followed.state.state_dict()["distribution"]
    assert all(np.array_equal(first[name], second[name]) for name in first)
    kept = [{k: v for k, v in r.items() if k not in ("table", "seconds", "ledger")} for r in followed.state.history]
    assert kept == [{k: v for k, v in r.items() if k not in ("seconds", "ledger")} for r in plain.state.history]


def test_a_method_that_samples_is_looked_up_at_its_end(tmp_path: Path) -> None:
    data = sw.data.digits().limited(64, seed=0)
    recipe = sw.methods.spos(epochs=1, batch_size=16, candidates=2)
    sw.search(SPACE, recipe, data, device="cpu", out=tmp_path / "run", oracle=table_of(tmp_path, "digits"))
    read = read_run(tmp_path / "run")
    assert all(not epoch.table for epoch in read.epochs)
    assert "In the table" in render_report(read)


def test_what_table_and_which_data_set(tmp_path: Path) -> None:
    two = table_of(tmp_path, "cifar10", "cifar100")
    with pytest.raises(ConfigurationError, match="several data sets, none called 'digits'; give oracle_dataset"):
        search(oracle=two)
    with pytest.raises(ConfigurationError, match="unknown data set of Toy: 'cifar1'; did you mean"):
        search(oracle=two, oracle_dataset="cifar1")
    with pytest.raises(ConfigurationError, match="oracle_dataset 'cifar10' belongs to a table: give oracle as well"):
        search(oracle_dataset="cifar10")
    with pytest.raises(ConfigurationError, match="the table holds space 'toy-two-inputs', of which 'toy-tied-width'"):
        sw.search("toy-tied-width", "darts", sw.data.digits(), device="cpu", oracle=two)
    assert search(oracle=two, oracle_dataset="cifar100").state.history[-1]["table"]
    (tmp_path / "one").mkdir()
    alone = table_of(tmp_path / "one", "svhn")
    assert search(oracle=alone).state.history[-1]["table"]


def test_one_command_gives_the_figure_and_goes_on_where_it_stood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, run = table_of(tmp_path, "digits"), tmp_path / "run"
    words = f"search --space toy-two-inputs --method darts --oracle {table} --epochs 2 --batch-size 16 --device cpu"
    assert main([*words.split(), "--train-examples", "64", "--out", str(run)]) == 0
    assert "in the table (Toy, digits): validation error" in capsys.readouterr().out
    assert "In the table" in (run / "report.html").read_text()
    history = (run / "metrics.jsonl").read_bytes()
    (run / "result.json").unlink()
    assert main(["search", "--resume", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["table"]["benchmark"] == "Toy"
    assert (run / "metrics.jsonl").read_bytes() == history
