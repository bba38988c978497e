"""Failures of the machine end in one line and a code that is not zero, wherever they happen."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sharewise.cli import main
from sharewise.cli.failures import explained
from sharewise.errors import ConfigurationError
from sharewise.run.environment import environment

CELL = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
TINY = [
    "--channels",
    "2",
    "--cells",
    "1",
    "--train-examples",
    "64",
    "--device",
    "cpu",
    "--max-steps",
    "1",
    "--epochs",
    "1",
]


def line(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of an error."""
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    return error


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "RUN"
    assert main(["train", "--architecture", CELL, *TINY, "--out", str(out), "--json"]) == 0
    return out


def wrapped(cause: BaseException) -> BaseException:
    try:
        raise RuntimeError("the writer failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (ConfigurationError("two\nlines"), "two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "result.json"), "cannot write result.json: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "cannot use out: Permission denied"),
        (OSError(errno.EIO, "Input/output error"), "cannot write standard output: Input/output error"),
        (wrapped(OSError(errno.ENOSPC, "No space left on device", "x")), "the disk is full"),
        (MemoryError(), "out of memory; choose a smaller network"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "--batch-size"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (OverflowError("int too large to convert to float"), "a number is too large"),
    ],
)
def test_failures_of_the_machine_are_one_line(error: BaseException, part: str) -> None:
    shown = explained(error)
    assert shown is not None
    assert part in shown
    assert "\n" not in shown


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), RuntimeError("x"), AssertionError()])
def test_faults_of_the_program_keep_their_traceback(error: BaseException) -> None:
    assert explained(error) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "words", [["list", "methods"], ["search", "--help"], ["--help"], ["space", "nasbench", "--json"]]
)
def test_a_full_standard_output(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sharewise", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")


def test_a_pipe_that_nobody_reads() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "sharewise", "list", "methods"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == 141
    assert not done.stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["search", "--channels", "999999999", *TINY[2:], "--out", "x"], ["GB of memory", "--channels"]),
        (["train", "--architecture", CELL, "--channels", "99999", *TINY[2:], "--out", "x"], ["GB of memory"]),
        (["cost", "--architecture", CELL, "--channels", "999999999"], ["GB of memory", "--channels"]),
        (["search", "--image-size", "100000", *TINY, "--out", "x"], ["100000", "memory"]),
        (["search", "--threads", "100000", "--out", "x"], ["threads must lie between 1 and 1024, got 100000"]),
        (["search", "--out", ""], ["--out", "give a path, got ''"]),
        (["search", "--config", "", "--out", "x"], ["--config", "give a path"]),
        (["demo", "--out", " "], ["--out", "give a path"]),
        (
            ["search", "--space", "conv-macro", "--channels", "4", "--out", "x"],
            ["'conv-macro'", "--divisor, --dropout"],
        ),
        (["search", "--method", "gdas", "--candidates", "4", "--out", "x"], ["method 'gdas' has no", "--temperature"]),
        (["cost", "--space", "conv-macro", "--architecture", "x", "--cells", "4"], ["no option --cells", "--divisor"]),
        (["search", "--nonsense", "--out", "x"], ["option '--nonsense'"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    words: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = line(capsys, *words)
    for part in parts:
        assert part in shown
    assert "did you mean '--help'" not in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["a: " + "[" * 3000, "seed: " + "9" * 6000, "seed: 2001-99-99", "seed: 1e999"])
def test_values_that_no_reader_can_hold(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(content)
    assert len(line(capsys, "search", "--config", tmp_path / "config.yaml", "--out", tmp_path / "RUN")) < 400


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 6000, "{"])
def test_a_latency_table_that_no_reader_can_hold(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.json").write_text(content)
    words = ["search", "--latency-table", tmp_path / "table.json", "--max-latency", 3, "--out", tmp_path / "RUN"]
    assert len(line(capsys, *words)) < 400


def test_a_section_of_a_file_belongs_to_the_method_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        yaml.safe_dump({"space": "nasbench201", "network": {"cells": 1}, "method": "darts", "recipe": {"epochs": 2}})
    )
    words = ["search", "--config", file, "--print-config"]
    assert "drop the recipe section" in line(capsys, *words, "--method", "gdas")
    assert "drop the network section" in line(capsys, *words, "--space", "conv-macro")
    assert main([str(word) for word in (*words, "--method", "darts")]) == 0


def test_an_export_overwrites_nothing_unasked(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exported"
    assert main(["export", str(trained), "--out", str(out)]) == 0
    assert "--force" in line(capsys, "export", trained, "--out", out)
    assert main(["export", str(trained), "--out", str(out), "--force"]) == 0
    assert "folder of a run" in line(capsys, "export", trained, "--out", trained, "--force")
    (tmp_path / "file").write_text("mine")
    assert "is a file" in line(capsys, "export", trained, "--out", tmp_path / "file", "--force")
    before = os.umask(0o027)
    os.umask(before)
    for name in ("weights.safetensors", "model.py", "manifest.json"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o666 & ~before


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_that_may_not_be_written(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert str(tmp_path) in line(capsys, "export", trained, "--out", tmp_path / "exported")


def test_git_is_asked_for_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def commit() -> str | int:
        return environment(torch.device("cpu"))["commit"]

    def git(*words: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *identity, *words], capture_output=True, text=True, check=True).stdout.strip()

    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir(), inside.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(outside)
    assert commit() == "unknown"
    monkeypatch.chdir(inside)
    git("init", "-q")
    (inside / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "first")
    assert commit() == git("rev-parse", "HEAD")
    asked: list[object] = []
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: asked.append(words))
    assert commit()
    assert not asked, "a second question has the same answer"


def test_a_fault_of_the_program_beside_a_handled_error_is_no_failure_of_the_machine() -> None:
    def explained_of(failing: Callable[[], None]) -> str | None:
        try:
            failing()
        except Exception as error:
            return explained(error)
        raise AssertionError("nothing was raised")

    def beside() -> None:
        try:
            raise FileNotFoundError(2, "No such file", "nope")
        except OSError:
            _ = {}["missing"]

    def hidden() -> None:
        try:
            raise FileNotFoundError(2, "No such file", "nope")
        except OSError:
            raise RuntimeError("a fault") from None

    def wrapped() -> None:
        try:
            raise OSError(28, "No space left on device", "checkpoint.pt")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904 (as torch does)

    assert explained_of(beside) is None
    assert explained_of(hidden) is None
    assert explained_of(wrapped) == "cannot write checkpoint.pt: the disk is full"
