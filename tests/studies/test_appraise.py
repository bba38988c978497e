"""The command of the documentation, from finished searches to a verdict with figures and a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import ConfigurationError
from sharewise.oracle.table import open_table
from sharewise.run import RunFolder
from sharewise.run.finished import InFolder
from sharewise.run.training_cost import training_epochs
from sharewise.studies.evidence import supernets_of
from sharewise.studies.scoring import Score, Scoring
from sharewise.studies.training_free.truth import known_scores
from sharewise.studies.truth import truth_of_table

QUICK = ("--examples", 48, "--recalibrate", 1, "--repeats", 30, "--resamples", 20, "--jobs", 1)
Search = Callable[..., Path]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main(["appraise", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    code, found = run(capsys, *words)
    assert code == 2
    return str(found["error"])


@pytest.fixture(scope="module")
def finished(siblings: tuple[Path, Path], table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("appraisals") / "out"
    words = [*siblings, "--oracle", table, "--dataset", "cifar10", "--architectures", 30, *QUICK, "--out", out]
    assert main(["appraise", *map(str, words)]) == 0
    return out


def test_a_table_gives_a_verdict_with_its_evidence(finished: Path, siblings: tuple[Path, Path], table: Path) -> None:
    document = json.loads((finished / "appraisal.json").read_text(encoding="utf-8"))
    assert document["n"] == 30
    assert document["seeds"] == ["0", "1"]
    assert document["variants"] == ["running", "recalibrated"]
    assert document["verdict"]["variant"] == "recalibrated"
    assert document["verdict"]["top"] == 10
    assert document["regret"]["rivals"] == ["random search", "regularized evolution"]
    rows = json.loads((finished / "architectures.json").read_text(encoding="utf-8"))["architectures"]
    opened = open_table(table)
    truth = opened.reporter().query_many(
        [row["architecture"] for row in rows],
        metric="accuracy",
        dataset="cifar10",
        split="test",
        epochs=200,
        seed="mean",
    )
    assert [row["truth"] for row in rows] == truth.tolist()
    # The price is what the ledgers say: supernet, scoring of all, and k trainings of 200 epochs on 25,000 images.
    state = InFolder(siblings[0]).open()
    assert document["runs"][0]["training_multiply_accumulates"] == state.ledger.entries["weights"].multiply_accumulates
    space = sw.spaces.nasbench201()
    places = [space.listing.index(space.parse(row["architecture"])) for row in rows]
    assert [row["cost"] for row in rows] == pytest.approx(200 * training_epochs(space, "cifar10")[0][places])
    scored = [Score({"running": 0.5}, {"running": 1.0}, {"running": 7})] * 3
    ledger = {"multiply_accumulates": 100, "seconds": 1.0}
    assert supernets_of(Scoring(recalibrate=0), {"0": scored}, {"0": ledger})[0].upfront == {"running": {"0": 121.0}}
    first = document["regret"]["variants"]["running"][0]
    costs = []
    for run_, seed in zip(document["runs"], document["seeds"], strict=True):
        best = max(rows, key=lambda row: row["scores"]["running"][seed])
        if sum(row["scores"]["running"][seed] == best["scores"]["running"][seed] for row in rows) > 1:
            return  # a tie at the top, which is broken at random
        upfront = run_["training_multiply_accumulates"] + run_["scoring_multiply_accumulates"]["running"]
        costs.append(upfront + best["cost"])
    assert first["cost"] == pytest.approx(np.mean(costs))


def test_pictures_and_page_can_be_made_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {path.name for path in (finished / "figures").iterdir()}
    crowded = ("regret", "scatter-recalibrated", "scatter-running")
    pictures = {f"{name}.{ending}" for name in ("disorder", *crowded) for ending in ("png", "svg")}
    assert names == pictures | {f"{name}.narrow.svg" for name in crowded}
    page = (finished / "report.html").read_text(encoding="utf-8")
    for words in ("Verdict", "BNS-FT", "Regret at equal cost", "over- or under-valued", "data:image/svg+xml;base64,"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    (finished / "report.html").unlink()
    assert main(["report", str(finished)]) == 0
    assert capsys.readouterr().out.strip() == str(finished / "report.html")
    assert (finished / "report.html").read_text(encoding="utf-8") == page
    assert not [path for path in finished.rglob(".*") if path.is_file()]


@pytest.mark.slow
def test_what_is_scored_is_kept_and_more_seeds_can_join(
    siblings: tuple[Path, Path], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--oracle", table, "--dataset", "cifar10", "--architectures", 12, *QUICK, "--out", out]
    code, alone = run(capsys, siblings[0], *words)
    assert code == 0
    assert any("one seed only" in note for note in alone["notes"])
    stored = (out / "scores" / "seed-0.jsonl").read_bytes()
    code, grown = run(capsys, siblings[0], "--seeds", 2, *words)
    assert code == 0
    assert grown["seeds"] == ["0", "1"]
    assert (out / "scores" / "seed-0.jsonl").read_bytes() == stored
    assert grown["agreement"]["running"]["by_seed"]["0"] == alone["agreement"]["running"]["by_seed"]["0"]
    # The sibling that was trained here is the one that the same configuration gives anywhere else.
    trained, given = (RunFolder(path).read_checkpoint() for path in (out / "supernets" / "seed-1", siblings[1]))
    assert trained is not None
    assert given is not None
    assert all(torch.equal(v, given["state"]["supernet"][n]) for n, v in trained["state"]["supernet"].items())
    message = refused(capsys, siblings[0], *words, "--seed", 1)
    assert "holds another appraisal" in message


def test_without_a_table_the_sample_is_trained_and_goes_on_where_it_stopped(
    siblings: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [siblings[0], "--oracle", "standalone", "--architectures", 4, "--epochs", 1, *QUICK, "--out", out]
    code, found = run(capsys, *words)
    assert code == 0
    assert found["n"] == 4
    assert found["truth"]["label"] == "held-out accuracy after 1 epochs alone, %"
    assert [row["half_width"] for row in found["larger_samples"]] == [0.2, 0.1, 0.05]
    for place in range(4):
        result = json.loads((out / "trainings" / f"{place:04d}" / "result.json").read_text(encoding="utf-8"))
        assert result["test"] is None
        assert result["test_openings"] == []
        assert result["seed"] not in (0, 1)
    trainings = out / "trainings" / "trainings.jsonl"
    lines = trainings.read_bytes().splitlines(keepends=True)
    trainings.write_bytes(b"".join(lines[:3]))
    code, again = run(capsys, *words)
    assert code == 0
    assert again["truth"] == found["truth"]
    assert again["agreement"] == found["agreement"]
    assert "What a larger sample would cost" in (out / "report.html").read_text(encoding="utf-8")


def test_python_takes_results_in_memory(table: Path) -> None:
    options = {"channels": 2, "cells": 1}
    results = [
        sw.search(
            sw.spaces.nasbench201(),
            sw.methods.spos(candidates=1),
            sw.data.digits(),
            network=options,
            max_steps=2,
            seed=seed,
            device="cpu",
        )
        for seed in (0, 1)
    ]
    found = sw.appraise(
        results, open_table(table), architectures=10, examples=32, recalibrate=1, repeats=20, resamples=20
    )
    assert found.document["seeds"] == ["0", "1"]
    assert found.out is None
    assert str(found) == found.document["verdict"]["sentence"]
    assert len(repr(found).splitlines()) < 8
    rows = found.table()
    assert [row["architecture"] for row in rows] == [row["architecture"] for row in found.architectures]
    assert len(rows) == 10
    assert {"truth", "cost", "running/0", "recalibrated/1"} < set(rows[0])
    assert not any(isinstance(value, dict | list) for row in rows for value in row.values())
    with pytest.raises(ConfigurationError, match="give network= as it was given to the search"):
        sw.appraise(results[0], architectures=3, epochs=1, examples=32, network={"channels": 4, "cells": 1})
    with pytest.raises(ConfigurationError, match="two runs have seed 0"):
        sw.appraise([results[0], results[0]], open_table(table), architectures=10)


def test_bad_input_is_named(
    siblings: tuple[Path, Path],
    table: Path,
    made_up_table: Callable[..., Path],
    search: Search,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = siblings[0]
    words = ["--oracle", table, "--architectures", 10, *QUICK]
    assert "at least 3 architectures, got 2" in refused(
        capsys, one, "--oracle", table, "--architectures", 2, "--out", tmp_path / "a"
    )
    assert "two runs have seed 0" in refused(capsys, one, one, *words, "--out", tmp_path / "b")
    wider = search(tmp_path / "wider", 5, network={"channels": 4, "cells": 1}, max_steps=1)
    message = refused(capsys, one, wider, *words, "--out", tmp_path / "c")
    assert "may differ in the seed alone" in message
    strange = made_up_table(tmp_path / "strange.table", space="toy-tied-width")
    assert "no part" in refused(capsys, one, "--oracle", strange, "--out", tmp_path / "d")
    assert "did you mean 'cifar10'" in refused(capsys, one, *words, "--dataset", "cifar1", "--out", tmp_path / "e")
    assert "belong to --oracle standalone" in refused(capsys, one, *words, "--epochs", 3, "--out", tmp_path / "f")
    assert "from a table nothing is trained" in refused(
        capsys, one, *words, "--side-by-side", 2, "--out", tmp_path / "f"
    )
    assert "--dataset names a data set of a table" in refused(
        capsys, one, "--dataset", "cifar10", "--out", tmp_path / "g"
    )
    assert "there is no run folder" in refused(capsys, tmp_path / "nowhere", *words, "--out", tmp_path / "h")
    assert "required" in refused(capsys, one, *words)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "is not empty" in refused(capsys, one, *words, "--out", tmp_path / "full")
    assert "jobs must be a whole number of at least 1" in refused(
        capsys, one, "--oracle", table, "--jobs", 0, "--out", tmp_path / "i"
    )
    assert "seeds must be a whole number of at least 1" in refused(
        capsys, one, *words, "--seeds", 0, "--out", tmp_path / "k"
    )
    for option, value in (("--epochs", 0), ("--held-out", 0)):
        assert "at least 1 epoch" in refused(capsys, one, option, value, "--out", tmp_path / "l")
    assert not [name for name in "abcfghikl" if (tmp_path / name).exists()]
    few = made_up_table(tmp_path / "few.table", covered=2)
    assert "at least 3 architectures, got 2" in refused(capsys, one, "--oracle", few, "--out", tmp_path / "j")


@pytest.mark.slow
def test_a_mistake_costs_neither_the_folder_nor_a_supernet(
    siblings: tuple[Path, Path], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [siblings[0], "--oracle", table, "--architectures", 5, *QUICK, "--out", tmp_path]
    assert "did you mean" in refused(capsys, *words, "--seeds", 2, "--dataset", "cifar1")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert run(capsys, *words, "--dataset", "cifar10")[0] == 0
    assert "holds another appraisal" in refused(capsys, *words, "--seed", 1)


def test_a_plan_of_something_else_is_kept(
    siblings: tuple[Path, Path], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.json").write_text('{"kind": "holiday"}', encoding="utf-8")
    assert "holds another appraisal" in refused(capsys, siblings[0], "--oracle", table, *QUICK, "--out", tmp_path)
    assert (tmp_path / "plan.json").read_text(encoding="utf-8") == '{"kind": "holiday"}'


@pytest.mark.slow
def test_a_table_that_covers_a_part_is_said(made_up_table: Callable[..., Path], tmp_path: Path) -> None:
    part, space = open_table(made_up_table(tmp_path / "part.table", covered=40)), sw.spaces.nasbench201()
    rng = np.random.default_rng(0)
    truth = truth_of_table(part, space, None, 60, rng)
    assert sorted(space.listing.index(architecture) for architecture in truth.architectures) == list(range(40))
    assert "covers 40 of 15,625" in truth.notes[0]
    assert "there are 40 such architectures in all, fewer than the 60" in truth.notes[1]
    confined = truth_of_table(part, space, "cifar10", 10, rng, exclude=("none",))
    assert not any("none" in architecture.values() for architecture in confined.architectures)
    assert any("trained without none" in note for note in confined.notes)


def test_a_damaged_appraisal_is_named(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, content in enumerate(("", "[]", "{}", '{"verdict": 3}')):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "appraisal.json").write_text(content, encoding="utf-8")
        (folder / "architectures.json").write_bytes((finished / "architectures.json").read_bytes())
        assert main(["report", str(folder)]) == 2
        assert "damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_scores_of_untrained_networks_stand_beside(
    siblings: tuple[Path, Path], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [siblings[0], "--oracle", table, "--dataset", "cifar10", "--architectures", 12, *QUICK, "--out", tmp_path]
    code, found = run(capsys, *words, "--training-free", "naswot,synflow,naswot")
    assert code == 0
    assert list(found["training_free"]) == ["naswot", "synflow"]
    scores = found["training_free"]["synflow"]
    assert scores["n"] == 12
    assert -1 <= scores["spearman"]["value"] <= 1
    assert scores["sentence"].startswith("synflow, without any training: ")
    assert scores["multiply_accumulates"] > 0
    assert len((tmp_path / "training_free" / "naswot.jsonl").read_text().splitlines()) == 13
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Without any training" in page
    code, again = run(capsys, *words, "--training-free", "naswot,synflow")
    assert again["training_free"] == found["training_free"]
    message = refused(capsys, *words[:-1], tmp_path / "other", "--training-free", "naswat")
    assert "unknown training-free score 'naswat'; did you mean 'naswot'" in message


@pytest.mark.slow
def test_searches_in_memory_say_what_networks_they_had(table: Path) -> None:
    recipe = sw.methods.spos(epochs=1, candidates=1)
    data, network = sw.data.digits().limited(60, seed=0), {"channels": 2, "cells": 1}
    result = sw.search("nasbench201", recipe, data, network=network, max_steps=1, device="cpu")
    options: dict[str, Any] = {"dataset": "cifar10", "architectures": 3, "examples": 16, "resamples": 20, "repeats": 2}
    options |= {"recalibrate": 1, "training_free": ("naswot",)}
    with pytest.raises(ConfigurationError, match="is not of the size of the search's"):
        sw.appraise(result, table, **options)
    assert sw.appraise(result, table, **options, network=network).document["training_free"]["naswot"]["n"] == 3


def test_an_extended_search_is_no_sibling_of_one_that_was_not(
    search: Callable[..., Path], siblings: tuple[Path, Path], tmp_path: Path
) -> None:
    from sharewise.engine import Extension
    from sharewise.run import RunFolder, from_mapping

    run = search(tmp_path / "long", 2, max_steps=None, recipe={"candidates": 1, "epochs": 1})
    stored = from_mapping("search", RunFolder(run).read_config())
    stored.execute(run, resume=True, extension=Extension(2))
    like = search(tmp_path / "short", 3, max_steps=None, recipe={"candidates": 1, "epochs": 1})
    with pytest.raises(ConfigurationError, match="may differ in the seed alone: extensions is"):
        sw.appraise([run, like], architectures=3, epochs=1)
    with pytest.raises(ConfigurationError, match="was extended, and missing seeds are trained as it began"):
        sw.appraise(run, architectures=3, epochs=1, seeds=2, out=tmp_path / "out", jobs=1)


@pytest.mark.parametrize("names", [[["naswot"]], [3], {"naswot"}])
def test_names_of_scores_are_read_in_one_line(names: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"training.free"):
        known_scores(names)
