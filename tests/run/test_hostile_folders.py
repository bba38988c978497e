"""Folders that others may have prepared: no file outside is touched, nothing waits, and nothing is printed raw."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sharewise.cli import main
from sharewise.errors import CheckpointError, ConfigurationError, SharewiseError, printable, shown
from sharewise.files import append, open_regular, read_bytes
from sharewise.run import RunFolder, from_mapping, read_yaml
from sharewise.strict_yaml import parse_yaml
from sharewise.studies.answers import Answers

WORDS = "search --channels 2 --cells 1 --threads 1 --gap-examples 0 --train-examples 64 --batch-size 16 --device cpu"
SMALL = {
    "network": {"channels": 2, "cells": 1},
    "recipe": {"epochs": 1, "batch_size": 16},
    "gap_examples": 0,
    "train_examples": 64,
    "device": "cpu",
    "threads": 1,
}
FILES = ("config.yaml", "checkpoint.pt", "metrics.jsonl", "result.json", ".lock")

pytestmark = pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are not refused on this system")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hostile") / "RUN"
    assert main([*WORDS.split(), "--epochs", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "RUN"))


VERBS: list[list[str]] = [["search", "--resume"], ["evaluate"], ["report"], ["export", "--out", "MODEL"]]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_a_link_in_a_run_folder_leads_nowhere(
    name: str, verb: list[str], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    precious = run.parent / "precious"
    content = (run / name).read_bytes() + b"my notes"
    precious.write_bytes(content)
    (run / name).unlink()
    (run / name).symlink_to(precious)
    code = main([*verb, str(run)])
    error = capsys.readouterr().err
    assert precious.read_bytes() == content
    assert "Traceback" not in error
    assert code == 0 or "no regular file" in error


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
@pytest.mark.timeout(60)
def test_a_pipe_in_a_run_folder_is_not_waited_for(
    name: str, verb: list[str], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    (run / name).unlink()
    os.mkfifo(run / name)
    code = main([*verb, str(run)])
    error = capsys.readouterr().err
    assert code == 0 or "no regular file" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_a_folder_in_place_of_a_file_is_named(
    name: str, verb: list[str], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    (run / name).unlink()
    (run / name).mkdir()
    code = main([*verb, str(run)])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert code == 0 or name in error


def test_a_file_with_a_second_name_is_not_changed_under_it(run: Path) -> None:
    other = run.parent / "backup.jsonl"
    os.link(run / "metrics.jsonl", other)
    before = other.read_bytes()
    assert main(["search", "--resume", str(run)]) == 0
    assert other.read_bytes() == before
    os.link(run / "metrics.jsonl", run.parent / "again")
    with pytest.raises(OSError, match="second name"):
        append(run / "metrics.jsonl", b"{}")


def test_a_lock_is_not_emptied(run: Path) -> None:
    (run / ".lock").write_text("kept")
    with RunFolder(run).locked():
        pass
    assert (run / ".lock").read_text() == "kept"


def test_answers_and_user_files(tmp_path: Path) -> None:
    Answers(tmp_path / "a.jsonl", "scores", {})
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    with pytest.raises(SharewiseError, match="no regular file"):
        Answers(tmp_path / "b.jsonl", "scores", {})
    (tmp_path / "c.yaml").write_text("seed: 3")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "c.yaml")
    assert read_yaml(tmp_path / "link.yaml") == {"seed": 3}, "a file that the user names may be a link"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="no regular file"):
        read_yaml(tmp_path / "pipe")
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_bytes(tmp_path / "c.yaml", most=3)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# Two runs, one folder


def begin(out: Path, seed: int, results: Any) -> None:
    try:
        from_mapping("search", {**SMALL, "seed": seed}).execute(out)
        results.put((seed, None))
    except CheckpointError as error:
        results.put((seed, str(error)))


@pytest.mark.slow
def test_two_starts_at_once_leave_one_whole_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    processes = [context.Process(target=begin, args=(tmp_path / "RUN", seed, results)) for seed in (1, 2)]
    for process in processes:
        process.start()
    outcomes = dict(results.get(timeout=200) for _ in processes)
    for process in processes:
        process.join(60)
    winners = [seed for seed, error in outcomes.items() if error is None]
    assert len(winners) == 1
    assert RunFolder(tmp_path / "RUN").read_config()["seed"] == winners[0]
    assert RunFolder(tmp_path / "RUN").read_result()["seed"] == winners[0]


@pytest.mark.parametrize("left", ["checkpoint.pt", "metrics.jsonl", "result.json"])
def test_a_start_on_old_files_without_a_configuration_is_refused(
    left: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "config.yaml").unlink()
    for name in {"checkpoint.pt", "metrics.jsonl", "result.json"} - {left}:
        (run / name).unlink()
    before = (run / left).read_bytes()
    assert main([*WORDS.split(), "--out", str(run)]) == 2
    assert left in capsys.readouterr().err
    assert (run / left).read_bytes() == before
    assert not (run / "config.yaml").exists()


def test_a_start_that_was_cut_off_before_its_configuration_begins_again(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    assert main([*WORDS.split(), "--epochs", "1", "--out", str(tmp_path)]) == 0


# ---------------------------------------------------------------------------------------------------------------------
# YAML


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2", "'seed' is given twice"),
        ("recipe: {epochs: 1, epochs: 2}", "'epochs' is given twice"),
        ("seed: 1\n'seed': 2", "'seed' is given twice"),
        ("seed: 010", "'010' is read differently"),
        ("seed: 12:30", "'12:30' is read differently"),
        ("seed: 1_000", "'1_000' is read differently"),
        ("seed: 0x10", "'0x10' is read differently"),
        ("seed: 0b11", "'0b11' is read differently"),
        ("max_latency: 1:30.5", "read differently"),
        ("max_latency: 1_0.5", "read differently"),
        ("recipe: &a {epochs: 1}\nnetwork: *a", "aliases"),
        ("seed: 1\n<<: {seed: 2}", "plain text"),
        ("data: !!binary aGVsbG8=", "tag"),
        ("data: !!python/object/apply:os.system [true]", "tag"),
        ("recipe: !!set {a, b}", "tag"),
        ("[1, 2]: 3", "plain text"),
        ("seed: " + "9" * 5000, "too long"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " + "{a: " * 100 + "1" + "}" * 100, "nested too deeply"),
        ("seed: 1\n---\nseed: 2", "document"),
        ("seed: \x00", "special characters"),
    ],
)
def test_yaml_that_could_mean_two_things_is_refused_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="not valid YAML") as caught:
        read_yaml(path)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) < 400


def test_yaml_reads_plain_values_as_they_stand() -> None:
    found = parse_yaml("{a: 2024-01-02, b: 1.5e-3, c: [1, -2, +3], d: null, e: '010', f: true, g: 08, h: .5}")
    wanted = {"a": "2024-01-02", "b": 0.0015, "c": [1, -2, 3], "d": None, "e": "010", "f": True, "g": "08", "h": 0.5}
    assert found == wanted


@pytest.mark.timeout(20)
def test_an_alias_bomb_is_refused_before_it_is_unfolded(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    bomb = "\n".join(["command: search", *lines, "space: *a11"])
    (run / "config.yaml").write_text(bomb)
    for words in (["report", str(run)], ["evaluate", str(run)], ["search", "--config", str(run / "config.yaml")]):
        assert main(words) == 2
        captured = capsys.readouterr()
        assert "aliases" in captured.err
        assert len(captured.err) < 1000


@pytest.mark.slow
def test_a_giant_value_is_shortened_and_a_giant_file_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (f"command: search\nspace: {'x' * 200_000}", f"command: search\nseed: [{'1, ' * 50_000}]"):
        (run / "config.yaml").write_text(text)
        assert main(["evaluate", str(run)]) == 2
        assert len(capsys.readouterr().err) < 5000
    (run / "config.yaml").write_text("x" * 10_000_000)
    assert main(["evaluate", str(run)]) == 2
    assert "more than" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# What reaches a terminal


def test_control_characters_of_paths_and_values_are_written_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "RUN\x1b[31m\x07\r"
    (tmp_path / name).mkdir()
    for words in (["evaluate", str(tmp_path / name)], ["report", str(tmp_path / name)]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert "\x1b" not in error
        assert "\\x1b[31m\\x07\\r" in error
    assert main([*WORDS.split(), "--epochs", "1", "--out", str(tmp_path / (name + "2"))]) == 0
    assert "\x1b" not in capsys.readouterr().out
    (tmp_path / "c.yaml").write_text('data: "\\e[31mred"')
    assert main(["search", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "X")]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_messages_are_shortened_and_printable() -> None:
    assert printable("a\x1b]0;title\x07\nb\u202e") == "a\\x1b]0;title\\x07\nb\\u202e"
    assert len(shown("x" * 10**6)) == 80
    message = str(ConfigurationError("x" * 10**6 + "end"))
    assert len(message) < 4200
    assert message.endswith("end")
    assert json.loads(json.dumps(message)) == message
