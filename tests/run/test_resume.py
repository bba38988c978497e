"""A run that is killed by SIGKILL and resumed ends with the same bits as one that was left alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sharewise.data import single_level
from sharewise.methods import METHODS, build
from sharewise.testing import small_arguments

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run_job() -> Iterator[Run]:
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("kill_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None

    def run(command: str, configuration: dict[str, Any], out: Path, *, resume: bool = False, kill: Any = None) -> int:
        job = {"command": command, "configuration": configuration, "out": str(out), "resume": resume, "kill": kill}
        server.stdin.write(json.dumps(job) + "\n")  # type: ignore[union-attr]
        server.stdin.flush()  # type: ignore[union-attr]
        return int(server.stdout.readline())  # type: ignore[union-attr]

    yield run
    server.stdin.close()
    assert server.wait(timeout=30) == 0
    server.stdout.close()


def small(method: str) -> dict[str, Any]:
    recipe = small_arguments(method)
    return {
        "space": "nasbench201",
        "method": method,
        "data": "digits",
        "network": {"channels": 4, "cells": 1},
        "recipe": recipe,
        "train_examples": 128,
        "gap_examples": 16,
        "checkpoint_every": 3,
        "device": "cpu",
    }


_MEASURED = ("seconds", "digest", "history")


def timeless(value: Any) -> Any:
    """Without measured seconds, which differ between any two runs, and digests of documents that hold them."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in _MEASURED}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def assert_same_bits(first: Any, second: Any, place: str = "state") -> None:
    assert type(first) is type(second), place
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype, place
        assert torch.equal(first, second), place
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first:
            if key != "seconds":
                assert_same_bits(first[key], second[key], f"{place}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), place
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same_bits(a, b, f"{place}[{index}]")
    else:
        assert first == second, place


def assert_same_run(reference: Path, other: Path) -> None:
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["state"] for run in (reference, other)]
    assert_same_bits(*states)
    histories = [
        [timeless(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (reference, other)
    ]
    assert histories[0] == histories[1]
    results = [timeless(json.loads((run / "result.json").read_text())) for run in (reference, other)]
    assert results[0] == results[1]
    assert [p.name for p in other.glob(".*")] == [".lock"], "what a killed process left half-written is removed"


@pytest.mark.slow
def test_a_search_killed_before_and_after_it_widens_resumes_to_the_bit(run_job: Run, tmp_path: Path) -> None:
    configuration, reference, killed = small("drnas"), tmp_path / "reference", tmp_path / "killed"
    configuration["recipe"] |= {"keep": [3], "parts": [4, 2]}
    configuration["network"] = {"channels": 8, "cells": 1, "affine": True}
    assert run_job("search", configuration, reference) == 0
    for index, moment in enumerate([2, 6, "selection"]):  # of eight steps, the second half of which is wider
        assert run_job("search", configuration, killed, resume=index > 0, kill=moment) == signal.SIGKILL
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


LANGUAGE = "language-model:embedding=8,12:layers=1,2:heads=2:mlp_ratio=2,3"
NEOX = "hw-gpt-bench:S:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=2,3"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "method", "network"),
    [
        (LANGUAGE, "tanglenas-gaea", {"dropout": 0.1}),
        (LANGUAGE, "spos", {"dropout": 0.1}),
        (NEOX, "sandwich", {"head_size": 4}),
    ],
)
def test_a_killed_search_for_a_language_model_resumes_to_the_bit(
    space: str, method: str, network: dict[str, Any], run_job: Run, tmp_path: Path
) -> None:
    (tmp_path / "play.txt").write_text("to be, or not to be, that is the question. " * 40)
    configuration = small(method) | {
        "space": space,
        "data": "text",
        "data_path": str(tmp_path / "play.txt"),
        "text_length": 8,
        "network": network,
    }
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", configuration, reference) == 0
    for index, moment in enumerate([2, 5, "selection"]):
        assert run_job("search", configuration, killed, resume=index > 0, kill=moment) == signal.SIGKILL
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


