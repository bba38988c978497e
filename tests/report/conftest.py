from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
PAIRS = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
CHOSEN = (3, 1, 3, 3, 0, 2)
EPOCHS = 25

WriteRun = Callable[..., Path]


def architecture(choices: Sequence[int]) -> str:
    names = [f"{OPERATIONS[choice]}~{source}" for choice, (source, _) in zip(choices, PAIRS, strict=True)]
    return f"|{names[0]}|+|{names[1]}|{names[2]}|+|{names[3]}|{names[4]}|{names[5]}|"


def picture(choices: Sequence[int] = CHOSEN) -> dict[str, Any]:
    names = ["input", "1", "2", "output"]
    edges = [[names[a], names[b], OPERATIONS[c]] for (a, b), c in zip(PAIRS, choices, strict=True)]
    return {"nodes": names, "edges": edges}


def epoch_line(epoch: int, *, sampler: bool) -> dict[str, Any]:
    noise = np.random.default_rng(epoch)
    progress = epoch / (EPOCHS - 1)
    line: dict[str, Any] = {
        "event": "epoch",
        "epoch": epoch,
        "step": 21 * (epoch + 1),
        "weights_loss": 0.35 + 1.95 * math.exp(-3 * progress) + 0.03 * noise.normal(),
        "learning_rate": 0.025 * (1 + math.cos(math.pi * progress)) / 2,
        "architecture": architecture(CHOSEN if progress > 0.3 else (1, 1, 3, 3, 0, 2)),
        "ledger": {
            part: {
                "steps": 21 * (epoch + 1),
                "examples": 1344 * (epoch + 1),
                "multiply_accumulates": cost * 1_500_000_000 * (epoch + 1),
                "seconds": 0.5 * cost * (epoch + 1),
            }
            for part, cost in (("weights", 3), ("architecture", 2))
        },
        "seconds": 3.1 * (epoch + 1),
    }
    if not sampler:
        logits = 5 * progress**1.4 * np.eye(5)[list(CHOSEN)] * np.array([[1, 0.8, 1.2, 0.9, 0.5, 1.1]]).T
        logits = logits + 0.7 * progress * np.random.default_rng(1).normal(size=(6, 5))
        theta = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        line["architecture_loss"] = line["weights_loss"] + 0.08 + 0.1 * progress
        line["entropy"] = float(-(theta * np.log(theta)).sum(1).mean())
        line["probabilities"] = {f"edge_{a}_{b}": list(row) for (a, b), row in zip(PAIRS, theta, strict=True)}
    if epoch % 3 == 0:
        line["gap"] = gap(progress)
    return line


def gap(progress: float) -> dict[str, Any]:
    accuracy = 0.12 + 0.8 * (1 - math.exp(-3 * progress))
    rounded = accuracy - 0.22 * math.exp(-((progress - 0.3) ** 2) / 0.1)
    return {
        "supernet": {"loss": 2.3 - 2 * accuracy, "accuracy": accuracy},
        "architecture": {"loss": 2.3 - 1.9 * rounded, "accuracy": rounded},
        "examples": 256,
    }


def config(command: str, **settings: Any) -> dict[str, Any]:
    return {
        "command": command,
        "space": "nasbench201",
        "data": "digits",
        "data_path": None,
        "network": {"channels": 8, "cells": 1, "affine": False, "fused": True},
        "recipe": {"epochs": EPOCHS, "weights_learning_rate": 0.025, "architecture_learning_rate": 0.1},
        "seed": 0,
        "device": "cpu",
        "precision": "float32",
        "train_examples": None,
        "max_steps": None,
        "image_size": None,
    } | settings


ENVIRONMENT = {
    "sharewise": "0.1.0",
    "python": "3.11.9",
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "platform": "Linux-6.1-x86_64",
    "processor": "x86_64",
    "cores": 8,
    "threads": 8,
    "device": "cpu",
    "commit": "711d065",
    "started": "2026-01-05T09:30:00+00:00",
}


