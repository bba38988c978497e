"""Two tiny searches on digits that differ in nothing but the seed, and a made-up table of their space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharewise.oracle.draft import Draft, write_table
from sharewise.oracle.quantity import Key
from sharewise.run import SearchConfiguration
from sharewise.spaces import load

Search = Callable[..., Path]


@pytest.fixture(scope="session")
def search() -> Search:
    def run(path: Path, seed: int, **changes: Any) -> Path:
        settings: dict[str, Any] = {"method": "spos", "network": {"channels": 2, "cells": 1}, "train_examples": 200}
        settings |= {"recipe": {"candidates": 1}, "max_steps": 12, **changes}
        SearchConfiguration(seed=seed, device="cpu", threads=1, **settings).execute(path)
        return path

    return run


@pytest.fixture(scope="session")
def siblings(search: Search, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("siblings")
    return search(folder / "zero", 0), search(folder / "one", 1)


@pytest.fixture(scope="session")
def made_up_table() -> Callable[..., Path]:
    """Accuracies that rise with the number of convolutions, and validation that agrees with test but for noise."""

    def write(path: Path, *, covered: int | None = None, space: str = "nasbench201") -> Path:
        listing, rng = load(space).listing, np.random.default_rng(0)
        test = np.array([str(listing.at(row)).count("conv") for row in range(len(listing))], dtype=np.float64)
        test = 80 + 2 * test + rng.normal(0, 0.5, len(test))
        valid = test + rng.normal(0, 0.2, len(test))
        if covered is not None:
            valid[covered:] = np.nan
        draft = Draft("made up", space, {"source": "made up", "files": [], "notes": []})
        draft.add(Key("accuracy", "cifar10", "test", 200, "mean"), test, "percent", "made up")
        draft.add(Key("accuracy", "cifar10", "valid", 200, "mean"), valid, "percent", "made up")
        write_table(draft, path)
        return path

    return write


@pytest.fixture(scope="session")
def table(made_up_table: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_table(tmp_path_factory.mktemp("tables") / "made-up.table")
