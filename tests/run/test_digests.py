"""What a run wrote is what is read: digests of checkpoints, results, histories and answers, and edited settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.data.sources import load as load_data
from sharewise.errors import CheckpointError, SharewiseWarning
from sharewise.run import RunFolder
from sharewise.run.checkpoint import read_checkpoint
from sharewise.studies.answers import Answers

WORDS = "search --channels 2 --cells 1 --threads 1 --gap-examples 8 --train-examples 64 --batch-size 16 --device cpu"
NETWORK = {"channels": 2, "cells": 1}


pytestmark = pytest.mark.filterwarnings("always::sharewise.errors.SharewiseWarning")


class KilledError(Exception):
    pass


def half(_: Any, event: Any) -> None:
    if type(event).__name__ == "EpochEnded" and event.record["epoch"] == 0:
        raise KilledError


def begun(out: Path) -> Path:
    """A run that ended after the first of two epochs."""
    from sharewise.run import from_mapping

    recipe = {"epochs": 2, "batch_size": 16}
    values = {"network": NETWORK, "recipe": recipe, "gap_examples": 8, "train_examples": 64}
    with pytest.raises(KilledError):
        from_mapping("search", {**values, "device": "cpu", "threads": 1}).execute(out, callbacks=[half])
    return out


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("digests") / "RUN")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digests") / "RUN"
    assert main([*WORDS.split(), "--epochs", "2", "--out", str(out)]) == 0
    return out


@pytest.fixture
def half_run(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "RUN"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "RUN"))


def without_digest(path: Path) -> None:
    """As a version without digests wrote it, which held the history in its checkpoint."""
    content = torch.load(path, weights_only=True)
    lines = (path.parent / "metrics.jsonl").read_bytes()[: content["history"]["bytes"]].splitlines()
    content["state"]["history"] = [json.loads(line) for line in lines[1:]]
    old = {name: value for name, value in content.items() if name not in ("configuration", "place", "history")}
    torch.save(old | {"format": 2, "metrics_bytes": 10}, path)


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("verb", [["search", "--resume"], ["evaluate"], ["export", "--out", "MODEL"]])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9, -1])
def test_a_flipped_bit_in_a_checkpoint_stops_every_reader(
    verb: list[str], place: float, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    content = bytearray((run / "checkpoint.pt").read_bytes())
    content[-1 if place < 0 else int(place * len(content))] ^= 4
    (run / "checkpoint.pt").write_bytes(content)
    assert "checkpoint.pt is damaged" in error_of([*verb, str(run)], capsys)


def test_a_checkpoint_without_its_digest_is_damaged_and_one_of_an_older_version_opens_with_a_warning(run: Path) -> None:
    path = run / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="digest is missing"):
        read_checkpoint(path)
    without_digest(path)
    with pytest.warns(SharewiseWarning, match="before checkpoints had digests"):
        assert read_checkpoint(path) is not None


def test_a_run_of_an_older_version_goes_on_with_one_line_of_warning(
    half_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_digest(half_run / "checkpoint.pt")
    assert main(["search", "--resume", str(half_run)]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert main(["evaluate", str(half_run)]) == 0
    assert capsys.readouterr().err == "", "what it wrote itself has digests"


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("published: false", "published: true", "published"),
        ("fused: true", "fused: false", "fused"),
        ("gap_examples: 8", "gap_examples: 9", "gap_examples"),
        ("threads: 1", "threads: 2", "threads"),
        ("device: cpu", "device: auto", "device"),
        ("seed: 0", "seed: 1", "seed"),
        ("learning_rate: 0.025", "learning_rate: 0.026", "recipe"),
    ],
)
def test_a_run_does_not_go_on_from_an_edited_configuration(
    before: str, after: str, name: str, half_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = half_run / "config.yaml"
    text = config.read_text()
    if before not in text:
        pytest.skip(f"the space has no option {name}")
    config.write_text(text.replace(before, after))
    history = (half_run / "metrics.jsonl").read_bytes()
    assert name in error_of(["search", "--resume", str(half_run)], capsys)
    assert (half_run / "metrics.jsonl").read_bytes() == history


def test_a_removed_setting_is_an_edit(half_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (half_run / "config.yaml").read_text().splitlines(keepends=True)
    (half_run / "config.yaml").write_text("".join(line for line in lines if "gap_examples" not in line))
    assert "gap_examples is 8 there" in error_of(["search", "--resume", str(half_run)], capsys)


def test_line_ends_comments_and_order_are_no_edit(half_run: Path) -> None:
    lines = (half_run / "config.yaml").read_text().splitlines()
    (half_run / "config.yaml").write_bytes("\r\n".join(["# mine", *lines, ""]).encode())
    assert main(["search", "--resume", str(half_run)]) == 0


def test_an_evaluation_refuses_an_edited_configuration(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("gap_examples: 8", "gap_examples: 9"))
    assert "gap_examples" in error_of(["evaluate", str(run)], capsys)


def test_a_search_from_python_does_not_go_on_with_another_network_of_the_same_shape(tmp_path: Path) -> None:
    def search(**options: Any) -> Any:
        data = sw.data.digits().limited(64, seed=0)
        recipe = sw.methods.gaea_erm(epochs=2, batch_size=16)
        settings = {"device": "cpu", "gap_examples": 8, "out": tmp_path / "RUN"} | options
        return sw.search(sw.spaces.nasbench201(), recipe, data, **settings)

    with pytest.raises(KilledError):
        search(network=NETWORK, callbacks=[half])
    with pytest.raises(CheckpointError, match="fused"):
        search(network={**NETWORK, "fused": False}, resume=True)
    with pytest.raises(CheckpointError, match="gap_examples"):
        search(network=NETWORK, gap_examples=4, resume=True)
    search(network=NETWORK, resume=True)


def test_threads_may_change_beside_a_resume_and_the_history_says_that_bits_may_differ(
    half_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "--resume", str(half_run), "--threads", "2"]) == 0
    assert "no longer promises the bits" in capsys.readouterr().err
    moved = [line for line in lines_of(half_run) if line["event"] == "moved"]
    assert len(moved) == 1
    assert moved[0]["changed"] == {"threads": [1, 2]}
    assert "no longer promises the bits" in moved[0]["note"]
    assert main(["search", "--resume", str(half_run)]) == 0
    assert [line for line in lines_of(half_run) if line["event"] == "moved"] == moved
    assert json.loads((half_run / "result.json").read_text())["moved"] == moved
    assert "no longer promises the bits" in (half_run / "report.html").read_text()
    assert main(["evaluate", str(half_run)]) == 0


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("finished_run", [False, True])
def test_a_changed_history_stops_a_resume_and_a_report_of_an_unfinished_run(
    finished_run: bool, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is the only copy of its lines: whatever a checkpoint does not vouch for is not gone on from."""
    run: Path = request.getfixturevalue("run" if finished_run else "half_run")
    history = run / "metrics.jsonl"
    before = history.read_bytes()
    changed = before.replace(b'"entropy": 1', b'"entropy": 0', 1)
    assert changed != before
    for damage in (changed, before.replace(b"\n", b"\r\n"), before[:40], b"\xff" + before, b""):
        history.write_bytes(damage)
        for words in (["search", "--resume", str(run)], ["report", str(run)]):
            assert "metrics.jsonl was" in error_of(words, capsys)
        assert history.read_bytes() == damage, "nothing is touched that is refused"
    history.unlink()
    assert "metrics.jsonl is missing" in error_of(["search", "--resume", str(run)], capsys)
    history.write_bytes(before)
    assert main(["search", "--resume", str(run)]) == 0
    assert history.read_bytes()[: len(before)] == before