def candidates() -> dict[str, Any]:
    random = np.random.default_rng(4)
    scored = [
        {
            "architecture": architecture(random.integers(0, 5, 6)),
            "accuracy": 0.91 - 0.02 * rank,
            "loss": 0.3 + 0.1 * rank,
        }
        for rank in range(14)
    ]
    return {"event": "selection", "candidates": scored}


def search_result(*, sampler: bool) -> dict[str, Any]:
    return {
        "kind": "search",
        "space": "nasbench201",
        "method": "random-ws" if sampler else "gaea-erm",
        "seed": 0,
        "architecture": architecture(CHOSEN),
        "decisions": {f"edge_{a}_{b}": list(OPERATIONS) for a, b in PAIRS},
        "selection": {"rule": "best of sampled" if sampler else "mode", "accuracy": 0.87, "loss": 0.52},
        "cost": {
            "parameters": 12_858,
            "multiply_accumulates": 1_034_240,
            "passes": {"forward": 1050, "backward": 1050},
            "search_multiply_accumulates": 227_500_000_000,
            "seconds": 77.5,
        },
        "gap": gap(1.0),
        "task": {"name": "classification", "primary": "accuracy"},
        "data": "digits",
        "versions": {"torch": "2.13.0"},
        "description": "Random search with weight sharing: uniform × sampling"
        if sampler
        else "GAEA (single level): simplex × expectation × alternating, exponentiated gradient",
        "picture": picture(),
    }


COMPARISON = {
    "metric": "accuracy",
    "found": [0.972, 0.969, 0.975, 0.967, 0.971],
    "random": [
        {"architecture": architecture((k % 5, 1, 2, 3, 0, k % 3)), "value": value}
        for k, value in enumerate([0.951, 0.962, 0.938, 0.957, 0.968, 0.921, 0.949, 0.964, 0.955, 0.943])
    ],
    "verdict": "better by 0.020: accuracy, 95 % interval of the difference 0.010 to 0.030 (n = 5 against 10)",
    "interval": [0.01, 0.03],
}


def write(
    run: Path,
    settings: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]] = (),
    result: Mapping[str, Any] | None = None,
) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
    (run / "environment.json").write_text(json.dumps(ENVIRONMENT), encoding="utf-8")
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if result is not None:
        (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return run


def gaea_run(run: Path) -> Path:
    lines = [epoch_line(epoch, sampler=False) for epoch in range(EPOCHS)]
    result = search_result(sampler=False) | {"comparison": COMPARISON}
    return write(run, config("search", method="gaea-erm"), [*lines, candidates()], result)


def sampler_run(run: Path) -> Path:
    lines = [epoch_line(epoch, sampler=True) for epoch in range(EPOCHS)]
    return write(run, config("search", method="random-ws"), [*lines, candidates()], search_result(sampler=True))


def unfinished_run(run: Path) -> Path:
    lines = [epoch_line(epoch, sampler=False) for epoch in range(9)]
    return write(run, config("search", method="gaea-erm"), lines)


def train_run(run: Path) -> Path:
    lines = []
    for epoch in range(EPOCHS):
        line = epoch_line(epoch, sampler=True)
        kept = {key: line[key] for key in ("event", "epoch", "step", "weights_loss", "learning_rate", "seconds")}
        loss = line["weights_loss"] + 0.1
        lines.append(kept | {"selection": {"loss": loss, "accuracy": 1 - loss / 2.6}})
    result = {
        "kind": "train",
        "architecture": architecture(CHOSEN),
        "test": {"loss": 0.11, "accuracy": 0.972, "examples": 360},
        "selection": {"loss": 0.12, "accuracy": 0.969},
        "cost": {"parameters": 12_858, "multiply_accumulates": 1_034_240, "seconds": 41.0},
        "picture": picture(),
    }
    return write(run, config("train", architecture=architecture(CHOSEN)), lines, result)


WRITERS = {"gaea": gaea_run, "sampler": sampler_run, "unfinished": unfinished_run, "train": train_run}


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes a run folder: one of the realistic kinds by name, or one with the given content."""

    def writer(kind: str | None = None, **content: Any) -> Path:
        run = tmp_path / (kind or "run")
        return WRITERS[kind](run) if kind else write(run, **content)

    return writer