QUICK = ("drnas", "enas", "progressive-shrinking", "r-darts", "tanglenas-gdas")
"""Methods that together hold every kind of state; the others run in the slow suite."""


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(METHODS)]
)
def test_a_killed_search_resumes_to_the_bit(method: str, run_job: Run, tmp_path: Path) -> None:
    configuration, reference, killed = small(method), tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", configuration, reference) == 0
    steps = 16 if build(method).roles == single_level() else 8  # of 128 examples all, or half, train the weights
    # Before the first periodic checkpoint, between two of them, at the last step, and before the selection.
    for index, moment in enumerate([1, steps // 2 + 1, steps, "selection"]):
        status = run_job("search", configuration, killed, resume=index > 0, kill=moment)
        assert status == signal.SIGKILL, f"the run was not killed at {moment}: status {status}"
        assert not (killed / "result.json").exists()
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "method", "network"),
    [
        (
            "vision-transformer-tiny:embedding=8,12:layers=1,2:heads=1,2:mlp_ratio=1.5,2",
            "tanglenas-gaea",
            {"patch_size": 4, "stochastic_depth": 0.3},
        ),
        pytest.param(
            "mobilenetv3:depth=1,2:kernel=3,5:expansion=2,3",
            "tanglenas-gaea",
            {"width_multiplier": 0.1},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "proxylessnas:depth=1,2:kernel=3,5:expansion=2,3",
            "spos",
            {"width_multiplier": 0.1},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "attentivenas:depth=1,2",
            "attentive-nas",
            {"width_multiplier": 0.125, "multiple": 1},
            marks=pytest.mark.slow,
        ),
        pytest.param("ofa-resnet50", "spos", {"width_multiplier": 0.06, "multiple": 1}, marks=pytest.mark.slow),
        pytest.param("nasbench_macro", "fairnas", {"channels": 2}, marks=pytest.mark.slow),
        pytest.param("nats_size", "spos", {"divisor": 8}, marks=pytest.mark.slow),
    ],
)
def test_a_killed_search_of_a_macro_space_resumes_to_the_bit(
    space: str, method: str, network: dict[str, Any], run_job: Run, tmp_path: Path
) -> None:
    configuration, reference, killed = small(method), tmp_path / "reference", tmp_path / "killed"
    configuration |= {"space": space, "network": network}
    assert run_job("search", configuration, reference) == 0
    for index, moment in enumerate([2, 6, "selection"]):
        assert run_job("search", configuration, killed, resume=index > 0, kill=moment) == signal.SIGKILL
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["darts-pt", "blank-pt", "sdarts"])
def test_a_search_that_is_killed_while_its_selection_trains_on_resumes_to_the_bit(
    method: str, run_job: Run, tmp_path: Path
) -> None:
    configuration, reference, killed = small(method), tmp_path / "reference", tmp_path / "killed"
    configuration |= {"selection": "perturbation", "tuning_epochs": 1, "checkpoint_every": 1}
    assert run_job("search", configuration, reference) == 0
    # As soon as the first decision is settled, within the epoch after it, after a later one, and at the last step.
    for index, moment in enumerate(["stage 1", 9, "stage 4", 31]):
        status = run_job("search", configuration, killed, resume=index > 0, kill=moment)
        assert status == signal.SIGKILL, f"the run was not killed at {moment}: status {status}"
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)
    lines = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    rounds = [line for line in lines if line["event"] == "stage" and "settled" in line]
    assert len(rounds) == 6
    assert sorted(name for line in rounds for name in line["settled"]) == sorted(lines[0]["decisions"])
    assert all(len(values) == 4 for line in rounds for values in line["without"].values()), "none is never tried"


@pytest.mark.sweep(3)
@pytest.mark.parametrize("every", [1, 4, 8])
def test_a_run_killed_at_a_checkpoint_that_ends_an_epoch_loses_no_line(
    every: int, run_job: Run, tmp_path: Path
) -> None:
    configuration = small("gdas") | {"checkpoint_every": every}
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", configuration, reference) == 0
    for index, moment in enumerate([4, 8]):
        assert run_job("search", configuration, killed, resume=index > 0, kill=moment) == signal.SIGKILL
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


@pytest.mark.slow
def test_a_run_killed_while_it_writes_a_checkpoint_resumes_from_the_one_before(run_job: Run, tmp_path: Path) -> None:
    configuration, reference, killed = small("gaea-erm"), tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", configuration, reference) == 0
    assert run_job("search", configuration, killed, kill="replace") == signal.SIGKILL
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


