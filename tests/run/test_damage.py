"""Damaged files, a full disk, and losses that are not finite: one clear error, and the run folder intact."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sharewise as sw
from sharewise.cli import main
from sharewise.engine import Event, SearchState, Stepped
from sharewise.errors import CheckpointError, NonFiniteError, SharewiseError
from sharewise.run import RunFolder
from sharewise.run.checkpoint import write_checkpoint
from sharewise.run.folder import write_atomically


def search(
    out: Path,
    *,
    resume: bool = False,
    callbacks: Any = (),
    space: str = "toy-tied-width",
    learning_rate: float = 0.025,
    **options: Any,
) -> Any:
    settings = {"epochs": 2, "device": "cpu", "gap_examples": 0, "checkpoint_every": 2} | options
    data = sw.data.digits().limited(128, seed=0)
    return sw.search(
        sw.spaces.load(space),
        sw.methods.darts(batch_size=16, learning_rate=learning_rate),
        data,
        out=out,
        resume=resume,
        callbacks=callbacks,
        **settings,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("damage") / "RUN"
    search(out)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "RUN"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_checkpoint_is_named(run: Path, content: bytes) -> None:
    (run / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged"):
        search(run, resume=True)


def test_a_truncated_checkpoint_is_named(run: Path) -> None:
    whole = (run / "checkpoint.pt").read_bytes()
    (run / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged"):
        search(run, resume=True)


class Malice:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value))])
def test_a_checkpoint_executes_no_code(run: Path, save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    save({"state": Malice()}, run / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        search(run, resume=True)
    assert not (run.parent / "executed").exists()


def test_a_checkpoint_of_another_version_space_or_seed_is_refused(run: Path) -> None:
    with pytest.raises(CheckpointError, match="space"):
        search(run, resume=True, space="toy-two-inputs")
    with pytest.raises(CheckpointError, match="seed"):
        search(run, resume=True, seed=5)
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save(content | {"format": 99}, run / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="format 99"):
        search(run, resume=True)


@pytest.mark.parametrize(("name", "content"), [("config.yaml", "{"), ("config.yaml", "[1]"), ("result.json", "{")])
def test_other_damaged_files_are_named(run: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).write_text(content)
    assert main(["evaluate", str(run)]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert "damaged" in error


@pytest.mark.parametrize(("left", "said"), [(None, "is missing"), ('{"event": "start"}\n', "was shortened")])
def test_a_lost_or_shortened_history_is_one_line(left: str | None, said: str, run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    if left is not None:
        (run / "metrics.jsonl").write_text(left)
    with pytest.raises(CheckpointError, match=rf"metrics\.jsonl {said} .*restore it from a copy"):
        search(run, resume=True)


@pytest.mark.parametrize("method", ["darts", "spos", "gaea-erm"])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_search_that_diverges_ends_with_one_line(
    method: str, steps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", "--method", method, "--channels", "2", "--cells", "1", "--train-examples", "64", "--epochs", "3"]
    words += ["--learning-rate", "1e30", "--max-steps", str(steps), "--device", "cpu", "--out", str(tmp_path / "RUN")]
    assert main(words) == 2
    assert "learning rate" in capsys.readouterr().err
    assert main(["search", "--resume", str(tmp_path / "RUN")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_checkpoint_with_missing_parts_is_named(run: Path) -> None:
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    for part, value in {"generators": {}, "weight_optimizer": {}, "supernet": {}, "streams": {}, "history": 3}.items():
        write_checkpoint(run / "checkpoint.pt", content | {"state": content["state"] | {part: value}})
        with pytest.raises(CheckpointError, match="damaged"):
            search(run, resume=True)
    write_checkpoint(run / "checkpoint.pt", content | {"state": []})
    with pytest.raises(CheckpointError, match="damaged"):
        search(run, resume=True)


def test_a_changed_recipe_is_not_resumed_in_silence(run: Path) -> None:
    """More epochs extend a run that has ended (`test_extending.py`); no other setting may differ."""
    with pytest.raises(CheckpointError, match="recipe"):
        search(run, resume=True, learning_rate=0.01)


def test_a_run_from_python_is_not_continued_by_words(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run)]) == 2
    assert "started from Python" in capsys.readouterr().err


def test_resuming_a_finished_training_does_not_open_the_test_examples_again(tmp_path: Path) -> None:
    space, data = sw.spaces.toy_tied_width(), sw.data.digits().limited(64, seed=0)
    architecture = space.architecture({"width": 8, "activation": "relu"})
    training = sw.TrainingRecipe(epochs=1)
    first = sw.train(space, architecture, data, training=training, device="cpu", out=tmp_path / "RUN")
    again = sw.train(space, architecture, data, training=training, device="cpu", out=tmp_path / "RUN", resume=True)
    assert again.test == first.test
    assert len(data.openings) == 1


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, fsync, count = tmp_path / "RUN", os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SharewiseError, match=r"disk is full.*--resume"):
        search(out)
    monkeypatch.undo()
    assert [p.name for p in out.glob(".*")] == [".lock"], "no half-written file is left"
    whole = search(tmp_path / "WHOLE")
    resumed = search(out, resume=True)
    assert resumed.architecture == whole.architecture
    assert torch.equal(resumed.state.distribution.theta, whole.state.distribution.theta)


def test_a_device_that_is_full_gets_the_same_message(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is a device of Linux")

    def write(file: Any) -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(SharewiseError, match="disk is full"):
        write_atomically(tmp_path / "file", write)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_finite_checkpoint(tmp_path: Path) -> None:
    def poison(state: SearchState, event: Event) -> None:
        if isinstance(event, Stepped) and state.step == 5:
            with torch.no_grad():
                next(state.supernet.parameters()).fill_(float("nan"))

    out = tmp_path / "RUN"
    with pytest.raises(NonFiniteError, match=r"loss.*non-finite by step \d.*learning rate"):
        search(out, callbacks=[poison], epochs=4)
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]
    assert all(bool(value.isfinite().all()) for value in state["supernet"].values())
    assert search(out, resume=True, epochs=4).architecture is not None


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SharewiseError, match="cannot create the run folder"):
        search(tmp_path / "file" / "RUN")


def test_a_run_without_a_checkpoint_starts_again(run: Path) -> None:
    (run / "checkpoint.pt").unlink()
    search(run, resume=True)
    events = [json.loads(line)["event"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert events == ["start", "epoch", "epoch"]


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run folder"):
        RunFolder(tmp_path).read_config()


def test_two_processes_cannot_write_to_one_run(run: Path) -> None:
    pytest.importorskip("fcntl", reason="locks exist on Unix only")
    with RunFolder(run).locked(), pytest.raises(CheckpointError, match="another process"):
        search(run, resume=True)


def test_a_run_whose_data_have_moved_finds_them_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8, generator=generator).numpy()
    labels = torch.arange(40).numpy() % 2
    (tmp_path / "there").mkdir()
    there = tmp_path / "there" / "arrays"
    there.mkdir()
    np.savez(there / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    words = ["--data", "arrays", "--data-path", str(there), "--space", "toy-tied-width", "--method", "gaea-erm"]
    out = str(tmp_path / "RUN")
    assert main(["search", *words, "--max-steps", "2", "--batch-size", "8", "--device", "cpu", "--out", out]) == 0
    (tmp_path / "there").rename(tmp_path / "here")
    monkeypatch.delenv("SHAREWISE_DATA", raising=False)
    assert main(["evaluate", out]) == 2
    assert "SHAREWISE_DATA" in capsys.readouterr().err
    monkeypatch.setenv("SHAREWISE_DATA", str(tmp_path / "here"))
    assert main(["evaluate", out]) == 0
    np.savez(tmp_path / "here" / "arrays" / "a.npz", x_train=images[::-1], y_train=labels, x_test=images, y_test=labels)
    capsys.readouterr()
    assert main(["evaluate", out]) == 2
    assert "data" in capsys.readouterr().err, "other data in the same place are noticed"