def test_lines_after_the_last_checkpoint_are_cut_off(half_run: Path) -> None:
    history = half_run / "metrics.jsonl"
    before = history.read_bytes()
    history.write_bytes(before + b'{"event": "epoch", "epoch": 1, "torn')
    assert main(["report", str(half_run)]) == 0, "a line that is being written right now"
    assert main(["search", "--resume", str(half_run)]) == 0
    assert history.read_bytes()[: len(before)] == before
    assert all(json.loads(line) for line in history.read_bytes().split(b"\n") if line)


def test_a_checkpoint_does_not_grow_with_the_history(tmp_path: Path) -> None:
    sizes = []

    def weigh(state: Any, event: Any) -> None:
        if type(event).__name__ == "EpochEnded":
            sizes.append((tmp_path / "RUN" / "checkpoint.pt").stat().st_size)

    few = load_data("digits", train_examples=32)
    sw.search("nasbench201", "gaea-erm", few, epochs=12, network=NETWORK, device="cpu", gap_examples=0,
              out=tmp_path / "RUN", callbacks=[weigh])  # fmt: skip
    assert max(sizes) - min(sizes) < 200, sizes


def test_a_checkpoint_of_an_older_version_goes_on_without_the_file(half_run: Path) -> None:
    """It holds the lines itself."""
    without_digest(half_run / "checkpoint.pt")
    before = (half_run / "metrics.jsonl").read_bytes()
    (half_run / "metrics.jsonl").unlink()
    assert main(["search", "--resume", str(half_run)]) == 0
    assert (half_run / "metrics.jsonl").read_bytes()[: len(before)] == before