def test_a_killed_training_resumes_to_the_bit_with_all_its_randomness(run_job: Run, tmp_path: Path) -> None:
    configuration = {
        "space": "nasbench201",
        "architecture": "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|none~2|",
        "data": "digits",
        "network": {"channels": 4, "cells": 1},
        "recipe": {
            "epochs": 3,
            "batch_size": 32,
            "drop_path": 0.4,
            "auxiliary_weight": 0.4,
            "label_smoothing": 0.1,
            "cutout": 2,
            "validation_fraction": 0.25,
        },
        "train_examples": 128,
        "checkpoint_every": 2,
        "device": "cpu",
    }
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    assert run_job("train", configuration, reference) == 0
    for index, moment in enumerate([1, 5, "selection"]):
        assert run_job("train", configuration, killed, resume=index > 0, kill=moment) == signal.SIGKILL
    assert run_job("train", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


@pytest.mark.slow
def test_a_warm_up_stage_survives_a_kill(run_job: Run, tmp_path: Path) -> None:
    configuration = small("gaea-darts")
    configuration["recipe"]["warm_up"] = 0.5
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", configuration, reference) == 0
    assert run_job("search", configuration, killed, kill=5) == signal.SIGKILL
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)
    events = [json.loads(line)["event"] for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert events == ["start", "stage", "epoch", "stage", "epoch"]


@pytest.mark.slow
def test_a_killed_search_with_noise_resumes_to_the_bit(run_job: Run, tmp_path: Path) -> None:
    """S4 of RobustDARTS draws noise in every forward pass of training, from the stream of the modules."""
    configuration = small("gdas") | {"space": "darts:S4", "network": {"channels": 2, "layers": 3}}
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", configuration, reference) == 0
    assert run_job("search", configuration, killed, kill=5) == signal.SIGKILL
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "network", "kernel", "width"),
    [
        ("conv-macro", {"divisor": 8}, "kernel_1", "channels_1"),
        ("mobilenetv3:depth=1,2,3:kernel=3,5,7:expansion=2,3,4", {"width_multiplier": 0.1}, "kernel_", "expansion_"),
    ],
)
def test_progressive_shrinking_survives_a_kill_at_every_stage(
    space: str, network: dict[str, Any], kernel: str, width: str, run_job: Run, tmp_path: Path
) -> None:
    configuration = small("progressive-shrinking") | {
        "space": space,
        "network": network,
        "image_size": 12,
        "train_examples": 60,
        "checkpoint_every": 1,
        "recipe": {"epochs": 6, "batch_size": 16, "candidates": 2, "recalibration_batches": 1},
    }
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", configuration, reference) == 0
    moments = ["stage 1", 4, "stage 2", "stage 3", "stage 4", 14, "stage 5", 17, "selection"]
    for index, moment in enumerate(moments):
        assert run_job("search", configuration, killed, resume=index > 0, kill=moment) == signal.SIGKILL, moment
    assert run_job("search", configuration, killed, resume=True) == 0
    assert_same_run(reference, killed)
    history = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    stages = [record for record in history if record["event"] == "stage"]
    assert [record["paths"] for record in stages] == [1, 1, 2, 2, 4, 4]
    for start, offered in ((kernel, [1, 3, 3, 3, 3, 3]), (width, [1, 1, 1, 1, 2, 3])):
        name = next(name for name in stages[0]["offered"] if name.startswith(start))
        assert [len(record["offered"][name]) for record in stages] == offered
    assert ["order" in record for record in stages] == [False] * 4 + [True] * 2
    assert ["teacher" in record for record in stages] == [False, True] + [False] * 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrays", "folder"])
def test_a_killed_search_of_images_on_disk_resumes_to_the_bits_of_the_same_images_in_memory(
    kind: str, run_job: Run, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    images = {split: generator.integers(0, 256, (count, 8, 8, 3), np.uint8) for split, count in _COUNTS.items()}
    labels = {split: np.arange(count) % 2 for split, count in _COUNTS.items()}
    on_disk, memory = tmp_path / "mine", tmp_path / "mine"
    on_disk.mkdir()
    if kind == "arrays":
        named = {f"x_{s}": images[s] for s in _COUNTS} | {f"y_{s}": labels[s] for s in _COUNTS}
        memory = tmp_path / "mine.npz"
        np.savez(memory, **named)
        for key, values in named.items():
            np.save(on_disk / f"{key}.npy", values)
    else:
        for split, count in _COUNTS.items():
            for place in range(count):
                file = on_disk / split / str(labels[split][place]) / f"{place:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(images[split][place]).save(file)
    configuration = small("tanglenas-gaea") | {"train_examples": 64, "image_size": 8}
    held, read = (
        configuration | {"data": kind, "data_path": str(memory)},
        configuration | {"data": f"{kind}-on-disk", "data_path": str(on_disk)},
    )
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    assert run_job("search", held, reference) == 0
    for index, moment in enumerate([2, "selection"]):
        assert run_job("search", read, killed, resume=index > 0, kill=moment) == signal.SIGKILL
    assert run_job("search", read, killed, resume=True) == 0
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["state"] for run in (reference, killed)]
    for name in ("supernet", "streams"):
        assert_same_bits(*(state[name] for state in states), place=name)


_COUNTS = {"train": 80, "test": 16}
