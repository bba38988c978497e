from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from sharewise.space import Choice, Space
from sharewise.spaces import nasbench201
from sharewise.strategy import ArrayOracle


@pytest.fixture(scope="session")
def tiny() -> Space:
    """24 architectures, two ordered choices and one that is not."""
    return Space(
        "tiny",
        (Choice("a", (1, 2, 3), ordered=True), Choice("b", ("x", "y")), Choice("c", (0, 1, 2, 3), ordered=True)),
    )


@pytest.fixture(scope="session")
def tiny_oracle(tiny: Space) -> ArrayOracle:
    """Different signals, and costs that differ."""
    rng = np.random.default_rng(5)
    return ArrayOracle(tiny, {0: rng.permutation(24) / 24}, {0: rng.uniform(1, 2, 24)}, "seconds")


@pytest.fixture(scope="session")
def published(shared_data: Path) -> tuple[ArrayOracle, np.ndarray]:
    """CIFAR-100 of NAS-Bench-201: signals of 12 and 200 epochs with their seconds, and test values."""
    with gzip.open(shared_data / "nasbench201" / "nasbench201.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = np.array([float(row["cifar100_train_seconds_200"]) for row in rows])
    values = {e: [float(row[f"cifar100_valid_{e}"]) for row in rows] for e in (12, 200)}
    oracle = ArrayOracle(nasbench201(), values, {12: seconds * 12 / 200, 200: seconds}, "seconds")
    return oracle, np.array([float(row["cifar100_test_200"]) for row in rows])