def test_a_changed_history_of_a_finished_run_is_no_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = run / "metrics.jsonl"
    history.write_bytes(history.read_bytes().replace(b"0.", b"1.", 1))
    for words in (["report", str(run)], ["search", "--resume", str(run)]):
        assert "metrics.jsonl was changed" in error_of(words, capsys)


def test_an_edited_result_is_not_printed_as_true_and_a_resume_makes_it_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((run / "result.json").read_text())
    edited = {**before, "inherited": {**before["inherited"], "accuracy": 0.999}}
    for damage in (
        json.dumps(edited),
        json.dumps(before)[:100],
        "",
        "[" * 100_000,
        json.dumps(before)[:-1] + ', "seed": 0}',
    ):
        (run / "result.json").write_text(damage)
        for words in (["report"], ["evaluate"], ["export", "--out", str(run / "MODEL")]):
            error = error_of([*words, str(run)], capsys)
            assert "result.json is damaged" in error
        assert main(["search", "--resume", str(run)]) == 0
        after = json.loads((run / "result.json").read_text())
        assert after["inherited"] == before["inherited"]
        assert after["architecture"] == before["architecture"]
        assert "lost" in after["test_openings"][0]


def test_a_result_without_a_digest_opens_with_a_warning(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads((run / "result.json").read_text())
    value.pop("digest")
    (run / "result.json").write_text(json.dumps(value))
    with pytest.warns(SharewiseWarning, match="before results had digests"):
        RunFolder(run).read_result()
    assert main(["evaluate", str(run)]) == 0
    assert capsys.readouterr().err.startswith("warning: ")


def test_a_resumed_training_whose_result_was_torn_says_that_openings_are_lost(tmp_path: Path) -> None:
    space, data = sw.spaces.toy_tied_width(), sw.data.digits().limited(64, seed=0)
    architecture = space.architecture({"width": 8, "activation": "relu"})
    options: dict[str, Any] = {"training": sw.TrainingRecipe(epochs=1), "device": "cpu", "out": tmp_path / "RUN"}
    first = sw.train(space, architecture, data, **options)
    (tmp_path / "RUN" / "result.json").write_text("{")
    again = sw.train(space, architecture, data, resume=True, **options)
    assert again.test == first.test
    openings = json.loads((tmp_path / "RUN" / "result.json").read_text())["test_openings"]
    assert len(openings) > 1
    assert "lost" in openings[0]


def test_a_changed_answer_is_refused_and_older_files_open_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    answers = Answers(path, "scores", {"seed": 0})
    answers.add("a", {"accuracy": 0.5})
    answers.add("b", {"accuracy": 0.25})
    whole = path.read_text()
    for damage in (whole.replace("0.25", "0.75"), whole.replace('"a"', '"c"'), whole.replace("checksum", "checksun")):
        path.write_text(damage)
        with pytest.raises(CheckpointError, match=r"line \d was changed"):
            Answers(path, "scores", {"seed": 0})
    head, *lines = [json.loads(line) for line in whole.splitlines()]
    old = [{**head, "answers": 1}, *({name: line[name] for name in ("architecture", "answer")} for line in lines)]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    with pytest.warns(SharewiseWarning, match="before answers had checksums"):
        opened = Answers(path, "scores", {"seed": 0})
    assert opened["b"] == {"accuracy": 0.25}
    opened.arrange(["b", "a"])
    assert Answers(path, "scores", {"seed": 0})["a"] == {"accuracy": 0.5}
