"""A step that cannot fit into memory is refused before anything is made, and one that may not is warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sharewise as sw
from sharewise.cli import main
from sharewise.errors import ConfigurationError, SharewiseWarning
from sharewise.methods import build
from sharewise.run import Place, Search, Setting, fits
from sharewise.run.fits import require_step_fits, step_memory, steps_fit

NETWORK = {"channels": 4, "cells": 1}


def prepared(method: str = "darts", **recipe: Any) -> Any:
    arguments = {"epochs": 2, "batch_size": 32, **recipe}
    setting = Setting(NETWORK, place=Place("cpu"))
    return Search(sw.spaces.nasbench201(), build(method, arguments), sw.data.digits(), setting).prepare()


def test_a_mixture_keeps_more_than_a_path_and_more_examples_more_than_few() -> None:
    mixture, path = step_memory(prepared()), step_memory(prepared("spos"))
    half = step_memory(prepared(batch_size=16))
    assert mixture is not None
    assert path is not None
    assert half is not None
    assert mixture.activations > 1.5 * path.activations
    assert mixture.activations == pytest.approx(2 * half.activations, rel=0.05)


def test_looking_draws_no_number_and_changes_nothing() -> None:
    state = prepared("gdas")
    before = {name: generator.get_state() for name, generator in state.generators.items()}
    step_memory(state)
    assert all((generator.get_state() == before[name]).all() for name, generator in state.generators.items())
    assert all(parameter.device.type == "cpu" for parameter in state.supernet.parameters())


def test_only_what_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = prepared()
    needed = step_memory(state)
    assert needed is not None
    for free, outcome in ((10**12, None), (int(1.2 * needed.total), "warned"), (int(0.9 * needed.total), "refused")):
        monkeypatch.setattr(fits, "available_memory", lambda free=free: free)
        if outcome == "refused":
            with pytest.raises(ConfigurationError, match=r"needs .* GB are free; choose smaller images"):
                require_step_fits(state)
        elif outcome == "warned":
            with pytest.warns(SharewiseWarning, match="activations of 32 examples"):
                require_step_fits(state)
        else:
            require_step_fits(state)


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fits, "available_memory", lambda: 1000)
    words = ["--channels", "4", "--cells", "1", "--device", "cpu", "--out", str(tmp_path / "RUN")]
    assert main(["search", *words]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "--image-size" in error
    assert not (tmp_path / "RUN").exists()


def test_steps_of_several_runs_need_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [prepared("spos") for _ in range(3)]
    needed = sum(found.total for found in map(step_memory, states) if found is not None)
    for free, fit in ((None, True), (10**13, True), (int(5.2 * needed), True), (int(4.8 * needed), False)):
        monkeypatch.setattr(fits, "available_memory", lambda free=free: free)
        assert steps_fit(states) is fit
